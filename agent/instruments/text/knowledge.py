"""The questions that units of one model and firmware do not answer: found out once a process, at a timeout each.

A refusal holds for the unit that refused. One that only makes messages smaller holds for all units of the kind when two of
them refused and none has ever answered. One that takes a check away (`UnitKind.has_itself_refused`) holds for no other unit.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from agent.instruments.driver import Identity

#: s. A unit that has waited that long for others of its kind probes by itself.
LONGEST_WAIT = 10.0
#: Units that must refuse before the others of the kind are not asked. So many probe at once, and share the time of a timeout.
_ENOUGH = 2
#: Units that go on at a time, of those that wait, once it is known what their kind answers.
_AT_ONCE = 8


class UnitKind:
    """The units of one manufacturer, model and firmware. From any thread. ``unit``: any text that identifies one of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals: dict[str, set[str]] = {}
        self._doubts: set[tuple[str, str]] = set()
        self._answered: set[str] = set()
        self._was_probed = False
        self._inside = 0
        self._waiting: deque[threading.Event] = deque()

    def refuses(self, question: str, unit: str) -> bool:
        """True if the unit is not to be asked: it refused before, or enough others did and none answered."""
        with self._lock:
            refused = self._refusals.get(question, ())
            return unit in refused or (len(refused) >= _ENOUGH and question not in self._answered)

    def has_itself_refused(self, question: str, unit: str) -> bool:
        """True if this very unit refused the question."""
        with self._lock:
            return unit in self._refusals.get(question, ())

    def answers(self, question: str) -> bool:
        """True if a unit of this kind has answered the question: another failure is no sign that the kind does not know it."""
        with self._lock:
            return question in self._answered

    def has_answered(self, question: str, unit: str) -> None:
        """Note that the unit answered the question."""
        with self._lock:
            self._answered.add(question)
            self._doubts.discard((question, unit))

    def has_refused(self, question: str, unit: str) -> None:
        """Note that the unit did not answer the question, and reported an error for it."""
        with self._lock:
            self._refusals.setdefault(question, set()).add(unit)

    def is_doubted(self, question: str, unit: str) -> bool:
        """Note that the unit did not answer, without an error of its own. True if that happened before since it last answered."""
        with self._lock:
            known = (question, unit) in self._doubts
            self._doubts.add((question, unit))
            return known

    @contextlib.contextmanager
    def probing(self, turn: threading.Event, patience: float = LONGEST_WAIT) -> Iterator[None]:
        """A context for probing a unit. At most two of a kind are in it until the kind is known; the others sleep before it.

        :param turn: a fresh event; setting it from another thread ends the wait, for good
        :param patience: the longest wait (s); then the unit goes on beside the others
        """
        has_place = self._enter(turn, patience)
        well = False
        try:
            yield
            well = True
        finally:
            self._leave(has_place, well)

    def _enter(self, turn: threading.Event, patience: float) -> bool:
        with self._lock:
            if self._is_known():
                return False
            if self._inside < _ENOUGH:
                self._inside += 1
                return True
            self._waiting.append(turn)
        turn.wait(patience)
        with self._lock:
            if turn not in self._waiting:
                return True  # `_leave` gave it the place
            self._waiting.remove(turn)
            return False

    def _leave(self, has_place: bool, well: bool) -> None:
        with self._lock:
            self._was_probed = self._was_probed or well
            self._inside -= has_place
            most = _AT_ONCE if self._is_known() else _ENOUGH
            while self._waiting and self._inside < most:
                self._inside += 1
                self._waiting.popleft().set()

    def _is_known(self) -> bool:
        return self._was_probed and all(
            len(refused) >= _ENOUGH or question in self._answered for question, refused in self._refusals.items()
        )


class Knowledge:
    """The kinds of the units that were connected. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, str, str], UnitKind] = {}

    def kind(self, identity: Identity) -> UnitKind:
        """The kind of the unit with this identity, whatever its serial number."""
        with self._lock:
            return self._kinds.setdefault((identity.manufacturer, identity.model, identity.firmware), UnitKind())


#: The knowledge of this process.
KNOWLEDGE = Knowledge()

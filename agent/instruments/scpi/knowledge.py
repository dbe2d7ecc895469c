"""Questions that units of one model and firmware do not answer: found out once in the process, at the cost of a timeout each.

A refusal holds for the unit that refused. It holds for all units of the kind when two of them refused and none has ever
answered: one accident must not take a check of couplings away from a whole laboratory.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from agent.instruments.driver import Identity

#: s. A unit that has waited for others of its kind for so long finds out by itself.
LONGEST_WAIT = 10.0
#: Units that refused, before the others of the kind are not asked. So many probe at once: they have their timeout together.
_ENOUGH = 2
#: Units that wait are let go on so many at a time, once it is known what their kind answers.
_AT_ONCE = 8


class Kind:
    """The units of one manufacturer, model and firmware. From any thread; ``unit`` is what tells one from another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals: dict[str, set[str]] = {}
        self._doubts: set[tuple[str, str]] = set()
        self._answered: set[str] = set()
        self._was_probed = False
        self._inside = 0
        self._waiting: deque[threading.Event] = deque()

    def refuses(self, question: str, unit: str) -> bool:
        """Whether the unit is not to be asked: it refused once, or enough others did and none answered."""
        with self._lock:
            refused = self._refusals.get(question, ())
            return unit in refused or (len(refused) >= _ENOUGH and question not in self._answered)

    def has_answered(self, question: str, unit: str) -> None:
        """The unit answered the question."""
        with self._lock:
            self._answered.add(question)
            self._doubts.discard((question, unit))

    def has_refused(self, question: str, unit: str) -> None:
        """The unit did not answer the question, and said itself that it does not know it."""
        with self._lock:
            self._refusals.setdefault(question, set()).add(unit)

    def is_doubted(self, question: str, unit: str) -> bool:
        """Note that the unit did not answer and did not say why; whether that has happened before since it last answered."""
        with self._lock:
            known = (question, unit) in self._doubts
            self._doubts.add((question, unit))
            return known

    @contextlib.contextmanager
    def probing(self, turn: threading.Event, patience: float = LONGEST_WAIT) -> Iterator[None]:
        """While two units are in the body, others of this kind wait asleep to begin theirs, unless it is known what it answers.

        :param turn: a fresh event; setting it from another thread ends the wait, for good
        :param patience: s; one that has waited that long goes on beside the others
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
                return True  # who left gave its place
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
    """The kinds of units that were met. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, str, str], Kind] = {}

    def kind(self, identity: Identity) -> Kind:
        """The units that are like this one but for the serial number."""
        with self._lock:
            return self._kinds.setdefault((identity.manufacturer, identity.model, identity.firmware), Kind())


#: What this process has found out.
KNOWLEDGE = Knowledge()

"""A line that several units share, and their seats on it.

A message goes out only after the unit was selected and has confirmed that. An answer that comes late, after its unit was given
up, must not be taken for the one of another unit: until it can't come any more, each exchange ends with one more confirmation.
If an answer of another unit came among those of the exchange, one of them stands where the confirmation should. Messages to all
units (broadcasts) are never sent.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from agent.instruments.bus.selection import LineLink, MixedAnswersError, Selection
from agent.instruments.bus.turns import LINGER, Turns
from agent.instruments.driver import LinkClosedError, LinkError, UnaskedBytesError, never

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

#: s. An address that was confirmed longer ago is confirmed again: the unit may have been switched off and on.
CONFIRMED_FOR = 0.5
#: s in which the answer of a unit that was given up may still come.
LATE = 10.0
#: s before further tries to open a line that was given up a moment ago: a gateway may take one client at a time.
_AGAIN = (0.1, 0.3)
#: Exchanges in which answers of two units may be mixed before the seat is closed for that.
_MOST_MIXED = 3
#: s without a byte after which a line counts as silent. Gateways and USB adapters send in pieces with pauses.
SILENCE = 0.1


class Line:
    """A line with several units. For the threads of their workers.

    ``name``: its resource name, for the log.
    """

    def __init__(self, link: LineLink) -> None:
        self._link = link
        self.name = link.uri
        self._turns: Turns[Seat] = Turns(LINGER)
        self._seats: set[Seat] = set()  # those that are open
        # All of the rest is for the thread that has the turn.
        self._generation = 0  # of the connection: it is another one after the line was lost
        self._selected: Seat | None = None
        self._confirmed = 0.0  # the moment of the last answer of the selected one
        self._is_dirty = False  # an answer may have come that nobody waits for
        self._owes: dict[Seat | None, float] = {}  # until when an answer of them may come; None: nobody knows whose

    def seat(self, address: int | str, selection: Selection | None) -> Seat:
        """A place for one unit, not open yet. ``selection``: None where messages hold the address themselves."""
        return Seat(self, f"{self.name} (address {address})", selection)

    # For the seats.

    @contextlib.contextmanager
    def turn(self, seat: Seat) -> Iterator[None]:
        """A context for all that is done on the line."""
        try:
            with self._turns.turn(seat, seat.urgent):
                yield
        finally:
            if not self._seats:  # the others were closed meanwhile
                self._turns.if_free(self._close_if_unused)

    def occupy(self, seat: Seat) -> int:
        """Open the line for a seat, in its turn. The number of the connection.

        :raises LinkError: it can't be opened
        """
        self._seats.add(seat)
        try:
            if self._link.is_open and not self._is_dirty and self._link.drain(0):
                self._is_dirty = True
        except LinkError:
            self._generation += 1  # it was closed while it was idle
        try:
            self._open()
        except LinkError:
            self._seats.discard(seat)
            self._close_if_unused()
            raise
        return self._generation

    def release(self, seat: Seat) -> None:
        """Note that a seat is closed; the last one closes the line. It never raises."""
        self._seats.discard(seat)
        self._turns.leave(seat, self._close_if_unused)

    def begin(self, seat: Seat) -> LineLink:
        """Make the line ready for an exchange of a seat, in its turn: open, empty, the unit selected. The link.

        :raises LinkClosedError: the line was lost since the seat was opened; nothing was sent
        :raises LinkError: a broken line, or the unit does not confirm that it is selected
        """
        link = self._link
        if seat.generation != self._generation:
            raise LinkClosedError(f"the line {self.name} was lost and opened again", sent=False)
        self._open()
        if self._is_dirty:
            link.drain(SILENCE)
            self._selected, self._is_dirty = None, False
        elif link.drain(0):
            log.warning("%s: bytes came that no unit was asked for; they are dropped", self.name)
            self.mixed()
            link.drain(SILENCE)
            self._is_dirty = False
        is_known = self._selected is seat and time.monotonic() - self._confirmed < CONFIRMED_FOR
        if not is_known and seat.selection is not None:
            self._select(seat, seat.selection)
        return link

    def finish(self, seat: Seat, *, is_doubtful: bool) -> None:
        """End an exchange that went well.

        :param is_doubtful: the unit has refused a setting, or another one's answer stands in the place of its own
        :raises MixedAnswersError: one of its answers may be from another unit
        :raises LinkError: a broken line
        """
        if self._may_mix() and seat.selection is not None:
            if not self._is_confirmed(seat.selection) or (is_doubtful and self._link.drain(SILENCE)):
                self.mixed()
                raise MixedAnswersError("answers of two units came at once")
            self._owes.pop(seat, None)
        self._confirmed = time.monotonic()

    def failed(self, seat: Seat, error: LinkError) -> None:
        """Note that an exchange failed."""
        if seat.generation != self._generation:
            return  # it was told so, and nothing was sent
        self._selected, self._is_dirty = None, True
        if isinstance(error, LinkClosedError):
            self._generation += 1
            return
        self._turns.was_silent()
        self._owes[seat] = time.monotonic() + LATE

    def mixed(self) -> None:
        """Note that an answer has come that nobody asked for, or may come: an exchange was left before its end."""
        self._selected, self._is_dirty = None, True
        self._owes[None] = time.monotonic() + LATE

    def is_unasked(self) -> bool:
        """True if an answer of another unit may come, and something has come in by now. It is dropped.

        :raises LinkError: a broken line
        """
        return self._may_mix() and bool(self._link.drain(0))

    def _open(self) -> None:
        if self._link.is_open:
            return
        self._selected = None
        for pause in _AGAIN if self._is_dirty else ():
            with contextlib.suppress(LinkError):
                self._link.open()
                return
            time.sleep(pause)
        try:
            self._link.open()
        except LinkError:
            self._generation += 1
            raise

    def _close_if_unused(self) -> None:
        if not self._seats:
            self._link.close()
            self._selected = None

    def _select(self, seat: Seat, selection: Selection) -> None:
        """:raises LinkError: the unit does not confirm it; nothing else was sent"""
        self._selected = None
        for _ in range(2):
            if self._is_confirmed(selection, first=True):
                self._selected = seat
                return
            self._link.drain(SILENCE)
        raise LinkError(f"the unit did not confirm its address: no right answer to {selection.message}")

    def _is_confirmed(self, selection: Selection, *, first: bool = False) -> bool:
        """True if the unit says that it is selected."""
        link = self._link
        if selection.question is None:
            answer = link.ask(selection.message)
        else:
            if first:
                link.tell(selection.message)
                link.rest(selection.rest)
            answer = link.ask(selection.question)
        link.rest(selection.rest)
        return selection.confirms(answer)

    def _may_mix(self) -> bool:
        if self._owes:
            now = time.monotonic()
            self._owes = {seat: until for seat, until in self._owes.items() if until > now}
        return bool(self._owes)


class Seat:
    """The link to one unit on a `Line`, for one thread.

    ``off_waits``: asked from any thread whether an off waits for this unit; its messages go ahead of those of the others then.
    """

    def __init__(self, line: Line, uri: str, selection: Selection | None) -> None:
        self.uri = uri
        self.selection = selection
        self.generation = -1
        self.off_waits: Callable[[], bool] = never
        self._line = line
        self._is_open = False
        self._ready = 0.0  # the moment (time.monotonic) from which the next message may go
        self._is_doubtful = False  # see `Line.finish`
        self._is_sent = False  # something was sent in the present exchange, besides the selection
        self._link: LineLink | None = None  # while an exchange is under way

    def urgent(self) -> bool:
        """True if an off waits for this unit. From any thread."""
        return self.off_waits()

    @property
    def is_open(self) -> bool:
        """True if it was opened and has not failed since."""
        return self._is_open

    def open(self) -> None:
        """Open it anew, and the line if no other unit has it open. Nothing is sent.

        :raises LinkError: the line can't be opened
        """
        with self._line.turn(self):
            self.generation = self._line.occupy(self)
            self._is_open = True

    def close(self) -> None:
        """Close it, and the line if it was the last one; never raises."""
        if self._is_open:
            self._is_open = False
            self._line.release(self)

    @contextlib.contextmanager
    def exchange(self) -> Iterator[None]:
        """A context for messages and lines that belong together: no other unit is served until it ends.

        :raises LinkError: a broken line, or the unit does not confirm that it is selected; the seat is closed then
        """
        if self._link is not None:
            yield
            return
        if not self._is_open:
            raise LinkError("the session is closed")
        self.wait_until_ready()
        line, self._is_doubtful, self._is_sent = self._line, False, False
        with contextlib.ExitStack() as at_end, line.turn(self):
            try:
                self._link = line.begin(self)
                yield
                if self._is_open:
                    line.finish(self, is_doubtful=self._is_doubtful)
                else:  # its driver has closed it, as it could not read an answer
                    line.mixed()
            except LinkError as error:
                at_end.callback(self.close)
                if isinstance(error, UnaskedBytesError):
                    line.mixed()
                    raise MixedAnswersError(str(error)) from error
                if not isinstance(error, MixedAnswersError):
                    line.failed(self, error)
                raise
            except BaseException:
                line.mixed()
                raise
            finally:
                self._link = None

    def _used(self) -> LineLink:
        assert self._link is not None
        return self._link

    def ask(self, message: str, length: tuple[int, int] | None = None) -> str:
        """Select the unit, send one message and read its one answer, without the line end.

        A question is asked again if its answer may be that of another unit. A setting is never sent twice.

        :param length: as in `agent.instruments.link.TextLink.ask`
        :raises LinkError: no answer in time, a broken line, or the unit does not confirm its address; the seat is closed then
        """
        is_question = _is_question(message)

        def ask() -> str:
            answer = self._sending().ask(message, length)
            if not is_question and self.selection is not None:
                self._is_doubtful = self._is_doubtful or not self.selection.confirms(answer)
            return answer

        return self._try(ask, may_repeat=is_question)

    def tell(self, message: str) -> None:
        """Select the unit, and send one message that has no answer.

        :raises LinkError: a broken line, or the unit does not confirm its address; the seat is closed then
        """
        self._try(lambda: self._sending().tell(message), may_repeat=False)

    def _sending(self) -> LineLink:
        """The link, for a message: whatever happens from now on, it may have been sent."""
        link = self._used()
        if self._line.is_unasked():
            raise UnaskedBytesError("bytes came in that nobody asked for")
        self._is_sent = True
        return link

    def _try(self, exchange: Callable[[], _Answer], *, may_repeat: bool) -> _Answer:
        """Make an exchange, and once more where answers were mixed and nothing is done twice by that."""
        for _ in range(0 if self._link is not None else _MOST_MIXED):
            try:
                with self.exchange():
                    return exchange()
            except MixedAnswersError:
                if self._is_sent and not may_repeat:
                    raise
                self.open()
        with self.exchange():
            return exchange()

    def listen(self, length: tuple[int, int] | None = None) -> str:
        """Read one line more of the answer to the last message, in `exchange`.

        :raises LinkError: no answer in time, or a broken line; the seat is closed then
        """
        with self.exchange():
            self._is_doubtful = True
            return self._used().listen(length)

    def ask_ahead(self, message: str) -> bool:
        """False: the line is for others while the unit works on its answer."""
        del message
        return False

    def hear(self) -> str:
        """There is nothing to hear, as nothing is asked ahead.

        :raises LinkError: always
        """
        raise LinkError("nothing was asked ahead")

    def unasked(self) -> list[str]:
        """None: nothing tells which unit has sent a line that nobody asked for."""
        return []

    def rest(self, seconds: float) -> None:
        """Have the next message to this unit go no sooner than that time (s) from now on; others go on."""
        self._ready = max(self._ready, time.monotonic() + seconds)

    def wait_until_ready(self) -> bool:
        """True if the unit needed time before the next message, which has passed by now; False if it was ready at once."""
        if (left := self._ready - time.monotonic()) > 0:
            time.sleep(left)
        return left > 0


def _is_question(message: str) -> bool:
    """True if a message changes nothing: all parts of it are questions."""
    return all("?" in part for part in message.split(";"))

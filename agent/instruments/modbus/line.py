"""A serial line or a TCP connection with one or several units, each at its address: one exchange at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Literal
from weakref import WeakValueDictionary

from agent.instruments import reasons
from agent.instruments.bus.turns import Turns
from agent.instruments.driver import GiveWay, LinkError, never
from agent.instruments.modbus.frames import Frames, Question
from agent.instruments.modbus.streams import Stream
from agent.instruments.reasons import Way

#: Bytes. More than that without an answer among them is noise.
_MOST = 2048


class ReopenedError(Exception):
    """The line was opened anew since a unit was identified on it: another one may be there now. Nothing was sent."""


class RegisterLine:
    """For the threads of several units. It is open while a unit has a seat on it.

    :param gap: s of silence before each frame
    """

    def __init__(self, stream: Stream, form: Literal["rtu", "tcp"], gap: float = 0.0) -> None:
        self._stream = stream
        self._form = form
        self._frames: Frames | None = None
        self._gap = gap
        self._turns: Turns[object] = Turns()
        self._seats: set[object] = set()
        self._is_open = False
        self._ended = 0.0  # the moment (s of time.monotonic) when the last exchange ended
        #: How often it was opened. For the thread whose turn it is.
        self.generation = 0

    def sit_down(self, seat: object) -> None:
        """Note that a unit uses the line, in whose name it takes its turns."""
        self._seats.add(seat)

    def stand_up(self, seat: object) -> None:
        """Note that a unit does not use the line any more; the last one closes it."""
        self._seats.discard(seat)
        self._turns.leave(seat, self._close_if_unused)

    def exchange(
        self,
        ask: Callable[[Frames], Question],
        *,
        seat: object,
        timeout: float,
        generation: int | None,
        is_urgent: GiveWay = never,
    ) -> tuple[tuple[int, ...], int]:
        """Send a question when the line is free, and read its answer; with it the generation in which that was.

        :param ask: makes the question
        :param timeout: s for the answer
        :param generation: the one that the unit was identified in; None to ask in any
        :param is_urgent: true of an off, and of a question that an off waits for: it goes before those of other units
        :raises ReopenedError: it is another generation by now; nothing was sent
        :raises RefusedError: the unit refused
        :raises LinkError: no answer, or the library is missing; the line is in order for the other units
        """
        try:
            with self._turns.turn(seat, is_urgent):
                if self._frames is None:
                    self._frames = Frames(self._form)
                self._ready()
                if generation is not None and generation != self.generation:
                    raise ReopenedError
                return self._exchange(self._frames, ask(self._frames), timeout), self.generation
        finally:
            if not self._seats:  # the others stood up meanwhile
                self._turns.if_free(self._close_if_unused)

    def _ready(self) -> None:
        """Have the line open, and silent."""
        if self._is_open:
            try:
                self._stream.discard()
            except OSError:
                self._end(in_order=False)
        if not self._is_open:
            try:
                self._stream.open()
            except OSError as error:
                raise LinkError(f"can't open it: {reasons.of_system(error, self._stream.way)}") from error
            self._is_open = True
            self.generation += 1
        if (left := self._ended + self._gap - time.monotonic()) > 0:
            time.sleep(left)

    def _exchange(self, frames: Frames, question: Question, timeout: float) -> tuple[int, ...]:
        received = b""
        deadline = time.monotonic() + timeout
        try:
            self._stream.send(question.data, deadline)
            while len(received) < _MOST:
                received += self._stream.receive(deadline)
                if (answer := frames.answer(question, received)) is not None:
                    return answer
            self._end(in_order=False)
            raise LinkError(f"no answer to the question for {question} but {_MOST} other bytes")
        except TimeoutError:
            # The answer may still come: a new connection does not get it, and on a serial line its address or its length tells
            # it from the answer to another question.
            self._turns.was_silent()
            self._is_open = self._stream.recover()
            raise LinkError(_no_answer(question, received, timeout, self._stream.way)) from None
        except OSError as error:
            self._end(in_order=False)
            reason = reasons.of_system(error, self._stream.way)
            raise LinkError(f"no answer to the question for {question}: {reason}") from error
        finally:
            self._ended = time.monotonic()

    def _close_if_unused(self) -> None:
        if not self._seats:
            self._end(in_order=True)

    def _end(self, *, in_order: bool) -> None:
        self._is_open = False
        self._stream.close(in_order=in_order)


def _no_answer(question: Question, received: bytes, timeout: float, way: Way) -> str:
    """The reason, with the message, what came, and what was expected."""
    if not received:
        return f"no answer to the question for {question} within {timeout:g} s; {reasons.checks(way)}"
    return (
        f"no answer to the question for {question} ({question.data.hex(' ')}) within {timeout:g} s, but other bytes: "
        f"{received[:40].hex(' ')}"
    )


_lines_lock = threading.Lock()
_lines: WeakValueDictionary[tuple[Any, ...], RegisterLine] = WeakValueDictionary()


def shared(key: tuple[Any, ...], made: RegisterLine) -> RegisterLine:
    """The line that other units use by that key; that one where none does."""
    with _lines_lock:
        return _lines.setdefault(key, made)

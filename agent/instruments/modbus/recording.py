"""A link to registers that writes down what crosses it, and one that plays such a record again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from agent.instruments.driver import GiveWay, LinkError, never
from agent.instruments.modbus.frames import RefusedError
from agent.instruments.modbus.line import ReopenedError
from agent.instruments.modbus.link import RegisterLink
from agent.instruments.recording import Exchanged

_Answer = TypeVar("_Answer", tuple[int, ...], None)


class RecordingRegisters:
    """A `RegisterLink` around another one. For one thread.

    ``record``: all that went through it, oldest first: ``read 8-20`` with the numbers as its answer, ``write 8: 330`` with
    ``OK``.

    :param hidden: registers whose numbers are written down as 0: those of a serial number
    :param reads_only: nothing is written, but `LinkError` raised instead
    """

    def __init__(self, link: RegisterLink, *, hidden: Sequence[int] = (), reads_only: bool = False) -> None:
        self.uri = link.uri
        self.slave = link.slave
        self.record: list[Exchanged] = []
        self._link = link
        self._hidden = frozenset(hidden)
        self._reads_only = reads_only

    def open(self, first: int, count: int) -> tuple[int, ...]:
        """Open it anew and read the registers that tell who the unit is."""
        return self._noted(first, count, lambda: self._link.open(first, count))

    def identify(self, first: int, count: int) -> tuple[int, ...]:
        """Read the registers that tell who the unit is."""
        return self._noted(first, count, lambda: self._link.identify(first, count))

    def read(self, first: int, count: int, is_urgent: GiveWay = never) -> tuple[int, ...]:
        """The numbers in so many registers."""
        return self._noted(first, count, lambda: self._link.read(first, count, is_urgent))

    def write(self, register: int, value: int, *, is_urgent: bool = False) -> None:
        """Write a number into a register."""
        one = self._begin(f"write {register}: {value}")
        if self._reads_only:
            one.problem = "not sent: it would set something"
            raise LinkError(one.problem)
        self._timed(one, lambda: self._link.write(register, value, is_urgent=is_urgent))
        one.answers.append("OK")

    def close(self) -> None:
        """Close it; never raises."""
        self._link.close()

    def hurry(self, seconds: float) -> None:
        """Have every wait for an answer end within that time (s)."""
        self._link.hurry(seconds)

    def _noted(self, first: int, count: int, read: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
        one = self._begin(f"read {first}-{first + count - 1}")
        numbers = self._timed(one, read)
        shown = (0 if register in self._hidden else number for register, number in enumerate(numbers, first))
        one.answers.append(" ".join(map(str, shown)))
        return numbers

    def _begin(self, sent: str) -> Exchanged:
        self.record.append(Exchanged(sent))
        return self.record[-1]

    def _timed(self, one: Exchanged, action: Callable[[], _Answer]) -> _Answer:
        begun = time.monotonic()
        try:
            return action()
        except ReopenedError:
            self.record.remove(one)  # nothing was sent
            raise
        except (LinkError, RefusedError) as error:
            one.problem = str(error)
            raise
        finally:
            one.seconds = time.monotonic() - begun


class ReplayRegisters:
    """A unit on paper: a `RegisterLink` that answers as a record says, and takes the questions in the record's order alone.

    Tests of series files are made of it: `psu-agent series try` prints one. ``lines``: each question with its answer, None where
    the unit refused.
    """

    uri = "ASRL/dev/ttyUSB0::INSTR"
    slave = 1

    def __init__(self, lines: Iterable[tuple[str, str | None]]) -> None:
        self._lines = list(lines)

    def check(self) -> None:
        """
        :raises AssertionError: questions of the record were not asked
        """
        if self._lines:
            raise AssertionError(f"not asked: {[sent for sent, _ in self._lines]}")

    def open(self, first: int, count: int) -> tuple[int, ...]:
        """The registers that tell who the unit is."""
        return self.read(first, count)

    def identify(self, first: int, count: int) -> tuple[int, ...]:
        """The registers that tell who the unit is."""
        return self.read(first, count)

    def read(self, first: int, count: int, is_urgent: GiveWay = never) -> tuple[int, ...]:
        """The numbers in so many registers.

        :raises AssertionError: the record has another question here
        :raises RefusedError: the unit refused
        """
        del is_urgent
        return tuple(map(int, self._next(f"read {first}-{first + count - 1}").split()))

    def write(self, register: int, value: int, *, is_urgent: bool = False) -> None:
        """Take a number.

        :raises AssertionError: the record has something else here
        :raises RefusedError: the unit refused
        """
        del is_urgent
        self._next(f"write {register}: {value}")

    def close(self) -> None:
        """Nothing is to be closed."""

    def hurry(self, seconds: float) -> None:
        """A unit on paper does not keep anybody waiting."""

    def _next(self, sent: str) -> str:
        if not self._lines:
            raise AssertionError(f"{sent!r} was sent after the end of the record")
        expected, answer = self._lines.pop(0)
        if expected != sent:
            raise AssertionError(f"{sent!r} was sent, where the record has {expected!r}")
        if answer is None:
            raise RefusedError("refused in the record")
        return answer

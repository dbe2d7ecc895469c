"""Between the transports and one instrument: one message at a time, in order, each taking the instrument's time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from agent.simulator.base import Instrument
from agent.simulator.reactor import Reactor
from agent.simulator.scpi import ScpiError

Answered = Callable[[bytes | None], None]
"""Gets the answer to a message, without its terminator, or None if there is none."""

Tamper = Callable[[str, str | None], str | None]
"""Gets a message and its answer, and gives what is answered instead."""

INPUT_LIMIT = 65536
"""Bytes of one message; more is an input buffer overrun (-363) and is thrown away up to the next terminator."""


class _Message(NamedTuple):
    owner: object
    data: bytes
    answered: Answered


class Exchange:
    """One instrument for many connections. For the reactor's thread, but for `latency`, `tamper`, `freeze` and `thaw`.

    ``latency`` s pass before a message is carried out. A frozen instrument takes messages in and doesn't
    carry them out until it is thawed, when they are answered late.
    """

    def __init__(
        self, reactor: Reactor, instrument: Instrument, latency: float = 0.0, tamper: Tamper | None = None
    ) -> None:
        self.reactor = reactor
        self.instrument = instrument
        self.latency = latency
        self.tamper = tamper
        self.lock_owner: object | None = None
        self._waiting: deque[_Message] = deque()
        self._busy = False
        self._frozen = False

    def submit(self, owner: object, data: bytes, answered: Answered) -> None:
        """Have a message carried out, at once or later; ``answered`` is then called in the reactor's thread."""
        if self._waiting or self._busy or self._frozen or self.latency > 0 or self._locked_for(owner):
            self._waiting.append(_Message(owner, data, answered))
            self._next()
        else:
            answered(self._execute(data))

    @property
    def waiting(self) -> int:
        """The number of messages that came in and were not carried out yet."""
        return len(self._waiting)

    def discard(self, owner: object) -> None:
        """Drop the messages of an owner that were not carried out."""
        self._waiting = deque(message for message in self._waiting if message.owner is not owner)

    def forget(self, owner: object) -> None:
        """Drop the messages of an owner that were not carried out, and its lock."""
        self.discard(owner)
        if self.lock_owner is owner:
            self.unlock()

    def lock(self, owner: object) -> bool:
        """Give the instrument to one owner alone. False if another one has it."""
        if self._locked_for(owner):
            return False
        self.lock_owner = owner
        return True

    def unlock(self) -> None:
        """End the lock, and carry out the messages that waited for it."""
        self.lock_owner = None
        self._next()

    def freeze(self) -> None:
        """Carry out nothing more. From any thread."""
        self._frozen = True

    def thaw(self) -> None:
        """Carry out the messages that came in since `freeze`, and go on. From any thread."""
        self._frozen = False
        self.reactor.call_soon(self._next)

    def clear(self) -> None:
        """Forget every message and lock, as after a power cycle."""
        self._waiting.clear()
        self.lock_owner = None

    def _locked_for(self, owner: object) -> bool:
        return self.lock_owner is not None and self.lock_owner is not owner

    def _next(self) -> None:
        while not self._busy and not self._frozen:
            message = next((m for m in self._waiting if not self._locked_for(m.owner)), None)
            if message is None:
                return
            if self.latency > 0:
                self._busy = True
                self.reactor.call_later(self.latency, self._finish)
                return
            self._run(message)

    def _finish(self) -> None:
        self._busy = False
        message = next((m for m in self._waiting if not self._locked_for(m.owner)), None)
        if message is not None and not self._frozen:
            self._run(message)
        self._next()

    def _run(self, message: _Message) -> None:
        self._waiting.remove(message)
        message.answered(self._execute(message.data))

    def _execute(self, data: bytes) -> bytes | None:
        if len(data) > INPUT_LIMIT:
            self.instrument.report(ScpiError(-363))
            return None
        message = data.decode("latin-1")
        if self.instrument.framing.cut is None:
            message = message.strip("\r\n")
        answer = self.instrument.execute(message)
        if self.tamper is not None:
            answer = self.tamper(message, answer)
        return None if answer is None else answer.encode("latin-1", "replace")

"""Between the transports and one instrument: one message at a time, in order, each taking the instrument's time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from agent.simulator.instrument import ScpiInstrument
from agent.simulator.reactor import Reactor
from agent.simulator.scpi import ScpiError

Reply = Callable[[bytes | None], None]
Tamper = Callable[[str, str | None], str | None]

INPUT_LIMIT = 65536
"""Bytes of one message; more is an input buffer overrun (-363) and is thrown away up to the next terminator."""


class _Message(NamedTuple):
    owner: object
    data: bytes
    reply: Reply


class Exchange:
    """Feeds an instrument from many connections.

    For the reactor's thread, but for `latency`, `tamper`, `freeze` and `thaw`.

    ``latency`` s pass between a message and its being carried out. A frozen instrument takes messages in and doesn't
    carry them out until it is thawed, when they are answered late.
    """

    def __init__(
        self, reactor: Reactor, instrument: ScpiInstrument, latency: float = 0.0, tamper: Tamper | None = None
    ) -> None:
        self.reactor = reactor
        self.instrument = instrument
        self.latency = latency
        self.tamper = tamper
        self.lock_owner: object | None = None
        self._waiting: deque[_Message] = deque()
        self._busy = False
        self._frozen = False

    def submit(self, owner: object, data: bytes, reply: Reply) -> None:
        """Have a message carried out; ``reply`` gets its answer without a terminator, or None if it has none."""
        if self._waiting or self._busy or self._frozen or self.latency > 0 or self._locked_for(owner):
            self._waiting.append(_Message(owner, data, reply))
            self._next()
        else:
            reply(self._execute(data))

    def discard(self, owner: object) -> None:
        """Drop what an owner still waits for."""
        self._waiting = deque(message for message in self._waiting if message.owner is not owner)

    def forget(self, owner: object) -> None:
        """Drop what an owner still waits for, and its lock."""
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
        self.lock_owner = None
        self._next()

    def freeze(self) -> None:
        self._frozen = True

    def thaw(self) -> None:
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
        message.reply(self._execute(message.data))

    def _execute(self, data: bytes) -> bytes | None:
        if len(data) > INPUT_LIMIT:
            self.instrument.report(ScpiError(-363))
            return None
        message = data.decode("latin-1").rstrip("\r\n")
        answer = self.instrument.execute(message)
        if self.tamper is not None:
            answer = self.tamper(message, answer)
        return None if answer is None else answer.encode("latin-1", "replace")

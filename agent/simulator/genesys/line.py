"""A line with several Genesys supplies: a serial port, and the socket of a gateway, whose bytes reach all of them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import ClassVar, Self

from agent.simulator.base import Framing, Instrument
from agent.simulator.exchange import Answered, Exchange
from agent.simulator.genesys.unit import GenesysUnit
from agent.simulator.lines import SerialPort, SocketServer
from agent.simulator.reactor import Reactor

_SELECTION = re.compile(r"ADR\s+(\d{1,2})")
_BROADCASTS = ("GRST", "GPV", "GPC", "GOUT", "GSAV", "GRCL")


class _Wire(Instrument):
    """All units together, as the transports see them: a line goes to the one that was addressed last."""

    framing: ClassVar[Framing] = Framing(message_end=b"\r", answer_end=b"\r")

    def __init__(self, units: Iterable[GenesysUnit], log_size: int) -> None:
        super().__init__(log_size=log_size)
        self.units = {unit.address: unit for unit in units}
        self.selected: GenesysUnit | None = None

    def miss(self, message: str) -> None:
        """Note a line that its unit does not take in."""
        with self.lock:
            self._log.append(message)

    def respond(self, message: str) -> str | None:
        """The answer of the unit that was addressed; None if there is none."""
        line = message.strip("\r\n")
        if line.upper().startswith(_BROADCASTS):
            for unit in self.units.values():
                unit.broadcast(line)
            return None
        selection = _SELECTION.fullmatch(line.strip().upper())
        if selection is not None:
            self.selected = self.units.get(int(selection[1]))
            return None if self.selected is None else "OK"
        return None if self.selected is None else self.selected.execute(line)


class _LateExchange(Exchange):
    """Each answer comes when its unit is ready; a unit works through its own lines in order."""

    instrument: _Wire

    def __init__(self, reactor: Reactor, wire: _Wire, line: GenesysLine) -> None:
        super().__init__(reactor, wire)
        self._wire = wire
        self._line = line
        self._owed: dict[int, deque[tuple[bytes, Answered]]] = {}

    def submit(self, owner: object, data: bytes, answered: Answered) -> None:
        """Have a line carried out; a silent unit carries nothing out, a slow one answers later."""
        text = data.decode("latin-1").strip("\r\n")
        selection = _SELECTION.fullmatch(text.strip().upper())
        selected = self._wire.selected
        address = int(selection[1]) if selection else selected.address if selected else None
        line = self._line
        if address in line.silent:
            if selection:
                self._wire.selected = self._wire.units.get(address)
            self._wire.miss(text)
            return
        delay = 0.0 if address is None else line.delays.get(address, 0.0)
        owed = self._owed.setdefault(-1 if address is None else address, deque())

        def record(answer: bytes | None) -> None:
            if delay <= 0 and not owed:
                answered(answer)
            elif answer is not None:
                owed.append((answer, answered))
                self.reactor.call_later(delay, send)

        def send() -> None:
            answer, to = owed.popleft()
            to(answer)

        super().submit(owner, data, record)


class GenesysLine:
    """A line with some supplies and its transports, as a context manager.

    ``silent``: the addresses of units that take nothing in and answer nothing, as without mains. ``delays``: s that a unit at
    an address takes for each answer. Both may be changed at any time.

    :param units: the supplies, with an address each
    :param pty: with a serial port besides the socket
    """

    def __init__(self, *units: GenesysUnit, pty: bool = False, log_size: int = 10000) -> None:
        self.units = {unit.address: unit for unit in units}
        self.silent: set[int] = set()
        self.delays: dict[int, float] = {}
        self._wire = _Wire(units, log_size)
        self._pty = pty
        self._stack = ExitStack()
        self._server: SocketServer | None = None
        self._reactor: Reactor | None = None
        self.port = 0
        self.serial_path: str | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._reactor = reactor = Reactor("genesys-line")
            reactor.start()
            stack.callback(reactor.stop)
            exchange = _LateExchange(reactor, self._wire, self)
            self._server = SocketServer(exchange, "127.0.0.1", self.port)
            stack.callback(self._server.close)
            self.port = self._server.port
            if self._pty:
                serial_port = SerialPort(exchange)
                stack.callback(serial_port.close)
                self.serial_path = serial_port.path
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def resources(self) -> dict[str, str]:
        """VISA resource names by transport: ``socket``, and ``serial`` if there is one."""
        names = {"socket": f"TCPIP::127.0.0.1::{self.port}::SOCKET"}
        if self.serial_path:
            names["serial"] = f"ASRL{self.serial_path}::INSTR"
        return names

    @property
    def log(self) -> list[str]:
        """All lines that came in, oldest first."""
        return self._wire.log

    @property
    def selected(self) -> int | None:
        """The address of the unit that is addressed."""
        unit = self._wire.selected
        return None if unit is None else unit.address

    def disconnect(self, *, reset: bool = False) -> None:
        """Close the connections of the socket, and go on listening."""
        if self._server is not None:
            self._server.disconnect(reset=reset)

    def power_cycle(self, address: int) -> None:
        """Mains off and on at one unit: it is not addressed any more."""
        with self._wire.lock:
            self.units[address].power_cycle()
            if self.selected == address:
                self._wire.selected = None

    def change(self, change: Callable[[], None]) -> None:
        """Have something changed while no line is carried out."""
        with self._wire.lock:
            change()

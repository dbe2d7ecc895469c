"""Simulated instruments on the network: any instrument, a supply, and many supplies served by one thread."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from agent.simulator.base import Instrument
from agent.simulator.e36300 import E36300
from agent.simulator.exchange import Exchange, Tamper
from agent.simulator.hislip import HislipServer
from agent.simulator.lines import SerialPort, SocketServer
from agent.simulator.loads import Load
from agent.simulator.reactor import Reactor
from agent.simulator.scpi import Quirks
from agent.simulator.vxi11 import Vxi11Server

_serials = itertools.count(61004803)


class NetworkInstrument:
    """Any `Instrument` with its transports, as a context manager or by `start` and `stop`.

    ``socket_port``, ``vxi11_port``, ``hislip_port``: None for no such transport, 0 for a free port. ``portmapper``
    answers on port 111 of ``host``, TCP and UDP, which needs the right to bind it. ``pty`` adds a serial port.
    ``baud``: bits a second that pass there; None: as fast as it goes.
    ``max_socket_sessions``: how many raw sockets may be open at a time, as real instruments have but a few.
    ``latency``: seconds that a message takes.
    ``reactor``: a `Reactor` that is running, to serve many simulators from one thread; by default each has its own.

    `start` raises OSError for a port that can't be had, and RuntimeError if it runs already.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        host: str = "127.0.0.1",
        socket_port: int | None = 0,
        vxi11_port: int | None = None,
        hislip_port: int | None = None,
        portmapper: bool = False,
        pty: bool = False,
        baud: int | None = None,
        max_socket_sessions: int | None = None,
        latency: float = 0.0,
        reactor: Reactor | None = None,
    ) -> None:
        self.instrument = instrument
        self.host = host
        self.socket_port = socket_port
        # The portmapper is there to find VXI-11 with.
        self.vxi11_port = 0 if vxi11_port is None and portmapper else vxi11_port
        self.hislip_port = hislip_port
        self.serial_path: str | None = None
        self._portmapper = portmapper
        self._pty = pty
        self._baud = baud
        self._max_socket_sessions = max_socket_sessions
        self._latency = latency
        self._tamper: Tamper | None = None
        self._shared_reactor = reactor
        self._exchange: Exchange | None = None
        self._servers: list[SocketServer | Vxi11Server | HislipServer] = []
        self._stack = ExitStack()

    def start(self) -> Self:
        """Open the transports. After a `stop` they are opened again at the same ports."""
        if self._exchange is not None:
            raise RuntimeError("the simulator runs already")
        with ExitStack() as stack:
            reactor = self._shared_reactor
            if reactor is None:
                reactor = Reactor()
                reactor.start()
                stack.callback(reactor.stop)
            exchange = Exchange(reactor, self.instrument, self._latency, self._tamper)
            if self.socket_port is not None:
                server = SocketServer(exchange, self.host, self.socket_port, max_sessions=self._max_socket_sessions)
                stack.callback(server.close)
                self._servers.append(server)
                self.socket_port = server.port
            if self.vxi11_port is not None:
                vxi11 = Vxi11Server(exchange, self.host, self.vxi11_port, portmapper=self._portmapper)
                stack.callback(vxi11.close)
                self._servers.append(vxi11)
                self.vxi11_port = vxi11.port
            if self.hislip_port is not None:
                hislip = HislipServer(exchange, self.host, self.hislip_port)
                stack.callback(hislip.close)
                self._servers.append(hislip)
                self.hislip_port = hislip.port
            if self._pty:
                serial_port = SerialPort(exchange, baud=self._baud)
                stack.callback(serial_port.close)
                self.serial_path = serial_port.path
            stack.callback(self._servers.clear)
            self._exchange = exchange
            self._stack = stack.pop_all()
        return self

    def stop(self) -> None:
        """Close everything: ports, connections, thread. The instrument keeps its state, as if cables were pulled."""
        self._exchange = None
        self._stack.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """True while its transports are open."""
        return self._exchange is not None

    @property
    def resources(self) -> dict[str, str]:
        """VISA resource names by transport: ``socket``, ``vxi11``, ``hislip``, ``serial``, as far as there are any."""
        names = {}
        if self.socket_port:
            names["socket"] = f"TCPIP::{self.host}::{self.socket_port}::SOCKET"
        if self.vxi11_port:
            port = "" if self._portmapper else f",{self.vxi11_port}"
            names["vxi11"] = f"TCPIP::{self.host}{port}::inst0::INSTR"
        if self.hislip_port:
            names["hislip"] = f"TCPIP::{self.host}::hislip0,{self.hislip_port}::INSTR"
        if self.serial_path:
            names["serial"] = f"ASRL{self.serial_path}::INSTR"
        return names

    @property
    def resource(self) -> str:
        """The first of `resources`."""
        return next(iter(self.resources.values()))

    @property
    def latency(self) -> float:
        """Seconds that a message takes; may be changed at any time."""
        return self._latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._latency = seconds
        if self._exchange is not None:
            self._exchange.latency = seconds

    @property
    def tamper(self) -> Tamper | None:
        """A function that gets every message and its answer (or None), and returns the answer to send. None: no change."""
        return self._tamper

    @tamper.setter
    def tamper(self, tamper: Tamper | None) -> None:
        self._tamper = tamper
        if self._exchange is not None:
            self._exchange.tamper = tamper

    @property
    def waiting(self) -> int:
        """The number of messages that came in and were not carried out yet: it is frozen, or slow."""
        return self._running_exchange().waiting

    def freeze(self) -> None:
        """Stop carrying out messages: connections are taken and bytes read, but nothing is answered."""
        self._running_exchange().freeze()

    def thaw(self) -> None:
        """End a `freeze`: messages that came in meanwhile are carried out, and answered late."""
        self._running_exchange().thaw()

    def disconnect(self, *, reset: bool = False) -> None:
        """Close every connection of the network transports, by a reset if wanted, and go on listening."""
        for server in self._servers:
            server.disconnect(reset=reset)

    def power_cycle(self) -> None:
        """Mains off and on: connections end, messages under way are lost, settings and status are as after power-on."""
        exchange = self._running_exchange()
        exchange.reactor.call(exchange.clear)
        self.disconnect()
        self.instrument.power_cycle()

    def _running_exchange(self) -> Exchange:
        if self._exchange is None:
            raise RuntimeError("the simulator is not running")
        return self._exchange


class Simulator(NetworkInstrument):
    """A simulated E36300 supply on the network. Options that are not here are those of `NetworkInstrument`.

    ``serial``: the serial number in ``*IDN?``; each simulator of a process gets one of its own by default.
    ``loads``, ``noise``, ``seed``, ``quirks``, ``restore_after_clear``, ``clock``: as for `E36300`.
    ``log_size``: how many messages ``instrument.log`` remembers.

    Raises ValueError for an unknown model.
    """

    instrument: E36300

    def __init__(
        self,
        model: str = "E36313A",
        serial: str | None = None,
        *,
        loads: Mapping[int, Load] | None = None,
        noise: bool = True,
        seed: int = 0,
        quirks: Quirks | None = None,
        restore_after_clear: bool = True,
        clock: Callable[[], float] = time.monotonic,
        log_size: int = 1000,
        host: str = "127.0.0.1",
        socket_port: int | None = 0,
        vxi11_port: int | None = None,
        hislip_port: int | None = None,
        portmapper: bool = False,
        pty: bool = False,
        max_socket_sessions: int | None = None,
        latency: float = 0.0,
        reactor: Reactor | None = None,
    ) -> None:
        supply = E36300(
            model,
            serial=serial or f"MY{next(_serials)}",
            loads=loads,
            noise=noise,
            seed=seed,
            quirks=quirks,
            restore_after_clear=restore_after_clear,
            clock=clock,
            log_size=log_size,
        )
        super().__init__(
            supply,
            host=host,
            socket_port=socket_port,
            vxi11_port=vxi11_port,
            hislip_port=hislip_port,
            portmapper=portmapper,
            pty=pty,
            max_socket_sessions=max_socket_sessions,
            latency=latency,
            reactor=reactor,
        )


class Fleet:
    """Many simulators served by one thread, as a context manager. ``options`` are those of `Simulator`.

    Each has its own ports, serial number and noise. About 12 KiB and one descriptor a unit, and one more a connection.
    """

    def __init__(self, count: int, **options: Any) -> None:
        self._reactor = Reactor("simulator-fleet")
        self.simulators = [Simulator(**{"seed": n, **options}, reactor=self._reactor) for n in range(count)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._reactor.start()
            stack.callback(self._reactor.stop)
            for simulator in self.simulators:
                stack.enter_context(simulator)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[Simulator]:
        return iter(self.simulators)

    def __len__(self) -> int:
        return len(self.simulators)

    def __getitem__(self, index: int) -> Simulator:
        return self.simulators[index]

"""The link to one unit at its address: it reads blocks of registers, and writes one register at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from pyvisa import rname

from agent.instruments import resource
from agent.instruments.driver import GiveWay, LinkError, never
from agent.instruments.modbus.frames import Frames, Question
from agent.instruments.modbus.line import RegisterLine, shared
from agent.instruments.modbus.streams import NoStream, SerialSettings, SerialStream, Stream, TcpStream
from agent.instruments.options import converted

#: The port that is registered for Modbus TCP. On any other port RTU frames are sent, as gateways take them that pass bytes on.
MODBUS_TCP_PORT = 502
#: The addresses of units. 0 is for all at once: it is never sent to (Modbus over serial line 1.02, 2.2).
ADDRESSES = range(1, 248)
_OPEN_TIMEOUT = 3000  # ms
_PARITY = {"none": "N", "odd": "O", "even": "E", "mark": "M", "space": "S"}
_STOP_BITS = {"one": 1.0, "one_and_a_half": 1.5, "two": 2.0}


class RegisterLink(Protocol):
    """A link to the registers of one unit. `ModbusLink` is one, and says what its methods raise."""

    @property
    def uri(self) -> str:
        """The VISA resource name, with the unit's address behind it where it has others beside it."""

    @property
    def slave(self) -> int:
        """The unit's address."""

    def open(self, first: int, count: int) -> tuple[int, ...]:
        """Open it anew and read the registers that tell who the unit is."""

    def identify(self, first: int, count: int) -> tuple[int, ...]:
        """Read the registers that tell who the unit is."""

    def read(self, first: int, count: int, is_urgent: GiveWay = never) -> tuple[int, ...]:
        """The numbers in so many registers."""

    def write(self, register: int, value: int, *, is_urgent: bool = False) -> None:
        """Write a number into a register."""

    def close(self) -> None:
        """Close it; never raises."""

    def hurry(self, seconds: float) -> None:
        """From any thread: every wait for an answer ends within that time (s) from now on."""


class ModbusLink:
    """For one thread, but for `hurry`. A failure closes it, and only `open` brings it back.

    :param uri: the VISA resource name, with the unit's address behind it where it has others beside it
    :param line: the line that the unit is on, maybe with others
    :param slave: its address there
    :param timeout: s for an answer
    """

    def __init__(self, uri: str, line: RegisterLine, slave: int, timeout: float) -> None:
        if slave not in ADDRESSES:
            raise ValueError(f"{slave} is no address of a unit: 1 to 247")
        self.uri = uri
        self.slave = slave
        self._line = line
        self._timeout = timeout
        self._generation: int | None = None
        self._is_open = False
        self._end = float("inf")  # the moment (s of time.monotonic) by which every wait is to end

    @property
    def is_open(self) -> bool:
        """True if it was opened and has not failed since."""
        return self._is_open

    def open(self, first: int, count: int) -> tuple[int, ...]:
        """Open it anew and read the registers that tell who the unit is; what is read later is of the same connection.

        :raises LinkError: no answer
        """
        self.close()
        self._is_open = True
        self._line.sit_down(self)
        return self.identify(first, count)

    def identify(self, first: int, count: int) -> tuple[int, ...]:
        """Read the registers that tell who the unit is, on a line that was opened anew too.

        :raises LinkError: no answer; it is closed then
        """
        self._generation = None
        return self._exchange(lambda frames: frames.reading(self.slave, first, count))

    def read(self, first: int, count: int, is_urgent: GiveWay = never) -> tuple[int, ...]:
        """The numbers in so many registers.

        :param is_urgent: true when an off waits for the answer; then it goes before what other units of the line ask
        :raises ReopenedError: `identify` is to be called before
        :raises RefusedError: the unit refused
        :raises LinkError: no answer; it is closed then
        """
        return self._exchange(lambda frames: frames.reading(self.slave, first, count), is_urgent)

    def write(self, register: int, value: int, *, is_urgent: bool = False) -> None:
        """Write a number into a register; the unit has confirmed it then.

        :param is_urgent: an off, which goes before what other units of the line ask
        :raises ReopenedError: `identify` is to be called before; nothing was sent
        :raises RefusedError: the unit refused
        :raises LinkError: no answer; it may have been written, and the link is closed then
        """
        self._exchange(lambda frames: frames.writing(self.slave, register, value), lambda: is_urgent)

    def _exchange(self, ask: Callable[[Frames], Question], is_urgent: GiveWay = never) -> tuple[int, ...]:
        if not self._is_open:
            raise LinkError("the link is closed")
        try:
            left = max(0.001, min(self._timeout, self._end - time.monotonic()))
            answer, self._generation = self._line.exchange(
                ask, seat=self, timeout=left, generation=self._generation, is_urgent=is_urgent
            )
        except LinkError:
            self.close()
            raise
        return answer

    def close(self) -> None:
        """Close it; never raises. A line with other units on it stays open."""
        if self._is_open:
            self._is_open = False
            self._line.stand_up(self)
        self._generation = None

    def hurry(self, seconds: float) -> None:
        """From any thread: every wait for an answer ends within that time (s) from now on."""
        self._end = time.monotonic() + seconds


def make_register_link(
    uri: str,
    *,
    slave: int | None,
    options: Mapping[str, Any],
    baud: int,
    timeout: float,
    parity: str = "none",
    stop_bits: float = 1,
) -> ModbusLink:
    """The link to the unit with an address, on the line that other units use as well.

    Those have the same resource name and the same parameters of the line: a unit whose parameters were changed gets another line.

    :param uri: a VISA resource name: ``ASRL…::INSTR`` or ``TCPIP::…::SOCKET``
    :param slave: its address; None for 1, which units are delivered with
    :param options: arguments of pyvisa's ``open_resource``, as far as they mean something here: ``timeout`` and ``open_timeout``
        (ms), ``baud_rate``, ``data_bits``, ``parity``, ``stop_bits``, ``flow_control``
    :param baud: of the series, as ``timeout`` (s), ``parity`` and ``stop_bits``
    :raises resource.ResourceNameError: it is no resource name
    """
    if isinstance(options.get("timeout"), int | float):
        timeout = options["timeout"] / 1000
    parsed = resource.parse(uri)
    form: Literal["rtu", "tcp"] = "rtu"
    stream: Stream
    gap = 0.0
    if isinstance(parsed, rname.ASRLInstr):
        settings = _settings(options, SerialSettings(baud, 8, _PARITY[parity], stop_bits))
        stream, gap = SerialStream(parsed.board, settings), settings.frame_gap
        key: tuple[Any, ...] = ("serial", os.path.realpath(parsed.board), settings)
    elif isinstance(parsed, rname.TCPIPSocket):
        port = int(parsed.port)
        form = "tcp" if port == MODBUS_TCP_PORT else "rtu"
        opening = float(options.get("open_timeout", _OPEN_TIMEOUT)) / 1000
        stream = TcpStream(parsed.host_address, port, opening)
        key = ("tcp", parsed.host_address.casefold(), port, opening)
    else:
        stream = NoStream("Modbus goes over a serial port (ASRL…::INSTR) or a socket (TCPIP::…::SOCKET)")
        key = ("none", uri)
    place = uri if slave is None else f"{uri} (address {slave})"
    return ModbusLink(place, shared(key, RegisterLine(stream, form, gap)), 1 if slave is None else slave, timeout)


def _settings(options: Mapping[str, Any], defaults: SerialSettings) -> SerialSettings:
    """The parameters of a serial line; those that the user gave win."""
    found = {name: converted(name, value) for name, value in options.items() if name in _NAMES}
    return SerialSettings(
        baud=int(found.get("baud_rate", defaults.baud)),
        data_bits=int(found.get("data_bits", defaults.data_bits)),
        parity=_PARITY[found["parity"].name] if "parity" in found else defaults.parity,
        stop_bits=_STOP_BITS[found["stop_bits"].name] if "stop_bits" in found else defaults.stop_bits,
        flow=(found["flow_control"].name or "none") if "flow_control" in found else defaults.flow,
    )


_NAMES = ("baud_rate", "data_bits", "parity", "stop_bits", "flow_control")

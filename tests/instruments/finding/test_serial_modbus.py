"""Units that speak Modbus on a serial port: they are found, and nothing that a scan sends is a setting to any unit."""

from __future__ import annotations

import os
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any, cast

import pytest
import yaml

from agent.instruments import scan
from agent.instruments.driver import DriverError, IdentityError
from agent.instruments.finding.candidates import Candidate
from agent.instruments.recognizing import modbus_missing, questions, recognize_serial
from agent.local.installing import how_to_install
from agent.simulator import E36300, SUPPLIES, NetworkInstrument, make_supply
from agent.simulator.base import Instrument
from agent.simulator.genesys import GenesysLine, GenesysUnit
from agent.simulator.lines import LineReader
from agent.simulator.reactor import Reactor, Timer
from agent.simulator.riden import DPS, ModbusLine, Riden
from tests.commandline import invoke
from tests.instruments.finding.test_recognizing import all_texts

pytest.importorskip("pymodbus", reason="needs the extra `modbus`")

#: ms for an answer, which these units give at once.
QUICK = 2000
RD_FRAME = bytes.fromhex("01 03 00 00 00 04 44 09")
DPS_FRAME = bytes.fromhex("01 03 00 09 00 04 94 0b")
MODBUS = sorted(model for model, kind in SUPPLIES.items() if issubclass(kind, Riden))
TEXT = sorted(set(SUPPLIES) - set(MODBUS))


@contextmanager
def recorded() -> Iterator[tuple[str, list[bytes]]]:
    """A serial port where nobody answers, and what is written to it, message by message.

    It is recorded as it is written. A question without an answer ends with a discard of what the port has not sent. A real port
    has sent all by then. A pseudo-terminal loses what its other end has not been given yet, as on a busy machine.
    """
    near, far = os.openpty()
    tty.setraw(far)
    port, sent = os.fstat(far).st_rdev, []
    write = os.write

    def recording(descriptor: int, data: bytes) -> int:
        number = write(descriptor, data)
        if os.fstat(descriptor).st_rdev == port:
            sent.append(bytes(data[:number]))
        return number

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", recording)
            yield f"ASRL{os.ttyname(far)}::INSTR", sent
    finally:
        os.close(far)
        os.close(near)


@pytest.fixture(scope="module")
def sequence() -> list[bytes]:
    """All that a scan sends on a port where nobody answers, and what it would ask besides if somebody did."""
    with recorded() as (uri, sent), pytest.raises(DriverError):
        recognize_serial(uri, 20)
    return [*(f"{text}\r\n".encode() for text in all_texts()), *sent]


class Pauses:
    """Stands for the reactor of a line: the pause that ends a message comes when the test says so."""

    def __init__(self) -> None:
        self._timer: Timer | None = None

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self._timer = Timer(callback)
        return self._timer

    def pause(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.callback is not None:
            timer.callback()


class Wire:
    """The line to an instrument, without threads."""

    def __init__(self, instrument: Instrument) -> None:
        self.answers: list[str | None] = []
        self._pauses = Pauses()
        self._reader = LineReader(
            cast(Reactor, self._pauses),
            instrument.framing,
            lambda data: self.answers.append(instrument.execute(data.decode("latin-1"))),
        )

    def send(self, data: bytes, *, pause: bool = True) -> None:
        self._reader.feed(data)
        if pause:
            self._pauses.pause()


def settings(supply: Any) -> list[Any]:
    """All that can be set."""
    if isinstance(supply, E36300):
        channels = f"(@1:{len(supply.channels)})"
        asked = ("VOLT", "CURR", "OUTP", "VOLT:PROT", "CURR:PROT:STAT")
        return [supply.execute(f"{one}? {channels}") for one in asked]
    return [
        (one.voltage_set, one.current_set, one.on, one.ovp_level, one.ovp_on, one.ocp_level, one.ocp_on, one.trip)
        for one in supply.outputs.values()
    ]


def ended(instrument: Instrument, text: str) -> bytes:
    return text.encode() + instrument.framing.message_end


@pytest.mark.parametrize("model", TEXT)
def test_all_that_a_scan_sends_sets_nothing_on_a_supply_that_speaks_text(model: str, sequence: list[bytes]) -> None:
    # A second between two looks at the clock: some lose a message that comes soon after another.
    supply = make_supply(model, clock=partial(next, count(0.0)))
    before = settings(supply)
    wire = Wire(supply)
    for data in sequence:
        wire.send(data)
    assert supply.lost == 0
    for data in sequence:
        wire.send(data, pause=False)  # as a unit sees it that is slower than the pauses
    assert settings(supply) == before
    wire.send(b"")
    wire.send(ended(supply, "*IDN?"))
    # Nothing of a frame stands before its next message.
    assert (wire.answers[-1] or "").replace(" ", "").count(model[:6]) == 1


def test_all_that_a_scan_sends_sets_nothing_on_a_genesys_line(sequence: list[bytes]) -> None:
    with GenesysLine(GenesysUnit("GEN40-38", 6), GenesysUnit("GEN100-33", 30)) as line:
        before = [(unit.pv, unit.pc, unit.ovp, unit.is_on, unit.foldback) for unit in line.units.values()]
        wire = Wire(line._wire)
        for data in (*sequence, b"ADR 6\r", *sequence):
            wire.send(data)
        assert [(unit.pv, unit.pc, unit.ovp, unit.is_on, unit.foldback) for unit in line.units.values()] == before


@pytest.mark.parametrize("model", MODBUS)
@pytest.mark.parametrize("pause", [True, False])
def test_all_that_a_scan_sends_writes_nothing_into_a_unit_that_speaks_modbus(
    model: str, pause: bool, sequence: list[bytes]
) -> None:
    supply = make_supply(model)
    assert isinstance(supply, Riden)
    before = settings(supply)
    wire = Wire(supply)
    for data in sequence:
        wire.send(data, pause=pause)
    assert supply.written == []
    assert settings(supply) == before
    assert len(wire.answers) >= 2  # the frames were understood, the texts were not
    assert all(answer is not None and answer.startswith("\x01\x03") for answer in wire.answers)


def test_modbus_is_asked_when_all_text_was_and_an_empty_line_follows(sequence: list[bytes]) -> None:
    sent = b"".join(sequence)
    texts, frame, behind = sent.partition(DPS_FRAME)
    assert b"\x03" not in texts
    assert (frame + behind) == (DPS_FRAME + RD_FRAME + b"\r\n") * 2  # at 9,600 and at 115,200 baud
    order = [(baud, [series.name for series in together]) for baud, together in questions()]
    assert order[-2:] == [(9600, ["DPS", "RD60xx"]), (115200, ["DPS", "RD60xx"])]


def only_modbus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the half minute out that the questions of other languages take."""
    by_modbus = [(baud, together) for baud, together in questions() if together[0].modbus is not None]
    monkeypatch.setattr("agent.instruments.recognizing.questions", lambda: iter(by_modbus))
    # Simulators of other tests announce themselves on this host, too.
    monkeypatch.setattr("agent.instruments.finding.announced.search", lambda *_: ([], []))


ENTRIES: list[tuple[Instrument, dict[str, Any]]] = [
    (Riden("RD6006", serial="23001"), {"name": "psu1", "model": "Riden,RD6006", "serial": "23001"}),
    (Riden("RD6012P", serial="1007"), {"name": "psu1", "model": "Riden,RD6012P", "serial": "1007"}),
    (DPS("DPS5005"), {"name": "psu1", "model": "RDTech,DPS5005"}),
]


@pytest.mark.parametrize(("instrument", "entry"), ENTRIES, ids=lambda one: getattr(one, "model", ""))
def test_the_command_prints_the_entry_of_a_unit_that_speaks_modbus(
    instrument: Instrument, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    only_modbus(monkeypatch)
    with NetworkInstrument(instrument, socket_port=None, pty=True) as network:
        monkeypatch.setattr("agent.instruments.finding.ports.search", lambda *_: ([network.resource], []))
        result = invoke("scan", "--serial", "--interface", "127.0.0.1", "--timeout", "0.2")
        assert result.exit_code == 0
        assert yaml.safe_load(result.stdout) == {"units": [{**entry, "uri": network.resource}]}
    assert "# ASRL" in result.stdout
    assert isinstance(instrument, Riden)
    assert instrument.written == []


SPEEDS = [
    (Riden("RD6006", serial="23001"), termios.B9600, {"baud_rate": 9600}),
    (Riden("RD6006", serial="23001"), termios.B115200, None),
    (DPS("DPS5005"), termios.B115200, {"baud_rate": 115200}),
    (DPS("DPS5005"), termios.B9600, None),
]


@pytest.mark.parametrize(("supply", "speed", "arguments"), SPEEDS)
def test_a_unit_is_found_at_the_speed_that_it_is_set_to(
    supply: Riden, speed: int, arguments: dict[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_modbus(monkeypatch)
    with NetworkInstrument(supply, socket_port=None, pty=True) as network:
        assert network.serial_path is not None
        port = os.open(network.serial_path, os.O_RDWR | os.O_NOCTTY)
        answer = supply.answer
        # A pseudo-terminal knows the speed that its user has set.
        monkeypatch.setattr(
            supply, "answer", lambda request: answer(request) if termios.tcgetattr(port)[5] == speed else None
        )
        try:
            found = scan._ask_all([Candidate([network.resource])], serial=True)
        finally:
            network.stop()
            os.close(port)
    (entry,) = scan.unit_entries(found)
    assert entry["model"] == f"{supply.manufacturer},{supply.model}"
    assert entry.get("pyvisa_args") == arguments


def test_a_unit_with_an_unknown_signature_is_told_and_gets_no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    only_modbus(monkeypatch)
    supply = Riden("RD6006", signature=60066)
    with NetworkInstrument(supply, socket_port=None, pty=True) as network:
        with pytest.raises(
            IdentityError, match=r"answers in Modbus at 9600 baud, but no .* RD60xx it has signature 60066"
        ):
            recognize_serial(network.resource, QUICK)
        (found,) = scan._ask_all([Candidate([network.resource])], serial=True)
    assert "signature 60066" in (found.problem or "")
    assert scan.unit_entries([found]) == []


def test_one_whose_numbers_fit_two_series_is_taken_for_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    """The amperes of an RD60xx stand where a DPS has its model."""
    only_modbus(monkeypatch)
    supply = Riden("RD6006")
    read = supply.read
    monkeypatch.setattr(supply, "read", lambda register: 3005 if register == 11 else read(register))
    told = "may be a RDTech DPS3005 or a Riden RD6006"
    with (
        NetworkInstrument(supply, socket_port=None, pty=True) as network,
        pytest.raises(IdentityError, match=told),
    ):
        recognize_serial(network.resource, QUICK)
    assert supply.written == []


def test_address_1_alone_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    only_modbus(monkeypatch)
    line = ModbusLine([Riden("RD6006", address=2)], log_size=100)
    with NetworkInstrument(line, socket_port=None, pty=True) as network, pytest.raises(DriverError):
        recognize_serial(network.resource, 50)
    assert {message[0] for message in line.log} == {"\x01"}


def test_without_the_library_a_line_says_so_and_no_modbus_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert modbus_missing() is None
    monkeypatch.setitem(__import__("sys").modules, "pymodbus.framer", None)
    assert all(together[0].modbus is None for _, together in questions())
    monkeypatch.setattr("agent.instruments.recognizing.questions", lambda: iter(()))
    monkeypatch.setattr("agent.instruments.finding.ports.search", lambda *_: (["ASRL/dev/ttyNONE::INSTR"], []))
    told = f"units that speak Modbus (DPS, RD60xx) were not looked for: that needs pymodbus: {how_to_install('modbus')}"
    arguments = ("--interface", "127.0.0.1", "--timeout", "0.2")
    assert told in invoke("scan", "--serial", *arguments).stderr.splitlines()
    assert told not in invoke("scan", *arguments).stderr.splitlines()

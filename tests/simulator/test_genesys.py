"""The simulated Genesys supplies and their line: what the manual says of their language, literally where it can be."""

from __future__ import annotations

import socket

import pytest

from agent.simulator.genesys import GenesysLine, GenesysUnit
from agent.simulator.genesys.unit import checksum
from agent.simulator.loads import Resistor, Short


def told(unit: GenesysUnit, *lines: str) -> list[str | None]:
    return [unit.execute(line) for line in lines]


def test_settings_are_answered_and_come_back_as_they_were_sent() -> None:
    unit = GenesysUnit("GEN40-38", 6, serial="123456", load=Resistor(10))
    assert told(unit, "IDN?", "REV?", "SN?") == ["LAMBDA,GEN40-38", "REV:1U:4.3", "123456"]
    assert told(unit, "PV 12", "PC 010", "OVP 20", "OUT 1", "") == ["OK"] * 5
    assert told(unit, "PV?", "PC?", "OVP?", "OUT?", "MODE?") == ["12", "010", "20", "ON", "CV"]
    assert told(unit, "MV?", "MC?") == ["12.000", "01.200"]
    assert told(unit, "STT?") == ["MV(12.000),PV(12),MC(01.200),PC(010),SR(05),FR(00)"]
    assert told(unit, "DVC?") == ["12.000, 12, 01.200, 010, 20, 0"]
    unit.load = Short()
    assert told(unit, "MODE?", "STAT?") == ["CC", "06"]
    assert told(unit, "OUT OFF", "OUT?", "MV?") == ["OK", "OFF", "00.000"]


@pytest.mark.parametrize(
    ("lines", "refusal"),
    [
        (["PV 42.1"], "E01"),  # more than 105 % of the rating
        (["OVP 20", "PV 19.5"], "E01"),  # more than 95 % of the over-voltage level
        (["PV 10", "UVL 5", "PV 4"], "E02"),
        (["PV 10", "OVP 10"], "E04"),
        (["PV 10", "UVL 11"], "E06"),
        (["PC 40"], "C05"),
        (["OVP 45"], "C05"),
        (["VOLT 5"], "C01"),
        (["PV"], "C02"),
        (["PV five"], "C03"),
        (["PV 1.000000000001"], "C03"),  # more than 12 characters
        (["OUT 2"], "C03"),
        (["PV 5$00"], "C04$DA"),
    ],
)
def test_refusals(lines: list[str], refusal: str) -> None:
    unit = GenesysUnit("GEN40-38", 6)
    *before, last = told(unit, *lines)
    assert before == ["OK"] * len(before)
    assert last is not None
    assert last.startswith(refusal[:3])
    assert ("$" in last) == ("$" in refusal)
    assert unit.pv in ("0", "10")


def test_checksums() -> None:
    """The two that the manual writes out."""
    assert (checksum("STT?"), checksum("STAT?")) == ("3A", "7B")
    answer = GenesysUnit("GEN40-38", 6).execute("STAT?$7B")
    assert answer == f"04${checksum('04')}"


def test_a_trip_is_left_only_by_turning_the_output_on() -> None:
    unit = GenesysUnit("GEN40-38", 6, load=Resistor(10))
    told(unit, "PV 5", "PC 1", "OUT 1")
    unit.trip("OVP")
    assert told(unit, "OUT?", "MV?", "FLT?", "STAT?") == ["OFF", "00.000", "10", "08"]
    assert told(unit, "CLS", "FLT?") == ["OK", "10"]
    assert told(unit, "OUT 1", "OUT?", "FLT?") == ["OK", "ON", "00"]
    unit.trip("ENA")
    assert told(unit, "OUT 1") == ["E07"]


def test_foldback_turns_the_output_off_in_constant_current() -> None:
    unit = GenesysUnit("GEN40-38", 6, load=Short())
    told(unit, "PV 5", "PC 1", "FLD 1", "OUT 1")
    assert told(unit, "MODE?", "FLT?", "OUT?") == ["OFF", "08", "OFF"]


def test_mains() -> None:
    unit = GenesysUnit("GEN40-38", 6)
    told(unit, "PV 5", "OUT 1")
    unit.power_cycle()
    assert told(unit, "PV?", "OUT?") == ["0", "OFF"]
    told(unit, "PV 5", "OUT 1", "AST 1")
    unit.power_cycle()
    assert told(unit, "PV?", "OUT?", "AST?") == ["5", "ON", "ON"]


def test_a_model_whose_name_tells_no_ratings() -> None:
    with pytest.raises(ValueError, match="no such model"):
        GenesysUnit("E36313A", 6)


class Wire:
    """A bare client of the line's socket."""

    def __init__(self, line: GenesysLine) -> None:
        self._socket = socket.create_connection(("127.0.0.1", line.port), 10)
        self._buffer = b""

    def ask(self, text: str) -> str:
        self._socket.sendall(text.encode() + b"\r")
        return self.hear()

    def tell(self, text: str) -> None:
        self._socket.sendall(text.encode() + b"\r")

    def hear(self) -> str:
        while b"\r" not in self._buffer:
            data = self._socket.recv(1000)
            assert data
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\r")
        return line.decode()

    def close(self) -> None:
        self._socket.close()


def test_a_line_goes_to_the_unit_that_was_addressed_last() -> None:
    units = [GenesysUnit("GEN40-38", 3, serial="3"), GenesysUnit("GEN80-65", 9, serial="9")]
    with GenesysLine(*units) as line:
        wire = Wire(line)
        wire.tell("SN?")  # nobody was addressed: nobody answers
        assert [wire.ask("ADR 9"), wire.ask("SN?"), wire.ask("ADR 3"), wire.ask("SN?")] == ["OK", "9", "OK", "3"]
        wire.tell("ADR 17")  # nobody is there
        wire.tell("SN?")
        assert wire.ask("ADR 9") == "OK"
        wire.tell("GPV 2")  # to all, and none answers
        assert wire.ask("PV?") == "2"
        assert units[0].pv == "2"
        line.power_cycle(9)
        wire.tell("SN?")
        assert [wire.ask("ADR 3"), wire.ask("SN?")] == ["OK", "3"]
        line.silent.add(3)
        wire.tell("SN?")
        assert [wire.ask("ADR 9"), wire.ask("SN?")] == ["OK", "9"]
        wire.close()


def test_a_slow_unit_answers_late_and_in_order() -> None:
    with GenesysLine(GenesysUnit("GEN40-38", 3, serial="3"), GenesysUnit("GEN80-65", 9, serial="9")) as line:
        wire = Wire(line)
        line.delays[3] = 0.2
        wire.tell("ADR 3\rSN?\rADR 9\rSN?")
        heard = [wire.hear() for _ in range(4)]
        assert heard == ["OK", "9", "OK", "3"]
        wire.close()

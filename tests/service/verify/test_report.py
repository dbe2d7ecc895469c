"""The report tells no serial number and no address, in whatever part they stand, and its text is a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.catalogue.schema import Tried
from agent.instruments.recording import Exchanged
from agent.service.verify import report
from agent.service.verify.bench import Limits
from tests.properties import examples
from tests.service.verify.supplies import FakeSupply, verified


@pytest.mark.parametrize(
    ("serial", "text", "shown"),
    [
        ("MY61004803", "Keysight Technologies,E36313A,MY61004803,1.0", "Keysight Technologies,E36313A,SERIAL,1.0"),
        ("MY61004803", "SN:my61004803", "SN:SERIAL"),
        ("MY61004803", "at USB0::0x2A8D::0x1102::MY61004803::INSTR", "at ADDRESS"),
        ("123", "MAKER, M1, 123, 1.23", "MAKER, M1, SERIAL, 1.23"),
        ("123", "0.123,1.123", "0.123,1.123"),
        ("0", "MAKER,M1,0,1.0", "MAKER,M1,0,1.0"),
        ("", "MAKER,M1,,1.0", "MAKER,M1,,1.0"),
        ("a.b+c", "MAKER,M1,A.B+C,1", "MAKER,M1,SERIAL,1"),
    ],
)
def test_a_serial_number_is_taken_out_of_a_text(serial: str, text: str, shown: str) -> None:
    assert report.hider(serial, "USB0::0x2A8D::0x1102::MY61004803::INSTR")(text) == shown


def test_a_host_is_taken_out_of_a_text() -> None:
    hide = report.hider("SN1234", "TCPIP::psu7.lab.example::5025::SOCKET")
    assert hide("can't open TCPIP::psu7.lab.example::5025::SOCKET: psu7.lab.example") == "can't open ADDRESS: ADDRESS"


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("TCPIP::192.168.1.5::5025::SOCKET", "TCPIP SOCKET 5025"),
        ("TCPIP0::192.168.1.5::inst0::INSTR", "TCPIP inst INSTR"),
        ("TCPIP::h::hislip0,4880::INSTR", "TCPIP hislip INSTR"),
        ("USB0::0x2A8D::0x1102::MY61004803::INSTR", "USB INSTR"),
        ("ASRL/dev/serial/by-id/usb-FTDI_A1234::INSTR", "ASRL INSTR"),
        ("GPIB0::5::INSTR", "GPIB INSTR"),
    ],
)
def test_the_kind_of_a_link_tells_no_address(uri: str, kind: str) -> None:
    assert report.link_kind(uri) == kind


@examples(100)
@given(serial=st.from_regex(r"[A-Z]{2}[0-9]{6,9}", fullmatch=True), noise=st.text(max_size=8))
def test_no_part_of_the_report_holds_the_serial_number(serial: str, noise: str) -> None:
    supply = FakeSupply()
    result = verified(supply, volts=0.1)
    identity = result.profile.identity
    assert identity is not None
    object.__setattr__(result.profile, "identity", type(identity)(identity.manufacturer, identity.model, serial, "1"))
    result.findings.checks[0].ok(f"{noise}{serial}{noise}", seen=[serial])
    result.problem = f"lost {serial}"
    record = [
        Exchanged("*IDN?", [f"M,{noise},{serial},1"]),
        Exchanged(f"SN? {serial}", [serial.lower()], problem=serial),
    ]
    data = report.as_data(result, Limits(1, 0.1), None, record, f"USB0::1::2::{serial}::INSTR")
    for text in (json.dumps(data), report.as_text(data, result)):
        assert serial.casefold() not in text.casefold()


def test_both_files_are_written_and_say_the_same(tmp_path: Path) -> None:
    result = verified(FakeSupply())
    data = report.as_data(result, Limits(1, 0.1), None, [Exchanged("VOLT?", ["1.0"], 0.004)], "GPIB0::5::INSTR")
    paths = report.write(tmp_path / "new", data, report.as_text(data, result))
    assert json.loads(paths[0].read_text()) == data
    page = paths[1].read_text()
    assert "within 1 V and 0.1 A, with nothing connected" in page
    assert "VOLT?  →  1.0" in page
    assert data["verdict"] == "ok"
    (line,) = [line for line in page.splitlines() if line.startswith("for the series file: tried: ")]
    (tried,) = yaml.safe_load(line.partition(": ")[2])["tried"]
    assert Tried.model_validate(tried).model == "FAKE3"
    assert {check["name"] for check in data["checks"]} >= {
        "identification",
        "voltage_limit",
        "over-voltage trip",
        "timing",
    }

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.instruments.resource import ResourceNameError, parse, same_instrument_key


@pytest.mark.parametrize(
    "name",
    [
        "TCPIP::192.168.50.51::inst0::INSTR",
        "TCPIP0::psu.lab.example::INSTR",
        "TCPIP::127.0.0.1,1024::inst0::INSTR",
        "TCPIP::h::hislip0::INSTR",
        "TCPIP::h::hislip0,4880::INSTR",
        "TCPIP::h::5025::SOCKET",
        "TCPIP::localhost:3333::INSTR",
        "USB0::0x2A8D::0x1202::MY61004803::0::INSTR",
        "USB0::0x2A8D::0x1202::MY61004803::RAW",
        "ASRL/dev/ttyUSB0::INSTR",
        "ASRL3::INSTR",
        "GPIB0::5::INSTR",
        "GPIB0::0::INSTR",
        "GPIB0::9::3::INSTR",
        "GPIB::30::0::INSTR",
        "GPIB0::9::99::INSTR",
        "TCPIP::gateway::gpib0,0::INSTR",
        "TCPIP::gateway::gpib0,30::INSTR",
        "TCPIP::gateway::gpib0,9,3::INSTR",
        "TCPIP::gateway::GPIB1,9,0::INSTR",
        "TCPIP::gateway,1024::gpib0,9,99::INSTR",
        "TCPIP::gateway::COM1,488::INSTR",
    ],
)
def test_names_that_are_taken(name: str) -> None:
    parse(name)
    assert same_instrument_key(name) == same_instrument_key(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "begins with TCPIP, USB, GPIB or ASRL"),
        ("192.168.50.51", "begins with TCPIP, USB, GPIB or ASRL"),
        (" TCPIP::a::INSTR", "holds spaces or control characters"),
        ("TCPIP::a\x00::INSTR", "holds spaces or control characters"),
        ("TCPIP::a b::INSTR", "holds a space in the name of the host"),
        ("TCPIP::a::gpib 0,5::INSTR", "holds a space in the name of the host or the device"),
        ("TCPIP::" + "a" * 300, "too long"),
        ("TCPIP::a::5025::socket", "stands in capitals: TCPIP::a::5025::SOCKET"),
        ("TCPIP::a::5025", "wants ::SOCKET behind it: TCPIP::a::5025::SOCKET"),
        ("TCPIP::a::0::SOCKET", "'0' is no port"),
        ("TCPIP::a::65536::SOCKET", "'65536' is no port"),
        ("TCPIP::a::٣::SOCKET", "is no port"),
        ("TCPIP::a,x::inst0::INSTR", "'x' is no port"),
        ("TCPIP::a::hislip0,::INSTR", "'' is no port"),
        ("TCPIP::a::hislip0,0::INSTR", "'0' is no port"),
        ("TCPIP::a::gpib0,31::INSTR", "'31' is no GPIB address; give a number from 0 to 30"),
        ("TCPIP::a::gpib0,::INSTR", "'' is no GPIB address"),
        ("TCPIP::a::gpib0,9,::INSTR", "'9,' is no GPIB address"),
        ("TCPIP::a::gpib0,9,3,1::INSTR", "'9,3,1' is no GPIB address"),
        ("TCPIP::a::gpib0,x::INSTR", "'x' is no GPIB address"),
        ("GPIB::31::INSTR", "'31' is no GPIB address; give a number from 0 to 30"),
        ("GPIB0::9::31::INSTR", "'9::31' is no GPIB address"),
        ("GPIB0::x::INSTR", "'x' is no GPIB address"),
        ("TCPIP", "the form is TCPIP"),
        ("GPIB::INTFC", "names no instrument but a INTFC"),
        ("VXI::1::BACKPLANE", "names no instrument but a BACKPLANE"),
    ],
)
def test_names_that_are_none(name: str, message: str) -> None:
    with pytest.raises(ResourceNameError, match=message):
        parse(name)


_parts = st.sampled_from(
    ["TCPIP", "USB0", "GPIB", "ASRL", "PXI", "::", "a", "5025", ",", "INSTR", "SOCKET", "RAW", "0x1", ":", ""]
)


@given(st.lists(_parts, max_size=12).map("".join) | st.text(max_size=40))
@example("ASRL")
@example("PXI::INSTR")
def test_any_text_is_a_name_or_a_sentence(text: str) -> None:
    with contextlib.suppress(ResourceNameError):
        assert same_instrument_key(text)

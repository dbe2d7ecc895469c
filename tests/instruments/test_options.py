"""Arguments of pyvisa's open_resource(): what is taken here is taken there."""

from __future__ import annotations

import inspect
import os
import pty
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyvisa import attributes, constants, resources

from agent.instruments import options
from agent.instruments.visa.session import VisaSession
from tests.properties import examples

SETTABLE = sorted(
    name
    for name in dir(resources.SerialInstrument)
    if isinstance(found := inspect.getattr_static(resources.SerialInstrument, name), attributes.Attribute)
    and found.write
    and name != "timeout"
)


@pytest.mark.parametrize(
    ("name", "value", "member"),
    [
        ("stop_bits", 1, constants.StopBits.one),
        ("stop_bits", 1.5, constants.StopBits.one_and_a_half),
        ("stop_bits", 2, constants.StopBits.two),
        ("stop_bits", 20, constants.StopBits.two),  # as pyvisa counts, and PSUDaemon's files have it
        ("stop_bits", "two", constants.StopBits.two),
        ("parity", "Even", constants.Parity.even),
        ("parity", 1, constants.Parity.odd),
        ("flow_control", "rts_cts", constants.ControlFlow.rts_cts),
        ("flow_control", "none", constants.ControlFlow.none),
        ("flow_control", 3, constants.ControlFlow.xon_xoff | constants.ControlFlow.rts_cts),
        ("end_input", "termination_char", constants.SerialTermination.termination_char),
    ],
)
def test_words_and_numbers(name: str, value: object, member: object) -> None:
    assert options.converted(name, value) is member or options.converted(name, value) == member


@pytest.mark.hypothesis
@given(
    name=st.sampled_from(SETTABLE),
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 70000),
        st.floats(),
        st.text(max_size=3),
        st.just("none"),
        st.lists(st.integers(1, 2), max_size=2),
        st.dictionaries(st.text(max_size=1), st.integers(1, 2), max_size=1),
    ),
)
@examples()
def test_what_is_taken_here_is_taken_by_pyvisa(name: str, value: object) -> None:
    assert options.is_known(name)
    attribute = inspect.getattr_static(resources.SerialInstrument, name)
    try:
        converted = options.converted(name, value)
    except ValueError:
        assert options.right_values(name)
    else:
        attribute.pre_set(converted)


@pytest.mark.parametrize(
    ("name", "uri", "known"),
    [
        ("baud_rate", "ASRL/dev/ttyUSB0::INSTR", True),
        ("baud_rate", "TCPIP::a::5025::SOCKET", False),
        ("baud_rate", None, True),
        ("baud_rate", "VICP::a::INSTR", True),
        ("read_termination", "TCPIP::a::inst0::INSTR", True),
        ("query_delay", "USB0::1::2::3::INSTR", True),
        ("open_timeout", "GPIB0::5::INSTR", True),
        ("query", None, False),
        ("close", None, False),
        ("resource_name", None, False),
        ("__class__", None, False),
    ],
)
def test_which_link_has_which(name: str, uri: str | None, known: bool) -> None:
    assert options.is_known(name, uri) is known


def test_they_take_effect_on_a_serial_port() -> None:
    master, slave = pty.openpty()
    try:
        session = VisaSession(f"ASRL{os.ttyname(slave)}::INSTR", options={"stop_bits": 2, "flow_control": "xon_xoff"})
        session.open()
        input_flags, _, control_flags, *_ = termios.tcgetattr(slave)
        assert control_flags & termios.CSTOPB
        assert input_flags & termios.IXON
        session.close()
    finally:
        os.close(master)
        os.close(slave)

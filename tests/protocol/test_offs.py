"""Off in every form that can mean nothing else; and no form that says on is taken for one."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.commands import Command, Scope, parse_command, parse_field
from agent.protocol.errors import Refusal
from agent.protocol.offs import is_off
from agent.protocol.quantities import COMMANDED
from tests.properties import examples

SCOPES: list[Scope] = ["channel", "unit", "all"]

BARE = [
    b"off", b"OFF", b"Off", b"false", b"FALSE", b"0", b"0.0", b"-0", b"00", b"0e0", b'"OFF"', b'"off"', b"'off'", b'"0"',
    b'"false"', b" off", b"OFF\n", b"off\r\n", b"\tOFF ", b"OFF\0", b"\0\0off\0", b"\xef\xbb\xbfOFF",
    b"\xef\xbb\xbf0\r\n", b'\xef\xbb\xbf"OFF"\0',
    "OFF".encode("utf-16"), "off".encode("utf-16-le"), "off\r\n".encode("utf-16"), b" OFF ", b" " * 30_000 + b"OFF",
    b'" off "',
]  # fmt: skip


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("payload", BARE)
def test_a_bare_off(payload: bytes, scope: Scope) -> None:
    assert parse_command(payload, scope) == Command(state=False)
    assert parse_field("state", payload, scope) == Command(state=False)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"state": false}',
        b'{"state": 0}',
        b'{"state": 0.0}',
        b'{"state": " Off "}',
        b'{"state": "false"}',
        b'{"state": "0"}',
        b'{"state": "OFF\\u0000"}',
        b'\xef\xbb\xbf{"state": false}',
        b'{"state": false}\0',
        b'"{\\"state\\": false}"',
        '{"state": false}'.encode("utf-16"),
    ],
)
def test_an_object_in_which_nothing_is_wrong(payload: bytes) -> None:
    assert parse_command(payload) == Command(state=False)


#: Each with a part of the message, and the id that could still be read.
FAULTY: list[tuple[bytes, str, str | None]] = [
    (b'{"id": 42, "state": false}', "id takes a string", "42"),
    (b'{"id": "", "state": false}', "id takes a string", None),
    (b'{"id": "x", "state": false, "reason": "smoke"}', '"reason"', "x"),
    (b'{"state": false, "fault": null}', '"fault" is null', None),
    (b'{"state": false, "_fault": 1}', '"_fault"', None),
    (b'{"id": "x", "state": false, "voltage_limit": "high"}', "voltage_limit takes a number", "x"),
    (b'{"state": false, "voltage_limit": NaN}', "NaN is not a number", None),
    (b'{"state": false, "voltage_limit": ' + b"9" * 5000 + b"}", "too many digits", None),
    (b'{"state": false, "voltage_limit": null}', '"voltage_limit" is null', None),
    (b'{"state": false, "voltage_limit": 1, "voltage_limit": 2}', "more than once", None),
    (b'{"state": false, "state": false}', "more than once", None),
    (b'{"state": false, "state": 0, "State": "off"}', "more than once", None),
    (b'{"State": "off"}', '"State"', None),
    (b'{"STATE":false, "id": "x"}', '"STATE"', "x"),
    (b'{"state ": false}', '"state "', None),
    (b'{"state": false, "expires_at": "tomorrow"}', "RFC 3339", None),
    (b'{"state": false, "cycle": 5}', "cycle can't go together with state", None),
    (b'{"state": false, "ramp": 1, "voltage_limit": 1}', "ramp can't go together", None),
    (b'{"state": false, "clear_protection": false}', "takes true", None),
    (b'{"state": false', "not JSON", None),
    (b'{"state": false, "id": "x"', "not JSON", "x"),
    (b'{"state": false, "id": "x', "not JSON", None),
    (b'{"state": false,}', "not JSON", None),
    (b'{"state": false} x', "not JSON", None),
    (b'{"state": false}{"state": false}', "not JSON", None),
    (b"{'state': False, 'id': 'x'}", "not JSON", "x"),
    (b"{state: off}", "not JSON", None),
    (b"state=OFF", "not JSON", None),
    (b"state: 0\n", "not JSON", None),
    (b'{"state": false, "id": "\xff"}', "not UTF-8", None),
    (b'{"state": false, "x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deeply", None),
    (b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b', "state": false}', "nested too deeply", None),
    (b'{"state": false, "\\ud800": 1}', "", None),
    (b'{"state": false, "x": {"a": 1}}', '"x"', None),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "said", "command_id"), FAULTY)
def test_an_off_with_something_wrong(payload: bytes, said: str, command_id: str | None) -> None:
    command = parse_command(payload)
    assert command.fields == {"state": False}
    assert command.fault is not None
    assert said in command.fault.message
    assert command.fault.message.isprintable()
    if command_id is not None:
        assert command.id == command_id
    (command.id or "").encode("utf-8")


@pytest.mark.parametrize(
    ("payload", "said"),
    [(b'{"state": false, "voltage_limit": 1}', "voltage_limit"), (b'{"state": "off", "x": 1}', "x")],
)
@pytest.mark.parametrize("scope", ["unit", "all"])
def test_a_unit_and_all_units_are_turned_off_whatever_else_is_asked_for(
    payload: bytes, said: str, scope: Scope
) -> None:
    command = parse_command(payload, scope)
    assert command.fields == {"state": False}
    assert command.fault is not None
    assert scope == "all" or said in command.fault.message


def test_an_expiry_that_can_be_read_holds_whatever_else_is_wrong() -> None:
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    assert parse_command(b'{"state": false, "x": 1, "expires_at": "2020-01-01T00:00:00Z"}').expires_at == moment
    two = b'{"state": false, "expires_at": "2030-01-01T00:00:00Z", "expires_at": "2020-01-01T00:00:00Z"}'
    assert parse_command(two).expires_at == moment


def test_a_field_that_is_state_but_for_its_case() -> None:
    command = parse_field("State", b"off")
    assert command.fields == {"state": False}
    assert command.fault is not None
    with pytest.raises(Refusal):
        parse_field("State", b"on")
    command = parse_field("state", b'{"state": false}')
    assert command.fields == {"state": False}
    assert command.fault is not None


NO_OFF = [
    b"", b" ", b"ON", b"on", b"1", b"true", b'"ON"', b"no", b"offf", b"of", b"0x0", b"01", b"null", b"[false]", b'["off"]',
    b"off on", b'{"state": false}true', b'ON {"state": false}',
    b'{"state": true, "state": false}', b'{"state": false, "state": true}', b'{"state": false, "State": true}',
    b'{"state": false, "STATE": null}', b'{"state": false, "st\\u0061te": true}', b'{"state": null}', b'{"state": [false]}',
    b'{"state": {"off": true}}', b'{"state": "maybe"}', b'[{"state": false}]', b'{"command": {"state": false}}',
    b'{"state": false, "then": {"state": true}}', b'{"id": "state: off", "voltage_limit": 3,}', b'{"note": "\\"state\\": false"}',
    b'{"voltage_limit": 0}', b'{"output": false}', b"{'state': True}", b"state=ON", b'{"state": false true}', b'{"state": fals',
    b'{"state": ', b'{"state"', b'{"id": "abc, "state": false}', b'{"state": false /* or true */}', b"{",
    b"[" * 16_000, b"{" * 16_000,
    b'"' * 16_001, b"'\\" * 8000, b"state:" * 2700, b"a:" * 8000, b'{"state": false, "id": "' + b"x" * 20_000 + b'"}',
    "ON".encode("utf-16"), b"\xff\xfe\x00", b'{"state": true}\0', b'\xef\xbb\xbf{"state": true}', b'{"state": true, "id": 7}',
    b'{"state": true} x', b"{'state': 1}", b"OFF OFF",
]  # fmt: skip


@pytest.mark.parametrize("payload", NO_OFF)
def test_what_may_mean_anything_else_is_refused(payload: bytes) -> None:
    with pytest.raises(Refusal):
        parse_command(payload, "all")
    with contextlib.suppress(Refusal):
        assert parse_command(payload).state is not False
    if payload.strip().upper() not in (b"ON", b"1", b"TRUE"):
        with pytest.raises(Refusal):
            parse_field("state", payload)


_values: st.SearchStrategy[Any] = st.sampled_from(
    [True, False, 0, 0.0, 1, 2, "off", "OFF", "on", " Off ", "0", "1", None, [], {"state": True}, {"state": False}]
)
_pairs = st.lists(
    st.tuples(
        st.sampled_from(["state", "State", "STATE ", "state", "voltage_limit", "cycle", "id", "x"])
        | st.text(max_size=3),
        _values,
    ),
    max_size=4,
)
_ends = st.sampled_from(
    [b"", b"\0", b" ", b"\n", b"x", b"}", b",", b'"', b"\xff", b"\xef\xbb\xbf", b"true", b'"state": true']
)


@given(_pairs, _ends, _ends, st.integers(0, 40), st.sampled_from(SCOPES))
@examples(300)
def test_nothing_that_says_on_is_an_off_and_no_on_is_easier(
    pairs: list[tuple[str, Any]], before: bytes, after: bytes, cut: int, scope: Scope
) -> None:
    text = "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs) + "}"
    payload = before + text.encode()[: len(text) - cut if cut < 4 else None] + after
    try:
        command = parse_command(payload, scope)
    except Refusal:
        return
    said = [value for name, value in pairs if name.strip().casefold() == "state"]
    if command.state is False:
        assert all(is_off(value) for value in said)
        assert b"true" not in before + after
        assert not any(isinstance(value, dict) and value.get("state") is True for _, value in pairs)
    if command.state or command.fault is None:
        assert set(command.fields) <= set(COMMANDED)
    if command.state:  # strict JSON, one field of that name, and nothing around it but blanks
        assert [name for name, _ in pairs].count("state") == 1
        json.loads(payload)
        assert said == [True] or said == [1] or str(said[0]).strip().upper() == "ON"
    if command.fault is not None:
        assert command.fields == {"state": False}


@given(
    st.binary(max_size=200) | st.text(alphabet="{}[]:=,\"'\\ \0staeofn01\ufeff", max_size=60).map(str.encode),
    st.sampled_from(SCOPES),
)
@examples(300)
def test_any_bytes_are_read_without_an_error(payload: bytes, scope: Scope) -> None:
    with contextlib.suppress(Refusal):
        assert parse_command(payload, scope).fields
    with contextlib.suppress(Refusal):
        assert parse_field("state", payload, scope).fields

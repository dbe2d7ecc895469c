"""Commands are read strictly, whatever comes in."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.commands import Command, parse_command, parse_field
from agent.protocol.errors import Refusal
from agent.protocol.messages import Response, ResponseError
from agent.protocol.quantities import BY_NAME, COMMANDED, COMMANDED_OF_UNIT
from tests.properties import examples

MOMENT = datetime(2026, 11, 23, 9, 15, 2, 417999, UTC)

_scopes = st.sampled_from(["channel", "unit", "all"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
_names = st.sampled_from([*COMMANDED, "id", "expires_at", "voltage", ""]) | st.text(max_size=5)
_likely: st.SearchStrategy[Any] = (
    st.sampled_from([True, False, 0, 1, "ON", "off", 3.3, -1, 1e308, "\ud800", "2026-11-23T09:15:02Z", None, [], {}])
    | st.floats()
    | st.integers()
    | st.text(max_size=140)
)


def _check(command: Command) -> None:
    """Check the properties that every accepted command has."""
    assert command.fields
    for name in ("voltage_limit", "current_limit", "voltage_protection", "cycle", "ramp"):
        value = getattr(command, name)
        assert value is None or (type(value) is float and math.isfinite(value))
    assert command.cycle is None or 0 <= command.cycle <= 3600
    assert command.ramp is None or command.ramp > 0
    assert command.clear_protection in (None, True)
    assert command.id is None or 0 < len(command.id) <= 128
    assert command.expires_at is None or command.expires_at.utcoffset() is not None
    (command.id or "").encode()


def _check_refusal(refusal: Refusal) -> None:
    assert refusal.code in ("bad_payload", "unsupported")
    assert refusal.message.isprintable()
    assert len(refusal.message) < 1500
    Response(
        id=refusal.command_id,
        ok=False,
        time=MOMENT,
        psu="psu1",
        index=1,
        error=ResponseError(code=refusal.code, message=refusal.message),
    ).to_json().decode()


@given(st.binary(max_size=300), _scopes)
@examples()
def test_any_bytes_are_a_command_or_refused(payload: bytes, scope: Any) -> None:
    try:
        _check(parse_command(payload, scope))
    except Refusal as refusal:
        _check_refusal(refusal)


@given(st.dictionaries(_names, _likely | _json, max_size=5), _scopes)
@examples(200)
def test_any_object_is_a_command_or_refused(data: dict[str, Any], scope: Any) -> None:
    try:
        command = parse_command(json.dumps(data).encode(), scope)
    except Refusal as refusal:
        _check_refusal(refusal)
        return
    _check(command)
    assert set(command.fields) <= set(data)
    if scope == "all":
        assert command.fields == {"state": False}
    if scope == "unit":
        assert set(command.fields) <= COMMANDED_OF_UNIT


@given(_json)
@examples()
def test_any_json_is_a_command_or_refused(data: Any) -> None:
    try:
        _check(parse_command(json.dumps(data).encode()))
    except Refusal as refusal:
        _check_refusal(refusal)


@given(
    st.sampled_from(COMMANDED) | st.text(max_size=10),
    st.binary(max_size=40)
    | st.floats().map(lambda f: repr(f).encode())
    | st.from_regex(rb"[+-]?[0-9.]{0,9}([eE][+-]?[0-9]{1,5})?", fullmatch=True),
)
@examples(200)
def test_any_bare_value_is_a_command_or_refused(field: str, payload: bytes) -> None:
    try:
        command = parse_field(field, payload)
    except Refusal as refusal:
        _check_refusal(refusal)
        return
    _check(command)
    assert list(command.fields) == [field]


@pytest.mark.parametrize("word", ["on ", " ON", "ON\\n", "\\u00a0ON", "ON\\u0000"])
def test_an_on_with_blanks_in_its_string_is_refused(word: str) -> None:
    for field in ("state", "current_protection"):
        with pytest.raises(Refusal, match=f"{field} takes true or false"):
            parse_command(f'{{"{field}": "{word}"}}'.encode())


def test_a_command_may_come_in_many_dresses() -> None:
    assert parse_command(b" off\n") == Command(state=False)
    assert parse_command(b'{"state": 1}').state is True
    assert parse_command(b'{"state": "On"}').state is True
    assert parse_command(b'{"voltage_limit": 3}').voltage_limit == 3.0
    assert parse_command(b'\t{"id": "\\u00e9", "state": "OFF"}\r\n').id == "é"
    assert parse_command(b'{"state": true, "expires_at": "2026-11-23t09:15:02.5+05:30"}').expires_at == datetime(
        2026, 11, 23, 3, 45, 2, 500000, UTC
    )


@pytest.mark.parametrize("payload", [b"ON", b"on", b"true", b"1", b'"ON"'])
def test_only_off_goes_without_an_object(payload: bytes) -> None:
    with pytest.raises(
        Refusal, match=r"bare value to …/set/FIELD, such as …/set/(state|voltage_limit), or send an object"
    ):
        parse_command(payload)
    with pytest.raises(Refusal, match=r"all units together take .* or OFF and nothing else; turn on each"):
        parse_command(payload, "all")


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b'{"voltage_limit": 5,5}', "not JSON: 5,5 has a decimal comma; write 5.5"),
        (b'{"voltage_limit":-0,25, "state": true}', "not JSON: -0,25 has a decimal comma; write -0.25"),
        (b'{"voltage_limit": "5,5"}', 'voltage_limit takes a number (write 5.5), not "5,5"'),
        (b'{"voltage_limit": "5 V"}', 'voltage_limit takes a number (write 5, the number alone), not "5 V"'),
        (b'{"voltage_limit": "5.5"}', 'voltage_limit takes a number (write it without quotes), not "5.5"'),
        (b'{"voltage_limit": "five"}', 'voltage_limit takes a number, not "five"'),
    ],
)
def test_a_number_in_another_notation_is_refused_and_the_right_one_told(payload: bytes, said: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_command(payload)
    assert refused.value.message == said


def test_a_command_in_words() -> None:
    command = parse_command(b'{"id": "1", "state": true, "voltage_limit": 3.3, "current_protection": false}')
    assert command.told == "state on, voltage_limit 3.3 V, current_protection off"
    assert parse_command(b'{"cycle": 2}').told == "cycle 2 s"


@pytest.mark.parametrize("payload", [b"5,5", b"5.5 V", b"5500mV"])
def test_so_is_a_bare_one(payload: bytes) -> None:
    with pytest.raises(Refusal, match=r"voltage_limit takes a number \(write 5\.5"):
        parse_field("voltage_limit", payload)


@pytest.mark.parametrize("field", ["ramp", "cycle", "id"])
def test_a_refusal_says_what_would_be_right(field: str) -> None:
    right = {"ramp": "a number above 0 V/s", "cycle": "0 to 3600 s", "id": "1 to 128 characters"}[field]
    wrong = {"ramp": 0, "cycle": 3601, "id": ""}[field]
    with pytest.raises(Refusal, match=right):
        parse_command(json.dumps({field: wrong, "voltage_limit": 1}).encode())


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(Refusal) as refusal:
        parse_command(b'{"state": 2, "voltage_limit": "x", "colour": 1, "ramp": -1, "id": "mine"}')
    for part in ("state takes true or false", "voltage_limit takes a number", '"colour"', "a number above 0 V/s"):
        assert part in refusal.value.message
    assert refusal.value.command_id == "mine"


@pytest.mark.parametrize("name", COMMANDED)
def test_every_commanded_quantity_is_read_as_its_kind_says(name: str) -> None:
    quantity = BY_NAME[name]
    value, bare = (1.5, b"+1.5") if quantity.kind == "number" else (True, b" on ")
    data: dict[str, Any] = {name: value, **({"voltage_limit": 1} if name == "ramp" else {})}
    assert getattr(parse_command(json.dumps(data).encode()), name) == value
    if name != "ramp":
        assert parse_field(name, bare).fields == {name: value}
    others: list[Any] = ["", [], {}, "no", True if quantity.kind == "number" else 2]
    for wrong in others:
        with pytest.raises(Refusal, match=f"{name} takes "):
            parse_command(json.dumps({**data, name: wrong}).encode())


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b'{"state": true, "state": false}', '"state" stands there more than once'),
        (b'{"voltage_limit": NaN}', "NaN is not a number in JSON"),
        (b'{"voltage_limit": 1e999}', "takes a number"),
        (b'{"voltage_limit": ' + b"9" * 400 + b"}", "takes a number"),
        (b'{"voltage_limit": ' + b"9" * 5000 + b"}", "too many digits"),
        (b"[" * 10000, "not JSON|nested too deeply"),
        (b'{"state": null}', '"state" is null'),
        (b'{"ramp": 1}', "ramp needs a voltage_limit"),
        (b'{"cycle": 1, "state": true}', "cycle can't go together with state"),
        (b'{"state": true, "clear_protection": true}', "leaves the output off"),
        (b'{"state": true, "expires_at": "2026-11-23T09:15:02"}', "with its offset"),
        (b'{"id": "x"}', "asks for nothing"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b" " * (16 * 1024 + 1), "bytes are too many"),
    ],
)
def test_what_is_wrong_is_named(payload: bytes, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        parse_command(payload)


def test_a_unit_and_all_units_take_less() -> None:
    with pytest.raises(
        Refusal, match="a whole unit takes state and clear_protection only; send cycle to a channel"
    ) as no:
        parse_command(b'{"cycle": 1}', "unit")
    assert no.value.code == "unsupported"
    with pytest.raises(Refusal, match="all units together take"):
        parse_command(b'{"state": true}', "all")

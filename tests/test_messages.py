"""What crosses MQTT: commands are read strictly, and what is sent is what the contract shows."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.commands import COMMAND_FIELDS, Command, parse_command, parse_field
from agent.protocol.errors import Refusal
from agent.protocol.messages import ChannelState, Event, Response, ResponseError, format_time
from tests.properties import examples

MOMENT = datetime(2026, 11, 23, 9, 15, 2, 417999, UTC)

_scopes = st.sampled_from(["channel", "unit", "all"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
_names = st.sampled_from([*COMMAND_FIELDS, "id", "expires_at", "voltage", ""]) | st.text(max_size=5)
_likely: st.SearchStrategy[Any] = (
    st.sampled_from([True, False, 0, 1, "ON", "off", 3.3, -1, 1e308, "\ud800", "2026-11-23T09:15:02Z", None, [], {}])
    | st.floats()
    | st.integers()
    | st.text(max_size=140)
)


def _check(command: Command) -> None:
    """What holds of every command that got through."""
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
@examples(400)
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
        assert set(command.fields) <= {"state", "clear_protection"}


@given(_json)
@examples()
def test_any_json_is_a_command_or_refused(data: Any) -> None:
    try:
        _check(parse_command(json.dumps(data).encode()))
    except Refusal as refusal:
        _check_refusal(refusal)


@given(
    st.sampled_from(COMMAND_FIELDS) | st.text(max_size=10),
    st.binary(max_size=40)
    | st.floats().map(lambda f: repr(f).encode())
    | st.from_regex(rb"[+-]?[0-9.]{0,9}([eE][+-]?[0-9]{1,5})?", fullmatch=True),
)
@examples(400)
def test_any_bare_value_is_a_command_or_refused(field: str, payload: bytes) -> None:
    try:
        command = parse_field(field, payload)
    except Refusal as refusal:
        _check_refusal(refusal)
        return
    _check(command)
    assert list(command.fields) == [field]


def test_a_command_may_come_in_many_dresses() -> None:
    assert parse_command(b" off\n") == Command(state=False)
    assert parse_command(b'{"state": 1}').state is True
    assert parse_command(b'{"state": "On "}').state is True
    assert parse_command(b'{"voltage_limit": 3}').voltage_limit == 3.0
    assert parse_command(b'\t{"id": "\\u00e9", "state": "OFF"}\r\n').id == "é"
    assert parse_command(b'{"state": true, "expires_at": "2026-11-23t09:15:02.5+05:30"}').expires_at == datetime(
        2026, 11, 23, 3, 45, 2, 500000, UTC
    )


@pytest.mark.parametrize("payload", [b"ON", b"on", b"true", b"1", b"0", b"false", b'"OFF"'])
def test_only_off_goes_without_an_object(payload: bytes) -> None:
    with pytest.raises(Refusal, match=r"object"):
        parse_command(payload)


@pytest.mark.parametrize("field", ["ramp", "cycle", "id"])
def test_a_refusal_says_what_would_be_right(field: str) -> None:
    right = {"ramp": "a rate above 0 V/s", "cycle": "0 to 3600 s", "id": "1 to 128 characters"}[field]
    wrong = {"ramp": 0, "cycle": 3601, "id": ""}[field]
    with pytest.raises(Refusal, match=right):
        parse_command(json.dumps({field: wrong, "voltage_limit": 1}).encode())


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(Refusal) as refusal:
        parse_command(b'{"state": 2, "voltage_limit": "x", "colour": 1, "ramp": -1, "id": "mine"}')
    for part in ("state takes true or false", "voltage_limit takes a number", '"colour"', "a rate above 0 V/s"):
        assert part in refusal.value.message
    assert refusal.value.command_id == "mine"


def test_times() -> None:
    assert format_time(MOMENT) == "2026-11-23T09:15:02.417Z"
    assert format_time(MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))) == "2026-11-23T09:15:02.417Z"
    assert format_time(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"


def state(**changed: Any) -> ChannelState:
    values: dict[str, Any] = {"time": MOMENT, "seq": 81234, "agent": "bench3", "psu": "psu1", "index": 2, "name": "CH2"}
    return ChannelState(**{**values, "model": "E36313A", "online": True, **changed})


def test_a_state_has_every_field_of_the_contract_in_its_order() -> None:
    told = json.loads(
        state(
            state=True,
            voltage=4.9998,
            current=0.1203,
            power=0.60147,
            voltage_limit=5.0,
            current_limit=1.0,
            mode="CV",
            voltage_protection=27.5,
            current_protection=False,
            energy=12.0417,
            charge=2.4101,
        ).to_json()
    )
    assert told == {
        "time": "2026-11-23T09:15:02.417Z", "seq": 81234, "agent": "bench3", "psu": "psu1", "index": 2, "name": "CH2",
        "model": "E36313A", "online": True, "state": True, "voltage": 4.9998, "current": 0.1203, "power": 0.60147,
        "voltage_limit": 5.0, "current_limit": 1.0, "mode": "CV", "tripped": None,
        "voltage_protection": 27.5, "current_protection": False, "energy": 12.0417, "charge": 2.4101,
    }  # fmt: skip
    assert list(told) == list(ChannelState.model_fields)


def test_what_is_not_known_is_null() -> None:
    told = json.loads(state(online=False).to_json())
    assert [name for name, value in told.items() if value is None] == [
        "state", "voltage", "current", "power", "voltage_limit", "current_limit", "mode", "tripped",
        "voltage_protection", "current_protection", "energy", "charge",
    ]  # fmt: skip


def test_responses() -> None:
    done = json.loads(Response(id="42", ok=True, time=MOMENT, psu="psu1", index=2, result=state()).to_json())
    assert list(done) == ["id", "ok", "time", "psu", "index", "result"]
    refused = Response(
        id=None, ok=False, time=MOMENT, psu="psu1", index=None, error=ResponseError(code="offline", message="no")
    )
    assert json.loads(refused.to_json()) == {
        "id": None, "ok": False, "time": "2026-11-23T09:15:02.417Z", "psu": "psu1", "index": None,
        "error": {"code": "offline", "message": "no"},
    }  # fmt: skip


def test_an_event_is_read_back() -> None:
    event = Event.model_validate_json(
        b'{"time": "2026-11-23T09:15:02.417Z", "agent": "a", "psu": "p", "index": 1, "name": "CH1", "model": null,'
        b' "field": "state", "from": false, "to": true, "by": "panel", "text": "x", "later": 1}'
    )
    assert event.from_ is False
    assert json.loads(event.to_json())["from"] is False

"""Messages are published as the contract shows them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from agent.protocol.messages import ChannelState, Event, Response, ResponseError, format_time
from agent.protocol.quantities import QUANTITIES

MOMENT = datetime(2026, 11, 23, 9, 15, 2, 417999, UTC)


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
    contract = {
        "time": "2026-11-23T09:15:02.417Z", "seq": 81234, "agent": "bench3", "psu": "psu1", "index": 2, "name": "CH2",
        "model": "E36313A", "online": True, "state": True, "voltage": 4.9998, "current": 0.1203, "power": 0.60147,
        "voltage_limit": 5.0, "current_limit": 1.0, "mode": "CV", "tripped": None,
        "voltage_protection": 27.5, "current_protection": False, "energy": 12.0417, "charge": 2.4101,
    }  # fmt: skip
    assert {name: told[name] for name in contract} == contract
    assert [name for name in told if name in contract] == list(contract)
    assert list(told) == list(ChannelState.model_fields)


def test_what_is_not_known_is_null() -> None:
    told = json.loads(state(online=False).to_json())
    assert [name for name, value in told.items() if value is None] == [
        quantity.name for quantity in QUANTITIES if quantity.reported
    ]


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

"""Reports of units, in the few words that a test needs."""

from __future__ import annotations

from typing import Any

from agent.protocol.messages import ChannelInfo, ChannelState, Event, Response, UnitInfo, utc_now

#: The fields of an output that is on and keeps its voltage.
ON: dict[str, Any] = {
    "state": True,
    "voltage": 5.0,
    "current": 0.5,
    "power": 2.5,
    "voltage_limit": 5.0,
    "current_limit": 1.0,
    "mode": "CV",
}


def state(seq: int, index: int = 1, unit: str = "psu1", **fields: Any) -> ChannelState:
    name = f"CH{index}"
    return ChannelState(
        time=utc_now(), seq=seq, agent="bench", psu=unit, index=index, name=name, model=None, online=True, **fields
    )


def event(index: int = 1, unit: str = "psu1") -> Event:
    return Event.model_validate(
        {
            "time": utc_now(),
            "agent": "bench",
            "psu": unit,
            "index": index,
            "name": f"CH{index}",
            "model": None,
            "field": "state",
            "from": False,
            "to": True,
            "by": "panel",
            "text": "on",
        }
    )


def response(command_id: str, index: int | None = 1, unit: str = "psu1", **fields: Any) -> Response:
    return Response(id=command_id, ok=True, time=utc_now(), psu=unit, index=index, **fields)


def channel_info(index: int = 1, **changes: Any) -> ChannelInfo:
    values = {
        "index": index,
        "name": f"CH{index}",
        "voltage_rating": None,
        "current_rating": None,
        "voltage_limit_range": None,
        "current_limit_range": None,
        "voltage_protection_range": None,
        "voltage_resolution": 0.001,
        "current_resolution": 0.001,
        "on_broker_loss": "keep",
        "fields": [],
    }
    return ChannelInfo(**{**values, **changes})


def info(online: bool = True, unit: str = "psu1") -> UnitInfo:
    return UnitInfo(
        time=utc_now(),
        agent="bench",
        psu=unit,
        online=online,
        reason=None,
        model=None,
        manufacturer=None,
        serial=None,
        firmware=None,
        uri="TCPIP::localhost::5025::SOCKET",
        poll_interval=1.0,
        channels=[channel_info()],
    )

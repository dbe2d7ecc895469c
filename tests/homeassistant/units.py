"""Infos of units and agents, for the tests of the payloads that are made from them."""

from __future__ import annotations

from typing import Any

from agent.instruments import catalogue
from agent.protocol.messages import AgentInfo, ChannelInfo, ChannelState, UnitInfo, utc_now
from agent.protocol.quantities import COMMANDED

URI = "TCPIP::192.168.50.51::inst0::INSTR"


def unit_info(model: str = "E36313A", channels: dict[int, dict[str, Any]] | None = None, **changes: Any) -> UnitInfo:
    """A unit that has been reached.

    :param channels: for channels, by number, the fields of `ChannelInfo` that are not as the catalogue has them
    """
    (known,) = (known for known in catalogue.all_models() if known.name == model)
    own = channels or {}
    values: dict[str, Any] = {
        "time": utc_now(),
        "agent": "bench3",
        "psu": "psu1",
        "online": True,
        "reason": None,
        "model": model,
        "manufacturer": "Keysight Technologies",
        "serial": "MY61004803",
        "firmware": "1.0.4-1.0.0-1.00",
        "uri": URI,
        "poll_interval": 1.0,
        "channels": [
            ChannelInfo(
                index=channel.index,
                name=channel.label,
                voltage_rating=channel.voltage_rating,
                current_rating=channel.current_rating,
                voltage_limit_range=channel.voltage,
                current_limit_range=channel.current,
                voltage_protection_range=channel.voltage_protection,
                voltage_resolution=channel.voltage_resolution,
                current_resolution=channel.current_resolution,
                on_broker_loss="keep",
                fields=list(COMMANDED),
            ).model_copy(update=own.get(channel.index, {}))
            for channel in known.channels
        ],
    }
    return UnitInfo(**{**values, **changes})


def unreached(**changes: Any) -> UnitInfo:
    """The same unit before it has said who it is."""
    unknown = {"manufacturer": None, "serial": None, "firmware": None, "online": False, "reason": "no answer"}
    return unit_info().model_copy(update={**unknown, **changes})


def agent_info() -> AgentInfo:
    """The agent of these units."""
    return AgentInfo(
        time=utc_now(),
        agent="bench3",
        version="1.2.3",
        host="lab",
        start_time=utc_now(),
        units=["psu1"],
        base_topic="lab3/psu",
    )


def state(**changes: Any) -> ChannelState:
    """A sample of channel 1 of psu1."""
    values: dict[str, Any] = {
        "time": utc_now(),
        "seq": 1,
        "agent": "bench3",
        "psu": "psu1",
        "index": 1,
        "name": "CH1",
        "model": "E36313A",
        "online": True,
        "state": True,
        "voltage": 5.0,
        "current": 0.1,
        "power": 0.5,
        "energy": 1.0,
        "charge": 0.2,
    }
    return ChannelState(**{**values, **changes})

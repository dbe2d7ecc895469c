"""Infos of units and agents, for the tests of the payloads that are made from them."""

from __future__ import annotations

from typing import Any

from agent.instruments import catalogue
from agent.instruments.catalogue import Model
from agent.instruments.driver import Output
from agent.instruments.modbus.plan import RegisterPlan
from agent.instruments.text.polling import Batching, poll_plan
from agent.protocol.messages import AgentInfo, ChannelInfo, ChannelState, UnitInfo, utc_now
from agent.protocol.quantities import COMMANDED, LEVELS, REPORTED

URI = "TCPIP::192.168.50.51::inst0::INSTR"


def unit_info(
    model: str | Model = "E36313A", channels: dict[int, dict[str, Any]] | None = None, **changes: Any
) -> UnitInfo:
    """A unit that has been reached.

    :param model: it, or its name, if but one series has that
    :param channels: for channels, by number, the fields of `ChannelInfo` that are not as the catalogue has them
    """
    # A test that has read series files of its own in this process has had the catalogue read anew since the test was collected.
    (known,) = (model,) if isinstance(model, Model) else (one for one in catalogue.all_models() if model == one.name)
    own = channels or {}
    values: dict[str, Any] = {
        "time": utc_now(),
        "agent": "bench3",
        "psu": "psu1",
        "online": True,
        "reason": None,
        "model": known.name,
        "manufacturer": "Keysight Technologies",
        "serial": "MY61004803",
        "firmware": "1.0.4-1.0.0-1.00",
        "uri": URI,
        "poll_interval": 1.0,
        "channels": [
            ChannelInfo(
                index=output.index,
                name=output.name,
                voltage_rating=output.voltage_rating,
                current_rating=output.current_rating,
                voltage_resolution=output.voltage_resolution,
                current_resolution=output.current_resolution,
                on_broker_loss="keep",
                fields=list(COMMANDED),
                tells=[name for name in REPORTED if name in (output.tells or ())],
                **{f"{level}_range": output.range(level) for level in LEVELS},
            ).model_copy(update=own.get(output.index, {}))
            for output in outputs_of(known)
        ],
    }
    return UnitInfo(**{**values, **changes})


def outputs_of(model: Model) -> tuple[Output, ...]:
    """The outputs of a unit that has been reached."""
    if model.series.modbus is not None:
        return RegisterPlan(model).outputs
    return poll_plan(model, Batching.SINGLE, 1).described


def unreached(**changes: Any) -> UnitInfo:
    """The same unit before it has said who it is."""
    info = unit_info()
    unknown = {"manufacturer": None, "serial": None, "firmware": None, "online": False, "reason": "no answer"}
    channels = [channel.model_copy(update={"tells": None}) for channel in info.channels]
    return info.model_copy(update={"channels": channels, **unknown, **changes})


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

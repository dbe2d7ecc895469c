"""A unit as a whole: its status, its identity and its counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.instruments.driver import Profile
from agent.protocol.messages import ChannelInfo, UnitInfo, utc_now
from agent.protocol.quantities import LEVELS, REPORTED
from agent.unit.limits.channel import Channel
from agent.unit.limits.checking import supported


@dataclass(slots=True)
class Counters:
    """The counters of one unit since the agent's start."""

    polls: int = 0
    late_polls: int = 0
    errors: int = 0
    reconnects: int = 0
    commands: int = 0
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """A unit at one moment. It is replaced as a whole, so that every thread reads parts that belong together.

    ``reason``: why it is offline, None while it is online. ``channels``: by their numbers, as far as they are known.
    """

    online: bool
    reason: str | None
    profile: Profile
    channels: Mapping[int, Channel]


def unit_info(
    *,
    name: str,
    agent: str,
    address: str,
    poll_interval: float,
    status: Status,
    heartbeat: float | None = None,
    serves: bool = True,
) -> UnitInfo:
    """The message on a unit: its identity, its channels, and why it is offline if it is.

    :param heartbeat: s after which a state is published though nothing has changed; None where every state is
    :param serves: False in the last one of an agent that sends the unit nothing more
    """
    identity = status.profile.identity
    return UnitInfo(
        time=utc_now(),
        agent=agent,
        psu=name,
        online=status.online,
        reason=None if status.online else status.reason,
        model=status.profile.model,
        manufacturer=identity.manufacturer if identity else None,
        serial=identity.serial if identity else None,
        firmware=identity.firmware if identity else None,
        uri=address,
        poll_interval=poll_interval,
        heartbeat=heartbeat,
        channels=[_channel_info(channel) for channel in status.channels.values()],
        power_up=status.profile.power_up,
        serves=serves,
    )


def _channel_info(channel: Channel) -> ChannelInfo:
    output, settings = channel.output, channel.settings
    return ChannelInfo(
        index=channel.index,
        name=channel.name,
        voltage_rating=output.voltage_rating,
        current_rating=output.current_rating,
        voltage_resolution=output.voltage_resolution,
        current_resolution=output.current_resolution,
        on_broker_loss=settings.on_broker_loss,
        broker_loss_after=settings.broker_loss_after if settings.on_broker_loss == "off" else None,
        fields=supported(channel),
        tells=None if output.tells is None else [name for name in REPORTED if name in output.tells],
        **{f"{level}_range": channel.allowed(level) for level in LEVELS},
    )

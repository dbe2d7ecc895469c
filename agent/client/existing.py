"""The units and channels that exist, for sentences on one that nobody answers for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from agent.client.connection import BrokerError, Client, NobodyAnsweredError
from agent.client.fleet import Fleet, natural
from agent.client.request import Target

#: Names in a sentence.
_MOST = 20


def what_exists(client: Client, target: Target) -> str:
    """A sentence on what there is instead of a unit or a channel, or why it does not answer; empty if nothing is known.

    It reads what is retained, which takes `agent.client.connection.QUIET` s and a little.

    :raises BrokerError: see `Client`
    """
    fleet = Fleet(client.topics)
    topics = client.topics
    for message in client.retained({*Fleet.filters(topics, target.unit), topics.every_info}):
        fleet.update(message.topic, message.payload)
    return told(fleet, target)


@contextlib.contextmanager
def naming_what_exists(client: Client, target: Target) -> Iterator[None]:
    """Have a `NobodyAnsweredError` of what is done within say what there is instead.

    :raises NobodyAnsweredError: nobody answered within
    """
    try:
        yield
    except NobodyAnsweredError as error:
        instead = ""
        with contextlib.suppress(BrokerError):
            instead = what_exists(client, target)
        raise NobodyAnsweredError(f"{error} {instead}".strip()) from None


def told(fleet: Fleet, target: Target) -> str:
    """The same of a fleet that is known already."""
    if (sentence := misnamed(fleet, target)) or target.unit not in units(fleet):
        return sentence
    why = fleet.why_absent(target.unit)
    return "" if why is None else f"{target.unit} is not there: {why}."


def misnamed(fleet: Fleet, target: Target) -> str:
    """A sentence on what there is, if nobody has the unit or the channel; empty if somebody has, or if nothing is known."""
    known = units(fleet)
    if target.unit not in known:
        verb = "is" if len(known) == 1 else "are"
        return f"There is no unit {target.unit}; known {verb} {listed(sorted(known, key=natural))}." if known else ""
    channels = _channels(fleet, target.unit)
    if target.channel is None or not channels or target.channel in {*map(str, channels), *channels.values()}:
        return ""
    return f"{no_channel(target, channels)}."


def no_channel(target: Target, channels: Mapping[int, str]) -> str:
    """A clause on a channel that its unit does not have, with those that it has: their names, by number."""
    names = [str(index) if name == f"CH{index}" else f"{index} ({name})" for index, name in sorted(channels.items())]
    return f"{target.unit} has no channel {target.channel}; it has {listed(names)}"


def units(fleet: Fleet) -> set[str]:
    """The units that have published anything, or that an agent names as its own."""
    return fleet.units.keys() | {unit for served in fleet.agent_units.values() for unit in served}


def _channels(fleet: Fleet, name: str) -> dict[int, str]:
    """The names of a unit's channels, by number: of the states that have come, and of its info."""
    unit = fleet.units.get(name)
    if unit is None:
        return {}
    found = {index: state.name for index, state in unit.states.items()}
    if unit.info is not None:
        found |= {channel.index: channel.name for channel in unit.info.channels}
    return found


def listed(names: Sequence[str]) -> str:
    """Some names as a list in a sentence, and how many more there are."""
    if len(names) > _MOST:
        return f"{', '.join(names[:_MOST])} and {len(names) - _MOST} more"
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)

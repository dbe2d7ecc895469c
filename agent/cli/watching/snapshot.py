"""The fleet at one moment, as `watch` judges it: which channel is in trouble, and why. Pure: the caller gives the time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.cli.watching.rows import ChannelView, Level, UnitView
from agent.cli.watching.seen import Seen
from agent.client.fleet import Fleet, FleetUnit, natural, without_values
from agent.client.request import Target
from agent.protocol.messages import ChannelState, Response

#: s for which the refusal of a command is shown.
REFUSAL_SHOWN = 60.0
#: Of the voltage that is set, and V: an output that is no further below it has reached it.
_REACHED_PART = 0.01
_REACHED = 0.05
#: Modes in which a channel holds something else than its voltage, or nothing.
_LIMITING = ("CC", "CP", "UR")


class Refusals:
    """The refused commands of the last minute, by unit and channel (None: the whole unit)."""

    def __init__(self) -> None:
        self._refused: dict[tuple[str, int | None], tuple[float, str]] = {}

    def take(self, response: Response, now: float) -> None:
        """Take in the response to a command (now in s); one that was carried out ends the refusal of an older one."""
        place = (response.psu, response.index)
        if response.ok or response.error is None:
            self._refused.pop(place, None)
        else:
            self._refused[place] = (now, f"refused: {response.error.message} ({response.error.code})")

    def of(self, unit: str, index: int | None, now: float) -> str | None:
        """The sentence on the last command of a place, if it was refused less than a minute ago."""
        found = self._refused.get((unit, index))
        return None if found is None or now - found[0] > REFUSAL_SHOWN else found[1]


@dataclass(frozen=True, slots=True)
class Counts:
    """The header's figures. ``power``: W of the channels whose power is known; ``power_is_whole``: it is of all that are on."""

    units: int = 0
    units_online: int = 0
    on: int = 0
    off: int = 0
    limited: int = 0
    tripped: int = 0
    offline: int = 0
    old: int = 0
    unknown: int = 0
    refused: int = 0
    power: float = 0.0
    power_is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The units as they are now, in their natural order, and their counts."""

    units: tuple[UnitView, ...] = ()
    counts: Counts = field(default_factory=Counts)


def snapshot(
    fleet: Fleet, seen: Seen, refusals: Refusals, now: float, *, target: Target | None = None, lost: str | None = None
) -> Snapshot:
    """Judge the whole fleet, or the unit or channel that is watched.

    :param now: s
    :param lost: why the broker is gone; None while it is there
    """
    judge = _Judge(fleet, seen, refusals, now, lost)
    known = set(fleet.units)
    for agent, served in fleet.agent_units.items():
        if fleet.agents.get(agent) == "online":
            known.update(served)
    names = known if target is None else {target.unit} & known
    units = tuple(judge.unit(name, None if target is None else target.channel) for name in sorted(names, key=natural))
    return Snapshot(
        units, _count(units, [unit for unit in units if lost is None and fleet.why_absent(unit.name) is None])
    )


@dataclass(slots=True)
class _Judge:
    fleet: Fleet
    seen: Seen
    refusals: Refusals
    now: float
    lost: str | None

    def unit(self, name: str, channel: str | None) -> UnitView:
        known = self.fleet.units.get(name)
        agent = None if known is None else known.agent
        states = self.fleet.channels(name, channel)
        refusal = self.refusals.of(name, None, self.now)
        if self.lost is not None:
            views = tuple(self._absent(state, Level.UNKNOWN) for state in states)
            text = f"{name} is not known: no connection to the broker"
            return UnitView(name, views, Level.UNKNOWN, text, agent=agent)
        reason = self.fleet.why_absent(name)
        if reason is not None:
            level = Level.UNKNOWN if known is None or known.status is None else Level.AWAY
            gone = agent if agent is not None and self.fleet.agents.get(agent) == "offline" else None
            level = Level.AWAY if gone is not None else level
            views = tuple(self._absent(state, level) for state in states)
            text = f"{name} is {'offline' if level is Level.AWAY else 'not known yet'}: {reason}"
            return UnitView(name, views, level, text, gone, refusal, agent)
        assert known is not None
        views = (*(self._present(state, known) for state in states), *self._missing(known, channel))
        views = tuple(sorted(views, key=lambda view: view.key[1]))
        if (conflict := self.fleet.conflict(name)) is not None:
            return UnitView(name, views, Level.REFUSED, f"{name}: {conflict}", None, refusal, agent)
        if not views:
            text = f"{name} is online, and has published no state yet"
            return UnitView(name, views, Level.UNKNOWN, text, None, refusal, agent)
        return UnitView(name, views, refusal=refusal, agent=agent)

    def _absent(self, state: ChannelState, level: Level) -> ChannelView:
        state = without_values(state)
        return ChannelView(
            state, level, reserved=self._holder(state), refusal=self.refusals.of(state.psu, state.index, self.now)
        )

    def _present(self, state: ChannelState, unit: FleetUnit) -> ChannelView:
        key = (state.psu, state.index)
        refusal = self.refusals.of(*key, self.now)
        age = self.seen.age(key, self.now)
        if age > self.seen.limit(key, usual_spacing(unit)):
            return ChannelView(without_values(state), Level.AWAY, age, self._holder(state), refusal)
        return ChannelView(state, _level(state, unit), None, self._holder(state), refusal)

    def _missing(self, unit: FleetUnit, channel: str | None) -> Iterable[ChannelView]:
        """The channels that the unit has, and that no state has come of."""
        if unit.info is None:
            return
        for told in unit.info.channels:
            if told.index not in unit.states and channel in (None, str(told.index), told.name):
                state = ChannelState(
                    time=unit.info.time,
                    seq=0,
                    agent=unit.info.agent,
                    psu=unit.name,
                    index=told.index,
                    name=told.name,
                    model=unit.info.model,
                    online=False,
                )
                yield ChannelView(state, Level.UNKNOWN, reserved=self._holder(state))

    def _holder(self, state: ChannelState) -> str | None:
        if self.lost is not None:
            return None
        lease = self.fleet.lease_of(state.psu, state.index)
        return None if lease is None else lease.holder


def usual_spacing(unit: FleetUnit | None) -> float | None:
    """The time (s) between two states of a channel, as its agent tells it; None where it does not."""
    if unit is None or unit.info is None:
        return None
    return max(unit.info.poll_interval, unit.info.heartbeat or 0.0)


def _level(state: ChannelState, unit: FleetUnit) -> Level:
    if not state.online:
        return Level.AWAY
    if state.tripped is not None:
        return Level.TRIPPED
    if state.state is None:
        return Level.UNKNOWN if _tells_state(state.index, unit) else Level.ON
    if not state.state:
        return Level.OFF
    return Level.LIMITED if state.mode in _LIMITING and not _reaches(state) else Level.ON


def _tells_state(index: int, unit: FleetUnit) -> bool:
    """False if the channel's model can't tell if its output is on."""
    told = () if unit.info is None else unit.info.channels
    return all(channel.tells is None or "state" in channel.tells for channel in told if channel.index == index)


def _reaches(state: ChannelState) -> bool:
    """True if the output has the voltage that is set. Of either sign: some outputs are negative."""
    if state.voltage is None or state.voltage_limit is None:
        return False
    wanted = abs(state.voltage_limit)
    return abs(state.voltage) >= wanted - max(_REACHED, _REACHED_PART * wanted)


def _count(units: Iterable[UnitView], online: list[UnitView]) -> Counts:
    units = list(units)
    views = [view for unit in units for view in unit.channels]
    states = [view.state for view in views]
    present = [state for state in states if state.online]
    on = [state for state in present if state.state is True]
    known = [state.power for state in present if state.power is not None and state.state is not False]
    refused = sum(view.refusal is not None for view in views) + sum(unit.refusal is not None for unit in units)
    return Counts(
        units=len(units),
        units_online=len(online),
        on=len(on),
        off=sum(state.state is False for state in present),
        limited=sum(state.mode in _LIMITING for state in on),
        tripped=sum(state.tripped is not None for state in present),
        offline=sum(view.level is Level.AWAY and view.age is None for view in views),
        old=sum(view.age is not None for view in views),
        unknown=sum(view.level is Level.UNKNOWN for view in views),
        refused=refused + sum(unit.level is Level.REFUSED for unit in units),
        power=sum(known),
        power_is_whole=all(state.power is not None for state in on)
        and not any(view.level in (Level.AWAY, Level.UNKNOWN) for view in views),
    )

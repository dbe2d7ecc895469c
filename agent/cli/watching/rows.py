"""The rows of the screen: each channel in its place, trouble first, and what there is no room for folded. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from agent.cli.watching.seen import Channel
from agent.client.fleet import natural
from agent.client.request import Target
from agent.protocol.messages import ChannelState
from agent.protocol.words import counted


class Level(IntEnum):
    """The place of a row: the lowest stands first. Those below `ON` are trouble."""

    TRIPPED = 0
    AWAY = 1  # offline, or old
    LIMITED = 2  # it does not reach the voltage that is set
    REFUSED = 3  # the last command was, or another agent claims the unit
    UNKNOWN = 4  # not known yet, or not while the broker is gone
    ON = 5
    OFF = 6


@dataclass(frozen=True, slots=True)
class Row:
    """One row. ``text`` stands in place of the columns where there is no ``state``; ``channels``: those that it tells of.

    ``bare_units``: units that it tells of, whose channels nobody knows. ``target``: what an off goes to from here; None where no
    single off is meant. ``age`` (s): of values that are old.
    """

    kind: Literal["channel", "unit", "agent", "refusal", "off"]
    name: str
    level: Level
    channels: tuple[Channel, ...]
    state: ChannelState | None = None
    text: str | None = None
    target: Target | None = None
    age: float | None = None
    reserved: str | None = None
    bare_units: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """It stays the same while the row moves."""
        return self.kind, self.name

    @property
    def is_trouble(self) -> bool:
        """True if somebody should look at it."""
        return self.level < Level.ON


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel as it is now: with ``age`` (s) where its values are old, and so left out of ``state``."""

    state: ChannelState
    level: Level
    age: float | None = None
    reserved: str | None = None
    refusal: str | None = None

    @property
    def key(self) -> Channel:
        """Its unit and number."""
        return self.state.psu, self.state.index


@dataclass(frozen=True, slots=True)
class UnitView:
    """A unit as it is now. ``trouble``: the sentence on what is wrong with all of it; None if nothing is.

    ``lost_agent``: the agent that took the unit away with it, when it went. ``refusal``: of its last command.
    """

    name: str
    channels: tuple[ChannelView, ...]
    level: Level = Level.ON
    trouble: str | None = None
    lost_agent: str | None = None
    refusal: str | None = None
    agent: str | None = None


def rows_of(units: Sequence[UnitView], fold: int) -> list[Row]:
    """All rows, trouble first.

    :param fold: 0: nothing; 1: the channels that are off are one row; 2: those of a unit that is away are told by its row; 3:
        units that are away with their agent are told by one row
    """
    rows = [row for unit in units for row in _rows_of_unit(unit, fold)]
    if fold >= 3:
        rows = _by_agent(rows, units)
    if fold >= 1:
        rows = _fold_off(rows)
    rows.sort(key=_place)
    return rows


def fitting(units: Sequence[UnitView], room: int) -> list[Row]:
    """The rows, folded no more than they have to be in order to fit; all that can be folded is where they do not fit."""
    for fold in range(3):
        rows = rows_of(units, fold)
        if len(rows) <= room:
            return rows
    return rows_of(units, 3)


_ORDER = {"agent": 0, "unit": 1, "refusal": 2, "channel": 3, "off": 4}


def _place(row: Row) -> tuple[int, bool, tuple[list[tuple[int, str]], str], int, int]:
    # An agent stands before all units, a unit that is away before its channels.
    unit, index = row.name, -1
    if row.kind in ("channel", "refusal") and row.channels:
        unit, index = row.channels[0]
    return row.level, row.kind != "agent", natural(unit), index, _ORDER[row.kind]


def _rows_of_unit(unit: UnitView, fold: int) -> Iterable[Row]:
    target = Target(unit.name)
    told = tuple(channel.key for channel in unit.channels if channel.level is unit.level)
    is_whole = unit.trouble is not None and unit.level in (Level.AWAY, Level.UNKNOWN)
    if unit.trouble is not None:
        yield Row("unit", unit.name, unit.level, told if is_whole else (), text=unit.trouble, target=target)
    if unit.refusal is not None:
        yield Row("refusal", unit.name, Level.REFUSED, (), text=f"{unit.name}: {unit.refusal}", target=target)
    for channel in unit.channels:
        name = f"{channel.state.psu}/{channel.state.index}"
        place = Target(unit.name, str(channel.state.index))
        if channel.refusal is not None:
            yield Row(
                "refusal",
                name,
                Level.REFUSED,
                (channel.key,),
                text=f"{name} {channel.state.name}: {channel.refusal}",
                target=place,
            )
        if is_whole and channel.level is unit.level and fold >= 2:
            continue
        yield Row(
            "channel",
            name,
            channel.level,
            (channel.key,),
            state=channel.state,
            target=place,
            age=channel.age,
            reserved=channel.reserved,
        )


def _by_agent(rows: list[Row], units: Sequence[UnitView]) -> list[Row]:
    by_agent: dict[str, list[str]] = {}
    for unit in units:
        if unit.lost_agent is not None:
            by_agent.setdefault(unit.lost_agent, []).append(unit.name)
    gone = {name: agent for agent, names in by_agent.items() if len(names) > 1 for name in names}
    kept = [row for row in rows if not (row.kind == "unit" and row.name in gone)]
    for agent, names in by_agent.items():
        if len(names) > 1:
            told = [row for row in rows if row.kind == "unit" and gone.get(row.name) == agent]
            channels = tuple(place for row in told for place in row.channels)
            bare = tuple(row.name for row in told if not row.channels)
            text = f"agent {agent} is offline, with {counted(len(names), 'unit')}: {', '.join(names)}"
            kept.append(Row("agent", agent, Level.AWAY, channels, text=text, bare_units=bare))
    return kept


def _fold_off(rows: list[Row]) -> list[Row]:
    off = [row for row in rows if row.kind == "channel" and row.level is Level.OFF]
    if len(off) < 2:
        return rows
    off.sort(key=_place)
    text = f"{len(off)} off: {', '.join(row.name for row in off)}"
    kept = [row for row in rows if row.kind != "channel" or row.level is not Level.OFF]
    kept.append(Row("off", "", Level.OFF, tuple(row.channels[0] for row in off), text=text))
    return kept


_WORDS: dict[str, Callable[[ChannelView], bool]] = {
    "trouble": lambda view: view.level < Level.ON or view.refusal is not None,
    "on": lambda view: view.state.state is True,
    "off": lambda view: view.state.online and view.state.state is False,
    "offline": lambda view: not view.state.online and view.level is Level.AWAY,
    "tripped": lambda view: view.state.tripped is not None,
    "cc": lambda view: view.state.mode == "CC",
}


def filtered(units: Sequence[UnitView], text: str) -> list[UnitView]:
    """The channels that a filter lets through: each of its words has to fit.

    A word is `trouble`, `on`, `off`, `offline`, `tripped`, `cc`, or a part of the channel's name, its unit, agent or model.
    """
    words = text.casefold().split()
    if not words:
        return list(units)
    found = []
    for unit in units:
        channels = tuple(view for view in unit.channels if all(_fits(word, view) for word in words))
        in_trouble = unit.trouble is not None or unit.refusal is not None
        names = [unit.name.casefold(), (unit.agent or "").casefold()]
        whole = all((word == "trouble" and in_trouble) or any(word in name for name in names) for word in words)
        if channels or (whole and in_trouble):
            found.append(_narrowed(unit, channels, whole=whole or unit.level in (Level.AWAY, Level.UNKNOWN)))
    return found


def _narrowed(unit: UnitView, channels: tuple[ChannelView, ...], *, whole: bool) -> UnitView:
    trouble = unit.trouble if whole else None
    refusal = unit.refusal if whole else None
    return UnitView(unit.name, channels, unit.level, trouble, unit.lost_agent, refusal, unit.agent)


def _fits(word: str, view: ChannelView) -> bool:
    state = view.state
    if (test := _WORDS.get(word)) is not None:
        return test(view)
    texts = (f"{state.psu}/{state.index}", state.name, state.agent, state.model or "", view.reserved or "")
    return any(word in text.casefold() for text in texts)

"""From two readings of a channel to the events between them: each change and its author."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from agent.instruments.driver import Reading, Write
from agent.protocol.messages import By, Event
from agent.protocol.quantities import BY_NAME, WATCHED
from agent.unit.job import Job
from agent.unit.limits.channel import Channel

#: The author of a change, and the id of the command.
Author = tuple[By, str | None]

#: The quantities that change with a setting. No command causes a trip, but one may end it.
_TOUCHED: dict[str, tuple[str, ...]] = {"state": ("state", "mode"), "clear_protection": ("tripped", "mode")}
_AT_THE_UNIT: Author = ("panel", None)
_BY_THE_UNIT: Author = ("unit", None)


class Changes:
    """Makes events of changes. It remembers the author of each write until the next reading. Only the unit's worker calls it."""

    __slots__ = ("_agent", "_authors", "_held", "_ramps", "_unit")

    def __init__(self, agent: str, unit: str) -> None:
        """``agent`` and ``unit``: their names, for the events."""
        self._agent = agent
        self._unit = unit
        self._authors: dict[int, dict[str, Author]] = {}
        self._ramps: dict[int, float] = {}  # the targets of ramps in progress (V)
        self._held: dict[int, float | None] = {}  # where ramps that have no event yet began (V)

    @property
    def has_notes(self) -> bool:
        """True while `between` is to be called for equal readings, too: after a write, or while a ramp has no event yet."""
        return bool(self._authors or self._held)

    def wrote(self, write: Write, job: Job) -> None:
        """Note that a job's write goes to the unit: the job is the author of the changes that the next reading shows."""
        author = job.by, job.command.id
        for index in write.channels:
            authors = self._authors.setdefault(index, {})
            for name in _TOUCHED.get(write.setting, (write.setting,)):
                authors[name] = author

    def ramp_begins(self, job: Job) -> None:
        """Make no events of the job's steps until `ramp_ends`: a ramp is one event, at its target or where it ended."""
        if job.command.ramp is not None and job.command.voltage_limit is not None:
            self._ramps.update(dict.fromkeys(job.indices, job.command.voltage_limit))

    def ramp_ends(self, indices: Collection[int]) -> None:
        """Note that the channels' ramps, if there are any, have ended."""
        for index in indices:
            self._ramps.pop(index, None)

    def forget(self) -> None:
        """Forget what was written: another unit is at the address."""
        self._authors.clear()
        self._held.clear()

    def between(
        self, channel: Channel, now: datetime, model: str | None, before: Reading, after: Reading
    ) -> list[Event]:
        """The events of a channel between two readings in a row, of which ``now`` is the second one's time."""
        index = channel.index
        authors = self._authors.pop(index, None) or {}
        if index in self._held:
            before = before._replace(voltage_limit=self._held.pop(index))
        events = []
        for name in WATCHED:
            old, new = getattr(before, name), getattr(after, name)
            if old == new:
                continue
            author = _author(name, before, after, authors)
            if name == "voltage_limit" and author[0] == "command" and self._ramps.get(index, new) != new:
                self._held[index] = old
                self._authors[index] = {name: author}
                continue
            events.append(self._event(channel, now, model, name, old, new, author))
        return events

    def _event(
        self,
        channel: Channel,
        now: datetime,
        model: str | None,
        name: str,
        old: float | bool | str | None,
        new: float | bool | str | None,
        author: Author,
    ) -> Event:
        by, command_id = author
        doer = {
            "command": f"by command {command_id}" if command_id else "by command",
            "panel": "at the unit",
            "agent": "by the agent",
            "unit": "by the unit itself",
        }[by]
        shown = BY_NAME[name].shown
        return Event(
            time=now,
            agent=self._agent,
            psu=self._unit,
            index=channel.index,
            name=channel.name,
            model=model,
            field=name,
            **{"from": old},
            to=new,
            by=by,
            id=command_id,
            text=f"{name} {shown(old)} → {shown(new)} {doer}",
        )


def _author(name: str, before: Reading, after: Reading, authors: Mapping[str, Author]) -> Author:
    """The author of a change of this quantity.

    A trip is the unit's, also if a command led to it, and so is what the trip turns off. Some units answer the question for the
    state before the one for the trip, so an output may go off one reading later. A mode goes with the state, or is the unit's.
    """
    has_just_tripped = bool(after.tripped and not before.tripped)
    match name:
        case "tripped" if after.tripped:
            return _BY_THE_UNIT
        case "mode" if has_just_tripped:
            return _BY_THE_UNIT
        case "mode" if name not in authors:
            return _author("state", before, after, authors) if after.state != before.state else _BY_THE_UNIT
        case "state" if after.tripped and not after.state and (has_just_tripped or name not in authors):
            return _BY_THE_UNIT
    return authors.get(name, _AT_THE_UNIT)

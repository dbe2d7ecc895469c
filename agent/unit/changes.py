"""From two readings of a channel to the events between them: what changed, and who did it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from agent.instruments.driver import Reading, Write
from agent.protocol.messages import Event
from agent.protocol.quantities import BY_NAME, WATCHED
from agent.unit.job import By, Job
from agent.unit.limits import Channel

#: Who changed something, and the command's id.
Author = tuple[By, str | None]

#: The quantities that change with a setting. A trip is never a command's doing, its end is.
_TOUCHED: dict[str, tuple[str, ...]] = {"state": ("state", "mode"), "clear_protection": ("tripped", "mode")}
_AT_THE_UNIT: Author = ("panel", None)


class Changes:
    """Knows who last wrote what, so that the next reading tells whose change it is. Only the unit's worker calls it."""

    __slots__ = ("_agent", "_authors", "_held", "_ramps", "_unit")

    def __init__(self, agent: str, unit: str) -> None:
        """``agent`` and ``unit``: their names, for the events."""
        self._agent = agent
        self._unit = unit
        self._authors: dict[int, dict[str, Author]] = {}
        self._ramps: dict[int, float] = {}  # the targets of ramps in progress (V)
        self._held: dict[int, float | None] = {}  # the voltage limits at which ramps began that were not told yet (V)

    @property
    def has_notes(self) -> bool:
        """Whether `between` has to be asked about readings that are equal, too: someone wrote, or a ramp is not told yet."""
        return bool(self._authors or self._held)

    def wrote(self, write: Write, job: Job) -> None:
        """A job's write goes to the unit: what the next reading finds changed by it is that job's change."""
        author = job.by, job.command.id
        for index in write.channels:
            authors = self._authors.setdefault(index, {})
            for name in _TOUCHED.get(write.setting, (write.setting,)):
                authors[name] = author

    def ramp_begins(self, job: Job) -> None:
        """Until `ramp_ends` its steps are no events: a ramp is one change, told when it has reached its target or ended."""
        if job.command.ramp is not None and job.command.voltage_limit is not None:
            self._ramps.update(dict.fromkeys(job.indices, job.command.voltage_limit))

    def ramp_ends(self, indices: Collection[int]) -> None:
        """The channels' ramps, if there are any, go no further."""
        for index in indices:
            self._ramps.pop(index, None)

    def forget(self) -> None:
        """Another unit stands at the address: nothing that was written is its doing."""
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
            author = authors.get(name, _AT_THE_UNIT)
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

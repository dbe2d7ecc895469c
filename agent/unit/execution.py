"""The execution of a plan, step by step. It gives way to offs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable

from agent.instruments.driver import Conditions, Write, never
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.protocol.messages import utc_now
from agent.protocol.quantities import BY_NAME, SETTINGS, Setting
from agent.timing import system_clock
from agent.unit.access import UnitAccess
from agent.unit.gate import Readings
from agent.unit.inbox import Stopped
from agent.unit.job import Job
from agent.unit.limits.readings import is_on
from agent.unit.steps import Checked, Look, Pause, Plan, Seen, Step
from agent.unit.steps.checks import listed

log = logging.getLogger(__name__)

#: Why a command is refused that the agent had when it was held up.
HELD_UP = "the agent was held up while it waited for the unit, so it may not be wanted any more; send it again"

_STATE: frozenset[Setting] = frozenset(("state",))


class Execution:
    """A job and its plan. Only the unit's worker uses it, except that other threads read ``job`` and ``wrote``.

    ``due``: the moment of `agent.timing.system_clock` (s) of its next step, 0 at its beginning. ``wrote``: True once anything of
    it was sent. ``gave_way``: True while it waits for an off of other outputs, and for nothing else. ``is_published``: True while
    the newest states are newer than its last write. ``holds``: the fields whose change by another command ends it.
    """

    __slots__ = (
        "_begin",
        "_complaints",
        "_conditions",
        "_looked",
        "_plan",
        "_sent",
        "_settings",
        "_step",
        "_takes",
        "_unchecked",
        "_writes",
        "due",
        "gave_way",
        "holds",
        "is_published",
        "is_ramp",
        "job",
        "wrote",
    )

    def __init__(self, job: Job, plan: Plan, begin: Callable[[Execution], Callable[[], None]]) -> None:
        """:param begin: called right before the first write; what it returns, right after it"""
        self.job = job
        self.holds = held_by(job.command)
        self._begin = begin
        self._settings = SETTINGS.intersection(self.holds)
        self.due = 0.0
        self.gave_way = False
        self.wrote = False
        self.is_published = False
        self.is_ramp = False  # its steps are one event
        self._plan = plan
        self._step: Step | None = None  # the one that is not finished
        self._writes: list[Write] = []  # of the step, not sent yet
        self._looked: Readings | None = None  # for the plan
        self._conditions: Conditions | None = None  # None until the unit was asked for them
        self._takes = 0.0  # s, of the last look
        self._sent: Write | None = None  # the last one
        self._unchecked: Write | None = None  # sent; the unit was not asked yet if it took it
        self._complaints: list[str] = []

    def advance(self, unit: UnitAccess) -> bool:
        """Carry the plan on: True at its end, False if there is more to do when it is ``due``.

        :raises Refusal: it goes no further
        :raises DriverError: the link broke
        :raises Stopped: the worker was abandoned
        """
        try:
            self.gave_way = False
            while True:
                if self._gives_way(unit):
                    return False
                if self._step is None:
                    self._step = self._next_step()
                if not self._take_step(unit, self._step):
                    return False
                self._step = None
        except StopIteration:
            return True
        except Refusal as refusal:
            if self._complaints and refusal.code == "readback_mismatch":
                raise Refusal(
                    "instrument_error", f"{refusal.message}; the unit says: {'; '.join(self._complaints)}"
                ) from None
            raise

    def ends(self, older: Execution) -> bool:
        """True if its first write ends an older one. An off ends all that is under way for its outputs, but no other off.

        :raises Refusal: ``busy``: the older one waits until its outputs are off, and this one is to switch one of them
        """
        both = older.job.indices & self.job.indices
        is_off, is_older_off = self.job.command.state is False, older.job.command.state is False
        if older is self or not both or (is_off and is_older_off):
            return False
        if is_off:
            return True
        if older.holds.isdisjoint(held_by(self.job.command)):
            return False
        if is_older_off:
            raise Refusal(
                "busy",
                f"output {listed(both)} is still being turned off, by the off delay that is set at the unit; send it again when "
                "it is off",
            )
        return True

    def close(self) -> None:
        """End the plan."""
        self._plan.close()

    def _next_step(self) -> Step:
        # A generator that has not begun takes nothing but None. A plan ignores readings after another step than a look.
        looked, self._looked = self._looked, None
        seen = None if looked is None else Seen(looked, self._conditions or Conditions())
        return self._plan.send(seen)  # type: ignore[arg-type]

    def _take_step(self, unit: UnitAccess, step: Step) -> bool:
        """Take a step. True if it is done; else the execution goes on with it when it is ``due``."""
        match step:
            case Look():
                asked = system_clock()
                self._looked = self._look(unit, step)
                self._takes = system_clock() - asked
                if self._looked is None:
                    self.due, self.gave_way = system_clock(), True
                    return False
            case Pause(until=until, holds=holds):
                self.due, self._step = until, None
                if holds is not None:
                    self.holds = holds
                return False
            case Checked(write=write):
                return self._send(unit, (write,), is_checked=True)
            case writes:
                return self._send(unit, writes)
        return True

    def _gives_way(self, unit: UnitAccess) -> bool:
        """True if an off of other channels is to go first. One of the same channels ends this execution.

        An off ends with a poll, so the gate has seen the unit when this goes on. Before it gives way it asks if the unit took the
        last write: the complaint would be taken for one about the off.

        :raises Refusal: ``superseded``
        """
        self._check_superseded(unit)
        if self.job.turns_off or self._unchecked is not None or not unit.inbox.has_off():
            return False
        self.due, self.gave_way = system_clock(), True
        return True

    def _check_superseded(self, unit: UnitAccess) -> None:
        if unit.reporter.is_closed:
            raise Stopped
        if not self.job.turns_off and unit.inbox.off_waits_for(self.job.indices):
            raise Refusal("superseded", "the output was turned off before it was finished")

    def _look(self, unit: UnitAccess, look: Look) -> Readings | None:
        """Poll and publish; before the first setting ask if anything at the unit changes its effect, after one if it was taken.

        None if the poll was dropped for an off. The states go with the response.

        :raises Refusal: ``unsupported``, ``uncertain`` or ``instrument_error``
        """
        job, sent = self.job, self._unchecked
        is_off, is_whole = job.command.state is False, look.is_whole
        settings, why_on = look.settings or self._settings, is_whole and is_off
        if why_on:
            settings = _STATE  # the plan asks why an output is not off yet
        elif self._conditions is None and not job.command.turns_off:
            is_whole = True
            settings = settings - _STATE if is_off else settings
        give_way = never if job.turns_off else unit.inbox.has_off
        if not is_whole and sent is None:
            readings = unit.poll(give_way)
            if readings is not None:
                self.is_published = True
                unit.publish(readings)
            return readings
        inspection = unit.inspect(job.indices if is_whole else (), give_way, settings)
        self._unchecked = None
        if inspection.readings:  # else the whole look is repeated
            if is_whole:
                self._conditions = inspection.conditions
            if sent is not None and sent.setting == "state" and not sent.value:
                self._note_others(unit, inspection.readings)
            self.is_published = True
            unit.publish(inspection.readings)
        self._judge(unit, sent, inspection.complaints)
        if not why_on:
            self._refuse_barred(unit, inspection.bars, inspection.silent)
        return inspection.readings or None

    def _refuse_barred(self, unit: UnitAccess, bars: list[str], silent: list[str]) -> None:
        for bar in bars:
            raise Refusal("unsupported", f"at {unit.name} {bar}, then send the command again{self._done()}")
        for question in silent:
            raise Refusal(
                "uncertain",
                f"nobody knows what it would do: {question} by {unit.name}, which is asked again when it is connected anew",
            )

    def _note_others(self, unit: UnitAccess, readings: Readings) -> None:
        """Name this job as the author of what an off did to outputs that share its switch or are coupled with its own."""
        others = set()
        for index, reading in readings.items():
            known = None if index in self.job.indices else unit.samples.newest(index)
            if known is not None and is_on(known[0]) and not (reading.state or reading.tripped):
                others.add(index)
        together = {index for index in others for channel in self.job.channels if index in channel.together}
        why = "they have one switch with it"
        if others != together:
            inspection = unit.inspect(self.job.indices, unit.inbox.has_off, _STATE)
            self._judge(unit, None, inspection.complaints)
            if coupled := others & inspection.conditions.coupled:
                together |= coupled
                why = "they are coupled at the unit"
        if together:
            log.warning("%s: outputs %s went off, too: %s", unit.name, sorted(together), why)
            unit.changes.wrote(Write("state", tuple(sorted(together)), False), self.job)
            self.job.note_also_off(together)

    def _settle(self, unit: UnitAccess) -> None:
        """Ask if the unit took the last write, unless it was asked already.

        :raises Refusal: ``instrument_error``; ``superseded``: an off goes first, whose look empties the error queue
        """
        sent = self._unchecked
        if sent is not None:
            self._check_superseded(unit)
            self._unchecked = None
            self._judge(unit, sent, unit.complaints())

    def _judge(self, unit: UnitAccess, sent: Write | None, complaints: list[str]) -> None:
        if sent is None:
            for complaint in complaints:
                log.warning("%s: an error stood in the unit's queue: %s", unit.name, complaint)
            return
        self._complaints += complaints
        if complaints and not self.job.turns_off:
            raise Refusal("instrument_error", f"{unit.name} refused {shown(sent)}: {'; '.join(self._complaints)}")

    def _send(self, unit: UnitAccess, writes: tuple[Write, ...], *, is_checked: bool = False) -> bool:
        """Send writes one by one, each when the unit has taken the one before. True if all were sent.

        ``is_checked``: and if it has taken the last one.
        """
        if not self._writes:
            unit.gate.check(writes)
            self._writes = list(writes)
        while self._writes:
            self._settle(unit)
            if self._gives_way(unit):
                return False
            write = self._writes[0]
            unit.gate.check((write,))  # the unit may have been read anew since the step began
            if unit.gate.rises(write):
                self._check_expiry(write)
            if not (write.setting == "state" and not write.value and (self.wrote or self.job.command.state is False)):
                self._check_hold_ups(unit)
                self._check_permitted(unit, write)
            del self._writes[0]
            tell = None if self.wrote else self._begin(self)
            self.wrote, self.is_published, self._unchecked, self._sent = True, False, write, write
            try:
                complaints = unit.write(write, self.job, is_checked=is_checked or bool(self._writes))
            finally:
                if tell is not None:
                    tell()
            if complaints is not None:
                self._unchecked = None
                self._judge(unit, write, complaints)
        if is_checked:
            self._settle(unit)
        return True

    def _check_expiry(self, write: Write) -> None:
        """Refuse to turn on or raise what its sender would not want any more when the unit does it. What lowers goes on.

        :raises Refusal: ``expired``
        """
        if time_left(self.job) <= self._takes:  # the unit takes about as long as for the look
            raise Refusal("expired", f"it would expire before the unit had done {shown(write)}{self._done()}")

    def _done(self) -> str:
        """The end of a refusal of the rest."""
        return "" if self._sent is None else f"; the last that was done is {shown(self._sent)}"

    def _check_hold_ups(self, unit: UnitAccess) -> None:
        """Refuse what may be old, as the agent was held up since the command came in. Turning off goes on.

        :raises Refusal: ``expired``, or ``superseded`` for the rest of it
        """
        if unit.hold_ups.any_since(self.job.received):
            if self._sent is None:
                raise Refusal("expired", HELD_UP)
            done = f"the last that was done is {shown(self._sent)}"
            raise Refusal("superseded", f"the rest of it was given up, as the agent was held up; {done}")

    def _check_permitted(self, unit: UnitAccess, write: Write) -> None:
        """:raises Refusal: somebody has a say who does not let this job set that any more"""
        turns_on = write.setting == "state" and bool(write.value)
        refusal = unit.permissions.refusal(self.job, write.channels, turns_on=turns_on)
        if refusal is not None:
            raise Refusal(refusal.code, f"{refusal.message}{self._done()}")


def most_due(executions: Iterable[Execution]) -> Execution | None:
    """The execution whose step is due for longest; None if no step is due."""
    # One that gave way goes on right after the off: the step of another would make the gate forget what the off saw.
    first = min(executions, key=lambda execution: (not execution.gave_way, execution.due), default=None)
    return first if first is not None and first.due <= system_clock() else None


def held_by(command: Command) -> frozenset[str]:
    """The fields in which a command meets others. ``cycle`` is one of its own: it needs an output that nobody else switches."""
    fields = set(command.fields) - {"ramp"}
    if "cycle" in fields:
        fields |= {"state", "clear_protection"}
    return frozenset(fields)


def to_go_on(executions: Iterable[Execution]) -> frozenset[int]:
    """The outputs that a cycle under way is to turn on."""
    return frozenset(i for one in executions if one.job.command.cycle is not None for i in one.job.indices)


def time_left(job: Job) -> float:
    """The time until a job expires (s); infinite if it does not."""
    left = math.inf if job.expires is None else job.expires - time.monotonic()
    if (expires_at := job.command.expires_at) is not None:
        left = min(left, (expires_at - utc_now()).total_seconds())
    return left


def shown(write: Write) -> str:
    """A write for people: ``voltage_limit 3 V for channel 1``."""
    quantity = BY_NAME[write.setting]
    value = "" if quantity.kind == "action" else f" {quantity.shown(write.value)}"
    plural = "s" if len(write.channels) > 1 else ""
    return f"{write.setting}{value} for channel{plural} {', '.join(map(str, write.channels))}"

"""The execution of a plan, step by step. It gives way to offs."""

from __future__ import annotations

import logging

from agent.instruments.driver import Write, never
from agent.protocol.errors import Refusal
from agent.protocol.quantities import BY_NAME
from agent.timing import LONGEST_ABSENCE, system_clock
from agent.unit.access import UnitAccess
from agent.unit.gate import Readings
from agent.unit.inbox import Stopped
from agent.unit.job import Job
from agent.unit.plans import Look, Pause, Plan, Settle, Step

log = logging.getLogger(__name__)


class Execution:
    """A job and its plan. Only the unit's worker uses it, except that other threads read ``job`` and ``wrote``.

    ``due``: the moment of `agent.timing.system_clock` (s) of its next step, 0 at its beginning. ``wrote``: True once anything of
    it was sent. ``gave_way``: True while it waits for an off of other outputs, and for nothing else. ``is_published``: True while
    the newest states are newer than its last write.
    """

    __slots__ = (
        "_complaints",
        "_inspected",
        "_looked",
        "_plan",
        "_step",
        "_unchecked",
        "_writes",
        "due",
        "gave_way",
        "is_published",
        "job",
        "wrote",
    )

    def __init__(self, job: Job, plan: Plan) -> None:
        self.job = job
        self.due = 0.0
        self.gave_way = False
        self.wrote = False
        self.is_published = False
        self._plan = plan
        self._step: Step | None = None  # the one that is not finished
        self._writes: list[Write] = []  # of the step, not sent yet
        self._looked: Readings | None = None  # for the plan
        self._inspected = False  # the unit was asked for couplings, which forbid a setting
        self._unchecked: Write | None = None  # sent; the unit was not asked yet if it took it
        self._complaints: list[str] = []

    def advance(self, unit: UnitAccess) -> bool:
        """Carry the plan on: True at its end, False if there is more to do when it is ``due``.

        :raises Refusal: it goes no further
        :raises DriverError: the link broke
        :raises Stopped: the worker was abandoned
        """
        try:
            self._check_absence()
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

    def close(self) -> None:
        """End the plan."""
        self._plan.close()

    def _check_absence(self) -> None:
        held_up = system_clock() - self.due if self.due else 0.0
        if held_up > LONGEST_ABSENCE:
            raise Refusal("superseded", f"the rest of it was given up: the agent was held up for {held_up:.0f} s")

    def _next_step(self) -> Step:
        # A generator that has not begun takes nothing but None. A plan ignores readings after another step than a look.
        looked, self._looked = self._looked, None
        return self._plan.send(looked)  # type: ignore[arg-type]

    def _take_step(self, unit: UnitAccess, step: Step) -> bool:
        """Take a step. True if it is done; else the execution goes on with it when it is ``due``."""
        match step:
            case Look():
                self._looked = self._look(unit)
                if self._looked is None:
                    self.due, self.gave_way = system_clock(), True
                    return False
            case Settle():
                self._settle(unit)
            case Pause(until=until):
                self.due, self._step = until, None
                return False
            case writes:
                if not self._writes:
                    unit.gate.check(writes)
                    self._writes = list(writes)
                return self._send(unit)
        return True

    def _gives_way(self, unit: UnitAccess) -> bool:
        """True if an off of other channels is to go first. One of the same channels ends this execution.

        An off ends with a poll, so the gate has seen the unit when this goes on. Before it gives way it asks if the unit took the
        last write: the complaint would be taken for one about the off.

        :raises Refusal: ``superseded``
        """
        if unit.reporter.is_closed:
            raise Stopped
        if self.job.turns_off or not unit.inbox.has_off():
            return False
        if unit.inbox.off_waits_for(self.job.indices):
            raise Refusal("superseded", "the output was turned off before it was finished")
        if self._unchecked is not None:
            return False
        self.due, self.gave_way = system_clock(), True
        return True

    def _look(self, unit: UnitAccess) -> Readings | None:
        """Poll and publish; before the first setting ask if anything forbids it, after one if it was taken.

        None if the poll was dropped for an off. The states go with the response.

        :raises Refusal: ``unsupported`` or ``instrument_error``
        """
        job, sent = self.job, self._unchecked
        is_first_look = not self._inspected and not job.command.turns_off
        give_way = never if job.turns_off else unit.inbox.has_off
        if not is_first_look and sent is None:
            readings = unit.poll(give_way)
            if readings is not None:
                self.is_published = True
                unit.publish(readings)
            return readings
        inspection = unit.inspect(job.indices if is_first_look else (), give_way)
        self._unchecked = None
        if inspection.readings:  # else the whole look is repeated
            self._inspected = self.is_published = True
            unit.publish(inspection.readings)
        self._judge(unit, sent, inspection.complaints)
        for coupling in inspection.couplings:
            raise Refusal(
                "unsupported",
                f"{coupling} on {unit.name}, so a setting of one is a setting of both; "
                "turn that off at the unit, then send the command again",
            )
        return inspection.readings or None

    def _settle(self, unit: UnitAccess) -> None:
        """Ask if the unit took the last write, unless a look has asked.

        :raises Refusal: ``instrument_error``
        """
        sent, self._unchecked = self._unchecked, None
        if sent is not None:
            self._judge(unit, sent, unit.complaints())

    def _judge(self, unit: UnitAccess, sent: Write | None, complaints: list[str]) -> None:
        if sent is None:
            for complaint in complaints:
                log.warning("%s: an error stood in the unit's queue: %s", unit.name, complaint)
            return
        self._complaints += complaints
        if complaints and not self.job.turns_off:
            raise Refusal("instrument_error", f"{unit.name} refused {shown(sent)}: {'; '.join(self._complaints)}")

    def _send(self, unit: UnitAccess) -> bool:
        """Send the step's writes one by one, each when the unit has taken the one before. True if all were sent."""
        while self._writes:
            self._settle(unit)
            if self._gives_way(unit):
                return False
            write = self._writes[0]
            unit.gate.check((write,))  # the unit may have been read anew since the step began
            del self._writes[0]
            self.wrote, self.is_published, self._unchecked = True, False, write
            unit.write(write, self.job)
        return True


def shown(write: Write) -> str:
    """A write for people: ``voltage_limit 3 V for channel 1``."""
    quantity = BY_NAME[write.setting]
    value = "" if quantity.kind == "action" else f" {quantity.shown(write.value)}"
    plural = "s" if len(write.channels) > 1 else ""
    return f"{write.setting}{value} for channel{plural} {', '.join(map(str, write.channels))}"

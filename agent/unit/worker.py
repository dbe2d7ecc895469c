"""The loop of a unit's thread: connect, do the most urgent thing, and begin anew when the link is lost."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable

from agent.instruments.driver import DriverError
from agent.protocol.commands import Command
from agent.protocol.errors import ErrorCode, Refusal
from agent.timing import retry_delay, system_clock
from agent.unit import connecting, plans
from agent.unit.access import UnitAccess
from agent.unit.brokerloss import BrokerLoss
from agent.unit.connecting import Connector
from agent.unit.execution import HELD_UP, Execution, most_due, time_left, to_go_on
from agent.unit.inbox import Stopped
from agent.unit.job import Job
from agent.unit.schedule import Schedule
from agent.unit.serving.answers import Answers
from agent.unit.serving.aside import Aside
from agent.unit.steps.checks import listed

log = logging.getLogger(__name__)

#: s. A command that has waited longer is refused as expired.
LONGEST_WAIT = 10.0
#: s between two looks at an off that is not done yet when the worker is to end.
_ENDING_PAUSE = 0.01


class Worker:
    """The work of one unit's thread from its start to its end. Other threads read ``executions``, too."""

    __slots__ = (
        "_answers",
        "_aside",
        "_began",
        "_connector",
        "_loss",
        "_mishaps",
        "_polled",
        "_schedule",
        "_unit",
        "executions",
        "has_successor",
        "why_stopped",
    )

    def __init__(self, unit: UnitAccess, connector: Connector, schedule: Schedule, loss: BrokerLoss, why: str) -> None:
        """:param why: the reason that senders of unfinished commands are told at the end"""
        self._unit = unit
        self._connector = connector
        self._schedule = schedule
        self._loss = loss
        self._answers = Answers(unit, loss)
        self._aside = Aside(unit, connector, self._answers)
        self._mishaps = 0  # unexpected errors in a row
        self._began = self._polled = 0.0  # when the last command was begun, and the last poll done (`time.monotonic`)
        self.executions: list[Execution] = []
        self.why_stopped = why
        self.has_successor = False

    def run(self) -> None:
        """Serve the unit until its inbox is stopped."""
        unit = self._unit
        failure: str | None = None
        unit.reporter.send(info=unit.info())
        while True:
            try:
                if failure is not None:
                    reason, failure = failure, None
                    self._lost(reason)
                    if self._mishaps and not unit.status.online:
                        # A fault of our own must not repeat without a pause. A unit that is online has an off to carry out.
                        first, last, jitter = connecting.FIRST_RETRY, connecting.LAST_RETRY, connecting.RETRY_JITTER
                        unit.inbox.sleep(retry_delay(self._mishaps, first, last, jitter))
                if self._aside.is_needed and not unit.status.online:
                    self._aside.wait()
                elif not unit.status.online:
                    self._connector.connect_until_it_works(self._refuse_waiting)
                while unit.status.online:
                    self._serve_once()
            except Stopped:
                if not self._has_off_left():
                    break
            except DriverError as error:
                failure = str(error)
            except Exception:
                log.exception("%s: unexpected; the link is closed and opened again", unit.name)
                failure = "an unexpected error of the agent; see its log"
                self._mishaps += 1
        self._end()

    def _serve_once(self) -> None:
        """Do one thing, or wait for one: an off first, else the step of a plan, command or poll that is due for longest."""
        now = time.monotonic()
        unit, inbox = self._unit, self._unit.inbox
        unit.heartbeat = now
        if inbox.is_stopping and not self._has_off_left():
            raise Stopped
        if unit.role.is_aside and not self._has_off_left():
            self._leave()
            return
        if self._connector.displaced_by is not None:
            self._connector.give_up()
        if self._apply_broker_loss(now):
            return
        job = inbox.next_off()
        if job is not None:
            self._begin(job)
            return
        execution, waits_since = most_due(self.executions), inbox.waits_since()
        if execution is not None or waits_since is not None:
            self._take_turn(execution, waits_since, now)
        elif self._schedule.is_due(now):
            self._poll(now)
        elif inbox.is_stopping:
            time.sleep(_ENDING_PAUSE)
        else:
            unit.heartbeat = until = self._next_due()
            inbox.wait(until)

    def _has_off_left(self) -> bool:
        """True while an off that came before the worker's end is not done: off is always done, also at a reload or a stop."""
        unit = self._unit
        if not unit.status.online or unit.reporter.is_closed:
            return False
        return unit.inbox.has_off() or any(execution.job.command.state is False for execution in self.executions)

    def _take_turn(self, execution: Execution | None, waits_since: float | None, now: float) -> None:
        """Do one of the things that are due: commands and polls take turns, however many of one kind there are."""
        ahead = system_clock() - now
        step = math.inf if execution is None else -math.inf if execution.gave_way else execution.due
        command = math.inf if waits_since is None else max(waits_since, self._began + ahead)
        poll = max(self._schedule.since, self._polled) + ahead if self._schedule.is_due(now) else math.inf
        if execution is not None and step <= min(command, poll):
            self._advance(execution)
        elif command <= poll:
            if (job := self._unit.inbox.next_waiting()) is not None:  # None: an off has refused it
                self._begin(job)
            self._began = time.monotonic()
        else:
            self._poll(now)

    def _next_due(self) -> float:
        due = min(self._schedule.due, self._loss.next_due())
        if self.executions:
            ahead = time.monotonic() - system_clock()
            due = min(due, *(execution.due + ahead for execution in self.executions))
        return due

    def _poll(self, now: float) -> None:
        unit, schedule = self._unit, self._schedule
        unlimited = schedule.interval <= 0
        # As fast as the unit answers, but not faster than the broker takes the states.
        is_congested = unlimited and unit.reporter.congested
        is_wanted = schedule.is_wanted
        if schedule.take(now, is_congested=is_congested):
            unit.reporter.counters.late_polls += 1
        readings = unit.poll(unit.inbox.has_off)
        if readings is None:
            schedule.want()  # right after the off that it gave way to
            return
        try:
            if unlimited and not unit.inbox.has_off() and not unit.reporter.congested:
                # The unit works on its next answer while this one is published; an off would have to wait for it.
                unit.driver.poll_ahead()
        finally:
            unit.publish_at_once(readings, is_wanted=is_wanted)
        self._mishaps = 0
        self._polled = time.monotonic()

    # Commands.

    def _begin(self, job: Job) -> None:
        if self._is_outdated(job):
            return
        present = self._unit.status.channels
        if missing := job.indices - present.keys():
            self._unit.inbox.open(job.take_merged())  # to wait again, ahead of all others
            self._answers.refuse(job, "unknown_channel", f"{self._unit.name} has no channel {listed(missing)} any more")
            left = tuple(present[index] for index in sorted(job.indices - missing))
            if job.turns_off and left:
                self._begin(Job(Command(state=False), left, by="agent"))
            return
        command = job.command
        if command.cycle is not None and time_left(job) < command.cycle:
            why = f"it would expire within the {command.cycle:g} s of its cycle; the output stays as it is"
            self._answers.refuse(job, "expired", why)
            return
        if command.turns_off:
            plan = plans.off(job.channels)
        else:
            plan = plans.apply(command, job.channels, self._unit.samples.newest, to_go_on(self.executions))
        execution = Execution(job, plan, self._replace_older)
        self.executions.append(execution)
        self._advance(execution)

    def _is_outdated(self, job: Job) -> bool:
        """True if a job is not to be begun any more: it was refused. Jobs merged with it are kept, or refused for themselves."""
        for other in job.take_merged():
            if other.has_expired():
                self._answers.refuse(other, "expired", _EXPIRED)
            else:
                job.merged.append(other)
        if job.has_expired():
            self._unit.inbox.open(job.take_merged())
            why = (
                "the link broke while it was carried out, and it expired before the link was back"
                if job.retried
                else _EXPIRED
            )
            self._answers.refuse(job, "uncertain" if job.retried else "expired", why)
            return True
        if job.turns_off or (refusal := self._why_not(job)) is None:
            return False
        if job.rides_on_off and not self._unit.samples.are_off(job.indices, job.received):
            job.keep_off(refusal)
            return False
        self._answers.refuse(job, refusal.code, refusal.message)
        return True

    def _why_not(self, job: Job) -> Refusal | None:
        """Why a job that is no off is not to be begun any more; None if it is."""
        if system_clock() - job.received > LONGEST_WAIT:
            return Refusal("expired", f"it waited for the unit for more than {LONGEST_WAIT:g} s")
        if self._unit.hold_ups.any_since(job.received):
            return Refusal("expired", HELD_UP)
        return self._unit.permissions.refusal(job, job.indices, turns_on=job.turns_on)

    def _replace_older(self, newer: Execution) -> Callable[[], None]:
        """End the plans under way that the first write of this one is about to overtake. It returns what tells their senders."""
        # Not before: a command that is refused has no effect on others.
        job = newer.job
        ended = [older for older in self.executions if newer.ends(older)]
        for older in ended:
            self._finish(older)
        if job.turns_on:
            self._loss.turned_on(job.indices, time.monotonic())
        newer.is_ramp = job.command.ramp is not None
        self._unit.changes.ramp_begins(job)
        reason = (
            "the rest of it was replaced by a newer command" if job.by == "command" else "the output was turned off"
        )

        def tell() -> None:
            for older in ended:
                self._answers.refuse(older.job, "superseded", reason)

        return tell

    def _advance(self, execution: Execution) -> None:
        """Carry a plan on to its next pause, or to its end."""
        unit, job = self._unit, execution.job
        unit.finish_poll_ahead()
        try:
            is_done = execution.advance(unit)
        except Refusal as refusal:
            self._finish(execution)
            if job.rides_on_off and not self._unit.samples.are_off(job.indices, job.received):
                # It may have given way before it was turned off.
                job.keep_off(refusal)
                unit.inbox.open([job])
                return
            self._answers.refuse(
                job, refusal.code, refusal.message, has_result=execution.wrote and execution.is_published
            )
            if execution.wrote and not execution.is_published and not unit.inbox.has_off():
                # Publish the present settings of the unit. An off does that itself, and must not wait for this.
                readings = unit.poll(unit.inbox.has_off)
                if readings is not None:
                    unit.publish_at_once(readings)
            return
        if is_done:
            self._finish(execution)
            self._answers.confirm(job, job.channels)
        else:
            unit.reporter.send()

    def _finish(self, execution: Execution) -> None:
        """End an execution. The next sample comes with the event for the voltage that its ramp has reached."""
        self.executions.remove(execution)
        if execution.is_ramp:
            self._unit.changes.ramp_ends(execution.job.indices)
        execution.close()

    # The loss of the broker, of the link, and the end.

    def _apply_broker_loss(self, now: float) -> bool:
        """Turn off the outputs whose ``on_broker_loss`` is due, and refuse the commands that wait for them. True if any were."""
        due = self._loss.due(now)
        if not due:
            return False
        unit = self._unit
        channels = tuple(unit.status.channels[index] for index in due if index in unit.status.channels)
        if not channels:
            return False
        doing = f"turning off {', '.join(map(str, channels))}"
        if self._loss.is_news(doing):
            log.warning("%s: no broker for %.0f s: %s", unit.name, self._loss.gone_for(now), doing)
        job = Job(Command(state=False), channels, by="agent")
        self._begin(job)
        for superseded in unit.inbox.supersede(job.indices):
            self._answers.refuse(
                superseded, "superseded", "the broker was gone for too long, and the output was turned off"
            )
        return True

    def _leave(self) -> None:
        """Leave the supply to the agent that serves it."""
        jobs = [execution.job for execution in self.executions]
        for execution in list(self.executions):
            self._finish(execution)
        self._aside.leave(jobs)

    def _lost(self, reason: str) -> None:
        """Publish that the link failed, and answer the commands in progress and in the inbox.

        Each off gets one more try, for which the link is opened again at once; if that fails, it is refused. So do offs that
        come until then.
        """
        unit = self._unit
        unit.driver.close()
        unit.heartbeat = time.monotonic()
        unit.reporter.counters.errors += 1
        unit.go_offline(reason)
        retries: list[Job] = []
        for execution in sorted(self.executions, key=lambda execution: not execution.wrote):
            job = execution.job
            self._finish(execution)
            code: ErrorCode = "uncertain" if execution.wrote else "offline"
            why = _UNCERTAIN.format(reason) if execution.wrote else self.offline_reason()
            if job.retried or not job.keep_off(Refusal(code, why)):
                self._answers.refuse(job, code, why)
                continue
            job.retried = True
            retries.append(job)
        for job in unit.inbox.close(but_for_offs=True):
            if job.keep_off(Refusal("offline", self.offline_reason())):
                retries.append(job)
            else:
                self._answers.refuse(job, "offline", self.offline_reason())
        if not retries:
            return
        is_back = False
        try:
            self._connector.connect(retries)
            is_back = True
        except DriverError:
            pass  # `connect` has reported it
        finally:
            if not is_back:
                for job in retries:
                    if job.retried:
                        self._answers.refuse(job, "uncertain", _UNCERTAIN.format(reason))
                    else:
                        self._answers.refuse(job, "offline", self.offline_reason())
                self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        for job in self._unit.inbox.close():
            self._answers.refuse(job, "offline", self.offline_reason())

    def offline_reason(self) -> str:
        """The reason why the unit takes no command, for the sender of one. From any thread."""
        unit = self._unit
        if unit.inbox.is_stopping:
            return f"{unit.name} is not served any more: {self.why_stopped}"
        reason = unit.status.reason
        return f"{unit.name} is offline: {reason}" if reason else f"{unit.name} is offline"

    def _end(self) -> None:
        unit = self._unit
        try:
            self._aside.refuse_offs()
            waiting = unit.inbox.close()
            for job in [*waiting, *(execution.job for execution in self.executions)]:
                self._answers.refuse(
                    job, "superseded", f"{self.why_stopped} before it was finished; the output stays as it is"
                )
            with contextlib.suppress(DriverError):
                if unit.driver.is_poll_under_way:
                    unit.poll()  # the unit would report an interrupted answer as an error
        finally:
            unit.driver.close()
            # Behind the end of the link: another agent may serve the unit from now on. A successor goes on with it instead.
            unit.go_offline(self.why_stopped, is_released=not self.has_successor)


_EXPIRED = "it expired while it waited for the unit"
_UNCERTAIN = "the link broke while it was carried out; it may or may not have happened: {}"

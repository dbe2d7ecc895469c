"""The reports of a unit, on their way to the outlets."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from agent.protocol.errors import ErrorCode
from agent.protocol.messages import ChannelState, Event, Response, UnitInfo
from agent.protocol.report import Outlet, Report
from agent.unit.job import Job
from agent.unit.status import Counters

log = logging.getLogger(__name__)


class Reporter:
    """Hands the reports of one unit to its outlets: one after each step of the worker, with all that the step found.

    Each outlet gets every report: an exception of one is logged, and keeps neither the others nor the worker from their work.
    After `close` the worker's reports go nowhere, but for the response to a job that has none. `refuse_at_once`, `close` and
    `last_words` are for other threads.
    """

    __slots__ = ("_events", "_lock", "_outlets", "_states", "_unit", "counters", "is_closed")

    def __init__(self, unit: str, outlets: Sequence[Outlet], counters: Counters) -> None:
        """``unit``: its name. ``counters``: the refusals are counted there."""
        self._unit = unit
        self._outlets = tuple(outlets)
        self.counters = counters
        self.is_closed = False
        # Held by the worker while it reports, and by the thread that closes; a response is claimed under it. A thread that an
        # outlet may wait for must not take it.
        self._lock = threading.Lock()
        self._states: list[ChannelState] = []
        self._events: list[Event] = []

    @property
    def congested(self) -> bool:
        """True while states come faster than an outlet takes them."""
        # any() of a generator takes four times as long, and this is asked before each poll.
        for outlet in self._outlets:  # noqa: SIM110
            if outlet.congested:
                return True
        return False

    def add(self, states: list[ChannelState], events: list[Event]) -> None:
        """Keep states and events for the next report: the MQTT thread would slow down a command in progress."""
        self._states += states
        self._events += events

    def send(
        self, *, info: UnitInfo | None = None, states: Sequence[ChannelState] = (), events: Sequence[Event] = ()
    ) -> None:
        """Send one report: what was added, and this."""
        if self._states or self._events:
            states, self._states = [*self._states, *states], []
            events, self._events = [*self._events, *events], []
        if states or events or info is not None:
            with self._lock:
                if not self.is_closed:
                    self._hand_out(Report(info, states, events))

    def confirm(self, job: Job, states: list[ChannelState]) -> None:
        """Send the response that a job was carried out, and that what was merged with it was, with what was added.

        :param states: of the channels of all of them
        """
        for each in (job, *job.merged):
            if each.by == "command":
                own = [state for state in states if state.index in each.indices]
                self._respond(each, each.done(self._unit, own))
            else:
                self.send()
        fault = job.command.fault
        if fault is None:
            log.info("%s: done: %s (%s)%s", self._unit, job.command.told, job.by, _and_more(job))
        else:
            self._log_refusal(job, fault.code, f"it was turned off, but {fault.message}")

    def refuse(
        self, job: Job, code: ErrorCode, message: str, states: Sequence[ChannelState] = (), *, is_logged: bool = True
    ) -> None:
        """Send the response that a job is not, or not wholly, carried out, nor what was merged with it, with what was added.

        :param states: of the channels of all of them, if they were read back after the last write
        """
        if is_logged:
            self._log_refusal(job, code, message)
        for each in (job, *job.merged):
            if each.by == "command":
                own = [state for state in states if state.index in each.indices]
                self._respond(each, each.refused(self._unit, code, message, own))
            else:
                self.send()

    def refuse_at_once(self, job: Job, code: ErrorCode, message: str) -> None:
        """Refuse a job and what was merged with it from any thread, beside the worker's reports.

        Does nothing for one that has its response already.
        """
        for each in (job, *job.merged):
            if each.by != "command" or not each.claim_answer():
                continue
            self._log_refusal(each, code, message)
            self.counters.refusals += 1
            self._hand_out(Report(response=each.refused(self._unit, code, message), reply_to=each.reply_to))

    def close(self) -> None:
        """Drop the states and events that the worker reports from now on."""
        with self._lock:
            self.is_closed = True

    def last_words(self, info: UnitInfo | None, states: Sequence[ChannelState]) -> None:
        """Report in place of the worker, after `close`."""
        if info is not None or states:
            self._hand_out(Report(info, states))

    def _respond(self, job: Job, response: Response) -> None:
        states, self._states = self._states, []
        events, self._events = self._events, []
        with self._lock:
            if self.is_closed:  # only a response that no other thread has given yet
                states, events = [], []
            if job.claim_answer():
                if not response.ok:
                    self.counters.refusals += 1
                self._hand_out(Report(None, states, events, response, job.reply_to))
            elif states or events:
                self._hand_out(Report(None, states, events))

    def _hand_out(self, report: Report) -> None:
        for outlet in self._outlets:
            try:
                outlet.report(report)
            except Exception:
                log.exception("%s: a report could not be handed to %s", self._unit, type(outlet).__name__)

    def _log_refusal(self, job: Job, code: ErrorCode, message: str) -> None:
        log.warning("%s: refused: %s (%s)%s: %s", self._unit, job.command.told, code, _and_more(job), message)


def _and_more(job: Job) -> str:
    return f", and {len(job.merged)} like it" if job.merged else ""

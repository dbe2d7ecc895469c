"""A unit's driver together with all that goes with each exchange: heartbeat, counters, write gate, samples, reports."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from agent.instruments.driver import Driver, GiveWay, Inspection, Profile, Write, never
from agent.protocol.messages import ChannelState, UnitInfo, utc_now
from agent.protocol.quantities import SETTINGS, Setting
from agent.timing import HoldUps, system_clock
from agent.unit.changes import Changes
from agent.unit.gate import Readings, WriteGate
from agent.unit.inbox import Inbox, Stopped
from agent.unit.job import Job
from agent.unit.limits.channel import ChannelSettings, channels_of
from agent.unit.reporter import Reporter
from agent.unit.rights.permission import Permissions
from agent.unit.rights.role import Role
from agent.unit.samples import Samples
from agent.unit.status import Status, unit_info

log = logging.getLogger(__name__)

#: A heartbeat that is not too old at any time.
WAITING = math.inf


class UnitAccess:
    """Access to one unit for its worker: polls are counted, shown to the gate and published; writes pass the gate.

    Only the unit's worker uses it, except for `off_waits`, and that `Supply` reads ``status`` and ``heartbeat``, and calls `info`
    and `note_offline`.
    """

    __slots__ = (
        "_agent",
        "_heartbeat",
        "_poll_interval",
        "_reopened",
        "_sends_off",
        "_settings",
        "changes",
        "driver",
        "gate",
        "heartbeat",
        "hold_ups",
        "inbox",
        "name",
        "opens_for_offs",
        "permissions",
        "reporter",
        "role",
        "samples",
        "status",
    )

    def __init__(
        self,
        *,
        name: str,
        agent: str,
        driver: Driver,
        poll_interval: float,
        heartbeat: float | None = None,
        settings: Mapping[int, ChannelSettings],
        inbox: Inbox,
        changes: Changes,
        samples: Samples,
        reporter: Reporter,
        hold_ups: HoldUps,
        permissions: Permissions,
        role: Role,
    ) -> None:
        """``settings``: of the channels, by their numbers. The other arguments are the unit's parts.

        ``heartbeat``: s after which a state is published though nothing has changed; None where every state is.
        """
        self.name = name
        self.driver = driver
        self.inbox = inbox
        self.changes = changes
        self.samples = samples
        self.reporter = reporter
        self.hold_ups = hold_ups
        self.permissions = permissions
        self.role = role
        self._agent = agent
        self._poll_interval = poll_interval
        self._heartbeat = heartbeat
        self._settings = settings
        self._reopened = 0
        self._sends_off = False
        #: True while the link is opened for offs that were taken out of the inbox.
        self.opens_for_offs = False
        driver.off_waits = self.off_waits
        #: The moment (`time.monotonic`) when the worker last did something; a later one while it sleeps until then, and `WAITING`
        #: while it is the driver's turn: a unit that hangs is no reason to start the agent anew.
        self.heartbeat = time.monotonic()
        self.status = Status(False, "not connected yet", driver.expected, {})
        self._become(driver.expected)

    # The unit as a whole.

    def adopt(self, profile: Profile) -> None:
        """Take over the identity and the outputs that the unit told."""
        before, identity = self.status.profile.identity, profile.identity
        if before is not None and identity is not None and before.serial != identity.serial:
            # Another unit of the same model, where the configuration names no serial number.
            self.samples.forget()
        self._become(profile)

    def _become(self, profile: Profile) -> None:
        channels = channels_of(self.name, profile, self._settings)
        self.gate = WriteGate(self.driver.write, self.driver.write_checked, channels)
        self.samples.adopt(profile, channels.values())
        self.status = replace(self.status, profile=profile, channels=channels)

    def go_online(self, readings: Readings, offs: Iterable[Job]) -> None:
        """Take jobs, ``offs`` first; publish that the unit is online, with the first readings.

        Both in one report: see `Report`.

        :raises Stopped: the worker was abandoned
        """
        if self.reporter.is_closed:
            raise Stopped
        self.status = replace(self.status, online=True, reason=None)
        self.inbox.open(offs)
        self.publish(readings)
        self.reporter.send(info=self.info())

    def go_offline(self, reason: str, *, is_released: bool = False, is_told: bool = False) -> None:
        """Publish that the unit can't be reached, if that is new, with states in which nothing is known of its channels.

        :param is_released: nothing more is sent to it, so that another agent may serve it at once
        :param is_told: the log has it already
        """
        self.reporter.send()  # states and events from before the loss
        info, states = self.note_offline(reason, is_told=is_told)
        self.reporter.send(info=self.info(serves=False) if is_released else info, states=states)

    def note_offline(self, reason: str, *, is_told: bool = False) -> tuple[UnitInfo | None, list[ChannelState]]:
        """Note that the unit can't be reached. The info and the states to be reported for it, as far as they are new."""
        before = self.status
        self.status = replace(before, online=False, reason=reason)
        info: UnitInfo | None = None
        if before.online or before.reason != reason:
            log.log(logging.DEBUG if is_told else logging.WARNING, "%s: offline: %s", self.name, reason)
            info = self.info()
        news = before.online or not self.samples.has_states
        return info, self.samples.lost(utc_now()) if news else []

    def info(self, *, serves: bool = True) -> UnitInfo:
        """The message on the unit: its identity, its channels, and why it is offline if it is. ``serves``: see `unit_info`."""
        return unit_info(
            name=self.name,
            agent=self._agent,
            address=self.driver.address,
            poll_interval=self._poll_interval,
            heartbeat=self._heartbeat,
            status=self.status,
            serves=serves,
        )

    # Exchanges.

    def poll(self, give_way: GiveWay = never) -> Readings | None:
        """The readings of all channels; None if the poll was dropped for an off.

        :raises DriverError: the link broke
        """
        self.heartbeat = WAITING
        readings = self.driver.poll(give_way)
        self.heartbeat = time.monotonic()
        if readings is not None:
            self._polled(readings)
        return readings

    def inspect(
        self, channels: Collection[int], give_way: GiveWay = never, settings: Collection[Setting] = SETTINGS
    ) -> Inspection:
        """A poll, the unit's complaints and the conditions of these settings; no readings if the poll was dropped for an off.

        :raises DriverError: the link broke
        """
        self.heartbeat = WAITING
        inspection = self.driver.inspect(channels, give_way, settings)
        self.heartbeat = time.monotonic()
        if inspection.readings:
            self._polled(inspection.readings)
        return inspection

    def complaints(self) -> list[str]:
        """The errors that the unit reported since it was last asked.

        :raises DriverError: the link broke
        """
        self.heartbeat = WAITING
        complaints = self.driver.complaints()
        self.heartbeat = time.monotonic()
        return complaints

    def write(self, write: Write, job: Job, *, is_checked: bool = False) -> list[str] | None:
        """Send a job's write, if the gate lets it pass.

        The unit's complaints if they were asked for in the same message; None if it is still to be asked.

        :param is_checked: ask for them, where the unit takes that
        :raises Refusal: it may not pass; nothing was sent
        :raises DriverError: the link broke; it may or may not have been carried out
        :raises Stopped: the worker was abandoned; nothing was sent
        """
        if self.reporter.is_closed:
            raise Stopped
        self.changes.wrote(write, job)  # before it is sent: it may be carried out even if the link breaks
        self.heartbeat = WAITING
        complaints = None
        self._sends_off = write.setting == "state" and not write.value
        try:
            if is_checked:
                complaints = self.gate.send_checked(write)
            else:
                self.gate.send(write)
        finally:
            self._sends_off = False
        self.heartbeat = time.monotonic()
        return complaints

    def off_waits(self) -> bool:
        """True while an off waits for this unit, or is being sent. From any thread."""
        return self._sends_off or self.opens_for_offs or self.inbox.has_off_job()

    def publish(self, readings: Readings) -> None:
        """Have the readings' states and events go with the next report."""
        self.reporter.add(*self.samples.take(readings, utc_now(), system_clock()))

    def publish_at_once(self, readings: Readings, *, is_wanted: bool = False) -> None:
        """Report the readings' states and events, and what was added before them.

        :param is_wanted: also where only changes are published, and nothing has changed
        """
        states, events = self.samples.take(readings, utc_now(), system_clock(), is_wanted=is_wanted)
        self.reporter.send(states=states, events=events)

    def states(self, indices: Iterable[int]) -> list[ChannelState]:
        """The newest states of channels. Those that were not published go with the next report."""
        indices = list(indices)
        self.reporter.add(self.samples.publish_newest(indices), [])
        return [self.samples.state(index) for index in indices]

    def finish_poll_ahead(self) -> None:
        """Read and publish a poll that is under way, if there is one. To be called before any other exchange.

        :raises DriverError: the link broke
        """
        if self.driver.is_poll_under_way:
            readings = self.poll()
            if readings is not None:
                self.publish_at_once(readings)

    def _polled(self, readings: Readings) -> None:
        counters = self.reporter.counters
        counters.polls += 1
        if self.driver.reopened != self._reopened:
            counters.reconnects += self.driver.reopened - self._reopened
            self._reopened = self.driver.reopened
        self.gate.saw(readings)

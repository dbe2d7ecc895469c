"""One unit as the other threads see it: started and stopped, given jobs, asked how it is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence

from agent.instruments.claims import Claims
from agent.instruments.driver import Driver
from agent.protocol.errors import Refusal
from agent.protocol.messages import UnitInfo
from agent.protocol.report import Outlet
from agent.timing import HoldUps
from agent.unit.access import UnitAccess
from agent.unit.admission import Admission
from agent.unit.brokerloss import BrokerLoss
from agent.unit.changes import Changes
from agent.unit.connecting import Connector
from agent.unit.inbox import Inbox, InboxClosed
from agent.unit.job import Job
from agent.unit.limits.channel import Channel, ChannelSettings
from agent.unit.limits.checking import admit_off, check, takers
from agent.unit.meters import Meter
from agent.unit.reporter import Reporter
from agent.unit.rights.permission import Permission, Permissions
from agent.unit.rights.role import Role
from agent.unit.samples import Present, Samples
from agent.unit.sampling.deadband import PublishSettings
from agent.unit.schedule import Schedule
from agent.unit.standing import ALONE, Standing
from agent.unit.status import Counters
from agent.unit.worker import Worker

log = logging.getLogger(__name__)

STOPPED = "the agent has stopped"
#: s that a driver may still wait for its unit when the worker is to end.
HURRY = 1.0


class Supply:
    """One unit and its worker, the only thread that calls the driver. Every method but `join` returns at once."""

    __slots__ = (
        "_access",
        "_driver",
        "_handover",
        "_inbox",
        "_is_replaced",
        "_late_offs",
        "_loss",
        "_reporter",
        "_role",
        "_samples",
        "_schedule",
        "_successor",
        "_thread",
        "_worker",
        "counters",
        "name",
        "took_offs",
    )

    def __init__(
        self,
        *,
        name: str,
        agent: str,
        driver: Driver,
        outlets: Sequence[Outlet],
        poll_interval: float = 1.0,
        publish: PublishSettings | None = None,
        channels: Mapping[int, ChannelSettings] | None = None,
        meters: Mapping[int, Meter] | None = None,
        phase: float = 0.0,
        admission: Admission | None = None,
        claims: Claims | None = None,
        hold_ups: HoldUps | None = None,
        permissions: Sequence[Permission] = (),
        standing: Standing | None = None,
        predecessor: Supply | None = None,
    ) -> None:
        """Connect nothing yet.

        :param outlets: where reports go, in this order
        :param poll_interval: s, 0 for as fast as the unit answers
        :param publish: which states are published; None for all of them
        :param channels: the configuration of the channels, by their numbers
        :param meters: the energy and charge that were saved
        :param phase: a moment (`time.monotonic`) of the grid on which the unit is polled
        :param admission: bounds how many units connect at once
        :param claims: which units serve which supplies; None where one supply may be two units
        :param hold_ups: of this process; None where nobody watches for them
        :param permissions: who else has a say before each setting
        :param standing: None for that of the predecessor, or where nobody else claims the unit
        :param predecessor: the unit under an older configuration, whose counts go on; it has been stopped
        """
        self.name = name
        #: True if it took offs when `stop` was called.
        self.took_offs = False
        self.counters: Counters = Counters() if predecessor is None else predecessor.counters
        settings = channels or {}
        changes = Changes(agent, name)
        self._driver = driver
        self._loss = BrokerLoss(settings)
        self._inbox = Inbox(name, self._loss)
        self._inbox.takes_offs = predecessor is not None and predecessor.took_offs
        self._reporter = Reporter(name, outlets, self.counters)
        self._schedule = Schedule(poll_interval, phase)
        self._samples: Samples = Samples(
            agent=agent,
            unit=name,
            interval=poll_interval,
            changes=changes,
            meters=meters or {},
            counts={} if predecessor is None else predecessor.sample_counts(),
            publish=publish,
        )
        if standing is None:
            standing = ALONE if predecessor is None else predecessor.standing
        self._role = Role(name, standing)
        self._access = UnitAccess(
            name=name,
            agent=agent,
            driver=driver,
            poll_interval=poll_interval,
            heartbeat=publish.heartbeat if publish is not None and publish.changes_only else None,
            settings=settings,
            inbox=self._inbox,
            changes=changes,
            samples=self._samples,
            reporter=self._reporter,
            hold_ups=hold_ups or HoldUps(),
            permissions=Permissions((self._role, *permissions)),
            role=self._role,
        )
        connector = Connector(self._access, self._schedule, admission, claims)
        self._worker = Worker(self._access, connector, self._schedule, self._loss, STOPPED)
        self._thread = threading.Thread(target=self._worker.run, name=f"supply-{name}", daemon=True)
        self._is_replaced = False
        self._handover = threading.Lock()  # of the next two
        self._successor: Supply | None = None
        self._late_offs: list[Job] = []  # they came between the worker's end and the successor
        for job in [] if predecessor is None else predecessor.hand_over(self):
            try:
                self.submit(job)
            except Refusal as refusal:
                self._reporter.refuse_at_once(job, refusal.code, refusal.message)

    def start(self) -> None:
        """Begin to serve the unit, in a thread of its own."""
        self._thread.start()

    def stop(self, why: str = STOPPED, *, is_replaced: bool = False) -> None:
        """Ask the worker to end; `join` waits for it. Offs that came before are done; else no output changes.

        :param why: the reason that senders of unfinished commands are told
        :param is_replaced: a successor will be made, which gets the offs that come from now on
        """
        self._worker.why_stopped = why
        self.took_offs = self.online or self._role.is_aside
        self._is_replaced = self._worker.has_successor = is_replaced
        self._inbox.stop()
        self._driver.hurry(HURRY)

    def join(self, timeout: float) -> bool:
        """Wait for the worker; True if it has ended within the timeout (s). One that its unit holds up ends with the process."""
        if self._thread.ident is None:  # it was never started
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Report the unit offline in place of its worker, which its unit holds up and which reports no more from now on.

        To be called after `stop`. Commands that wait or are in progress are answered, and nothing more of them is carried out;
        offs that wait go to the successor, if there is to be one.
        """
        self._reporter.close()
        why = self._worker.why_stopped
        waiting = self._inbox.close()
        for execution in list(self._worker.executions):
            if execution.wrote:
                self._reporter.refuse_at_once(execution.job, "uncertain", f"{why} before the unit confirmed it")
            else:
                self._reporter.refuse_at_once(execution.job, "superseded", f"{why} before it was begun")
        for job in [one for first in waiting for one in (first, *first.take_merged())]:
            if not self._passes_on(job):
                self._reporter.refuse_at_once(job, "superseded", f"{why} before it was begun")
        self._reporter.last_words(*self._access.note_offline(why))

    @property
    def online(self) -> bool:
        """True while the agent can talk to the unit."""
        return self._access.status.online

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The unit's channels, as far as they are known."""
        return tuple(self._access.status.channels.values())

    def channel(self, key: str) -> Channel:
        """The channel that a topic names by its number or its name.

        :raises Refusal: ``unknown_channel``; ``offline`` where only the unit can tell what it has
        """
        channels = self.channels
        for channel in channels:
            if key in (str(channel.index), channel.name):
                return channel
        if not channels:
            raise Refusal("offline", self._worker.offline_reason())
        known = ", ".join(str(c.index) if c.name == c.output.name else f"{c.index} ({c.name})" for c in channels)
        raise Refusal("unknown_channel", f"{self.name} has no channel {ascii(key)[:70]}; it has {known}")

    def submit(self, job: Job) -> None:
        """Check a command and give it to the worker. An off goes ahead of all commands that wait.

        Commands that wait to turn one of the same outputs on are older than the off, and are refused. Of an off with something
        else that is not allowed the off remains.

        :raises Refusal: it is not carried out, and nothing of it was
        """
        if job.has_expired():
            raise Refusal(
                "expired", f"it has expired: expires_at was {job.command.expires_at}, or MQTT's expiry ran out"
            )
        if not job.channels:  # only the unit can tell which it has, and has not yet
            raise Refusal("offline", self._worker.offline_reason())
        if job.command.state is False:
            job.command, channels = admit_off(job.command, job.channels)
            job.narrow(channels)
            self._access.permissions.admit(job)
        else:
            if job.whole_unit:
                job.narrow(takers(job.command, job.channels))
            self._access.permissions.admit(job)
            check(job.command, job.channels)
        try:
            superseded = self._inbox.put(job)
        except InboxClosed:
            if not self._passes_on(job):
                raise Refusal("offline", self._worker.offline_reason()) from None
            return
        for other in superseded:
            self._reporter.refuse_at_once(other, "superseded", "the output was turned off before it was begun")

    def _passes_on(self, job: Job) -> bool:
        """True if an off goes to the successor, which there may be later."""
        offline = Refusal("offline", self._worker.offline_reason())
        if not (self._is_replaced and self.took_offs and job.keep_off(offline)):
            return False
        with self._handover:
            successor = self._successor
            if successor is None:
                self._late_offs.append(job)
        if successor is not None:
            successor.submit(job)
        return True

    def hand_over(self, successor: Supply) -> list[Job]:
        """The offs that came since this unit's worker ended; later ones go to the successor at once."""
        with self._handover:
            self._successor = successor
            late, self._late_offs = self._late_offs, []
        return late

    def poll_now(self) -> None:
        """Poll and publish as soon as the worker is free, out of its schedule."""
        self._schedule.want()
        self._inbox.wake()

    def broker_gone(self, since: float | None) -> None:
        """Note since when (`time.monotonic`) there is no broker, None while there is one, for ``on_broker_loss``."""
        if self._loss.tell(since):
            self._inbox.wake()

    @property
    def standing(self) -> Standing:
        """The unit's standing among agents."""
        return self._role.standing

    def stand(self, standing: Standing) -> None:
        """Take over a standing, from any thread. From this moment on settings are sent only if this agent serves the unit.

        A unit whose supply another agent serves closes its link, as soon as its offs are done.
        """
        before, self._role.standing = self._role.standing, standing
        if standing == before:
            return
        if standing.why is not None and standing.other is not None and standing.why != before.why:
            log.warning("%s: %s", self.name, standing.why)
        elif standing == ALONE and before.other is not None:
            log.info("%s: this agent serves it, and no other claims it any more", self.name)
        if self._role.is_aside:
            self._inbox.take_offs()
        if before.is_muted and not standing.is_muted:
            self._schedule.want()  # nobody has heard the states that there were meanwhile
        self._inbox.wake()

    def alive(self, within: float) -> bool:
        """True if the thread runs, and did something within that time (s) or sleeps until it has something to do."""
        return self._thread.is_alive() and time.monotonic() - self._access.heartbeat < within

    def sample_counts(self) -> dict[int, int]:
        """The number of samples that each channel had; its successor goes on from there."""
        return self._samples.counts()

    def present(self) -> list[Present]:
        """The unit's channels as they are now, for any thread."""
        return self._samples.present()

    def meters(self) -> dict[int, Meter]:
        """A copy of the channels' energy and charge."""
        return self._samples.meters()

    def credit(self, totals: Mapping[int, tuple[float, float]]) -> None:
        """Add energy (Wh) and charge (Ah) of an earlier run, by channel, which became known late. Once."""
        self._samples.credit(totals)

    def info(self) -> UnitInfo:
        """The message on the unit: its identity, its channels, and why it is offline if it is."""
        return self._access.info()

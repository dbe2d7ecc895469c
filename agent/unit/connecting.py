"""Connecting a unit: tries, the waiting between them, and the queue of the units that connect."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import NoReturn

from agent.instruments.claims import Claims
from agent.instruments.driver import DriverError, Identity, IdentityError
from agent.timing import retry_delay
from agent.unit.access import WAITING, UnitAccess
from agent.unit.admission import Admission, check_room
from agent.unit.job import Job
from agent.unit.schedule import Schedule

log = logging.getLogger(__name__)

#: s; tries are spaced from the first to the second, each time by a random part more.
FIRST_RETRY, LAST_RETRY, RETRY_JITTER = 0.25, 5.0, 0.5
#: s. A link that did not last that long is not opened again at once.
SHORT_LIVED = 1.0
#: s between two looks at a supply that another unit serves. Each opens a second link to it, and some supplies have but two.
NEXT_LOOK = 30.0


class LeftToAnotherError(IdentityError):
    """Another agent serves the supply. No fault: the link is closed, and opened again when this agent is to serve it."""


class Connector:
    """Connects one unit. Only the unit's worker calls it."""

    __slots__ = (
        "_admission",
        "_claims",
        "_for_offs",
        "_look_at",
        "_online_since",
        "_schedule",
        "_shared",
        "_unit",
        "_was_online",
        "displaced_by",
    )

    def __init__(
        self, unit: UnitAccess, schedule: Schedule, admission: Admission | None, claims: Claims | None = None
    ) -> None:
        """
        :param admission: None for no bound on the units that connect at once
        :param claims: of all units; None where a supply may have two
        """
        self._unit = unit
        self._schedule = schedule
        self._admission = admission
        self._claims = claims or Claims()
        self._shared: Identity | None = None  # of a supply that another unit was found to serve
        self._look_at = 0.0  # the moment (time.monotonic) from which it is looked at again
        #: The unit that took the supply over since this one connected.
        self.displaced_by: str | None = None
        unit.driver.admit = self._admit
        self._claims.watch(unit.name, self._displaced)
        self._was_online = False
        self._for_offs = False
        self._online_since = -SHORT_LIVED

    def connect_until_it_works(self, failed: Callable[[], None]) -> None:
        """Try until the unit is online, with growing waits. It returns also when another agent is to serve the supply.

        :param failed: called after each try that did not work
        :raises Stopped: the worker is to end
        """
        if time.monotonic() - self._online_since < SHORT_LIVED:
            # A unit that takes the connection and then drops it must not be asked a hundred times a second.
            self._sleep(FIRST_RETRY)
        tries = 0
        role = self._unit.role
        while not role.is_aside:
            try:
                self._connect_in_turn()
                return
            except LeftToAnotherError:
                return
            except DriverError:
                tries += 1
            if role.is_aside:  # the offs that have come since wait for a link of their own
                return
            failed()
            if role.looks_taken:
                # Each try opens a second link to what may be another agent's supply.
                self._unit.inbox.take_offs()
                self._sleep(NEXT_LOOK)
            else:
                self._sleep(retry_delay(tries, FIRST_RETRY, LAST_RETRY, RETRY_JITTER))

    def connect(self, offs: Iterable[Job] = (), *, for_offs: bool = False) -> None:
        """Try once, without the queue; ``offs`` are carried out before all else.

        :param for_offs: connect for nothing but offs, which may wait in the inbox: while another agent serves the supply, and at
            the worker's end. A failure is not reported
        :raises DriverError: it did not work; the link is closed, and the reason reported
        :raises Stopped: the worker is to end
        """
        unit = self._unit
        unit.heartbeat = time.monotonic()
        self._for_offs = for_offs or bool(offs)
        if not for_offs:
            unit.inbox.check_stop()
        unit.opens_for_offs = bool(offs)
        counters = unit.reporter.counters
        if self._was_online:
            counters.reconnects += 1
        self._claims.lost(unit.name)
        try:
            self._check_aside()
            check_room()
            self._check_shared()
            unit.heartbeat = WAITING
            profile = unit.driver.connect()
            unit.heartbeat = time.monotonic()
            if profile.identity is not None:
                self._admit(profile.identity)
            unit.adopt(profile)
            readings = unit.poll()
            self._check_aside()
        except LeftToAnotherError:
            unit.driver.close()
            raise
        except DriverError as error:
            unit.driver.close()
            unit.heartbeat = time.monotonic()
            counters.errors += 1
            if not for_offs:
                unit.go_offline(str(error))
            raise
        finally:
            unit.opens_for_offs = False
        assert readings is not None  # this poll gives way to nothing
        self._online_since = time.monotonic()
        self._schedule.begin(self._online_since)
        identity = profile.identity
        is_aside = for_offs and unit.role.is_aside
        log.log(
            logging.DEBUG if is_aside else logging.INFO,
            "%s: %s %s, firmware %s, at %s; %s a poll",
            unit.name,
            profile.model,
            (identity.serial if identity else "") or "no serial number",
            (identity.firmware if identity else "") or "unknown",
            unit.driver.address,
            profile.effort,
        )
        if not is_aside:
            self._warn_of_reach()
        unit.go_online(readings, offs)
        self._was_online = True

    def _warn_of_reach(self) -> None:
        """Log which outputs ``on_broker_loss: off`` of another one would turn off too. The configuration alone can't tell."""
        channels = self._unit.status.channels
        for channel in channels.values():
            others = [
                index
                for index in sorted(channel.together - {channel.index})
                if index in channels and channels[index].settings.on_broker_loss == "keep"
            ]
            if channel.settings.on_broker_loss == "off" and others:
                log.warning(
                    "%s: channel %d has on_broker_loss: off; its switch turns off channel%s %s too",
                    self._unit.name,
                    channel.index,
                    "s" if len(others) > 1 else "",
                    " and ".join(map(str, others)),
                )

    def _check_aside(self) -> None:
        """:raises LeftToAnotherError: another agent serves the supply, and there is no off to be done"""
        unit = self._unit
        if unit.role.is_aside and not self._for_offs and not unit.inbox.has_off_job():
            raise LeftToAnotherError(unit.role.conflict().message)

    def release(self) -> None:
        """Close the link. Other units of this agent may serve the supply now."""
        self._unit.driver.close()
        self._claims.lost(self._unit.name)

    def _check_shared(self) -> None:
        """:raises IdentityError: the supply that was found last has another unit still, and it is not time to look again"""
        identity, self._shared = self._shared, None
        if identity is not None and time.monotonic() < self._look_at and (holder := self._claims.holder(identity)):
            self._shared = identity
            raise _same(identity, holder)

    def _admit(self, identity: Identity) -> None:
        """:raises IdentityError: another unit, or another agent, serves this supply"""
        self._check_aside()
        self.displaced_by = None
        if (holder := self._claims.claim(self._unit.name, identity)) is not None:
            self._leave(identity, holder)

    def _displaced(self, by: str) -> None:
        self.displaced_by = by
        self._unit.inbox.wake()

    def give_up(self) -> None:
        """Leave the supply to the unit that took it over.

        :raises IdentityError: it did
        """
        holder, identity = self.displaced_by, self._unit.status.profile.identity
        self.displaced_by = None
        if holder is not None and identity is not None:
            self._leave(identity, holder)

    def _leave(self, identity: Identity, holder: str) -> NoReturn:
        self._shared, self._look_at = identity, time.monotonic() + NEXT_LOOK
        raise _same(identity, holder)

    def _connect_in_turn(self) -> None:
        if self._admission is None:
            self.connect()
            return
        inbox = self._unit.inbox
        place = self._admission.enter(inbox.wake)
        try:
            while not self._unit.role.is_aside and (moment := place.wait_until(time.monotonic())) is not None:
                self._unit.heartbeat = moment
                inbox.wait(moment)
            self.connect()
        finally:
            place.leave(time.monotonic())

    def _sleep(self, seconds: float) -> None:
        self._unit.heartbeat = until = time.monotonic() + seconds
        unit = self._unit
        standing = unit.role.standing
        while time.monotonic() < until and unit.role.standing is standing and not unit.inbox.has_off_job():
            unit.inbox.wait(until)


def _same(identity: Identity, holder: str) -> IdentityError:
    return IdentityError(
        f"this is the supply that {holder} serves ({identity.model}, serial number {identity.serial}); use {holder}, "
        "and take one of the two out of the configuration",
        identity,
    )

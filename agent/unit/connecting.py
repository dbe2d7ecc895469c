"""Connecting a unit: tries, the waiting between them, and the queue of the units that connect."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from agent.instruments.driver import DriverError
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


class Connector:
    """Connects one unit. Only the unit's worker calls it."""

    __slots__ = ("_admission", "_online_since", "_schedule", "_unit", "_was_online")

    def __init__(self, unit: UnitAccess, schedule: Schedule, admission: Admission | None) -> None:
        """``admission``: None for no bound on the units that connect at once."""
        self._unit = unit
        self._schedule = schedule
        self._admission = admission
        self._was_online = False
        self._online_since = -SHORT_LIVED

    def connect_until_it_works(self) -> None:
        """Try until the unit is online, with growing waits.

        :raises Stopped: the worker is to end
        """
        if time.monotonic() - self._online_since < SHORT_LIVED:
            # A unit that takes the connection and then drops it must not be asked a hundred times a second.
            self._sleep(FIRST_RETRY)
        tries = 0
        while True:
            try:
                self._connect_in_turn()
                return
            except DriverError:
                tries += 1
            self._sleep(retry_delay(tries, FIRST_RETRY, LAST_RETRY, RETRY_JITTER))

    def connect(self, offs: Iterable[Job] = ()) -> None:
        """Try once, without the queue; ``offs`` are carried out before all else.

        :raises DriverError: it did not work; the link is closed, and the reason reported
        :raises Stopped: the worker is to end
        """
        unit = self._unit
        unit.heartbeat = time.monotonic()
        unit.inbox.check_stop()
        counters = unit.reporter.counters
        if self._was_online:
            counters.reconnects += 1
        try:
            check_room()
            unit.heartbeat = WAITING
            profile = unit.driver.connect()
            unit.heartbeat = time.monotonic()
            unit.adopt(profile)
            readings = unit.poll()
        except DriverError as error:
            unit.driver.close()
            unit.heartbeat = time.monotonic()
            counters.errors += 1
            unit.go_offline(str(error))
            raise
        assert readings is not None  # this poll gives way to nothing
        self._online_since = time.monotonic()
        self._schedule.begin(self._online_since)
        identity = profile.identity
        log.info(
            "%s: %s %s, firmware %s, at %s; %s a poll",
            unit.name,
            profile.model,
            (identity.serial if identity else "") or "no serial number",
            (identity.firmware if identity else "") or "unknown",
            unit.driver.address,
            profile.effort,
        )
        unit.go_online(readings, offs)
        self._was_online = True

    def _connect_in_turn(self) -> None:
        if self._admission is None:
            self.connect()
            return
        inbox = self._unit.inbox
        place = self._admission.enter(inbox.wake)
        try:
            while (moment := place.wait_until(time.monotonic())) is not None:
                self._unit.heartbeat = moment
                inbox.wait(moment)
            self.connect()
        finally:
            place.leave(time.monotonic())

    def _sleep(self, seconds: float) -> None:
        self._unit.heartbeat = time.monotonic() + seconds
        self._unit.inbox.sleep(seconds)

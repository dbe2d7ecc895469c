"""Leases as clients ask for them: the table, its records in the store, and the retained messages that tell of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from agent.protocol.errors import Refusal
from agent.protocol.leases import LONGEST_LEASE, LeaseRequest
from agent.protocol.messages import LeaseState, utc_now
from agent.protocol.payloads import checked_holder
from agent.protocol.topics import Topics
from agent.service.fleet.retained import LINGERING
from agent.service.leases.table import Lease, LeaseTable
from agent.store.leases import LeaseRecord, LeaseRecords, Place
from agent.timing import boot_id, system_clock
from agent.unit.standing import Part, Standing

log = logging.getLogger(__name__)

#: s between two corrections of what others publish on the topics of leases, and between two complaints about that.
CORRECTING, COMPLAINING = 1.0, 60.0
_FREE = LeaseRecord(None, 0.0, 0.0, 0.0, "", 0.0)


class Publisher(Protocol):
    """The part of the MQTT session that leases need."""

    def keep(self, topic: str, payload: bytes) -> None:
        """Publish retained, and again whenever the broker may have lost it. An empty payload removes it from the broker."""

    def is_pending(self, topic: str) -> bool:
        """True if a broker that comes back is to be told of this topic; for a removal until one has confirmed it."""


@dataclass(slots=True)
class _Told:
    """The message that was published last for a place, and the lease that it tells of; None for none."""

    lease: Lease | None
    payload: bytes
    #: The broker has sent it back. What comes there later is somebody else's.
    is_heard: bool = False


class Leases:
    """The leases of one agent's units.

    `request` and `heard` are called by the MQTT thread, `retire` and `tick` by the main thread. They return at once. A place
    that never had a lease has no message. One whose lease has ended keeps a message without a holder.

    ``table``: asked by the units before each setting.

    :param standing: returns the standing of a unit among agents; None if this agent has no unit of that name now
    """

    def __init__(
        self,
        agent: str,
        *,
        topics: Topics,
        publisher: Publisher,
        records: LeaseRecords,
        standing: Callable[[str], Standing | None],
        clock: Callable[[], float] = system_clock,
        boot: str | None = None,
    ) -> None:
        self._agent = agent
        self._topics = topics
        self._publisher = publisher
        self._records = records
        self._standing = standing
        self._clock = clock
        self._boot = boot_id() if boot is None else boot
        self.table = LeaseTable(clock)
        self._lock = threading.Lock()
        self._told: dict[Place, _Told] = {}
        self._wrong: set[Place] = set()  # somebody else published there
        self._muted: set[Place] = set()  # their topics are another agent's
        #: The lease that was heard of last there, while this agent does not serve the unit.
        self._theirs: dict[Place, LeaseRecord] = {}
        self._left: set[str] = set()  # units whose topics are another agent's, as far as something was heard there
        self._leaving: dict[Place, float] = {}  # of units that are not served any more → when they are removed
        self._removed: set[Place] = set()  # the broker has not confirmed it yet
        self._corrected = self._complained = -COMPLAINING

    def request(self, unit: str, index: int | None, request: LeaseRequest, came: float) -> LeaseState:
        """Take, renew or give back a lease, for a unit or one of its channels. The lease as it is then.

        :param came: the moment of `agent.timing.system_clock` when the request came in
        :raises Refusal: ``claimed`` or ``conflict``; nothing changed
        """
        place = unit, index
        standing = self._standing(unit)
        if standing is not None and standing.part is not Part.SERVES:
            raise Refusal("conflict", f"no lease was given: {standing.why or f'another agent serves {unit}'}")
        with self._lock:
            changed = self.table.release(place, request) if request.release else self.table.take(place, request, came)
            for one in changed:
                self._tell(one)
            return self._state(place, self.table.live(place))

    def heard(self, unit: str, channel: str | None, channels: Iterable[int], payload: bytes) -> None:
        """Take a message on the topic of a lease of a unit: one that this agent did not publish is corrected by `tick`.

        :param channel: as it stands in the topic
        :param channels: the numbers of the unit's channels
        """
        index = None if channel is None else next((number for number in channels if str(number) == channel), 0)
        if index == 0:
            return  # no channel of the unit: nobody takes that for a lease on one
        place = unit, index
        standing = self._standing(unit)
        with self._lock:
            if standing is not None and standing.part is not Part.SERVES:
                self._theirs[place] = _record(place, payload)
                if standing.is_muted:
                    self._left.add(unit)
            told = self._told.get(place)
            if told is None:
                # Without its file the agent does not know yet what an earlier run has published.
                if payload and self._records.is_loaded:
                    self._wrong.add(place)
            elif payload == told.payload:
                told.is_heard = True
            elif told.is_heard:  # else this agent's message is still on its way there, and follows
                self._wrong.add(place)

    def retire(self, units: Iterable[str]) -> None:
        """Forget units that are not served any more, and have their messages removed from the broker."""
        with self._lock:
            for unit in units:
                self.table.drop(unit)
                for place in [place for place in self._told if place[0] == unit]:
                    self._leave(place)
                for place in [place for place in self._muted if place[0] == unit]:
                    self._muted.discard(place)  # the message that is retained there is another agent's
                    self._records.forget(place)

    def tick(self, now: float) -> None:
        """Tell of leases that have ended, and of those that an earlier run has left; correct the messages of others.

        To be called at the start, and then several times a second.
        """
        with self._lock:
            for place, record in self._records.take_loaded().items():
                self._take_over(place, record)
            self._follow()
            for place in [place for place in self._muted if not self._is_muted(place)]:
                self._tell(place)
            for place, told in list(self._told.items()):
                if self._is_muted(place):  # its messages have left the session with its states
                    del self._told[place]
                    self._muted.add(place)
                elif told.lease is not self.table.live(place):
                    if told.lease is not None:
                        log.info("%s: the lease of %s has ended", _shown(place), told.lease.holder)
                    self._tell(place)
            self._remove()
            if self._wrong and now - self._corrected >= CORRECTING:
                self._corrected = now
                self._correct(now)

    # With the lock held.

    def _take_over(self, place: Place, record: LeaseRecord) -> None:
        if place in self._told:
            return
        if self._standing(place[0]) is None:
            self._leave(place)
            return
        self.table.restore(place, record, self._boot)
        if self._is_muted(place):
            self._muted.add(place)
        else:
            self._tell(place)

    def _follow(self) -> None:
        """Take over the leases of an agent that served a unit of this name, once this agent serves it.

        Who reserved the unit there need not know which agent serves it. A forged one keeps others from setting, as any lease.
        """
        for unit in {unit for unit, _ in self._theirs}:
            standing = self._standing(unit)
            if standing is not None and standing.is_muted:
                self._left.add(unit)
            elif standing is None or standing.part is Part.SERVES or unit in self._left:
                for place in [place for place in self._theirs if place[0] == unit]:
                    record = self._theirs.pop(place)
                    if standing is not None and unit in self._left:
                        self.table.restore(place, record, "", is_newer=True)
                        self._tell(place)
                self._left.discard(unit)

    def _is_muted(self, place: Place) -> bool:
        standing = self._standing(place[0])
        return standing is not None and standing.is_muted

    def _correct(self, now: float) -> None:
        wrong, self._wrong = self._wrong, {place for place in self._wrong if self._is_muted(place)}
        places = [place for place in sorted(wrong - self._wrong, key=str) if self._standing(place[0]) is not None]
        if places and now - self._complained >= COMPLAINING:
            self._complained = now
            log.warning(
                "%s: somebody published a lease that this agent did not give; it is corrected. To get a lease, publish to %s",
                _shown(places[0]),
                self._topics.lease_set(*places[0]),
            )
        for place in places:
            self._tell(place)

    def _tell(self, place: Place) -> None:
        lease = self.table.live(place)
        payload = self._state(place, lease).to_json()
        self._told[place] = _Told(lease, payload)
        self._leaving.pop(place, None)
        self._removed.discard(place)
        self._muted.discard(place)
        self._wrong.discard(place)
        record = _FREE
        if lease is not None:
            record = LeaseRecord(lease.holder, lease.since, lease.until, lease.ttl, self._boot, lease.end)
        self._records.remember(place, record)
        self._publisher.keep(self._topics.lease(*place), payload)

    def _leave(self, place: Place) -> None:
        self._told.pop(place, None)
        self._leaving[place] = self._clock() + LINGERING

    def _remove(self) -> None:
        """Remove what is left of units that are gone, and forget what the broker has removed."""
        for place in [place for place in self._removed if not self._publisher.is_pending(self._topics.lease(*place))]:
            self._removed.discard(place)
            self._records.forget(place)
        now = self._clock()
        for place in [place for place, due in self._leaving.items() if due <= now]:
            del self._leaving[place]
            self._removed.add(place)
            self._publisher.keep(self._topics.lease(*place), b"")

    def _state(self, place: Place, lease: Lease | None) -> LeaseState:
        unit, index = place
        return LeaseState(
            time=utc_now(),
            agent=self._agent,
            psu=unit,
            index=index,
            holder=None if lease is None else lease.holder,
            since=None if lease is None else datetime.fromtimestamp(lease.since, UTC),
            until=None if lease is None else datetime.fromtimestamp(lease.until, UTC),
        )


def _record(place: Place, payload: bytes) -> LeaseRecord:
    """The lease that another agent tells of on a place; a free one where the message is none."""
    try:
        told = LeaseState.model_validate_json(payload)
        checked_holder(told.holder)
    except ValueError:
        return _FREE
    if (told.psu, told.index) != place or told.holder is None or told.since is None or told.until is None:
        return _FREE
    since, until = told.since.timestamp(), told.until.timestamp()
    record = LeaseRecord(told.holder, since, until, min(until - since, LONGEST_LEASE), "", 0.0)
    return record if record.is_possible else _FREE


def _shown(place: Place) -> str:
    unit, index = place
    return unit if index is None else f"{unit}/{index}"

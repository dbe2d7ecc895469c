"""The table of leases: who holds which unit or channel, and may a command set it. Without messages and without a disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from agent.protocol.errors import Refusal
from agent.protocol.leases import LeaseRequest
from agent.store.leases import LeaseRecord, Place
from agent.unit.job import Job

_NONE: Mapping[int | None, Lease] = {}


@dataclass(frozen=True, slots=True)
class Lease:
    """One holder's lease on one place. It holds until its ``end``; afterwards it tells that it was there.

    ``since``, ``until``: by the wall clock (s since 1970), for people. ``taken``, ``end``: moments of a clock that nobody sets,
    by which it is judged. ``forced``: commands that came before it are not carried on either.
    """

    holder: str
    since: float
    until: float
    ttl: float
    taken: float
    end: float
    forced: bool = False


class LeaseTable:
    """Leases by unit and channel; None in the place of a channel is the unit as a whole, whose lease covers its channels.

    Of a channel's own lease and its unit's the channel's own decides. `take`, `release`, `restore` and `drop` are for one thread
    at a time; the rest is for any thread, and returns at once.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """:param clock: in s, one that nobody sets"""
        self._clock = clock
        self._units: dict[str, Mapping[int | None, Lease]] = {}  # replaced by unit, so that it is read without a lock

    def live(self, place: Place) -> Lease | None:
        """The lease that holds for exactly this place now; None if there is none."""
        unit, index = place
        return _live(self._units.get(unit, _NONE), index, self._clock())

    def take(self, place: Place, request: LeaseRequest, came: float) -> list[Place]:
        """Give a lease to the holder that asks for it, or renew the one that he has. The places whose lease changed.

        :param came: the moment when the request came in
        :raises Refusal: ``claimed``: somebody else holds it, or a part of it
        """
        unit, index = place
        held, now = self._units.get(unit, _NONE), self._clock()
        present, holder = _live(held, index, now), request.holder
        is_own = present is not None and present.holder == holder
        others = [
            other
            for other in (held if index is None else (index, None))
            if (lease := _live(held, other, now)) is not None and lease.holder != holder
        ]
        if others and not is_own and not request.force:
            other = index if index in others else others[0]
            raise Refusal(
                "claimed", f"{_claimed(unit, other, held[other])}; ask for it with force to take it all the same"
            )
        since, taken, forced = time.time(), came, request.force
        if is_own and present is not None:
            since, taken, forced = present.since, present.taken, present.forced or request.force
        ttl = request.ttl or 0.0
        changes: dict[int | None, Lease] = {}
        if index is None and request.force:
            changes = {other: replace(held[other], end=now) for other in others}
        changes[index] = Lease(holder, since, time.time() + ttl, ttl, taken, came + ttl, forced)
        self._units[unit] = {**held, **changes}
        return [(unit, changed) for changed in changes]

    def release(self, place: Place, request: LeaseRequest) -> list[Place]:
        """End a lease. The places whose lease changed; none if nobody holds it.

        :raises Refusal: ``claimed``: somebody else holds it; ``unsupported``: it is the unit's lease that covers the channel
        """
        unit, index = place
        held, now = self._units.get(unit, _NONE), self._clock()
        present, whole = _live(held, index, now), _live(held, None, now)
        if present is None:
            if whole is not None and whole.holder == request.holder:
                raise Refusal(
                    "unsupported",
                    f"{request.holder} holds {_place(unit, index)} by the lease on all of {unit}; give that back",
                )
            return []
        if present.holder != request.holder and not request.force:
            raise Refusal("claimed", f"{_claimed(unit, index, present)}; only its holder can give it back, or force")
        self._units[unit] = {**held, index: replace(present, end=now)}
        return [place]

    def restore(self, place: Place, record: LeaseRecord, boot: str, *, is_newer: bool = False) -> None:
        """Take over what an earlier run, or the agent that served the unit before, has left.

        :param boot: the present boot of the host, to which moments of the clock belong; empty if nobody knows
        :param is_newer: it counts also where this table has something; else only where it has nothing
        """
        unit, index = place
        held, now, wall = self._units.get(unit, _NONE), self._clock(), time.time()
        if index in held and not is_newer:
            return
        left = record.left(boot, now)
        if record.holder is None or left <= 0.0:
            if (present := _live(held, index, now)) is not None:
                self._units[unit] = {**held, index: replace(present, end=now)}
            return
        # A clock that was set back while the agent was down: the end that people are told is the one that counts.
        until = record.until if abs(record.until - wall - left) < 1.0 else wall + left
        lease = Lease(record.holder, record.since, until, record.ttl, -math.inf, now + left)
        self._units[unit] = {**held, index: lease}

    def drop(self, unit: str) -> None:
        """Forget a unit that is not served any more."""
        self._units.pop(unit, None)

    def refusal(self, job: Job, indices: Collection[int], *, turns_on: bool = False) -> Refusal | None:
        """Why a job may not set these channels: another one holds them, or the lease that its command names has ended.

        A job that came before a lease was taken goes on, unless that was forced, or it names another holder.
        """
        del turns_on
        if not job.channels:
            return None
        unit = job.channels[0].unit
        held, named = self._units.get(unit, _NONE), job.command.lease
        if not held and named is None:
            return None
        now = self._clock()
        for index in sorted(indices):
            own = _live(held, index, now)
            lease = own or _live(held, None, now)
            if lease is None or lease.holder == named:
                continue
            if named is None and not lease.forced and lease.taken > job.received:
                continue
            place = index if own is not None else None
            return Refusal("claimed", f"{_claimed(unit, place, lease)}; wait, or ask its holder")
        if named is None or any(_names(held.get(index), job, now) for index in (*job.indices, None)):
            return None
        return Refusal(
            "claimed",
            f"{named} holds no lease for that on {unit}: it has ended, or was never taken; take it, then repeat the command",
        )


def _live(held: Mapping[int | None, Lease], index: int | None, now: float) -> Lease | None:
    lease = held.get(index)
    return lease if lease is not None and lease.end > now else None


def _names(lease: Lease | None, job: Job, now: float) -> bool:
    """True if a job names the holder of this lease, and it holds, or held when the job came."""
    if lease is None or lease.holder != job.command.lease:
        return False
    return lease.end > now or lease.taken <= job.received < lease.end


def _place(unit: str, index: int | None) -> str:
    return unit if index is None else f"channel {index} of {unit}"


def _claimed(unit: str, index: int | None, lease: Lease) -> str:
    until = datetime.fromtimestamp(lease.until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{_place(unit, index)} is reserved for {lease.holder} until {until}"

"""The states that Home Assistant gets: fewer than are published for others, and with energy that does not fall."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from agent.homeassistant.interfaces import Publisher
from agent.homeassistant.throttle import Scale, Throttle
from agent.protocol.messages import ChannelState, UnitInfo
from agent.protocol.topics import Topics

#: Energy (Wh) and charge (Ah), by unit and channel.
Meters = Mapping[str, Mapping[int, tuple[float, float]]]
#: s after which a state is published again whose numbers have other ranges: Home Assistant has taken these by then, the second
#: time also while it is busy.
AGAIN = (2.0, 15.0)


class Updates:
    """Publishes the states of channels on their topics for Home Assistant, throttled. From any thread."""

    def __init__(
        self,
        *,
        topics: Topics,
        publisher: Publisher,
        units: Collection[str],
        interval: float,
        saved: Meters,
        fit: Callable[[ChannelState], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Publish nothing yet.

        :param fit: has Home Assistant take the values of a state that is about to be published, see `Discovery.fit`
        :param units: the names of the units that are served
        :param interval: s between samples in which nothing but noise changed
        :param saved: the meters that are on disk; not to be changed afterwards
        """
        self._topics = topics
        self._fit = fit
        self._again = _Again(publisher, clock)
        self._interval = interval
        self._clock = clock
        # The threads of all units, the main thread (`serve`, `tick`) and the store's (`saved`) meet here. A throttle itself is
        # used by its unit's thread alone, without the lock, unless the unit publishes changes only.
        self._lock = threading.Lock()
        self._held: dict[tuple[str, int], ChannelState] = {}  # unit, channel → a sample that has not passed yet
        self._units = frozenset(units)
        self._throttles: dict[str, dict[int, Throttle]] = {}
        self._saved = saved

    def follow(self, info: UnitInfo) -> None:
        """Publish states of this unit's channels from now on, at the scale that their ratings give."""
        with self._lock:
            if info.psu not in self._units:  # the configuration has it no more, and it is still reporting
                return
            known = self._throttles.get(info.psu, {})
            throttles: dict[int, Throttle] = {}
            for channel in info.channels:
                throttle, scale = known.get(channel.index), Scale.of(channel)
                if throttle is None or throttle.scale != scale:
                    throttle = Throttle(scale, self._interval)
                throttle.is_thinned = info.heartbeat is not None
                throttles[channel.index] = throttle
            self._throttles[info.psu] = throttles

    def publish(self, states: Sequence[ChannelState]) -> None:
        """Publish those states of one unit that say something new. In the thread of the unit."""
        if not states:
            return
        unit = states[0].psu
        with self._lock:
            throttles, meters = self._throttles.get(unit, {}), self._saved.get(unit, {})
        now = self._clock()
        for state in states:
            if (throttle := throttles.get(state.index)) is None:
                continue
            if not throttle.is_thinned:
                self._has_passed(throttle, state, meters, now)
                continue
            with self._lock:
                self._held[unit, state.index] = state
                self._let_go(throttle, state, meters, now)

    def tick(self) -> None:
        """Publish held samples that have waited long enough. To be called several times a second.

        They are those of units that publish changes only: the next sample may come much later.
        """
        now = self._clock()
        self._again.tick(now)
        if not self._held:
            return
        with self._lock:
            for (unit, index), state in list(self._held.items()):
                throttle = self._throttles.get(unit, {}).get(index)
                if throttle is None:
                    del self._held[unit, index]
                else:
                    self._let_go(throttle, state, self._saved.get(unit, {}), now)

    def _let_go(
        self, throttle: Throttle, state: ChannelState, meters: Mapping[int, tuple[float, float]], now: float
    ) -> None:
        """Hold a sample no longer that has passed, or that tells nothing new."""
        if self._has_passed(throttle, state, meters, now) or throttle.is_over(now):
            del self._held[state.psu, state.index]

    def _has_passed(
        self, throttle: Throttle, state: ChannelState, meters: Mapping[int, tuple[float, float]], now: float
    ) -> bool:
        energy, charge = _certain(state, meters.get(state.index))
        if not throttle.passes(state, energy, charge, now):
            return False
        told = throttle.scale.rounded(state, energy, charge)
        # The ranges first, and the state again later: Home Assistant takes a state before the ranges that came ahead of it.
        has_other_ranges = self._fit(told)
        topic = self._topics.homeassistant(state.psu, state.index)
        self._again.publish(state.psu, topic, told.to_json(), again=has_other_ranges)
        return True

    def leave(self, unit: str) -> None:
        """Publish no state of this unit any more that was reported before: another agent serves it."""
        with self._lock:
            self._held = {place: state for place, state in self._held.items() if place[0] != unit}
        self._again.forget(unit)

    def serve(self, units: Collection[str]) -> None:
        """Publish states of these units from now on, and of no other."""
        with self._lock:
            for name in self._units.difference(units):
                self._again.forget(name)
            self._units = frozenset(units)
            self._throttles = {name: known for name, known in self._throttles.items() if name in units}

    def saved(self, meters: Meters) -> None:
        """Take these meters for those that are on disk. They are not to be changed afterwards."""
        with self._lock:
            self._saved = meters


class _Again:
    """Publishes states, some of them again a little later. From any thread."""

    def __init__(self, publisher: Publisher, clock: Callable[[], float]) -> None:
        self._publisher = publisher
        self._clock = clock
        self._lock = threading.Lock()  # so that an older state never comes behind a newer one
        #: By topic: the unit, the moments at which it is published again, and the payload.
        self._waiting: dict[str, tuple[str, list[float], bytes]] = {}

    def publish(self, unit: str, topic: str, payload: bytes, *, again: bool) -> None:
        """Publish a state now, and again after each of `AGAIN`, or what is newer on its topic by then."""
        with self._lock:
            self._publisher.keep(topic, payload)
            if again:
                now = self._clock()
                self._waiting[topic] = (unit, [now + seconds for seconds in AGAIN], payload)
            elif topic in self._waiting:
                self._waiting[topic] = (*self._waiting[topic][:2], payload)

    def tick(self, now: float) -> None:
        """Publish what is due again."""
        if not self._waiting:
            return
        with self._lock:
            for topic, (_, moments, payload) in list(self._waiting.items()):
                if now < moments[0]:
                    continue
                del moments[0]
                self._publisher.keep(topic, payload)
                if not moments:
                    del self._waiting[topic]

    def forget(self, unit: str) -> None:
        """Publish no state of this unit again."""
        with self._lock:
            self._waiting = {topic: waiting for topic, waiting in self._waiting.items() if waiting[0] != unit}


def _certain(state: ChannelState, saved: tuple[float, float] | None) -> tuple[float, float]:
    """Energy (Wh) and charge (Ah) of a state as far as they are on disk.

    A crash takes back what is not saved, and Home Assistant would take the fall for a new meter: it would count all of it
    again.
    """
    if saved is None:
        return 0.0, 0.0
    energy, charge = saved
    return min(energy, state.energy or 0.0), min(charge, state.charge or 0.0)

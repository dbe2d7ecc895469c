"""The times at which devices are offered to Home Assistant, changed and cleared.

The store remembers the published devices. So a unit that can't be reached when the agent starts keeps its device, a unit that
was renamed or moved keeps its entities, and a unit that left the configuration while the agent was down is cleared.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from agent.homeassistant import devices
from agent.homeassistant.devices import Payload
from agent.homeassistant.interfaces import DiscoveryStore, Publisher
from agent.homeassistant.placeholders import encode, placeholder_of, with_placeholders
from agent.homeassistant.ranges import Ranges
from agent.homeassistant.records import Record, Records
from agent.mqtt.incoming import Incoming
from agent.protocol.messages import AgentInfo, ChannelState, UnitInfo
from agent.protocol.topics import Topics
from agent.protocol.words import counted

log = logging.getLogger(__name__)

#: The prefix of Home Assistant's birth message by default, also where the discovery prefix is another one.
_DEFAULT_PREFIX = "homeassistant"
#: s after connecting in which retained messages of other agents arrive, before anything is cleared.
SETTLING = 2.0
#: s after which Home Assistant has unsubscribed from the topics of an entity that was removed, and they can be cleared.
RELEASE = 5.0
#: s in which Home Assistant takes up placeholders, so that it can be told to remove them.
PLACEHOLDER_TIME = 3.0
#: s between a unit that goes and the one that takes its place: it needs the names that the first one had.
SUCCESSION = 2.0
#: s in which every unit should have said who it is. One that was renamed and moved is known by its serial number alone.
LONGEST_INTRODUCTION = 30.0


class Discovery:
    """The discovery topics of one agent, for any thread: one lock guards all of it, and nothing waits while it is held."""

    def __init__(
        self,
        prefix: str | None,
        *,
        agent: AgentInfo,
        units: Mapping[str, str],
        topics: Topics,
        store: DiscoveryStore,
        publisher: Publisher,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Publish nothing yet.

        :param prefix: the topic below which Home Assistant looks for devices; None clears what an earlier configuration
            published, and does nothing else
        :param units: name → address of every configured unit
        """
        self._prefix = prefix
        self._agent = agent
        self._units = dict(units)
        self._topics = topics
        self._publisher = publisher
        self._clock = clock
        self._lock = threading.Lock()
        self._records = Records(store)
        self._ranges = Ranges()
        self._offered: dict[str, bytes] = {}  # by topic: the payload of each device that is offered
        self._places: dict[str, str] = {}  # unit → topic, while it is offered
        self._told: dict[str, UnitInfo] = {}  # the info that each unit gave last
        self._introduced: set[str] = set()  # units that have said who they are since the start
        prefixes = {devices.parse_discovery_topic(topic)[0] for topic in self._records}
        if prefix is not None:
            prefixes |= {prefix, _DEFAULT_PREFIX}
        self._births = tuple(f"{name}/status" for name in sorted(prefixes))
        self._is_heard = False  # True: Home Assistant is certain to be running
        # The work that is left, by topic; the moments are the clock's.
        self._clearing: set[str] = set()  # the broker has not confirmed yet that it is empty
        self._stale_due: dict[str, float] = {}  # when the record's stale topics are to be cleared
        self._placeholders_due: dict[str, float] = {}  # when placeholders are to be removed
        self._successors: dict[str, tuple[float, Record]] = {}  # when and as what it is to be offered
        self._started = clock()
        self._stale_due |= {topic: self._started + RELEASE for topic, r in self._records.items() if r.stale}
        self._connected_at: float | None = None

    @property
    def subscriptions(self) -> list[str]:
        """The filters of the messages that `handle` is to get: Home Assistant's birth, and messages of others on our topics."""
        return [*self._births, *self._records]

    def start(self) -> None:
        """Offer the agent's own device. The units follow as they are introduced."""
        if self._prefix is not None:
            topic = devices.discovery_topic(self._prefix, devices.agent_key(self._agent.agent))
            with self._lock:
                self._offer(topic, Record())

    def introduce(self, info: UnitInfo) -> None:
        """Offer a unit as it is now, once its identity is known: from itself, or from a record of an earlier run.

        In the thread of the unit. Nothing happens where it says the same as before.
        """
        with self._lock:
            # A unit that the configuration has no more may still be reporting.
            if self._prefix is None or info.psu not in self._units:
                return
            if not devices.is_the_same(self._told.get(info.psu), info):
                self._told[info.psu] = info
                before = self._places.get(info.psu)
                self._introduce(info, self._prefix)
                if before not in (None, self._places.get(info.psu)):
                    self._reconsider(self._prefix)

    def fit(self, state: ChannelState) -> bool:
        """Have the numbers of a channel reach to the values that it has. In the thread of the unit.

        :return: true if Home Assistant is told other ranges: it takes a value that it got before once it has taken them
        """
        with self._lock:
            info = self._told.get(state.psu)
            channel = None if info is None else next((c for c in info.channels if c.index == state.index), None)
            if channel is None or not self._ranges.fit(channel, state):
                return False
            topic = self._places.get(state.psu)
            if topic is not None and topic in self._offered:
                self._publish(topic, self._records[topic])
            return True

    def leave(self, unit: str, *, is_other: bool) -> None:
        """Leave a unit to another agent. Topics below the unit's name are the other one's from now on, and are not removed.

        :param is_other: that agent serves another supply under the same name, so this one's device is removed; else the device
            is the other agent's, who publishes it in the same place
        """
        with self._lock:
            self._told.pop(unit, None)
            self._ranges.forget(unit)
            topic = self._places.pop(unit, None)
            if topic is None or topic in self._places.values():
                return
            self._offered.pop(topic, None)
            if is_other:
                self._clearing.add(topic)
                self._publisher.keep(topic, b"")
                self._update(topic, retained=[], stale=[])
            else:
                self._publisher.forget(topic)
                self._forget(topic)

    def handle(self, incoming: Incoming) -> bool:
        """Take a message; False for one that has nothing to do with Home Assistant. In the thread of the MQTT session."""
        if incoming.topic in self._births:
            # A retained one says nothing new: all devices were published again when the broker was found.
            if not incoming.retain:
                self._heard(is_running=incoming.payload == b"online")
            return True
        if not devices.is_discovery_topic(incoming.topic):  # a command does not wait for the lock
            return False
        with self._lock:
            if incoming.topic not in self._records:
                return False
            ours = devices.agent_key(self._agent.agent)
            if incoming.topic not in self._offered and devices.owner(incoming.payload) not in (None, ours):
                log.info("Home Assistant: %s belongs to another agent now", incoming.topic)
                self._forget(incoming.topic)
        return True

    def tick(self) -> None:
        """Clear the devices that are gone, once that is certain. To be called several times a second."""
        with self._lock:
            now = self._clock()
            if self._publisher.gone_since is not None:
                self._connected_at = None
                self._is_heard = False
                return
            if self._connected_at is None:
                self._connected_at = now
            if now - self._connected_at < SETTLING:
                return
            for topic in _due(self._stale_due, now):
                self._clear_stale(topic)
            for topic in _due(self._placeholders_due, now):
                self._remove_placeholders(topic)
            for topic in [topic for topic in self._clearing if not self._publisher.is_pending(topic)]:
                self._clearing.discard(topic)
                self._update(topic, removed=True)
            for topic in [topic for topic, (moment, _) in self._successors.items() if moment <= now]:
                _, record = self._successors.pop(topic)
                self._offer(topic, record)
            waiting = self._prefix is not None and not self._introduced.issuperset(self._units)
            if not waiting or now - self._started >= LONGEST_INTRODUCTION:
                for topic in self._records:
                    if self._is_lost(topic):
                        self._clear(topic)

    def serve(self, units: Mapping[str, str]) -> None:
        """Serve these units from now on, name → address.

        A device of another unit is cleared as after a restart, unless a unit turns out to be the same under another name.
        """
        with self._lock:
            removed = self._places.keys() - units.keys()
            for name in removed:
                self._offered.pop(self._places.pop(name), None)
            for name in self._units.keys() - units.keys():
                self._ranges.forget(name)
            self._drop_successors(lambda _, unit: unit not in units)
            self._told = {name: info for name, info in self._told.items() if name in units}
            # A unit with another address has to say anew who it is.
            self._introduced = {name for name in self._introduced if units.get(name) == self._units.get(name)}
            self._units = dict(units)
            self._started = self._clock()
            if removed and self._prefix is not None:
                self._reconsider(self._prefix)

    # All that follows is called with the lock held. First: which device a unit is.

    def _introduce(self, info: UnitInfo, prefix: str) -> None:
        live = info.manufacturer is not None  # the unit itself has said who it is
        identity = info if live else self._records.identity_of(info, self._units)
        if identity is None:
            return  # it was never reached: there is nothing to be said of it yet
        if live:
            self._introduced.add(info.psu)
        topic = devices.discovery_topic(prefix, devices.unit_key(identity))
        rival = next((unit for unit, place in self._places.items() if place == topic and unit != info.psu), None)
        if rival is not None and rival in self._introduced:
            topic = devices.discovery_topic(prefix, devices.place_key(identity))
            if live:
                log.warning(
                    "%s and %s both give the serial number %s; in Home Assistant %s is known by its name alone",
                    rival,
                    info.psu,
                    identity.serial,
                    info.psu,
                )
            elif topic not in self._records:
                return  # the unit that was remembered here is the rival, which has another address now
        elif rival is not None:
            if not live:
                return
            del self._places[rival]
            self._told.pop(rival, None)
        before = self._places.get(info.psu)
        self._places[info.psu] = topic
        if before is not None and before not in self._places.values():
            self._offered.pop(before, None)  # it is cleared as a predecessor, or once every unit has said who it is
        self._drop_successors(lambda place, unit: unit == info.psu and place != topic)
        record = Record(
            unit=info.psu,
            info=identity,
            retained=[self._topics.homeassistant(info.psu, channel.index) for channel in info.channels],
        )
        predecessors = self._predecessors(info.psu, topic) if live else []
        for predecessor in predecessors:
            self._clear(predecessor)
        if topic in self._successors:
            self._successors[topic] = self._successors[topic][0], record
        elif predecessors:
            self._successors[topic] = self._clock() + SUCCESSION, record
        else:
            self._offer(topic, record)

    def _reconsider(self, prefix: str) -> None:
        """Offer anew those units that are offered elsewhere or not at all, because a topic of theirs may have become free."""
        for name, info in list(self._told.items()):
            is_elsewhere = self._places.get(name) != devices.discovery_topic(prefix, devices.unit_key(info))
            if is_elsewhere and (info.manufacturer is not None or name not in self._places):
                self._introduce(info, prefix)

    def _drop_successors(self, is_outdated: Callable[[str, str | None], bool]) -> None:
        """Forget the devices that wait to be offered on these topics for these units."""
        for topic in [topic for topic, (_, record) in self._successors.items() if is_outdated(topic, record.unit)]:
            del self._successors[topic]

    def _predecessors(self, unit: str, topic: str) -> list[str]:
        """The topics of other units that had this unit's name, and that no other name claims."""
        claimed = {place for name, place in self._places.items() if name != unit}
        return [
            place
            for place, record in self._records.items()
            if record.unit == unit and place not in claimed | {topic} | self._clearing and not record.removed
        ]

    # Payloads.

    def _payload(self, topic: str, record: Record) -> Payload:
        """The device of a record."""
        if record.info is None:
            return devices.agent_discovery(self._agent, self._topics)
        _, key = devices.parse_discovery_topic(topic)
        return devices.unit_discovery(self._ranges.widened(record.info), key, self._topics, self._agent.version)

    def _offer(self, topic: str, record: Record) -> None:
        """Publish a device, and remember the components that it has lost since it was published last."""
        old = self._records.get(topic)
        if topic in self._offered and devices.is_the_same(old.info, record.info):
            return  # most often: the unit itself has told what the record had
        present = devices.platforms(self._payload(topic, record))
        gone = {name: p for name, p in {**old.gone, **old.platforms}.items() if name not in present}
        stale = [name for name in dict.fromkeys([*old.retained, *old.stale]) if name not in record.retained]
        unseen = bool(gone) and (old.unseen or not gone.keys() <= old.gone.keys())
        self._clearing.discard(topic)
        self._records.put(
            topic,
            record.model_copy(update={"platforms": present, "gone": gone, "stale": stale, "unseen": unseen}),
        )
        if stale:
            self._stale_due[topic] = self._clock() + RELEASE
        self._publish(topic, self._records[topic])

    def _publish(self, topic: str, record: Record) -> None:
        """Publish the device of a record as it is now, if that says anything new."""
        # The payload still names the components that are gone, bare, as Home Assistant may read it at any later time.
        encoded = encode(self._payload(topic, record), record.gone)
        if self._offered.get(topic) != encoded:
            self._offered[topic] = encoded
            self._publisher.keep(topic, encoded)

    def _heard(self, *, is_running: bool) -> None:
        """Take note that Home Assistant has started, or that it stops."""
        with self._lock:
            self._is_heard = is_running
            if not is_running:
                return
            log.info("Home Assistant has started: offering it %s", counted(len(self._offered), "device"))
            for topic, record in self._records.items():
                if record.unseen:
                    self._placeholders_due[topic] = self._clock() + PLACEHOLDER_TIME
                    self._clearing.discard(topic)
                    self._records.put(topic, record.model_copy(update={"removed": False}))
                    payload = self._payload(topic, record)
                    if topic not in self._offered:
                        payload = placeholder_of(payload, self._agent.agent, self._topics)
                    self._publisher.keep(topic, with_placeholders(payload, record, self._agent.agent, self._topics))
                elif topic in self._offered:
                    self._publisher.keep(topic, self._offered[topic])

    def _remove_placeholders(self, topic: str) -> None:
        """Have Home Assistant remove the placeholders that it has taken up since its start."""
        if topic in self._offered:
            self._publisher.keep(topic, self._offered[topic])
            self._update(topic, unseen=False)
        else:
            self._take_away(topic, unseen=False)

    def _is_lost(self, topic: str) -> bool:
        """True if an earlier configuration published this device, and nothing has been done about it yet."""
        pending = topic in self._clearing or topic in self._placeholders_due or topic in self._successors
        return not pending and topic not in self._offered and not self._records[topic].removed

    def _clear(self, topic: str) -> None:
        """Remove a device that is not served any more."""
        log.info("Home Assistant: clearing %s", topic)
        # A record of another version names no component for which there could be a placeholder.
        self._take_away(topic, unseen=not self._is_heard and bool(self._records[topic].platforms))

    def _take_away(self, topic: str, *, unseen: bool) -> None:
        """Remove a device from the broker, and later the topics that go with it."""
        record = self._records[topic]
        self._offered.pop(topic, None)
        self._clearing.add(topic)
        self._publisher.keep(topic, b"")
        self._stale_due[topic] = self._clock() + RELEASE
        self._update(topic, unseen=unseen, retained=[], stale=[*record.retained, *record.stale])

    def _clear_stale(self, topic: str) -> None:
        """Remove the retained topics that nothing is published on any more."""
        in_use = {name for place in self._offered for name in self._records[place].retained}
        in_use.update(name for _, record in self._successors.values() for name in record.retained)
        for name in self._records[topic].stale:
            if name not in in_use:
                self._publisher.keep(name, b"")
        self._update(topic, stale=[])

    def _update(self, topic: str, **changes: Any) -> None:
        """Change a record. One that has nothing left to be done is forgotten."""
        record = self._records[topic].model_copy(update=changes)
        if record.is_settled:
            self._forget(topic)
        else:
            self._records.put(topic, record)

    def _forget(self, topic: str) -> None:
        self._records.forget(topic)
        self._clearing.discard(topic)
        self._stale_due.pop(topic, None)
        self._placeholders_due.pop(topic, None)


def _due(moments: dict[str, float], now: float) -> list[str]:
    """Take out the topics whose moment has come."""
    found = [topic for topic, moment in moments.items() if moment <= now]
    for topic in found:
        del moments[topic]
    return found

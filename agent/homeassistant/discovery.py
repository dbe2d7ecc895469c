"""When Home Assistant is told what: publishes discovery, keeps it right through changes, and clears what is gone.

What was published is remembered in the spool. So a unit that can't be reached when the agent starts keeps its device, a
unit that was renamed or moved keeps its entities, and what went from the configuration while the agent was down is cleared.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.homeassistant import payloads as homeassistant
from agent.homeassistant.payloads import Payload
from agent.homeassistant.throttle import Scale, Throttle
from agent.mqtt.broker import Incoming
from agent.protocol.messages import AgentInfo, ChannelState, Event, Response, UnitInfo
from agent.protocol.report import Outlet, Report
from agent.protocol.report import ReplyTo as Reply
from agent.protocol.topics import Topics
from agent.store.spool import Spool
from agent.unit.meters import Meter

if TYPE_CHECKING:
    from agent.config import HomeAssistantSettings

log = logging.getLogger(__name__)

#: Home Assistant's own default for its birth message, whatever the discovery prefix is.
_DEFAULT_PREFIX = "homeassistant"
#: s after connecting in which retained messages of other agents arrive, before anything is cleared.
SETTLING = 2.0
#: s after which Home Assistant has let go of the topics of an entity that it was told to remove, and they can be cleared.
LINGERING = 5.0
#: s in which Home Assistant takes up entities, so that it can be told to remove them.
HAUNTING = 3.0
#: s between a unit that goes and the one that takes its place: it needs the names that the first one had.
SUCCESSION = 2.0
#: s in which every unit should have said who it is. One that was renamed and moved is known by its serial number alone.
LONGEST_INTRODUCTION = 30.0


class Publisher(Outlet, Protocol):
    """The broker, as this module uses it."""

    @property
    def gone_since(self) -> float | None: ...
    def keep(self, topic: str, payload: bytes) -> None: ...
    def owes(self, topic: str) -> bool: ...


class _Record(BaseModel):
    """What was published on one discovery topic."""

    model_config = ConfigDict(extra="ignore")

    unit: str | None = None  # None: the agent's own device
    info: UnitInfo | None = None  # with the unit's identity
    platforms: dict[str, str] = {}  # component id → platform of what stands there
    gone: dict[str, str] = {}  # and of what once stood there
    retained: list[str] = []  # other retained topics that go with it
    stale: list[str] = []  # those that nothing is published on any more
    removed: bool = False  # the broker has no device there any more
    unseen: bool = False  # a Home Assistant that was not there may not know that something has gone


class Discovery:
    """Home Assistant's discovery of one agent, as an `Outlet` between its supplies and its broker."""

    def __init__(
        self,
        settings: HomeAssistantSettings | None,
        *,
        agent: AgentInfo,
        units: Mapping[str, str],
        topics: Topics,
        spool: Spool,
        publisher: Publisher,
    ) -> None:
        """Publish nothing yet.

        :param settings: None clears what an earlier configuration published, and does nothing else
        :param units: name → address of every configured unit
        """
        self._settings = settings
        self._agent = agent
        self._units = dict(units)
        self._topics = topics
        self._spool = spool
        self._publisher = publisher
        self._lock = threading.Lock()
        self._records = self._load()
        self._payloads: dict[str, tuple[Payload, bytes]] = {}  # by topic: what is offered now, and as it is published
        self._places: dict[str, str] = {}  # unit → topic, while it is offered
        self._introduced: set[str] = set()  # units that have said who they are since the start
        self._throttles: dict[tuple[str, int], tuple[Scale, Throttle]] = {}
        meters = spool.meters()
        self._saved = {(unit, index): meter for unit, by in meters.items() for index, meter in by.items()}
        prefixes = {homeassistant.parse_discovery_topic(topic)[0] for topic in self._records}
        if settings is not None:
            prefixes |= {settings.discovery_prefix, _DEFAULT_PREFIX}
        self._births = tuple(f"{prefix}/status" for prefix in sorted(prefixes))
        self._is_heard = False  # it is certain that Home Assistant is there
        self._clearing: set[str] = set()  # topics that the broker has not confirmed to be cleared yet
        self._stale_at: dict[str, float] = {}  # when the stale topics of a record are to be cleared
        self._bury_at: dict[str, float] = {}  # when ghosts are to go again
        self._successors: dict[str, tuple[float, Payload, _Record]] = {}  # when they are to be offered
        self._started = time.monotonic()
        self._stale_at |= {topic: self._started + LINGERING for topic, r in self._records.items() if r.stale}
        self._connected_at: float | None = None

    @property
    def subscriptions(self) -> list[str]:
        """What the broker is to hand to `handle`: Home Assistant's birth, and what others may have put in our places."""
        return [*self._births, *self._records]

    def start(self) -> None:
        """Offer the agent's own device. The units follow as they report."""
        if self._settings is None:
            return
        payload = homeassistant.agent_discovery(self._agent, self._topics)
        topic = homeassistant.discovery_topic(
            self._settings.discovery_prefix, homeassistant.agent_key(self._agent.agent)
        )
        with self._lock:
            self._offer(topic, payload, _Record(platforms=homeassistant.platforms(payload)))

    # As an outlet.

    @property
    def congested(self) -> bool:
        return self._publisher.congested

    def states(self, states: list[ChannelState]) -> None:
        self._publisher.states(states)
        now = time.monotonic()
        for state in states:
            key = state.psu, state.index
            if (known := self._throttles.get(key)) is None:
                continue
            scale, throttle = known
            energy = charge = 0.0
            # What is not saved yet a crash would take back, and Home Assistant would take the fall for a new meter.
            if (saved := self._saved.get(key)) is not None:
                energy, charge = min(saved.energy, state.energy or 0.0), min(saved.charge, state.charge or 0.0)
            if throttle.passes(state, energy, charge, now):
                topic = self._topics.homeassistant(*key)
                self._publisher.keep(topic, scale.rounded(state, energy, charge).to_json())

    def flush(self) -> None:
        self._publisher.flush()

    def report(self, report: Report) -> None:
        if report.info is not None:
            self.unit(report.info)
        if report.states:
            self.states(list(report.states))
        for event in report.events:
            self.event(event)
        if report.response is not None:
            self.response(report.response, report.reply_to)
        else:
            self.flush()

    def event(self, event: Event) -> None:
        self._publisher.event(event)

    def response(self, response: Response, reply: Reply) -> None:
        self._publisher.response(response, reply)

    def unit(self, info: UnitInfo) -> None:
        if self._settings is not None:
            for channel in info.channels:
                scale = Scale.of(channel)
                known = self._throttles.get((info.psu, channel.index))
                if known is None or known[0] != scale:
                    self._throttles[info.psu, channel.index] = scale, Throttle(scale, self._settings.update_interval)
            with self._lock:
                self._introduce(info, self._settings.discovery_prefix)
        self._publisher.unit(info)

    # From the daemon.

    def handle(self, incoming: Incoming) -> bool:
        """Take a message; False for one that is none of Home Assistant's business."""
        if incoming.topic in self._births:
            # A retained one says nothing new: what is offered was published again when the broker was found.
            if not incoming.retain:
                self._is_heard = incoming.payload == b"online"
                if self._is_heard:
                    self._offer_again(time.monotonic())
            return True
        with self._lock:
            if incoming.topic not in self._records:
                return False
            ours = homeassistant.agent_key(self._agent.agent)
            if incoming.topic not in self._payloads and homeassistant.owner(incoming.payload) not in (None, ours):
                log.info("Home Assistant: %s belongs to another agent now", incoming.topic)
                self._forget(incoming.topic)
        return True

    def tick(self, now: float) -> None:
        """Clear what is gone, once it is sure to be gone. To be called now and then, with `time.monotonic`."""
        if self._publisher.gone_since is not None:
            self._connected_at = None
            self._is_heard = False
            return
        if self._connected_at is None:
            self._connected_at = now
        if now - self._connected_at < SETTLING:
            return
        with self._lock:
            for topic in [topic for topic, due in self._stale_at.items() if due <= now]:
                del self._stale_at[topic]
                self._clear_stale(topic)
            for topic in [topic for topic, due in self._bury_at.items() if due <= now]:
                del self._bury_at[topic]
                self._bury(topic)
            for topic in [topic for topic in self._clearing if not self._publisher.owes(topic)]:
                self._clearing.discard(topic)
                self._update(topic, removed=True)
            for topic in [topic for topic, (due, _, _) in self._successors.items() if due <= now]:
                _, payload, record = self._successors.pop(topic)
                self._offer(topic, payload, record)
            waiting = self._settings is not None and not self._introduced.issuperset(self._units)
            if not waiting or now - self._started >= LONGEST_INTRODUCTION:
                for topic in [topic for topic in self._records if self._is_lost(topic)]:
                    self._clear(topic)

    def serve(self, units: Mapping[str, str]) -> None:
        """From now on these units, name → address. What was offered for others is as after a restart: it is cleared, unless a
        unit turns out to be the same under another name."""
        with self._lock:
            for name in self._places.keys() - units.keys():
                self._payloads.pop(self._places.pop(name), None)
            for key in [key for key in self._throttles if key[0] not in units]:
                del self._throttles[key]
            self._units = dict(units)
            self._introduced &= units.keys()
            self._started = time.monotonic()

    def saved(self, meters: Mapping[str, Mapping[int, Meter]]) -> None:
        """These meters are on disk: Home Assistant may be told of them."""
        self._saved = {(unit, index): meter for unit, by in meters.items() for index, meter in by.items()}

    # Devices.

    def _introduce(self, info: UnitInfo, prefix: str) -> None:
        live = info.manufacturer is not None  # the unit itself has said who it is
        identity = info if live else self._remembered(info)
        if identity is None:
            return  # it was never reached: there is nothing to be said of it yet
        if live:
            self._introduced.add(info.psu)
        key = homeassistant.unit_key(identity)
        topic = homeassistant.discovery_topic(prefix, key)
        rival = next((unit for unit, place in self._places.items() if place == topic and unit != info.psu), None)
        if rival is not None and rival in self._introduced:
            log.warning("%s and %s say that they are the same unit, %s", rival, info.psu, identity.serial)
            key = homeassistant.place_key(identity)
            topic = homeassistant.discovery_topic(prefix, key)
        elif rival is not None:
            if not live:
                return
            del self._places[rival]
        self._places[info.psu] = topic
        payload = homeassistant.unit_discovery(identity, key, self._topics, self._agent.version)
        record = _Record(
            unit=info.psu,
            info=identity,
            platforms=homeassistant.platforms(payload),
            retained=[self._topics.homeassistant(info.psu, channel.index) for channel in info.channels],
        )
        predecessors = self._predecessors(info.psu, topic) if live else []
        for predecessor in predecessors:
            self._clear(predecessor)
        if predecessors or topic in self._successors:
            due = self._successors[topic][0] if topic in self._successors else time.monotonic() + SUCCESSION
            self._successors[topic] = due, payload, record
        else:
            self._offer(topic, payload, record)

    def _predecessors(self, unit: str, topic: str) -> list[str]:
        """Where other units stand that had this unit's name, and that no other name claims."""
        claimed = {place for name, place in self._places.items() if name != unit}
        return [
            place
            for place, record in self._records.items()
            if record.unit == unit and place not in claimed | {topic} | self._clearing and not record.removed
        ]

    def _remembered(self, info: UnitInfo) -> UnitInfo | None:
        """A unit that has not been reached yet, with the identity that it told an earlier run.

        It is known by its address, else by its name where that address is no other unit's now.
        """
        records = sorted(self._records.values(), key=lambda record: record.removed)
        known = [record.info for record in records if record.info is not None]
        found = next((old for old in known if old.uri == info.uri), None)
        if found is None:
            elsewhere = {uri for name, uri in self._units.items() if name != info.psu}
            found = next((old for old in known if old.psu == info.psu and old.uri not in elsewhere), None)
        if found is None or info.model not in (None, found.model):
            return None
        return info.model_copy(
            update={
                "model": found.model,
                "manufacturer": found.manufacturer,
                "serial": found.serial,
                "firmware": found.firmware,
                # Where a whole series is configured the record alone tells which of its models it is.
                "channels": found.channels if info.model is None else info.channels,
            }
        )

    def _offer(self, topic: str, payload: Payload, record: _Record) -> None:
        old = self._records.get(topic, _Record())
        gone = {name: p for name, p in {**old.gone, **old.platforms}.items() if name not in record.platforms}
        record = record.model_copy(
            update={
                "gone": gone,
                "unseen": bool(gone) and (old.unseen or not gone.keys() <= old.gone.keys()),
                "stale": [name for name in dict.fromkeys([*old.retained, *old.stale]) if name not in record.retained],
            }
        )
        self._clearing.discard(topic)
        self._bury_at.pop(topic, None)
        if record != old:
            self._remember(topic, record)
        if record.stale:
            self._stale_at[topic] = time.monotonic() + LINGERING
        # What is gone stays in the payload, bare: nobody knows when Home Assistant listens.
        encoded = homeassistant.encode(payload, gone)
        if topic not in self._payloads or self._payloads[topic][1] != encoded:
            self._payloads[topic] = payload, encoded
            self._publisher.keep(topic, encoded)

    def _offer_again(self, now: float) -> None:
        with self._lock:
            log.info("Home Assistant has started: offering it %d devices", len(self._payloads))
            for topic, record in self._records.items():
                if record.unseen:
                    self._bury_at[topic] = now + HAUNTING
                    self._clearing.discard(topic)
                    self._remember(topic, record.model_copy(update={"removed": False}))
                    self._publisher.keep(topic, self._haunted(topic, record))
                elif topic in self._payloads:
                    self._publisher.keep(topic, self._payloads[topic][1])

    def _haunted(self, topic: str, record: _Record) -> bytes:
        """What is offered, with the ghosts of all that is gone."""
        _, key = homeassistant.parse_discovery_topic(topic)
        agent, topics = self._agent.agent, self._topics
        if topic in self._payloads:
            payload = self._payloads[topic][0]
        elif record.info is not None:
            payload = homeassistant.unit_discovery(record.info, key, topics, self._agent.version)
            payload = homeassistant.ghost_of(payload, agent, topics)
        else:
            payload = homeassistant.ghost_of(homeassistant.agent_discovery(self._agent, topics), agent, topics)
        gone = {name: p for name, p in {**record.gone, **record.platforms}.items() if name not in payload["components"]}
        return homeassistant.encode(payload, {}, homeassistant.ghosts(key, agent, gone, topics))

    def _bury(self, topic: str) -> None:
        """Home Assistant has started since something went, and has taken it up again: now it removes it for good."""
        if topic in self._payloads:
            self._publisher.keep(topic, self._payloads[topic][1])
        else:
            self._clearing.add(topic)
            self._publisher.keep(topic, b"")
        self._update(topic, unseen=False)

    def _is_lost(self, topic: str) -> bool:
        """Whether it was published by an earlier configuration, and nothing has been done about it yet."""
        known = (
            topic in self._payloads or topic in self._clearing or topic in self._bury_at or topic in self._successors
        )
        return not known and not self._records[topic].removed

    def _clear(self, topic: str) -> None:
        """Take a device away."""
        log.info("Home Assistant: clearing %s", topic)
        record = self._records[topic]
        self._payloads.pop(topic, None)
        self._clearing.add(topic)
        self._publisher.keep(topic, b"")
        self._update(topic, unseen=not self._is_heard, retained=[], stale=[*record.retained, *record.stale])
        self._stale_at[topic] = time.monotonic() + LINGERING

    def _clear_stale(self, topic: str) -> None:
        in_use = {name for place in self._payloads for name in self._records[place].retained}
        for name in self._records[topic].stale:
            if name not in in_use:
                self._publisher.keep(name, b"")
        self._update(topic, stale=[])

    def _update(self, topic: str, **changes: object) -> None:
        """Change a record. One that has nothing left to be done is forgotten."""
        record = self._records[topic].model_copy(update=changes)
        if record.removed and not record.unseen and not record.stale:
            self._forget(topic)
        else:
            self._remember(topic, record)

    def _remember(self, topic: str, record: _Record) -> None:
        self._records[topic] = record
        self._spool.remember_discovered(topic, record.model_dump_json())

    def _forget(self, topic: str) -> None:
        del self._records[topic]
        self._clearing.discard(topic)
        self._stale_at.pop(topic, None)
        self._bury_at.pop(topic, None)
        self._spool.forget_discovered(topic)

    def _load(self) -> dict[str, _Record]:
        records = {}
        for topic, text in self._spool.discovered().items():
            try:
                records[topic] = _Record.model_validate_json(text)
            except ValidationError:  # of another version: it is cleared if it is not offered again
                records[topic] = _Record()
        return records

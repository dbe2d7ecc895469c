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

from agent import homeassistant
from agent.broker import Incoming
from agent.homeassistant import Payload
from agent.messages import AgentInfo, ChannelState, Event, Response, UnitInfo
from agent.meters import Meter
from agent.spool import Spool
from agent.supply import Outlet, Reply
from agent.throttle import Scale, Throttle
from agent.topics import Topics

if TYPE_CHECKING:
    from agent.configschema import HomeAssistant

log = logging.getLogger(__name__)

#: Home Assistant's own default for its birth message, whatever the discovery prefix is.
_DEFAULT_PREFIX = "homeassistant"
#: s after connecting in which retained messages of other agents arrive, before anything is cleared.
SETTLING = 2.0
#: s after which Home Assistant has let go of the topics of an entity that it was told to remove, and they can be cleared.
LINGERING = 5.0
#: s in which every unit should have said who it is. One that was renamed and moved is known by its serial number alone.
LONGEST_INTRODUCTION = 30.0


class Publisher(Outlet, Protocol):
    """The broker, as this module uses it."""

    @property
    def gone_since(self) -> float | None: ...
    def keep(self, topic: str, payload: bytes) -> None: ...


class _Record(BaseModel):
    """What was published on one discovery topic."""

    model_config = ConfigDict(extra="ignore")

    unit: str | None = None  # None: the agent's own device
    info: UnitInfo | None = None  # with the unit's identity
    platforms: dict[str, str]  # component id → platform, of all that ever stood there
    retained: list[str] = []  # other retained topics that go with it
    stale: list[str] = []  # of them, those that nothing is published on any more


class Discovery:
    """Home Assistant's discovery of one agent, as an `Outlet` between its supplies and its broker."""

    def __init__(
        self,
        settings: HomeAssistant | None,
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
        self._births: tuple[str, ...] = ()
        if settings is not None:
            self._births = tuple({f"{settings.discovery_prefix}/status": None, f"{_DEFAULT_PREFIX}/status": None})
        self._agent = agent
        self._units = dict(units)
        self._topics = topics
        self._spool = spool
        self._publisher = publisher
        self._lock = threading.Lock()
        self._records = self._load()
        self._payloads: dict[str, bytes] = {}  # by topic: what is offered now
        self._places: dict[str, str] = {}  # unit → topic, while it is offered
        self._introduced: set[str] = set()  # units that have said who they are since the start
        self._throttles: dict[tuple[str, int], tuple[Scale, Throttle]] = {}
        meters = spool.meters()
        self._saved = {(unit, index): meter for unit, by in meters.items() for index, meter in by.items()}
        self._clear_at: dict[str, float] = {}  # topic of stale topics → when they are to be cleared
        self._cleared: set[str] = set()  # discovery topics, by this run
        self._confirmed: set[str] = set()  # of them, those that the broker has cleared
        self._started = time.monotonic()
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
            # What is not saved yet a crash would take back, and Home Assistant would take the fall for a new meter.
            saved = self._saved.get(key)
            energy = min(saved.energy, state.energy) if saved is not None and state.energy is not None else 0.0
            charge = min(saved.charge, state.charge) if saved is not None and state.charge is not None else 0.0
            if throttle.passes(state, energy, charge, now):
                topic = self._topics.homeassistant(*key)
                self._publisher.keep(topic, scale.rounded(state, energy, charge).to_json())

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
            if incoming.payload == b"online" and not incoming.retain:
                self._offer_again()
            return True
        with self._lock:
            record = self._records.get(incoming.topic)
            if record is None:
                return False
            if incoming.topic in self._payloads:
                return True
            if not incoming.payload:
                if incoming.topic in self._cleared:
                    self._confirmed.add(incoming.topic)
            elif homeassistant.owner(incoming.payload) != homeassistant.agent_key(self._agent.agent):
                log.info("Home Assistant: %s now belongs to another agent", incoming.topic)
                self._forget(incoming.topic)
        return True

    def tick(self, now: float) -> None:
        """Clear what is gone, once it is sure to be gone. To be called now and then, with `time.monotonic`."""
        if self._publisher.gone_since is not None:
            self._connected_at = None
            return
        if self._connected_at is None:
            self._connected_at = now
        if now - self._connected_at < SETTLING:
            return
        with self._lock:
            for topic in [topic for topic, due in self._clear_at.items() if due <= now]:
                del self._clear_at[topic]
                self._clear_stale(topic)
            if len(self._payloads) + len(self._cleared) == len(self._records):
                return
            waiting = self._settings is not None and not self._introduced.issuperset(self._units)
            if waiting and now - self._started < LONGEST_INTRODUCTION:
                return
            for topic in [t for t in self._records if t not in self._payloads and t not in self._cleared]:
                self._clear(topic)

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
        before = self._places.get(info.psu)
        if before is not None and before != topic:
            self._clear(before)  # another unit stands in its place
        self._places[info.psu] = topic
        payload = homeassistant.unit_discovery(identity, key, self._topics, self._agent.version)
        record = _Record(
            unit=info.psu,
            info=identity,
            platforms=homeassistant.platforms(payload),
            retained=[self._topics.homeassistant(info.psu, channel.index) for channel in info.channels],
        )
        self._offer(topic, payload, record)

    def _remembered(self, info: UnitInfo) -> UnitInfo | None:
        """A unit that has not been reached yet, with the identity that it told an earlier run.

        It is known by its address, else by its name where that address is no other unit's now.
        """
        known = [record.info for record in self._records.values() if record.info is not None]
        found = next((old for old in known if old.uri == info.uri), None)
        if found is None:
            elsewhere = {uri for name, uri in self._units.items() if name != info.psu}
            found = next((old for old in known if old.psu == info.psu and old.uri not in elsewhere), None)
        if found is None or info.model not in (None, found.model):
            return None
        whole_series = (
            info.model is None
        )  # which of its models it is, and so its channels, is known from the record alone
        return info.model_copy(
            update={
                "model": found.model,
                "manufacturer": found.manufacturer,
                "serial": found.serial,
                "firmware": found.firmware,
                "channels": found.channels if whole_series else info.channels,
            }
        )

    def _offer(self, topic: str, payload: Payload, record: _Record) -> None:
        old = self._records.get(topic)
        gone: dict[str, str] = {}
        if old is not None:
            gone = {name: platform for name, platform in old.platforms.items() if name not in record.platforms}
            record.stale = [name for name in {*old.retained, *old.stale} if name not in record.retained]
        encoded = homeassistant.encode(payload, gone)
        # A bare component removes an entity; it stays there, as nobody knows when Home Assistant listens.
        record.platforms = {**record.platforms, **gone}
        self._cleared.discard(topic)
        self._confirmed.discard(topic)
        if record != old:
            self._remember(topic, record)
        if record.stale:
            self._clear_at[topic] = time.monotonic() + LINGERING
        if self._payloads.get(topic) != encoded:
            self._payloads[topic] = encoded
            self._publisher.keep(topic, encoded)

    def _offer_again(self) -> None:
        with self._lock:
            log.info("Home Assistant has started: offering %d devices", len(self._payloads))
            for topic, payload in self._payloads.items():
                self._publisher.keep(topic, payload)

    def _clear(self, topic: str) -> None:
        """Take a device away. Its record stays until the broker has confirmed that: else the next run does it again."""
        log.info("Home Assistant: clearing %s", topic)
        self._payloads.pop(topic, None)
        self._cleared.add(topic)
        self._publisher.keep(topic, b"")
        record = self._records[topic]
        self._remember(topic, record.model_copy(update={"retained": [], "stale": [*record.retained, *record.stale]}))
        self._clear_at[topic] = time.monotonic() + LINGERING

    def _clear_stale(self, topic: str) -> None:
        record = self._records.get(topic)
        if record is None:
            return
        in_use = {name for place in self._payloads for name in self._records[place].retained}
        for name in record.stale:
            if name not in in_use:
                self._publisher.keep(name, b"")
        if topic in self._confirmed:
            self._forget(topic)
        else:
            self._remember(topic, record.model_copy(update={"stale": []}))

    def _remember(self, topic: str, record: _Record) -> None:
        self._records[topic] = record
        self._spool.remember_discovered(topic, record.model_dump_json())

    def _forget(self, topic: str) -> None:
        self._records.pop(topic, None)
        self._cleared.discard(topic)
        self._confirmed.discard(topic)
        self._spool.forget_discovered(topic)

    def _load(self) -> dict[str, _Record]:
        records = {}
        for topic, text in self._spool.discovered().items():
            try:
                records[topic] = _Record.model_validate_json(text)
            except ValidationError:  # of another version: it is cleared if it is not offered again
                records[topic] = _Record(platforms={})
        return records

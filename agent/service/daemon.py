"""The daemon: makes the parts of one agent, starts them, runs the duties of the main thread, and ends the parts in order."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import secrets
import signal
import socket
import threading
import time
from datetime import datetime
from pathlib import Path
from types import FrameType

from agent import __version__
from agent.config import Config
from agent.homeassistant.outlet import HomeAssistantOutlet
from agent.mqtt.incoming import Incoming
from agent.mqtt.session import Session
from agent.protocol.messages import AgentInfo, utc_now
from agent.protocol.report import Outlet
from agent.protocol.topics import AgentTopic, ChannelTopic, Topics, UnitTopic
from agent.service import metrics, systemd
from agent.service.descriptors import raise_limit
from agent.service.dispatch import Dispatcher
from agent.service.duties import Duty, in_order
from agent.service.fleet.coordinator import Coordinator
from agent.service.fleet.outlet import FleetOutlet, Origin
from agent.service.fleet.own import UNDECIDED
from agent.service.fleet.retained import OwnInfos
from agent.service.fleet.served import CarefulPublisher, ServedOutlet
from agent.service.fleet.standings import Standings
from agent.service.fleet.takeovers import Takeovers
from agent.service.leases.leases import Leases
from agent.service.reload import Reloads, tell_warnings
from agent.service.remarks import Remarks
from agent.service.units import Difference, Units
from agent.service.values import PlainValues
from agent.store.store import Store
from agent.timing import HoldUps, boot_id, system_clock
from agent.unit.rights.fence import Fence
from agent.unit.standing import Standing

log = logging.getLogger(__name__)

#: s between two metrics, and between two savings of energy and charge.
METRICS_INTERVAL = 10.0
#: s. How long the MQTT session and the store may take to end: with the units' time under the 5 s that a stop may take.
SESSION_STOP_TIMEOUT, STORE_STOP_TIMEOUT = 2.0, 0.5
#: s. The MQTT thread may wait this long for a connection; if it has done nothing for longer it is dead to the watchdog.
LONGEST_SILENCE = 180.0
#: The exit status where another agent of this name is there already.
TWIN = 2
_TICK = 0.25
_NAME_ADVICE = (
    "this agent's name is the host's, which a container has another of each time it is made: if one of these is this agent's, "
    "give its name, the part before .sqlite3, as settings.agent"
)


class Daemon:
    """One agent: every unit of a configuration on one broker."""

    def __init__(self, config: Config) -> None:
        """Make all parts without connecting them.

        :raises StoreError: the state directory can't be used
        """
        settings = config.settings
        self._config = config
        self._started = utc_now()
        self._instance = secrets.token_hex(8)
        self._status = 0  # with which `run` ends
        self._is_stopping = False
        # Its put is reentrant; the lock of an Event is not, and a signal handler would wait for it for ever.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._reloads = Reloads(lambda: self._config, self._take_over, lambda: self._wake.put(None))
        self._topics = Topics(settings.mqtt.base_topic)
        self.store = Store(
            _state_file(settings.state_dir, settings.agent),
            config.backlog_capacity(),
            system_clock,
            boot_id(),
            advice=None if "agent" in settings.model_fields_set else _NAME_ADVICE,
        )
        meters = self.store.meters.begin()
        self.session = Session(
            settings.mqtt,
            agent=settings.agent,
            client_id=f"psu-agent-{settings.agent}-{self.store.identity.secret('client id')}",
            topics=self._topics,
            backlog=self.store.backlog,
            commands=self.store.commands,
            subscriptions=self._topics.subscriptions([unit.name for unit in config.units]),
        )
        self._homeassistant = HomeAssistantOutlet(
            settings.homeassistant,
            agent=self._info(),
            units={unit.name: unit.place for unit in config.units},
            topics=self._topics,
            store=self.store.discovered,
            saved=meters,
            publisher=CarefulPublisher(self.session, self._topics, self._is_muted),
        )
        # Without its section it removes the devices that an earlier configuration published, and needs no reports.
        self._values = PlainValues(self._topics, self.session, self.store.published_values, config.fields_published())
        self._own_infos = OwnInfos(
            settings.agent,
            self._instance,
            self._topics,
            self.session,
            self.store.published,
            lambda name: name in self._units.by_name,
            self._values,
        )
        self._served = ServedOutlet(self._homeassistant, self._homeassistant.leave)
        outlets: list[Outlet] = [self._own_infos, self.session, self._values]
        if settings.homeassistant is not None:
            outlets.append(self._served)
        self._hold_ups = HoldUps()
        self._leases = Leases(
            settings.agent,
            topics=self._topics,
            publisher=self.session,
            records=self.store.leases,
            standing=lambda name: None if (supply := self._units.by_name.get(name)) is None else supply.standing,
        )
        info = self._info()
        self._outlet = FleetOutlet(
            outlets,
            topics=self._topics,
            origin=Origin(self._instance, info.host, settings.settings_for),
            forget=self._values.forget,
            passing=self.session.passing,
            initial=UNDECIDED,
            longest_exchange=lambda unit: self._units.longest_exchange(unit),  # noqa: PLW0108  # made below
            heard=lambda unit, info: self._coordinator.reports(unit, info),  # noqa: PLW0108  # made below
        )
        self._standings = Standings(lambda: self._units.by_name, self._outlet)
        self._coordinator = Coordinator(
            topics=self._topics,
            info=self._info,
            session=self.session,
            stand=self._stand,
            tell=self._outlet.tell,
            has_told=self._outlet.has_told,
            is_first=self._end_as_twin,
            takeover_after=settings.takeover_after,
            settings_for=settings.settings_for,
        )
        fence = Fence(lambda: self.session.heard, settings.settings_for)
        self._units = Units(
            config, [self._outlet], meters, self._hold_ups, [self._leases.table, fence], standing=UNDECIDED
        )
        self._coordinator.serve(config.units)
        self._takeovers = Takeovers(
            self._topics, settings.agent, lambda: self._units.by_name, self._coordinator.takeover, self.session
        )
        self._remarks = Remarks(
            settings.agent,
            self._topics.agent_log(settings.agent),
            self.session,
            lambda: self._units.by_name,
            [*config.secrets(), self.store.identity.secret("client id")],
        )
        self.metrics = metrics.MetricsReader(settings.agent, self.session, self.store)
        self._dispatcher = Dispatcher(
            self._topics, lambda: self._units.by_name, self.store.seen, self.session, self._leases
        )
        self.session.listen([*self._homeassistant.subscriptions, *self._coordinator.subscriptions])
        self.session.listen([*self._topics.every_lease, self._topics.every_takeover])
        self.session.on_presence(self._units.broker_gone)
        self.session.on_presence(self._coordinator.broker_gone)
        self.session.join_by(self._coordinator, self._coordinator.kept)

    @property
    def supplies(self) -> Units:
        """The units that are served now."""
        return self._units

    def run(self) -> int:
        """Serve until SIGTERM, SIGINT or `stop`; on SIGHUP, or `reload`, read the configuration again. The exit status: 0,
        or `TWIN`."""
        try:
            self._start()
            watchdog = systemd.watchdog_interval()
            duties = self._duties(watchdog)
            while not self._is_stopping:
                with contextlib.suppress(queue.Empty):
                    self._wake.get(timeout=min(_TICK, watchdog or _TICK))
                now = time.monotonic()
                for duty in duties:
                    duty.run(now)
        finally:
            self._shut_down()
        return self._status

    def stop(self) -> None:
        """End `run`. No output changes. From any thread, or a signal handler."""
        self._is_stopping = True
        self._wake.put(None)

    def reload(self) -> None:
        """Have `run` read the configuration again: what changed in ``units`` comes into effect, and nothing at all if it has a
        fault. No output changes."""
        self._reloads.want()

    def _start(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)
            signal.signal(signal.SIGINT, self._on_signal)
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup(1) leaves it
                signal.signal(signal.SIGHUP, self._on_hangup)
        self._remarks.begin()
        tell_warnings(self._config)
        raise_limit(len(self._config.units))
        log.info("psu-agent %s, agent %s, %s", __version__, self._config.settings.agent, self._config.size)
        self.store.start()
        self._publish_info()
        self._homeassistant.start()
        Duty("taking over leases", self._leases.tick).run(time.monotonic())  # before a command can come
        # In this order a unit that answers at once is offered under its present name before what is left of an older one is
        # removed, which Home Assistant would still listen to.
        self._hold_ups.start()
        self._units.start()
        self.session.start(self._handle)
        systemd.notify("READY=1")

    def _duties(self, watchdog: float | None) -> list[Duty]:
        duties = [
            Duty("the reload", self._reloads.tick),
            Duty("removing what is left of other units", self._own_infos.tick),
            Duty("who serves which unit", self._coordinator.tick),
            Duty("the leases", self._leases.tick),
            Duty("Home Assistant's discovery", lambda _: self._homeassistant.tick()),
            Duty("the warnings for the broker", self._remarks.tick),
            Duty("the metrics", self._publish_metrics, METRICS_INTERVAL),
            Duty("saving energy and charge", lambda _: self._save_meters(), METRICS_INTERVAL),
        ]
        if watchdog is not None:
            duties.append(Duty("the watchdog", systemd.Watchdog(watchdog, self._is_alive).feed))
        return duties

    def _shut_down(self) -> None:
        in_order(
            [
                ("telling systemd", lambda: systemd.notify("STOPPING=1")),
                ("ending the units", self._units.end),
                ("saving energy and charge", self._save_meters),
                ("ending the MQTT session", self._end_session),
                ("ending the store", self._end_store),
                ("ending the watch for hold-ups", self._hold_ups.stop),
            ]
        )
        log.info("stopped")

    def _end_session(self) -> None:
        self._remarks.end()
        if not self.session.stop(SESSION_STOP_TIMEOUT):
            log.warning("broker: still connecting; the connection ends with this process")

    def _end_store(self) -> None:
        if not self.store.close(STORE_STOP_TIMEOUT):
            log.warning("the disk was too slow: samples or messages that were to be kept are lost")

    # Signals, in the main thread.

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        if os.isatty(0):  # the terminal that it was started in is closed
            self._on_signal(number, frame)
        else:
            self.reload()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        log.info("%s: stopping; no output changes", signal.Signals(number).name)
        self.stop()

    # Messages, in the MQTT thread.

    def _handle(self, incoming: Incoming) -> None:
        published = self._topics.parse_published(incoming.topic)
        if isinstance(published, UnitTopic) and published.kind == "info":
            self._own_infos.handle(published.unit, incoming)
            self._coordinator.handle(published, incoming)
        elif isinstance(published, AgentTopic):
            self._coordinator.handle(published, incoming)
        elif published is not None and published.kind == "lease":
            self._hear_lease(published, incoming)
        elif not (self._takeovers.handle(incoming) or self._homeassistant.handle(incoming)):
            self._dispatcher.handle(incoming)

    def _stand(self, unit: str, standing: Standing, since: datetime) -> None:
        self._standings.stand(unit, standing, since)
        self._served.stand(unit, standing)
        if standing.is_muted:
            self._own_infos.disown(unit)

    def _is_muted(self, unit: str) -> bool:
        supply = self._units.by_name.get(unit)
        return supply is not None and supply.standing.is_muted

    def _end_as_twin(self, why: str) -> None:
        """Another agent of this name was there before this one had published anything."""
        log.critical("%s; this one ends", why)
        self._status = TWIN
        self.stop()

    def _hear_lease(self, topic: UnitTopic | ChannelTopic, incoming: Incoming) -> None:
        supply = self._units.by_name.get(topic.unit)
        if supply is not None:
            channel = topic.channel if isinstance(topic, ChannelTopic) else None
            self._leases.heard(topic.unit, channel, [one.index for one in supply.channels], incoming.payload)

    # Duties, in the main thread.

    def _take_over(self, newer: Config) -> str:
        """Serve the units of a newer configuration, and return a line that says what changed."""
        difference = Difference.between(self._config, newer)
        if not difference:
            self._config = newer
            return self._publish_values() or "no unit changed"
        drivers = self._units.drivers(difference, newer)  # first, as it may fail, and the rest can't be taken back
        self._config = newer
        # The old ones end before the new ones begin: some units take two sessions in all, and a unit may have a new name.
        before = self._units.by_name
        self._units.end(
            difference.removed | difference.changed, "its configuration has changed", replaced=difference.changed
        )
        self._save_meters()
        supplies = self._units.replace(newer, drivers, self.store.meters.all())
        for name in difference.removed:
            self.metrics.retire(before[name].counters)
            self._own_infos.retire(name)
            self._outlet.drop(name)
            self._served.drop(name)
        self._coordinator.serve(newer.units, dropped=difference.removed)
        self._leases.retire(difference.removed)
        to_all = self._topics.subscriptions([])
        dropped = [name for name in self._topics.subscriptions(sorted(difference.removed)) if name not in to_all]
        self.session.resubscribe(add=self._topics.subscriptions(sorted(difference.added)), remove=dropped)
        self.store.backlog.capacity = newer.backlog_capacity()
        self._homeassistant.serve({unit.name: unit.place for unit in newer.units})
        for name in sorted(difference.added | difference.changed):
            supplies[name].start()
        self._publish_info()
        return "; ".join(filter(None, [str(difference), self._publish_values()]))

    def _publish_values(self) -> str:
        """Publish the plain values that the configuration asks for now, and no others. Returns a line that says what changed."""
        fresh, ended = self._values.serve(self._config.fields_published())
        for name in fresh:
            self._outlet.tell(name)
            self._units.by_name[name].poll_now()
        parts = (("publishes", fresh), ("no longer publishes", ended))
        return "; ".join(f"{', '.join(names)} {what} plain values" for what, names in parts if names)

    def _publish_metrics(self, now: float) -> bool:
        """False while there is no broker: then it is done as soon as there is one."""
        if not self.session.connected:
            return False
        agent = self._config.settings.agent
        self.session.passing(self._topics.agent_metrics(agent), self.metrics.read(self._units, now))
        return True

    def _save_meters(self) -> None:
        self._units.credit(self.store.meters.take_late())
        meters = self._units.meters()
        self.store.meters.save(meters, lambda: self._homeassistant.saved(meters))

    def _is_alive(self) -> bool:
        return self.session.alive(LONGEST_SILENCE) and self._units.alive() and self.store.is_alive

    def _publish_info(self) -> None:
        info = self._info()
        self.session.keep(self._topics.agent_info(info.agent), info.to_json())

    def _info(self) -> AgentInfo:
        return AgentInfo(
            time=utc_now(),
            agent=self._config.settings.agent,
            version=__version__,
            host=socket.gethostname().encode("utf-8", "replace").decode(),  # it may be any bytes
            start_time=self._started,
            units=[unit.name for unit in self._config.units],
            base_topic=self._topics.base,
            instance=self._instance,
        )


def _state_file(folder: Path, agent: str) -> Path:
    return folder / f"{agent}.sqlite3"

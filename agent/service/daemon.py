"""The agent as a whole: owns the broker and the supplies, starts and stops them, and tells how they do."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import ValidationError

from agent import __version__
from agent import config as config_file
from agent.config import Config
from agent.config import UnitSettings as UnitConfig
from agent.homeassistant.discovery import Discovery
from agent.instruments.factory import Knowledge, make_driver
from agent.mqtt.broker import Broker, Incoming
from agent.protocol.messages import AgentInfo, Metrics, UnitInfo, utc_now
from agent.protocol.topics import Topics, UnitTopic
from agent.service import systemd
from agent.service.dispatch import Dispatcher
from agent.store.spool import Spool
from agent.unit.admission import Admission
from agent.unit.meters import Meter
from agent.unit.status import Counters
from agent.unit.supply import STOPPED, Supply

log = logging.getLogger(__name__)

#: s between two metrics, and between two savings of energy and charge.
METRICS_INTERVAL = 10.0
#: s. How long the units, and then the broker, may take to end: together under the 5 s that a stop may take.
UNITS_STOP_TIMEOUT, BROKER_STOP_TIMEOUT = 2.0, 2.0
#: s. A worker may wait this long for a link to open; one that has done nothing for longer is dead to the watchdog.
LONGEST_SILENCE = 180.0
_TICK = 0.25


class Daemon:
    """One agent: every unit of a configuration on one broker."""

    def __init__(self, config: Config) -> None:
        """Make everything, connect nothing yet.

        :raises SpoolError: the state directory can't be used
        """
        settings = config.settings
        self._config = config
        self._agent = settings.agent
        self._started = utc_now()
        self._start_moment = time.monotonic()
        self._stop = threading.Event()
        self._knowledge = Knowledge()
        self._reload_wanted = False
        self._hides_retain = False
        self._last_polls = 0
        self._last_metrics = time.monotonic()
        self._topics = Topics(settings.mqtt.base_topic)
        self._spool = Spool(_state_file(settings.state_dir, self._agent), config.backlog_capacity())
        self._supplies: dict[str, Supply] = {}
        self._admission = Admission()
        self._broker = Broker(
            settings.mqtt,
            agent=self._agent,
            topics=self._topics,
            spool=self._spool,
            subscriptions=self._topics.subscriptions([unit.name for unit in config.units]),
        )
        self._dispatcher = Dispatcher(self._topics, self._supplies, self._spool, self._broker)
        self._discovery = Discovery(
            settings.homeassistant,
            agent=self._info(),
            units={unit.name: unit.address for unit in config.units},
            topics=self._topics,
            spool=self._spool,
            publisher=self._broker,
        )
        self._broker.listen([*self._discovery.subscriptions, self._topics.every_info])
        meters = self._spool.meters()
        for number, unit in enumerate(config.units):
            self._supplies[unit.name] = self._make_supply(unit, meters.get(unit.name, {}), number)
        self._retired = Counters()  # what units counted that are not in the configuration any more

    def _make_supply(
        self, unit: UnitConfig, meters: dict[int, Meter], number: int, predecessor: Supply | None = None
    ) -> Supply:
        interval = self._config.poll_interval(unit)
        what: dict[str, Any] = {
            "name": unit.name,
            "agent": self._agent,
            "outlets": (self._broker if self._config.settings.homeassistant is None else self._discovery,),
            "admission": self._admission,
            "poll_interval": interval,
            "channels": unit.channels,
            "meters": meters,
            # Spread over the interval, so that many units do not all want the processor in the same moment.
            "phase": self._start_moment + interval * number / len(self._config.units),
            "predecessor": predecessor,
        }
        return Supply(driver=make_driver(unit, self._config.folder, self._knowledge), **what)

    def run(self) -> int:
        """Serve until SIGTERM, SIGINT or `stop`; on SIGHUP, or `reload`, read the configuration again. The exit status: 0."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)
            signal.signal(signal.SIGINT, self._on_signal)
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup(1) leaves it
                signal.signal(signal.SIGHUP, self._on_hangup)
        log.info("psu-agent %s, agent %s, %d units", __version__, self._agent, len(self._supplies))
        self._broker.agent_info(self._info())
        self._discovery.start()
        for supply in self._supplies.values():
            supply.start()
        self._broker.start(self._handle)
        systemd.notify("READY=1")
        watchdog = systemd.watchdog_interval()
        next_watchdog = time.monotonic()
        while not self._stop.wait(min(_TICK, watchdog or _TICK)):
            gone_since = self._broker.gone_since
            for supply in self._supplies.values():
                supply.broker_gone(gone_since)
            if self._reload_wanted:
                self._reload_wanted = False
                self._reload()
            now = time.monotonic()
            self._discovery.tick(now)
            if now - self._last_metrics >= METRICS_INTERVAL:
                self._publish_metrics(now)
                self._save_meters()
            if watchdog is not None and now >= next_watchdog and self._all_alive():
                next_watchdog = now + watchdog
                systemd.notify("WATCHDOG=1")
        self._shut_down()
        return 0

    def stop(self) -> None:
        """End `run`. No output changes."""
        self._stop.set()

    def _handle(self, incoming: Incoming) -> None:
        published = self._topics.parse_published(incoming.topic)
        if isinstance(published, UnitTopic) and published.kind == "info":
            unit = published.unit
            self._see_what_the_broker_hides(unit, incoming)
            if incoming.retain and incoming.payload and unit not in self._supplies:
                self._clear_if_left_over(unit, incoming.payload)
        elif not self._discovery.handle(incoming):
            self._dispatcher.handle(incoming)

    def _see_what_the_broker_hides(self, unit: str, incoming: Incoming) -> None:
        """This agent's own info was published with the retain flag, and asked for as published (MQTT 5, 3.8.3.1)."""
        if unit in self._supplies and not incoming.retain and self._config.settings.mqtt.protocol == "5":
            if not self._hides_retain:
                log.warning(
                    "the broker hides the retain flag of what is published live, so a command that is published with it "
                    "can't be told from another and is carried out; its replays are refused"
                )
            self._hides_retain = True

    def _clear_if_left_over(self, unit: str, payload: bytes) -> None:
        """Take a unit off the broker that this agent served once, and does not any more: its last state would stand for ever."""
        try:
            info = UnitInfo.model_validate_json(payload)
        except ValidationError:
            return
        if info.agent == self._agent:
            log.info("%s: not served any more; its retained messages are removed", ascii(unit))
            self._forget_retained(unit, [channel.index for channel in info.channels])

    def reload(self) -> None:
        """Have `run` read the configuration again: what changed in ``units`` comes into effect, and nothing at all if it has a
        fault. No output changes."""
        self._reload_wanted = True

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        if os.isatty(0):  # the terminal that it was started in is closed
            self._on_signal(number, frame)
        else:
            self._reload_wanted = True

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        log.info("%s: stopping; no output changes", signal.Signals(number).name)
        self._stop.set()

    def _reload(self) -> None:
        systemd.reloading()
        status = self._read_again()
        log.info("reload: %s", status)
        systemd.notify(f"READY=1\nSTATUS={status}")

    def _read_again(self) -> str:
        """What became of it, in a line."""
        if self._config.path is None:
            return "there is no configuration file to read again"
        try:
            newer = config_file.load(self._config.path)
        except config_file.ConfigError as error:
            for fault in error.faults:
                log.error("%s", fault)
            more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
            return f"nothing changed, the configuration has a fault: {error.faults[0]}{more}"
        for warning in newer.warnings:
            log.warning("%s", warning)
        late = self._config.restart_needed(newer)
        if late:
            log.warning("reload: a change of settings.%s needs a restart", ", settings.".join(late))
        done = self._take_over(newer.with_settings_of(self._config))
        return f"{done}; settings.{', settings.'.join(late)} after a restart" if late else done

    def _take_over(self, newer: Config) -> str:
        """Serve the units of a newer configuration. Those that are the same in both notice nothing."""
        older, self._config = self._config, newer
        known = {unit.name: (unit.served(), older.poll_interval(unit)) for unit in older.units}
        wanted = {unit.name: (unit.served(), newer.poll_interval(unit)) for unit in newer.units}
        removed = known.keys() - wanted.keys()
        added = wanted.keys() - known.keys()
        changed = {name for name in known.keys() & wanted.keys() if known[name] != wanted[name]}
        if not removed | added | changed:
            return "no unit changed"
        # The old ones end before the new ones begin: some units take two sessions in all, and a unit may have a new name.
        leaving = [self._supplies[name] for name in sorted(removed | changed)]
        self._end_supplies(leaving, "its configuration has changed")
        self._save_meters()
        meters = self._spool.meters()
        supplies: dict[str, Supply] = {}
        for number, unit in enumerate(newer.units):
            supplies[unit.name] = (
                self._make_supply(unit, meters.get(unit.name, {}), number, self._supplies.get(unit.name))
                if unit.name in added | changed
                else self._supplies[unit.name]
            )
        for name in removed:
            _add(self._retired, self._supplies[name].counters)
            self._forget_retained(name, [channel.index for channel in self._supplies[name].channels])
        to_all = self._topics.set("all")
        dropped = [name for name in self._topics.subscriptions(sorted(removed)) if name != to_all]
        self._broker.resubscribe(add=self._topics.subscriptions(sorted(added)), remove=dropped)
        self._supplies = supplies
        self._spool.capacity = newer.backlog_capacity()
        self._dispatcher.serve(supplies)
        self._discovery.serve({unit.name: unit.address for unit in newer.units})
        for name in sorted(added | changed):
            supplies[name].start()
        self._broker.agent_info(self._info())
        parts = (("removed", removed), ("added", added), ("changed", changed))
        return "; ".join(f"{what} {', '.join(sorted(names))}" for what, names in parts if names)

    def _forget_retained(self, unit: str, channels: Iterable[int]) -> None:
        """Take a unit that is gone from the configuration off the broker."""
        for index in channels:
            self._broker.keep(self._topics.state(unit, index), b"")
        self._broker.keep(self._topics.status(unit), b"")
        self._broker.keep(self._topics.info(unit), b"")

    def _end_supplies(self, supplies: Iterable[Supply], why: str = STOPPED) -> None:
        supplies = list(supplies)
        for supply in supplies:
            supply.stop(why)
        deadline = time.monotonic() + UNITS_STOP_TIMEOUT
        for supply in supplies:
            if not supply.join(max(0.0, deadline - time.monotonic())):
                log.warning("%s: still waiting for the unit; the link is given up", supply.name)
                supply.abandon()

    def _shut_down(self) -> None:
        systemd.notify("STOPPING=1")
        self._end_supplies(self._supplies.values())
        self._save_meters()
        if not self._broker.stop(BROKER_STOP_TIMEOUT):
            log.warning("broker: still connecting; the connection ends with this process")
        self._spool.close()
        log.info("stopped")

    def _all_alive(self) -> bool:
        return self._broker.alive(LONGEST_SILENCE) and all(
            supply.alive(LONGEST_SILENCE) for supply in self._supplies.values()
        )

    def _info(self) -> AgentInfo:
        return AgentInfo(
            time=utc_now(),
            agent=self._agent,
            version=__version__,
            host=socket.gethostname(),
            start_time=self._started,
            units=[unit.name for unit in self._config.units],
            base_topic=self._topics.base,
        )

    def _publish_metrics(self, now: float) -> None:
        total = Counters()
        for counters in (self._retired, *(supply.counters for supply in self._supplies.values())):
            _add(total, counters)
        elapsed, self._last_metrics = now - self._last_metrics, now
        polled, self._last_polls = total.polls - self._last_polls, total.polls
        self._broker.metrics(
            Metrics(
                time=utc_now(),
                agent=self._agent,
                version=__version__,
                uptime=round(now - self._start_moment, 3),
                units=len(self._supplies),
                units_online=sum(supply.online for supply in self._supplies.values()),
                polls=total.polls,
                late_polls=total.late_polls,
                errors=total.errors,
                reconnects=total.reconnects,
                commands=total.commands,
                refusals=total.refusals,
                published=self._broker.published,
                backlog=self._spool.sample_count,
                dropped_samples=self._spool.dropped,
                broker_reconnects=self._broker.reconnects,
                memory=_resident_memory(),
                poll_rate=round(polled / elapsed, 3),
            )
        )

    def _save_meters(self) -> None:
        meters = {name: supply.meters() for name, supply in self._supplies.items()}
        self._spool.save_meters(meters)
        self._discovery.saved(meters)


def _add(total: Counters, counters: Counters) -> None:
    for name in Counters.__slots__:
        setattr(total, name, getattr(total, name) + getattr(counters, name))


def _state_file(folder: Path, agent: str) -> Path:
    return folder / f"{agent}.sqlite3"


def _resident_memory() -> int:
    """bytes; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")

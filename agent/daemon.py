"""The agent as a whole: owns the broker and the supplies, starts and stops them, and tells how they do."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from pathlib import Path
from types import FrameType

from agent import __version__, systemd
from agent.broker import Broker, Incoming
from agent.configschema import Config
from agent.configschema import Unit as UnitConfig
from agent.discovery import Discovery
from agent.dispatch import Dispatcher
from agent.messages import AgentInfo, Metrics, utc_now
from agent.meters import Meter
from agent.spool import Spool
from agent.supply import Counters, Supply
from agent.topics import Topics
from agent.visa import Session

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
        self._last_polls = 0
        self._last_metrics = time.monotonic()
        self._topics = Topics(settings.mqtt.base_topic)
        self._spool = Spool(_state_file(settings.state_dir, self._agent), config.backlog_capacity())
        self._supplies: dict[str, Supply] = {}
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
            units={unit.name: unit.uri for unit in config.units},
            topics=self._topics,
            spool=self._spool,
            publisher=self._broker,
        )
        self._broker.listen(self._discovery.subscriptions)
        meters = self._spool.meters()
        for number, unit in enumerate(config.units):
            self._supplies[unit.name] = self._make_supply(unit, meters.get(unit.name, {}), number)

    def _make_supply(self, unit: UnitConfig, meters: dict[int, Meter], number: int) -> Supply:
        interval = self._config.poll_interval(unit)
        return Supply(
            name=unit.name,
            agent=self._agent,
            model=unit.model,
            session=Session(unit.uri, unit.visabackend, unit.pyvisa_args),
            outlet=self._broker if self._config.settings.homeassistant is None else self._discovery,
            serial=unit.serial,
            poll_interval=interval,
            channels=unit.channels,
            meters=meters,
            # Spread over the interval, so that many units do not all want the processor in the same moment.
            phase=self._start_moment + interval * number / len(self._config.units),
        )

    def run(self) -> int:
        """Serve until SIGTERM, SIGINT or `stop`. The exit status: 0."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)
            signal.signal(signal.SIGINT, self._on_signal)
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
        if not self._discovery.handle(incoming):
            self._dispatcher.handle(incoming)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        log.info("%s: stopping; no output changes", signal.Signals(number).name)
        self._stop.set()

    def _shut_down(self) -> None:
        systemd.notify("STOPPING=1")
        for supply in self._supplies.values():
            supply.stop()
        deadline = time.monotonic() + UNITS_STOP_TIMEOUT
        for supply in self._supplies.values():
            if not supply.join(max(0.0, deadline - time.monotonic())):
                log.warning("%s: still waiting for the unit; its link ends with this process", supply.name)
                supply.abandon()
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
        for supply in self._supplies.values():
            for name in Counters.__slots__:
                setattr(total, name, getattr(total, name) + getattr(supply.counters, name))
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


def _state_file(folder: Path, agent: str) -> Path:
    return folder / f"{agent}.sqlite3"


def _resident_memory() -> int:
    """bytes; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")

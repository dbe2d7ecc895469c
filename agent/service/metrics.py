"""The figures of the agent that go to ``agents/{agent}/metrics``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from agent import __version__
from agent.mqtt.session import Session
from agent.protocol.messages import Metrics, utc_now
from agent.service import logs
from agent.store.store import Store
from agent.unit.status import Counters
from agent.unit.supply import Supply


class MetricsReader:
    """Adds up the counts of units, the MQTT session and the store."""

    def __init__(self, agent: str, session: Session, store: Store) -> None:
        self._agent = agent
        self._session = session
        self._store = store
        self._retired = Counters()
        self._started = self._last = time.monotonic()
        self._last_polls = 0

    def retire(self, counters: Counters) -> None:
        """Keep the counts of a unit that is not served any more."""
        _add(self._retired, counters)

    def read(self, supplies: Iterable[Supply], now: float) -> Metrics:
        """The figures since the agent's start, at a moment of `time.monotonic`.

        The poll rate and the age of states are those since the last call.
        """
        supplies = list(supplies)
        state_age, _ = self._session.take_lateness()
        elapsed, self._last = max(now - self._last, 1e-3), now
        figures = self.present(supplies, now)
        polled, self._last_polls = figures.polls - self._last_polls, figures.polls
        return figures.model_copy(update={"poll_rate": round(polled / elapsed, 3), "state_age": round(state_age, 3)})

    def present(self, supplies: Iterable[Supply], now: float) -> Metrics:
        """The same without the poll rate and the age of states, which are 0. From any thread; it ends no interval of `read`."""
        total = Counters()
        # Those first: of a unit that is retired meanwhile nothing is counted for a moment, where it would be counted twice.
        _add(total, self._retired)
        supplies = list(supplies)
        for supply in supplies:
            _add(total, supply.counters)
        return Metrics(
            time=utc_now(),
            agent=self._agent,
            version=__version__,
            uptime=round(now - self._started, 3),
            units=len(supplies),
            units_online=sum(supply.online for supply in supplies),
            polls=total.polls,
            late_polls=total.late_polls,
            errors=total.errors,
            reconnects=total.reconnects,
            commands=total.commands,
            refusals=total.refusals,
            published=self._session.published,
            undeliverable=self._session.undeliverable,
            backlog=self._store.backlog.sample_count + self._session.late_samples,
            dropped_samples=self._store.backlog.dropped,
            dropped_messages=self._store.backlog.dropped_messages,
            dropped_log_lines=logs.dropped(),
            broker_reconnects=self._session.reconnects,
            memory=_resident_memory(),
            poll_rate=0.0,
        )


def _add(total: Counters, counters: Counters) -> None:
    for name in Counters.__slots__:
        setattr(total, name, getattr(total, name) + getattr(counters, name))


def _resident_memory() -> int:
    """The resident memory in bytes; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")

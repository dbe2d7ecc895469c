"""Points that arrive in a store one after the other, and the shipped rules evaluated meanwhile, with a clock of their own.

Points are written when they arrive, because a query without an upper end sees all that is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.stack.grafana import RULES
from tests.stack.lines import line, seldom
from tests.stack.publisher import milliseconds
from tests.stack.services import Store

from .evaluator import Ask, Evaluator, QueryFailedError

#: When a point arrives (s after the timeline's zero), and the point in line protocol without its time, and its own time (s).
Point = tuple[float, str, float]
#: From the first to the last evaluation (s) at which an instance fires.
Span = tuple[int, int]
BY_TITLE = {rule["title"]: rule for rule in RULES}
#: s between two evaluations: the group's.
INTERVAL = 10
BEGIN, END = -60, 300


class Timeline:
    """The points that arrive in a store from :data:`BEGIN` on."""

    def __init__(self, zero: datetime) -> None:
        """``zero``: the time 0 of all its points. It should be a year and more from that of another one in the same store."""
        self.zero = zero
        self._points: list[Point] = []

    def channel(
        self,
        psu: str,
        samples: Iterable[tuple[float, dict[str, Any]]],
        *,
        agent: str = "a",
        name: str = "CH1",
        ahead: float = 0.0,
        late: float = 0.0,
    ) -> None:
        """A channel's samples at these times, and what Telegraf writes with them.

        :param ahead: s that its agent's clock is ahead
        :param late: s from a sample to its arrival
        """
        tags = {"agent": agent, "psu": psu, "channel": "1", "name": name, "model": "E36313A"}
        for time, values in samples:
            sample = {"seq": int(time) + 1000, "online": True, "state": True} | values
            self._points.append((time + late, line("psu_channel", tags, sample | seldom(sample)), time + ahead))
            if sample["online"] and "silent_after" in sample:
                heard = {"heard_seldom": sample["silent_after"]}
                self._points.append((time + late, line("psu_agent", {"agent": agent, "psu": psu}, heard), time + ahead))

    def metrics(self, agent: str, figures: Iterable[tuple[float, dict[str, Any]]], ahead: float = 0.0) -> None:
        """An agent's own figures at these times."""
        for time, values in figures:
            sample = {"uptime": time + 1000.0, "units_online": 1, "backlog": 0, "dropped_samples": 0} | values
            self._points.append((time, line("psu_agent", {"agent": agent}, sample), time + ahead))

    def status(self, kind: str, name: str, *changes: tuple[float, str]) -> None:
        """The statuses of a unit (`psu`) or of an agent (`agent`), as Telegraf writes them: at the time of their arrival."""
        measurement = {"psu": "psu_unit", "agent": "psu_agent"}[kind]
        for time, status in changes:
            values = {"status": status, "offline": int(status == "offline")}
            self._points.append((time, line(measurement, {kind: name}, values), time))

    def at(self, time: float) -> datetime:
        return self.zero + timedelta(seconds=time)

    def run(self, store: Store, times: Iterable[int]) -> Iterator[int]:
        """The times of evaluations (s); before each of them what has arrived by then is written."""
        waiting = sorted(self._points)
        for time in times:
            arrived = [point for point in waiting if point[0] <= time]
            waiting = waiting[len(arrived) :]
            if arrived:
                store.write(f"{point} {milliseconds(self.at(own))}" for _, point, own in arrived)
            yield time


def asks(store: Store, now: datetime) -> Ask:
    """Asks that store as if it were then."""
    moment = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return lambda query: store.query(query.replace("now()", f"'{moment}'"))


def refuses(_query: str) -> list[dict[str, Any]]:
    """Asks a store that is down."""
    raise QueryFailedError("connection refused")


def evaluated(
    store: Store, timeline: Timeline, ends: dict[str, int], interval: int = INTERVAL
) -> dict[str, dict[str, list[Span]]]:
    """For each of these rules its instances that fire, each with the spans in which it does.

    :param ends: for each rule the time of its last evaluation (s)
    :param interval: s between two evaluations
    """
    evaluators = [Evaluator(BY_TITLE[title]) for title in ends]
    spans: dict[str, dict[str, list[Span]]] = {evaluator.title: {} for evaluator in evaluators}
    for time in timeline.run(store, range(BEGIN, max(ends.values()) + 1, interval)):
        for evaluator in evaluators:
            if time > ends[evaluator.title]:
                continue
            evaluator.evaluate(asks(store, timeline.at(time)), time)
            for name in evaluator.firing():
                known = spans[evaluator.title].setdefault(name, [])
                if known and known[-1][1] == time - interval:
                    known[-1] = (known[-1][0], time)
                else:
                    known.append((time, time))
    assert [evaluator.failures for evaluator in evaluators if evaluator.failures] == []
    return spans

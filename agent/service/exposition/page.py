"""The page of `/metrics`: every channel and the agent's own figures, made by Prometheus' client library."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from agent.protocol.messages import Metrics
from agent.protocol.quantities import QUANTITIES
from agent.unit.samples import Present
from agent.unit.supply import Supply

#: A page is made anew at the earliest after this time (s), and after `_SHARE` times as long as it took to make: clients that
#: ask again and again take a tenth of a processor at the most.
_FRESH = 0.2
_SHARE = 10.0
_OPEN_METRICS = "application/openmetrics-text"

#: The labels of a channel. The first four are those that PSUDaemon's monitoring had.
_CHANNEL = ("psu", "index", "name", "model", "agent")
_MODES = ("CV", "CC", "CP", "UR", "OFF")
_GAUGES = {
    "uptime": "Time since the agent started, s.",
    "units": "Units of the agent.",
    "units_online": "Units that the agent can talk to.",
    "backlog": "Samples that wait for the broker.",
    "memory": "Resident memory, bytes.",
}
_COUNTERS = {
    "polls": "Polls.",
    "late_polls": "Polls that came later than their interval says.",
    "errors": "Errors of units and their links.",
    "reconnects": "Connections to units that were made again.",
    "commands": "Commands.",
    "refusals": "Commands that were refused.",
    "published": "Messages that the broker has acknowledged.",
    "undeliverable": "Messages that the broker did not take where they were to go.",
    "dropped_samples": "Samples that were lost, as the backlog was full.",
    "dropped_messages": "Other messages that were lost.",
    "dropped_log_lines": "Lines of the log that were left out.",
    "broker_reconnects": "Connections to the broker that were made again.",
}


class Figures(Collector):
    """The metrics of one agent at the moment of `collect`. It reads what other threads leave, and waits for none of them.

    What is not known is left out. A unit that is offline has ``channel_data_online`` 0 and no other value; one whose name
    another agent serves is left to that one.

    :param supplies: gives the units that are served now
    :param metrics: gives the agent's own figures of now
    :param is_connected: true while there is a broker
    """

    def __init__(
        self,
        supplies: Callable[[], Iterable[Supply]],
        metrics: Callable[[], Metrics],
        is_connected: Callable[[], bool],
    ) -> None:
        self._supplies = supplies
        self._metrics = metrics
        self._is_connected = is_connected
        self._counts: dict[str, int] = {}

    def collect(self) -> Iterator[Metric]:
        """All metrics, each with its samples."""
        figures = self._metrics()
        yield from self._of_channels(figures.agent)
        yield from self._of_agent(figures)

    def _of_channels(self, agent: str) -> Iterator[Metric]:
        metrics = _channel_metrics()
        offline = GaugeMetricFamily(
            "psu_unit_offline", "1 while the agent can't talk to the unit.", labels=("psu", "agent")
        )
        for supply in self._supplies():
            standing = supply.standing
            if standing.is_muted:
                continue
            is_online = supply.online and not standing.yields
            offline.add_metric((supply.name, agent), float(not is_online))
            for present in supply.present():
                _add(metrics, present, (supply.name, agent), is_online=is_online)
        yield from metrics.values()
        yield offline

    def _of_agent(self, figures: Metrics) -> Iterator[Metric]:
        agent = (figures.agent,)
        for name, text in _GAUGES.items():
            gauge = GaugeMetricFamily(f"psu_agent_{name}", text, labels=("agent",))
            gauge.add_metric(agent, float(getattr(figures, name)))
            yield gauge
        for name, text in _COUNTERS.items():
            # While units are replaced their counts are missing for a moment; a counter that falls counts as one that began anew.
            count = self._counts[name] = max(getattr(figures, name), self._counts.get(name, 0))
            counter = CounterMetricFamily(f"psu_agent_{name}", text, labels=("agent",))
            counter.add_metric(agent, float(count))
            yield counter
        broker = GaugeMetricFamily("psu_agent_broker_connected", "1 while there is a broker.", labels=("agent",))
        broker.add_metric(agent, float(self._is_connected()))
        yield broker
        info = GaugeMetricFamily("psu_agent_info", "The agent's version; always 1.", labels=("agent", "version"))
        info.add_metric((figures.agent, figures.version), 1.0)
        yield info


def _channel_metrics() -> dict[str, GaugeMetricFamily]:
    """A metric without samples for each thing that is told of a channel, by its name in the channel's state."""
    texts = {"online": "1 while the agent can talk to the channel's unit."}
    for quantity in QUANTITIES:
        if not quantity.reported:
            continue
        label = quantity.label[:1].upper() + quantity.label[1:]
        match quantity.kind:
            case "switch":
                texts[quantity.name] = f"{label}, 1 or 0."
            case "number":
                texts[quantity.name] = f"{label}, {quantity.unit}."
    texts["mode"] = "1 for the mode that the output is in, 0 for the others."
    texts["tripped"] = "1 while a protection has turned the output off."
    labels = {"mode": (*_CHANNEL, "mode")}
    return {
        name: GaugeMetricFamily(f"channel_data_{name}", text, labels=labels.get(name, _CHANNEL))
        for name, text in texts.items()
    }


def _add(
    metrics: Mapping[str, GaugeMetricFamily], present: Present, place: tuple[str, str], *, is_online: bool
) -> None:
    unit, agent = place
    labels = (unit, str(present.channel.index), present.channel.name, present.model or "", agent)
    reading = present.reading if is_online else None
    metrics["online"].add_metric(labels, float(reading is not None))
    if reading is None:
        return
    values: dict[str, float | bool | str | None] = reading._asdict()
    values |= {"power": present.power, "energy": present.energy, "charge": present.charge}
    mode, tripped = values.pop("mode"), values.pop("tripped")
    for name, value in values.items():
        if value is not None:
            metrics[name].add_metric(labels, float(value))
    if mode is not None:
        for one in _MODES:
            metrics["mode"].add_metric((*labels, one), float(one == mode))
    tells = present.channel.output.tells
    if tripped is not None or tells is None or "tripped" in tells:
        metrics["tripped"].add_metric(labels, float(tripped is not None))


class Page:
    """The text of `/metrics`, for one thread. It is made when it is asked for, and kept for a moment."""

    def __init__(self, figures: Collector, clock: Callable[[], float] = time.monotonic) -> None:
        """:param clock: s"""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(figures)
        self._clock = clock
        self._kept: dict[bool, tuple[float, bytes]] = {}  # by the format: until when it is good

    def text(self, accept: str) -> tuple[str, bytes]:
        """The content type and the text, in the OpenMetrics format if an ``Accept`` header names it, else in the classic one."""
        is_open = _OPEN_METRICS in accept.lower()
        # One form of each: what a stranger writes behind it, such as a version, would be one more page to be made.
        encoder, content_type = choose_encoder(f"{_OPEN_METRICS}; version=1.0.0" if is_open else "")
        began = self._clock()
        good_until, text = self._kept.get(is_open, (began, b""))
        if began >= good_until:
            text = encoder(self._registry)
            ended = self._clock()
            self._kept[is_open] = (ended + max(_FRESH, _SHARE * (ended - began)), text)
        return content_type, text

"""The page of `/metrics`: what is known, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from agent.protocol.messages import Conflict
from agent.service.daemon import Daemon
from agent.service.exposition.page import Figures, Page
from agent.service.metrics import MetricsReader
from agent.simulator.loads import Resistor
from agent.unit.standing import ALONE, Part, Standing
from agent.unit.status import Counters
from agent.unit.supply import Supply
from tests.lab import Bench, Observer, wait_until

OTHER = Conflict(agent="b", instance="1", host="h", unit="psu1", why="name")


def figures(daemon: Daemon) -> Figures:
    return Figures(
        lambda: daemon.supplies,
        lambda: daemon.metrics.present(daemon.supplies, 0.0),
        lambda: daemon.session.connected,
    )


def values(daemon: Daemon) -> dict[str, dict[str, float]]:
    """By metric and then ``unit index [mode]``, as a scrape has it."""
    _, text = Page(figures(daemon)).text("")
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = sample.labels
            keys = [labels[key] for key in ("psu", "index", "mode") if key in labels]
            place = found[sample.name]
            assert " ".join(keys) not in place
            place[" ".join(keys)] = sample.value
    return found


def test_a_channel_as_it_is_published(bench: Bench, observer: Observer) -> None:
    daemon = bench.daemon
    bench.simulator.instrument.execute("VOLT 5,(@1);:OUTP 1,(@1)")
    state = observer.wait_state("psu1", 1, state=True, voltage_limit=5.0)
    found = values(daemon)
    for name in ("voltage_limit", "current_limit", "voltage_protection"):
        assert found[f"channel_data_{name}"]["psu1 1"] == state[name]
    assert found["channel_data_voltage"]["psu1 1"] == pytest.approx(5.0, abs=0.1)
    assert found["channel_data_current"]["psu1 1"] == pytest.approx(0.05, abs=0.01)
    assert found["channel_data_power"]["psu1 1"] == pytest.approx(0.25, abs=0.05)
    assert found["channel_data_state"] == {f"psu{u} {c}": float((u, c) == (1, 1)) for u in (1, 2) for c in (1, 2, 3)}
    assert found["channel_data_current_protection"]["psu1 1"] == 0
    assert found["channel_data_tripped"]["psu1 1"] == 0
    assert {key: value for key, value in found["channel_data_mode"].items() if key.startswith("psu1 1 ")} == {
        "psu1 1 CV": 1, "psu1 1 CC": 0, "psu1 1 CP": 0, "psu1 1 UR": 0, "psu1 1 OFF": 0
    }  # fmt: skip
    assert found["psu_unit_offline"] == {"psu1": 0, "psu2": 0}
    # A quantity that the series does not have is not there; its metric is without samples.
    assert "channel_data_current_protection_level" not in found
    wait_until(lambda: values(daemon)["channel_data_energy"].get("psu1 1", 0) > 0, "energy")
    assert values(daemon)["channel_data_charge"]["psu1 1"] > 0


def test_labels_are_those_of_psudaemon_and_the_agent(bench: Bench) -> None:
    _, text = Page(figures(bench.daemon)).text("")
    assert b'channel_data_online{agent="bench",index="1",model="E36313A",name="VDD",psu="psu1"} 1.0\n' in text


def test_a_trip_is_one_until_it_is_cleared(bench: Bench, observer: Observer) -> None:
    instrument = bench.simulator.instrument
    instrument.execute("VOLT:PROT 6,(@2);:VOLT 5,(@2);:OUTP 1,(@2);:VOLT:PROT 3,(@2)")
    observer.wait_state("psu1", 2, tripped="OVP")
    found = values(bench.daemon)
    assert (found["channel_data_tripped"]["psu1 2"], found["channel_data_tripped"]["psu1 1"]) == (1, 0)
    instrument.execute("VOLT:PROT 27,(@2);:OUTP:PROT:CLE (@2)")


def test_the_agent_s_own_figures_are_those_on_mqtt(bench: Bench) -> None:
    published = bench.daemon.metrics.read(bench.daemon.supplies, 1.0)
    found = values(bench.daemon)
    for name in ("polls", "late_polls", "errors", "reconnects", "commands", "refusals", "dropped_samples"):
        assert found[f"psu_agent_{name}_total"][""] >= getattr(published, name), name
    assert found["psu_agent_polls_total"][""] > 0
    assert found["psu_agent_memory"][""] > 10_000_000
    assert (found["psu_agent_units"][""], found["psu_agent_units_online"][""]) == (2, 2)
    assert (found["psu_agent_backlog"][""], found["psu_agent_broker_connected"][""]) == (0, 1)
    assert found["psu_agent_info"] == {"": 1}


def test_a_scrape_begins_no_interval_of_the_published_figures(bench: Bench) -> None:
    daemon = bench.daemon
    reader = MetricsReader("bench", daemon.session, daemon.store)
    before = reader.read(daemon.supplies, 100.0)
    wait_until(lambda: reader.present(daemon.supplies, 100.5).polls > before.polls + 10, "ten polls")
    after = reader.read(daemon.supplies, 101.0)
    assert after.poll_rate == after.polls - before.polls > 10


def test_a_unit_that_is_offline_is_told_and_nothing_more_of_it(bench: Bench, observer: Observer) -> None:
    bench.simulators[1].stop()
    try:
        observer.wait_state("psu2", online=False)
        found = values(bench.daemon)
        assert {key: value for key, value in found["channel_data_online"].items() if "psu2" in key} == {
            "psu2 1": 0, "psu2 2": 0, "psu2 3": 0
        }  # fmt: skip
        assert found["psu_unit_offline"] == {"psu1": 0, "psu2": 1}
        told = [name for name, of_it in found.items() if any("psu2" in key for key in of_it)]
        assert sorted(told) == ["channel_data_online", "psu_unit_offline"]
    finally:
        bench.simulators[1].start()
    wait_until(lambda: "psu2 1" in values(bench.daemon)["channel_data_voltage"], "psu2 to be back")


@pytest.mark.parametrize(
    ("standing", "is_told"),
    [
        (Standing(Part.YIELDS_NAME, "another agent serves it", OTHER, is_muted=True), None),
        (Standing(Part.YIELDS_SUPPLY, "another agent serves it", OTHER), 0),
        (Standing(Part.CONTESTED, "another agent claims it", OTHER), 1),
    ],
)
def test_a_unit_that_another_agent_serves_is_not_told_as_one_s_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, standing: Standing, is_told: int | None
) -> None:
    supply = bench.daemon.supplies.by_name["psu1"]
    monkeypatch.setattr(type(supply), "standing", property(lambda one: standing if one.name == "psu1" else ALONE))
    found = values(bench.daemon)
    assert found["channel_data_online"].get("psu1 1") == is_told
    assert found["psu_unit_offline"].get("psu1") == (None if is_told is None else 1 - is_told)
    assert ("psu1 1" in found["channel_data_voltage"]) == (is_told == 1)
    assert found["channel_data_online"]["psu2 1"] == 1


def test_only_changes_are_published_but_a_scrape_has_the_newest(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(publish={"changes_only": True, "deadband": {"voltage": 1.0, "current": 1.0}, "heartbeat": 3600})
    instrument = bench.simulator.instrument
    instrument.set_load(1, Resistor(100.0))
    instrument.execute("VOLT 5,(@1);:OUTP 1,(@1)")
    wait_until(
        lambda: values(bench.daemon)["channel_data_current"].get("psu1 1") == pytest.approx(0.05, abs=0.01), "5 V"
    )
    instrument.set_load(1, Resistor(50.0))
    wait_until(
        lambda: values(bench.daemon)["channel_data_current"].get("psu1 1") == pytest.approx(0.1, abs=0.01), "0.1 A"
    )
    assert values(bench.daemon)["channel_data_power"].get("psu1 1") == pytest.approx(0.5, abs=0.1)


class Counting(Collector):
    """A page whose making takes a time by the clock of the test."""

    def __init__(self, takes: float) -> None:
        self.now = 0.0
        self.made = 0
        self.takes = takes

    def collect(self) -> Iterator[Metric]:
        self.made += 1
        self.now += self.takes
        yield GaugeMetricFamily("made", "", value=self.made)


@pytest.mark.parametrize(("takes", "kept"), [(0.001, 0.2), (0.5, 5.0)])
def test_a_page_is_kept_so_that_clients_take_a_tenth_of_a_processor(takes: float, kept: float) -> None:
    counting = Counting(takes)
    page = Page(counting, clock=lambda: counting.now)
    first = page.text("")
    assert page.text("") == first
    counting.now += kept - 0.001
    assert page.text("text/html") == first
    counting.now += 0.002
    assert page.text("")[1] != first[1]
    assert counting.made == 2


@pytest.mark.parametrize(
    ("accept", "open_metrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.3", True),
        ("application/openmetrics-text; version=x\x0b\x01é", True),
        ("text/plain; version=a.b", False),
    ],
)
def test_the_format_is_the_one_that_is_asked_for(accept: str, open_metrics: bool) -> None:
    counting = Counting(0.0)
    content_type, text = Page(counting, clock=lambda: 0.0).text(accept)
    assert content_type.isascii()
    assert content_type.startswith("application/openmetrics-text" if open_metrics else "text/plain; version=0.0.4")
    assert text.endswith(b"# EOF\n") == open_metrics


def test_a_unit_that_is_retired_meanwhile_is_not_counted_twice(bench: Bench) -> None:
    """A counter that was too high would stand still until the others have made up for it."""
    reader = MetricsReader("bench", bench.daemon.session, bench.daemon.store)
    unit = cast("Supply", SimpleNamespace(counters=Counters(polls=7), online=True))

    def supplies() -> Iterator[Supply]:
        yield unit
        reader.retire(unit.counters)

    assert reader.present(supplies(), 0.0).polls == 7
    assert reader.present([], 0.0).polls == 7


def test_a_counter_never_falls(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While units are replaced, their counts are missing for a moment."""
    daemon = bench.daemon
    own = figures(daemon)

    def polls() -> Any:
        return next(
            sample.value
            for metric in own.collect()
            for sample in metric.samples
            if sample.name == "psu_agent_polls_total"
        )

    before = polls()
    monkeypatch.setattr(type(daemon.supplies), "__iter__", lambda _: iter(()))
    assert polls() == before > 0

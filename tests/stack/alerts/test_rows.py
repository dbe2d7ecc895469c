"""Each alert that fires has its line in *What is wrong* on Fleet, so that whoever is told of it finds it there.

The lines are worked out of the panel's queries as its transformations do it; the panel itself is drawn in tests/stack/dashboards.
"""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.stack.grafana import DASHBOARDS, RULES, fill_in
from tests.stack.publisher import milliseconds
from tests.stack.services import Store

from . import test_boundaries, test_slow_units
from .evaluator import Ask, Evaluator, Labels, name
from .timeline import BY_TITLE, Span, Timeline, asks

QUERIES = {
    target["refId"]: target["query"]
    for panel in DASHBOARDS["fleet"]["panels"]
    if panel["title"] == "What is wrong"
    for target in panel["targets"]
}
#: For each rule the queries whose rows are lines, each with the one whose rows take them away.
LINES: dict[str, dict[str, str | None]] = {
    "Unit offline": {"offline": None, "offlinealways": None},
    "Trip": {"tripped": None, "trippedseldom": None, "trippedbefore": None},
    "Unexpected CC": {
        "limiting": "limitingother",
        "limitinglong": "limitinglongother",
        "limitingseldom": None,
    },
    "Near the current limit": {"nearlimit": None, "nearlimitseldom": None},
    "Near over-voltage protection": {"nearovp": None, "nearovpseldom": None},
    "Agent gone": {"agentgone": None, "agentgonealways": None},
    "Backlog growing": {"waiting": None},
    "Samples dropped": {"lost": None},
    "Nothing is stored": {"nothing": "nothingbut", "nothingheard": None},
}
#: An agent whose clock is ahead has a line of its own, and none for its alerts but for trips.
AHEAD = ("ahead", "aheadagent")
Tags = dict[str, str]


class Panel:
    """What is wrong, by that store, at a range's end."""

    def __init__(self, ask: Ask, end: datetime) -> None:
        self._ask, self._end = ask, str(milliseconds(end))

    def tags(self, ref: str) -> list[Tags]:
        """The tags of the query's series."""
        return [series.get("tags", {}) for series in self._ask(QUERIES[ref].replace("${__to}", self._end))]

    def lines(self, title: str) -> list[Tags]:
        """The tags of the rule's lines."""
        found = []
        for ref, without in LINES[title].items():
            gone = self.tags(without) if without else []
            found += [line for line in self.tags(ref) if line not in gone]
        return found


def is_of(line: Tags, labels: Labels) -> bool:
    return all(line.get(tag, value) == value for tag, value in labels)


def unshown(store: Store, timeline: Timeline, expected: dict[str, dict[str, list[Span]]]) -> list[str]:
    """The alerts that fire and have no line, at the beginning and in the middle of each of their spans."""
    wanted: dict[int, list[tuple[str, str]]] = {}
    for title, instances in expected.items():
        for instance, spans in instances.items():
            for begin, end in spans:
                for time in {begin, begin + (end - begin) // 20 * 10}:
                    wanted.setdefault(time, []).append((title, instance))
    missing = []
    for time in timeline.run(store, sorted(wanted)):
        ask = asks(store, timeline.at(time))
        panel = Panel(ask, timeline.at(time))
        for title in {title for title, _ in wanted[time]}:
            evaluator = Evaluator(BY_TITLE[title] | {"for": "0s"})
            evaluator.evaluate(ask, time)
            firing = {name(labels): labels for labels in evaluator.instances if name(labels) in evaluator.firing()}
            lines = panel.lines(title)
            for instance in [instance for other, instance in wanted[time] if other == title]:
                shown = lines + [line for ref in AHEAD if "ahead" in instance for line in panel.tags(ref)]
                if not any(is_of(line, firing[instance]) for line in shown):
                    missing.append(f"{title} {instance} at {time} s")
    return missing


def test_each_rule_has_lines() -> None:
    assert set(LINES) == {rule["title"] for rule in RULES}


def test_an_alert_has_a_line(store: Store) -> None:
    expected = test_boundaries.EXPECTED
    assert unshown(store, test_boundaries.lab(next(test_boundaries.ZEROS)), expected) == []


@pytest.mark.parametrize("every", test_slow_units.SILENT_AFTER)
def test_an_alert_of_a_slow_unit_has_a_line(store: Store, every: int) -> None:
    expected = test_slow_units.expected(every)
    assert unshown(store, test_slow_units.lab(every, next(test_boundaries.ZEROS)), expected) == []


@pytest.mark.parametrize("case", [name for name, spans in test_boundaries.NOTHING.items() if spans])
def test_nothing_is_stored_has_a_line(store: Store, case: str) -> None:
    line = Timeline(next(test_boundaries.ZEROS))
    test_boundaries.case(case, line)
    assert unshown(store, line, {"Nothing is stored": {"all": test_boundaries.NOTHING[case]}}) == []


@pytest.mark.parametrize("case", test_slow_units.FLEETS)
def test_nothing_is_stored_in_a_lab_of_slow_units_has_a_line(store: Store, case: str) -> None:
    """And where it is no alert, there is no line."""
    line = Timeline(next(test_boundaries.ZEROS))
    test_slow_units.fleet(case, line)
    spans = test_slow_units.FLEETS[case]
    if spans:
        assert unshown(store, line, {"Nothing is stored": {"all": spans}}) == []
        return
    for time in line.run(store, (300, 900, 2940)):
        assert Panel(asks(store, line.at(time)), line.at(time)).lines("Nothing is stored") == [], time


def test_queries_are_filled_in_as_the_panel_is() -> None:
    """Nothing but the end of the range stands in them, so that they can be put at any time."""
    for query in QUERIES.values():
        assert "$" not in query.replace("${__to}", "")
        assert "$" not in fill_in(query)

"""Each shipped rule over points in the real InfluxDB: it fires just after its time and not before, for what it is for alone.

All of the rules' clocks are the timeline's. Each unit or agent of it is one case, named after what happens to it.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.stack.grafana import RULES
from tests.stack.services import Store

from .evaluator import Ask, Evaluator
from .timeline import BEGIN, END, INTERVAL, Span, Timeline, evaluated, refuses

HOUR = 3600.0
ZERO = datetime(2026, 1, 1, tzinfo=UTC)
CV, CC, UNKNOWN = {"mode": "CV"}, {"mode": "CC"}, {"mode": None}
OFF, TRIPPED = {"state": False, "mode": "OFF"}, {"state": False, "mode": "OFF", "tripped": "OVP"}
OFFLINE = {"online": False, "state": None, "mode": None}
Samples = list[tuple[float, dict[str, Any]]]


def steps(*changes: tuple[float, dict[str, Any] | None], end: float = END, every: float = 1) -> Samples:
    """A sample a second, with these values from these moments on, and none from one on where that is None."""
    found: Samples = []
    for (begin, values), (until, _) in zip(changes, [*changes[1:], (end + 1, None)], strict=True):
        if values is not None:
            found += [(begin + every * number, values) for number in range(int((until - begin) / every))]
    return found


def drawing(ratio: float, **values: Any) -> dict[str, Any]:
    """On, in CV, with this part of its current limit."""
    return {"mode": "CV", "current": 2.0 * ratio, "current_limit": 2.0} | values


def at_level(ratio: float, **values: Any) -> dict[str, Any]:
    """On, with this part of its over-voltage protection's level."""
    return {"mode": "CV", "voltage": 20.0 * ratio, "voltage_protection": 20.0} | values


def figures(*changes: tuple[float, dict[str, Any] | None], end: float = END) -> Samples:
    """An agent's figures every 10 s, 3 s after the evaluation."""
    return [(time + 3, values) for time, values in steps(*changes, end=end, every=10)]


def counting(name: str, begin: float, until: float, start: int, step: int) -> Samples:
    return [(begin + 3 + 10 * n, {name: start + step * n}) for n in range(int((until - begin) / 10))]


def lab(zero: datetime) -> Timeline:
    """Every case at once."""
    line = Timeline(zero)
    # In CC from 0 on, for so long.
    for psu, until in (("cc-100", 100), ("cc-44", 44), ("cc-51", 51), ("cc-29", 29)):
        line.channel(psu, steps((BEGIN, CV), (0, CC), (until, CV)))
    line.channel("cc-100", steps((BEGIN, CV)), agent="b")
    line.channel("cc-flips", [(time, CC if time % 2 else CV) for time in range(BEGIN, END)])
    line.channel("cc-flips-slowly", [(time, CV if time % 40 < 5 else CC) for time in range(BEGIN, END)])
    for number, name in enumerate(("LED CC", "CC_LED", "LED (CC)", "CC", "Öfen;CC")):
        line.channel(f"cc-meant-{number}", steps((BEGIN, CC)), name=name)
    for number, name in enumerate(("VCC", "CC1", "ÜCC")):
        line.channel(f"cc-no-word-{number}", steps((BEGIN, CV), (0, CC), (100, CV)), name=name)
    line.channel("cc-unknown", steps((BEGIN, UNKNOWN)))
    line.channel(
        "cc-lost-polls", steps((BEGIN, CV), (0, CC), (20, None), (22, OFFLINE), (23, None), (30, CC), (100, CV))
    )
    line.channel("cc-changes-only", [(-50, CV), *((time, CC) for time in (0, 60, 120, 180)), (200, CV), (260, CV)])
    line.channel("cc-changes-only-flips", [(7 * number, CC if number % 2 else CV) for number in range(-8, 50)])
    line.channel("cc-flips-then-killed", [(time, CC if time % 2 else CV) for time in range(BEGIN, 42)])
    line.channel("cc-10-then-killed", steps((BEGIN, CV), (30, CC), end=40))
    line.channel("cc-then-removed", steps((BEGIN, CV), (0, CC), end=100))
    line.channel("cc-after-a-gap", steps((BEGIN, CV), (0, None), (100, CC), (111, CV)))
    line.channel("cc-ahead", steps((BEGIN, CV), (0, CC), (200, CV)), ahead=HOUR)
    line.channel("cc-ahead-flips", [(time, CC if time % 2 else CV) for time in range(BEGIN, END)], ahead=HOUR)
    line.channel("cc-in-a-backlog", steps((BEGIN, CV), (0, None), (60, CV)))
    line.channel("cc-in-a-backlog", [(time, CC) for time in range(5, 60)], late=60)
    line.channel("cc-since-an-outage", steps((BEGIN, CV), (0, None), (60, CC), (150, CV)))
    line.channel("cc-since-an-outage", [(time, CC) for time in range(60)], late=60)
    # Tripped.
    line.channel("trip-60", steps((BEGIN, CV), (0, TRIPPED), (60, OFF)))
    line.channel("trip-after-1", steps((BEGIN, CV), (1, TRIPPED)))
    line.channel("trip-between", steps((BEGIN, CV), (3, TRIPPED), (6, OFF)))
    line.channel("trip-then-killed", steps((BEGIN, CV), (0, TRIPPED), end=30))
    line.channel("trip-then-offline", [*steps((BEGIN, CV), (0, TRIPPED), end=30), (31, OFFLINE)])
    line.channel("trip-ahead", steps((BEGIN, CV), (0, TRIPPED), (60, OFF)), ahead=HOUR)
    line.channel("trip-in-an-old-backlog", steps((BEGIN, OFF)))
    line.channel("trip-in-an-old-backlog", steps((-600, TRIPPED), end=-500), late=620)
    # Near the current limit, and near the level of the over-voltage protection.
    half = drawing(0.5)
    line.channel("near-95", steps((BEGIN, half), (0, drawing(0.95)), (200, half)))
    line.channel("near-89", steps((BEGIN, drawing(0.89))))
    line.channel("near-95-for-100", steps((BEGIN, half), (0, drawing(0.95)), (100, half)))
    line.channel(
        "near-mode-unknown", steps((BEGIN, drawing(0.5, mode=None)), (0, drawing(0.95, mode=None)), (200, half))
    )
    line.channel("near-in-cc", steps((BEGIN, drawing(1.0, mode="CC"))), name="MOTOR CC")
    line.channel("near-meant", steps((BEGIN, drawing(0.95))), name="LED CC")
    line.channel("near-off", steps((BEGIN, drawing(0.95, state=False))))
    line.channel("near-no-limit", steps((BEGIN, drawing(0.95, current_limit=0.0))))
    line.channel("near-ahead", steps((BEGIN, half), (0, drawing(0.95))), ahead=HOUR)
    low, high = at_level(0.5), at_level(0.97)
    line.channel("ovp-97", steps((BEGIN, low), (0, high), (200, low)))
    line.channel("ovp-94", steps((BEGIN, at_level(0.94))))
    line.channel("ovp-spike", steps((BEGIN, low), (0, at_level(1.2)), (1, low)))
    line.channel("ovp-switched-off", steps((BEGIN, at_level(0.97, voltage_protection_state=False))))
    line.channel("ovp-no-level", steps((BEGIN, at_level(0.97, voltage_protection=None))))
    on = {"voltage_protection_state": True}
    line.channel("ovp-switched-on", steps((BEGIN, low | on), (0, high | on), (200, low)))
    # Units and agents that come and go.
    for kind in ("psu", "agent"):
        line.status(kind, "gone-100", (BEGIN, "online"), (0, "offline"), (100, "online"))
        line.status(kind, "gone-31", (BEGIN, "online"), (0, "offline"), (31, "online"))
        line.status(kind, "gone-29", (BEGIN, "online"), (0, "offline"), (29, "online"))
        line.status(kind, "gone-then-taken-out", (BEGIN, "online"), (0, "offline"), (100, ""))
        line.status(kind, "gone-for-long", (-360 * 86400, "offline"))
        line.status(kind, "online-for-long", (-360 * 86400, "online"))
    # Backlogs.
    line.metrics(
        "backlog-grows", [*figures((-200, {}), end=0), *counting("backlog", 0, 240, 20, 20), *figures((240, {}))]
    )
    line.metrics("backlog-wavers", [(time, {"backlog": int(time) % 7}) for time, _ in figures((-200, {}))])
    line.metrics("backlog-full", figures((-200, {"backlog": 500})))
    line.metrics(
        "backlog-shrinks-after-an-outage", [*figures((-200, {}), end=0), *counting("backlog", 100, 250, 500, -30)]
    )
    line.metrics(
        "backlog-grows-for-60", [*figures((-200, {}), end=0), *counting("backlog", 0, 60, 20, 20), *figures((60, {}))]
    )
    line.metrics("backlog-of-two", figures((-200, {"backlog": 0})))
    line.metrics("backlog-of-two", [(time + 4, {"backlog": 500}) for time, _ in figures((-200, {}))])
    line.metrics("backlog-grows-then-killed", [*figures((-200, {}), end=0), *counting("backlog", 0, 150, 20, 20)])
    line.metrics(
        "backlog-ahead", [*figures((-200, {}), end=0), *counting("backlog", 0, 240, 20, 20), *figures((240, {}))], HOUR
    )
    # Dropped samples.
    none, some = {"dropped_samples": 0}, {"dropped_samples": 7}
    line.metrics("dropped-7", figures((-200, none), (0, some), end=420))
    line.metrics("dropped-long-ago", figures((-200, some)))
    line.metrics("dropped-before-a-restart", figures((-200, some), (0, none)))
    line.metrics("dropped-after-a-restart", figures((-200, {"dropped_samples": 100}), (0, none), (50, some), end=420))
    line.metrics("dropped-in-an-outage-of-two-hours", figures((-7200, none), (-7100, None), (100, some), end=420))
    line.metrics("dropped-then-killed", figures((-200, none), (0, some), end=19))
    line.metrics("dropped-of-two", figures((-200, none)))
    line.metrics("dropped-of-two", [(time + 4, some) for time, _ in figures((-200, none))])
    line.metrics("dropped-ahead", figures((-200, none), (0, some), end=420), HOUR)
    return line


COMES_AND_GOES: dict[str, list[Span]] = {
    "gone-100": [(30, 90)],
    "gone-31": [(30, 30)],
    "gone-then-taken-out": [(30, 90)],
    "gone-for-long": [(-30, 120)],
}
#: When each case fires; it does not if it isn't here. A series that vanishes beside others is resolved at the second evaluation
#: without it.
EXPECTED: dict[str, dict[str, list[Span]]] = {
    "Unit offline": COMES_AND_GOES,
    "Trip": {
        "a trip-60 1": [(0, 180)],
        "a trip-after-1 1": [(10, 200)],
        "a trip-between 1": [(10, 130)],
        "a trip-then-killed 1": [(0, 150)],
        "a trip-then-offline 1": [(0, 150)],
        "a trip-ahead 1": [(0, 180)],
    },
    "Unexpected CC": {
        "a cc-100 1": [(50, 90)],
        "a cc-51 1": [(50, 50)],
        **{f"a cc-no-word-{number} 1": [(50, 90)] for number in range(3)},
        "a cc-lost-polls 1": [(50, 90)],
        "a cc-changes-only 1": [(30, 190)],
        "a cc-then-removed 1": [(50, 170)],
        "a cc-ahead 1": [(180, 190)],
        "a cc-since-an-outage 1": [(90, 140)],
    },
    "Near the current limit": {"a near-95 1": [(170, 210)], "a near-mode-unknown 1": [(170, 210)]},
    "Near over-voltage protection": {"a ovp-97 1": [(130, 200)], "a ovp-switched-on 1": [(130, 200)]},
    "Agent gone": COMES_AND_GOES,
    "Backlog growing": {
        "backlog-grows": [(120, 240)],
        "backlog-ahead": [(120, 240)],
        "backlog-grows-then-killed": [(120, 270)],
    },
    # The counter of the last one stands still for five minutes before it is no news, or its agent has been silent for as long.
    "Samples dropped": {
        "dropped-7": [(10, 300)],
        "dropped-ahead": [(10, 300)],
        "dropped-after-a-restart": [(60, 350)],
        "dropped-in-an-outage-of-two-hours": [(110, 400)],
        "dropped-then-killed": [(10, 310)],
    },
}
#: When the last evaluation of each is (s).
ENDS = {"Unit offline": 120, "Trip": 200, "Unexpected CC": 260, "Near the current limit": 240,
        "Near over-voltage protection": 240, "Agent gone": 120, "Backlog growing": END, "Samples dropped": 420}  # fmt: skip
#: The time 0 of each lab that nothing of the ones before it is in, however late it arrived.
ZEROS = (ZERO + timedelta(days=400 * number) for number in itertools.count())


@pytest.fixture(scope="module")
def spans(store: Store) -> dict[str, dict[str, list[Span]]]:
    return evaluated(store, lab(next(ZEROS)), ENDS)


@pytest.mark.parametrize("title", EXPECTED)
def test_a_rule_fires_and_recovers_when_it_should(spans: dict[str, dict[str, list[Span]]], title: str) -> None:
    assert spans[title] == EXPECTED[title]


# Nothing is stored. It looks at the whole lab, so each case has a time of its own. -------------------------------------------


def well(line: Timeline, online: int = 1) -> Timeline:
    line.channel("psu1", steps((BEGIN, CV)))
    line.metrics("a", figures((BEGIN, {"units_online": online})))
    return line


def case(name: str, line: Timeline) -> None:
    alive, nobody = {"units_online": 1}, {"units_online": 0}
    match name:
        case "all is well":
            well(line)
        case "no channel comes":
            line.channel("psu1", steps((BEGIN, CV), (0, None), (250, CV)))
            line.metrics("a", figures((BEGIN, alive)))
        case "no figures come":
            line.channel("psu1", steps((BEGIN, CV)))
            line.metrics("a", figures((BEGIN, alive), (0, None), (250, alive)))
        case "nothing comes":
            line.channel("psu1", steps((BEGIN, CV), (0, None), (250, CV)))
            line.metrics("a", figures((BEGIN, alive), (0, None), (250, alive)))
        case "no channel has ever come":
            line.metrics("a", figures((BEGIN, alive)))
        case "no unit":
            line.metrics("a", figures((BEGIN, nobody)))
        case "all units offline":
            line.channel("psu1", [*steps((BEGIN, CV), end=0), (1, OFFLINE)])
            line.metrics("a", figures((BEGIN, alive), (0, nobody)))
        case "one of two agents has units":
            well(line)
            line.metrics("b", figures((BEGIN, nobody)))
        case "changes only":
            line.channel("psu1", steps((BEGIN, CV), every=60))
            line.metrics("a", figures((BEGIN, alive)))
        case "a gap of two minutes":
            line.channel("psu1", steps((BEGIN, CV), (0, None), (125, CV)))
            line.metrics("a", figures((BEGIN, alive), (0, None), (125, alive)))
        case "a backlog":  # what comes late shows that the way is open, as far as it is young
            well(line)
            line.channel("psu1", [(time, CV) for time in range(-600, BEGIN)], late=700)


NOTHING: dict[str, list[Span]] = {
    "all is well": [],
    "no channel comes": [(180, 240)],
    "no figures come": [(180, 250)],
    "nothing comes": [(180, 240)],
    "no channel has ever come": [(0, END)],
    "no unit": [],
    "all units offline": [],
    "one of two agents has units": [],
    "changes only": [],
    "a gap of two minutes": [],
    "a backlog": [],
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_is_stored(store: Store, name: str) -> None:
    line = Timeline(next(ZEROS))
    case(name, line)
    # A query costs some milliseconds, so only those whose moment matters have all evaluations.
    interval = INTERVAL if name in ("no channel comes", "no figures come") else 3 * INTERVAL
    found = evaluated(store, line, {"Nothing is stored": END}, interval)["Nothing is stored"]
    assert found == ({"all": NOTHING[name]} if NOTHING[name] else {})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["title"])
def test_an_empty_store_is_an_alert_of_one_rule_alone(store: Store, rule: dict[str, Any]) -> None:
    line = Timeline(next(ZEROS))
    expected = {"all": [(0, 60)]} if rule["title"] == "Nothing is stored" else {}
    assert evaluated(store, line, {rule["title"]: 60}, 3 * INTERVAL)[rule["title"]] == expected


# The store is down. ----------------------------------------------------------------------------------------------------------


def always(value: float) -> Ask:
    return lambda _: [{"tags": {"psu": "psu1"}, "columns": ["time", "last"], "values": [[0, value]]}]


@pytest.mark.parametrize("fires", [True, False])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["title"])
def test_a_store_that_is_down_is_an_alert_of_one_rule_alone(rule: dict[str, Any], fires: bool) -> None:
    """An alert that fires goes on, one that does not stays so; when the store is there again, all is as before."""
    nothing = rule["title"] == "Nothing is stored"
    evaluator, ask = Evaluator(rule), always(1.0 if fires else 0.0)
    for time in range(0, 300, INTERVAL):
        evaluator.evaluate(ask, time)
    before = evaluator.firing()
    assert before == ({"psu1"} if fires and not nothing else set())
    # A query that fails now and then, or some of them: nothing.
    for time in range(300, 600, INTERVAL):
        evaluator.evaluate(ask if time % 50 else refuses, time)
        assert evaluator.firing() == before
    for time in range(600, 660, INTERVAL):
        evaluator.evaluate(refuses, time)
        assert evaluator.firing() == before
    for time in range(660, 4000, INTERVAL):
        evaluator.evaluate(refuses, time)
        assert evaluator.firing() == ({"all"} if nothing else before)
    for time in range(4000, 4020, INTERVAL):
        evaluator.evaluate(ask, time)
        assert evaluator.firing() == before

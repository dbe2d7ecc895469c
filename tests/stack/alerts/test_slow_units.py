"""The shipped rules over units that are heard of seldom, because of their poll_interval or heartbeat, alone and beside others.

An alert of such a unit goes on from one sample to the next, and ends with the unit's own news.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.stack.services import Store

from .test_boundaries import CC, CV, OFF, OFFLINE, TRIPPED, Samples, at_level, drawing, figures
from .timeline import BEGIN, Span, Timeline, evaluated

ZERO = datetime(2020, 1, 1, tzinfo=UTC)
#: s between two evaluations.
INTERVAL = 60
#: For a time between two polls (s): the `silent_after` of its samples, and how old one may be (s) that counts.
SILENT_AFTER = {120: 360.0, 600: 1800.0}
FORGOTTEN = {120: 400, 600: 1800}


def polls(every: int, *values: dict[str, Any] | None, before: dict[str, Any] = CV) -> Samples:
    """The samples of a unit that is polled so seldom (s): three with the values of before, then one with each of these."""
    found: Samples = []
    for number, changed in enumerate([before] * 3 + list(values), -3):
        if changed is not None:
            more = {"silent_after": SILENT_AFTER[every]} if every in SILENT_AFTER else {}
            found.append((every * number + 3.0, changed | more))
    return found


def lab(every: int, zero: datetime) -> Timeline:
    line = Timeline(zero)
    line.channel("trip", polls(every, TRIPPED, TRIPPED, OFF, OFF))
    line.channel("trip-then-killed", polls(every, TRIPPED))
    line.channel("cc", polls(every, CC, CC, CC, CV, CV))
    line.channel("cc-then-offline", polls(every, CC, CC, OFFLINE, OFFLINE))
    line.channel("cc-flips", polls(every, CC, CV, CC, CV, CC, CV))
    line.channel("cc-meant", polls(every, CC, CC, CC, CC), name="LED CC")
    low, high = drawing(0.5), drawing(0.95)
    line.channel("near", polls(every, high, high, high, low, low, before=low))
    line.channel("near-once", polls(every, high, low, low, low, before=low))
    line.channel("near-then-off", polls(every, high, high, OFF, OFF, before=low))
    unknown = [sample | {"mode": None} for sample in (low, high)]
    line.channel("near-mode-unknown", polls(every, unknown[1], unknown[1], unknown[0], before=unknown[0]))
    line.channel("near-in-cc", polls(every, *[drawing(1.0, mode="CC")] * 4), name="MOTOR CC")
    low, high = at_level(0.5), at_level(0.97)
    line.channel("ovp", polls(every, high, high, high, low, low, before=low))
    line.channel("ovp-once", polls(every, high, low, low, low, before=low))
    line.channel("ovp-switched-off", polls(every, *[at_level(0.97, voltage_protection_state=False)] * 4))
    return line


def expected(every: int) -> dict[str, dict[str, list[Span]]]:
    """When each fires, at the evaluation after its sample and its time."""
    forgotten = (FORGOTTEN[every] + 3) // INTERVAL * INTERVAL
    return {
        "Trip": {
            "a trip 1": [(60, 2 * every)],
            "a trip-then-killed 1": [(60, forgotten)],
        },
        "Unexpected CC": {
            "a cc 1": [(every + 120, 3 * every)],
            "a cc-then-offline 1": [(every + 120, 2 * every)],
        },
        "Near the current limit": {
            "a near 1": [(every + 120, 3 * every)],
            "a near-mode-unknown 1": [(every + 120, 2 * every)],
            "a near-then-off 1": [(every + 120, 2 * every)],
        },
        "Near over-voltage protection": {"a ovp 1": [(every + 120, 3 * every)]},
    }


@pytest.mark.parametrize("every", SILENT_AFTER)
def test_an_alert_goes_on_from_one_sample_to_the_next(store: Store, every: int) -> None:
    timeline = lab(every, ZERO + timedelta(days=400 * list(SILENT_AFTER).index(every)))
    ends = dict.fromkeys(expected(every), 5 * every)
    assert evaluated(store, timeline, ends, INTERVAL) == expected(every)


# Nothing is stored. Each case has a lab of its own. --------------------------------------------------------------------------


def fleet(case: str, line: Timeline) -> None:
    """Agents with units that are polled at these times; every unit but the first of a case is heard of until its end."""
    often: Samples = [(float(time), CV) for time in range(BEGIN, 3000, 10)]
    match case:
        case "every 120 s":
            line.channel("psu1", polls(120, *[CV] * 25))
        case "every 600 s":
            line.channel("psu1", polls(600, *[CV] * 5))
        case "every 120 s, till 3":
            line.channel("psu1", polls(120, CV))
        case "every 600 s, till 3":
            line.channel("psu1", polls(600, CV))
        case "every 120 s till 3, and every 600 s":
            line.channel("psu1", polls(120, CV))
            line.channel("psu2", polls(600, *[CV] * 5))
        case "every 10 s till 0, and every 600 s":
            line.channel("psu1", [sample for sample in often if sample[0] < 0])
            line.channel("psu2", polls(600, *[CV] * 5))
        case "every 600 s till 3, and every 10 s":
            line.channel("psu1", polls(600, CV))
            line.channel("psu2", often)
        case "every 10 s till 0, and every 600 s by an agent that was killed":
            line.channel("psu1", [sample for sample in often if sample[0] < 0])
            line.channel("psu2", polls(600), agent="b")
            line.metrics("b", figures((BEGIN, {"units_online": 1, "units_seldom": 1}), end=0))
        case "every 600 s, offline":
            line.channel("psu1", polls(600, OFFLINE, OFFLINE, OFFLINE))
    units = 0 if case.endswith("offline") else 1 + (", and" in case and "killed" not in case)
    seldom = 0 if "killed" in case else units - ("every 10 s" in case)
    line.metrics("a", figures((BEGIN, {"units_online": units, "units_seldom": seldom}), end=3000))


FLEETS: dict[str, list[Span]] = {
    "every 120 s": [],
    "every 600 s": [],
    "every 120 s, till 3": [(480, 2940)],
    "every 600 s, till 3": [(1920, 2940)],
    "every 120 s till 3, and every 600 s": [],
    "every 10 s till 0, and every 600 s": [(180, 2940)],
    "every 600 s till 3, and every 10 s": [],
    "every 10 s till 0, and every 600 s by an agent that was killed": [(180, 2940)],
    "every 600 s, offline": [],
}


@pytest.mark.parametrize("case", FLEETS)
def test_nothing_is_stored(store: Store, case: str) -> None:
    line = Timeline(ZERO - timedelta(days=400 * (1 + list(FLEETS).index(case))))
    fleet(case, line)
    found = evaluated(store, line, {"Nothing is stored": 2940}, INTERVAL)["Nothing is stored"]
    assert found == ({"all": FLEETS[case]} if FLEETS[case] else {})

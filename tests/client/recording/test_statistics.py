"""Energy, charge and extremes of a recording, its intervals, and its choice of channels."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.client.fleet import Fleet
from agent.client.recording.selection import Selection, UnknownTargetError
from agent.client.recording.statistics import Statistics
from agent.client.recording.thinning import Thinner
from agent.client.request import Target
from agent.protocol.messages import ChannelState
from agent.protocol.topics import Topics
from tests.client.test_fleet import state
from tests.properties import examples

RUN = object()


def made(seq: int, **changes: object) -> ChannelState:
    return ChannelState.model_validate_json(state("psu1", 1, seq=seq, **changes))


def add(
    statistics: Statistics, seq: int, watts: float, *, time: int | None = None, late: bool = False, **more: object
) -> None:
    time = seq * 1000 if time is None else time
    statistics.add(made(seq, voltage=watts, current=1.0, power=watts, **more), time, RUN, late=late)


def test_energy_and_charge_by_the_trapezoidal_rule() -> None:
    statistics = Statistics()
    for seq, watts in ((1, 0.0), (2, 36.0), (3, 36.0)):
        add(statistics, seq, watts)
    assert math.isclose(statistics.energy, (18 + 36) / 3600)
    assert math.isclose(statistics.charge, 2 / 3600)
    assert statistics.recorded == statistics.duration == 2
    extent = statistics.extents[2]
    assert (extent.minimum, extent.mean, extent.maximum) == (0.0, 27.0, 36.0)


def test_a_gap_counts_for_nothing_until_its_samples_come_late() -> None:
    statistics, whole = Statistics(), Statistics()
    for seq in (1, 2, 6, 7):
        add(statistics, seq, 10.0 * seq)
    assert math.isclose(statistics.energy, (15 + 65) / 3600)
    for seq in (3, 4, 5):
        add(statistics, seq, 10.0 * seq, late=True)
    for seq in range(1, 8):
        add(whole, seq, 10.0 * seq)
    assert math.isclose(statistics.energy, whole.energy)
    assert statistics.recorded == whole.recorded
    assert (statistics.samples, statistics.late) == (7, 3)


def test_time_without_samples_and_outputs_that_are_off_add_nothing() -> None:
    statistics = Statistics()
    add(statistics, 1, 10.0, time=0)
    add(statistics, 2, 10.0, time=60_000)
    add(statistics, 3, 10.0, time=61_000, state=False)
    assert (statistics.energy, statistics.charge) == (0.0, 0.0)


def test_a_unit_that_publishes_changes_only_keeps_its_value_until_the_next() -> None:
    statistics = Statistics(longest_gap=120, is_step=True)
    add(statistics, 1, 10.0, time=0)
    add(statistics, 2, 90.0, time=60_000)
    add(statistics, 3, 0.0, time=61_000, state=False)
    assert math.isclose(statistics.energy, (600 + 90) / 3600)


def test_the_agents_counters_go_on_over_gaps_and_begin_anew() -> None:
    statistics = Statistics()
    for seq, energy in ((1, 1.0), (5, 3.0), (6, 0.5), (7, 1.0)):
        add(statistics, seq, 1.0, energy=energy, charge=None)
    assert statistics.counted_energy == 2.5
    assert statistics.counted_charge is None
    assert statistics.as_json()["agent_charge_ah"] is None


def test_each_agent_has_counters_of_its_own() -> None:
    """A unit that another agent served for a while had that one's whole counter as its energy."""
    statistics = Statistics()
    for seq, agent, energy in ((1, "a", 1.0), (2, "a", 1.5), (1, "b", 900.0), (2, "b", 900.25), (3, "a", 1.75)):
        add(statistics, seq, 1.0, agent=agent, energy=energy)
    assert statistics.counted_energy == 1.0


def test_what_a_unit_does_not_tell_is_not_known() -> None:
    statistics = Statistics()
    for seq in (1, 2):
        statistics.add(made(seq, voltage=None), seq * 1000, RUN, late=False)
    figures = statistics.as_json()
    assert (figures["energy_wh"], figures["charge_ah"], figures["voltage"]["mean"]) == (None, None, None)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=30), st.randoms(use_true_random=False))
@examples()
def test_a_gap_that_is_filled_in_order_gives_the_whole(watts: list[float], dice: random.Random) -> None:
    """Whatever came late, as long as an agent's backlog comes oldest first."""
    first, last = 0, len(watts) - 1
    late = [seq for seq in range(first + 1, last) if dice.random() < 0.5]
    parts, whole = Statistics(), Statistics()
    for seq, power in enumerate(watts):
        add(whole, seq, power)
        if seq not in late:
            add(parts, seq, power)
    for seq in late:
        add(parts, seq, watts[seq], late=True)
    assert math.isclose(parts.energy, whole.energy, abs_tol=1e-12)
    assert math.isclose(parts.recorded, whole.recorded, abs_tol=1e-9)


@given(st.lists(st.tuples(st.integers(0, 3000), st.booleans()), max_size=40))
@examples()
def test_an_interval_has_one_row_at_most_and_each_that_has_samples_has_one(samples: list[tuple[int, bool]]) -> None:
    written: list[tuple[int, bool]] = []
    thinner = Thinner(100, lambda state, late: written.append((state.seq, late)))
    in_order = sorted(time for time, late in samples if not late)
    for time in in_order:
        thinner.add(made(time), time, late=False)
    for time, late in samples:
        if late:
            thinner.add(made(time), time, late=True)
    thinner.flush()
    intervals = [time // 100 for time, _ in written]
    assert len(intervals) == len(set(intervals))
    assert set(intervals) == {time // 100 for time, _ in samples}
    for time, late in written:
        if not late:
            assert time == max(other for other in in_order if other // 100 == time // 100)


def test_a_choice_of_channels_and_its_filters() -> None:
    topics = Topics("psu")
    every = Selection([])
    some = Selection(
        [Target("psu1", "2"), Target("psu1", "1"), Target("psu2"), Target("psu2", "1"), Target("psu3", "VDD")]
    )
    assert every.has("any", 3, "X")
    assert [
        some.has(*place) for place in (("psu1", 1, "A"), ("psu1", 3, "A"), ("psu2", 9, "A"), ("psu3", 4, "VDD"))
    ] == [*(True, False, True, True)]
    assert not some.has("psu4", 1, "A")
    filters = some.filters(topics)
    assert len(filters) == len(set(filters))
    for expected in ("psu/psu1/1/state", "psu/psu1/2/backlog", "psu/psu2/+/event", "psu/psu3/+/state", "psu/psu3/info"):
        assert expected in filters
    assert "psu/psu2/1/state" not in filters
    assert "psu/+/+/backlog" in every.filters(topics)


def test_a_choice_of_what_there_is_not() -> None:
    fleet = Fleet(Topics("psu"))
    with pytest.raises(UnknownTargetError, match="no agent has a unit psu1; the units are: none"):
        Selection([Target("psu1")]).check(fleet)
    fleet.update("psu/psu1/1/state", state("psu1", 1, name="VDD"))
    Selection([Target("psu1", "VDD"), Target("psu1", "1")]).check(fleet)
    with pytest.raises(UnknownTargetError, match=r"psu1 has no channel X; it has 1 \(VDD\)"):
        Selection([Target("psu1", "X")]).check(fleet)

"""From readings to states and events: counts, times, power, energy, and who changed what."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.driver import Profile, Range, Reading, Write
from agent.protocol.commands import Command
from agent.protocol.messages import By, ChannelState, Event
from agent.protocol.quantities import QUANTITIES
from agent.unit.changes import Changes
from agent.unit.job import Job
from agent.unit.limits.channel import Channel, channels_of
from agent.unit.meters import Meter
from agent.unit.samples import Samples
from tests.properties import examples
from tests.unit.fakedriver import IDENTITY, OFF, output

T0 = datetime(2026, 11, 23, 9, 15, tzinfo=UTC)
ON = Reading(3.0, 0.5, 3.0, 1.0, True, 6.6, False, "CV", None, 5.5, True)


class Bench:
    """Samples of a unit of two outputs, the second a negative one, and a clock."""

    def __init__(self, interval: float = 1.0, **arguments: Any) -> None:
        self.outputs = (output(1), output(2, voltage=Range(-6.0, 0.0)))
        self.profile = Profile("FAKE2", self.outputs, IDENTITY)
        self.channels = channels_of("psu1", self.profile, {})
        self.changes = Changes("bench", "psu1")
        self.samples = Samples(
            agent="bench", unit="psu1", interval=interval, changes=self.changes, **{"meters": {}, **arguments}
        )
        self.samples.adopt(self.profile, self.channels.values())
        self.seconds = 0.0

    def take(self, seconds: float = 1.0, **changed: Any) -> tuple[ChannelState, list[Event]]:
        """The state of channel 1, and all events, when so many seconds have passed."""
        self.seconds += seconds
        readings = {1: ON._replace(**changed), 2: OFF}
        states, events = self.samples.take(readings, T0 + timedelta(seconds=self.seconds), self.seconds)
        assert [state.index for state in states] == [1, 2]
        return states[0], events

    def job(self, by: By = "command", command_id: str | None = "a", **fields: Any) -> Job:
        channel: Channel = self.channels[1]
        return Job(Command(id=command_id, **fields), (channel,), by=by)


def told(events: list[Event]) -> list[tuple[Any, ...]]:
    return [(event.field, event.from_, event.to, event.by, event.id) for event in events]


def test_energy_is_counted_where_the_state_cant_be_read() -> None:
    unknown, off = Bench(), Bench()
    for bench, state in ((unknown, None), (off, False)):
        for _ in range(3):
            bench.take(3.6, state=state)
    assert unknown.take(state=None)[0].energy == pytest.approx(3.0 * 0.5 * 8.2 / 3600, abs=1e-6)
    assert off.take(state=False)[0].energy == 0.0
    assert unknown.take(state=None)[0].state is None


def test_energy_of_an_output_that_is_not_measured_is_null() -> None:
    """0 Wh would be a guess. The other output, of which nobody knows what it tells, has its own."""
    bench = Bench()
    blind = replace(bench.outputs[0], tells=frozenset(("state", "voltage")))
    profile = replace(bench.profile, outputs=(blind, bench.outputs[1]))
    bench.samples.adopt(profile, channels_of("psu1", profile, {}).values())
    state, _ = bench.take(current=None)
    assert (state.voltage, state.power, state.energy, state.charge) == (3.0, None, None, None)
    lost = bench.samples.lost(T0 + timedelta(seconds=9))
    assert [(one.energy, one.charge) for one in lost] == [(None, None), (0.0, 0.0)]


def test_an_unknown_state_is_not_off() -> None:
    bench = Bench()
    bench.take(state=None)
    assert not bench.samples.are_off((1,), 0.0)
    bench.take(state=False)
    assert bench.samples.are_off((1,), 0.0)


def test_a_state_has_all_that_the_table_of_quantities_has() -> None:
    state, events = Bench().take()
    reported = {quantity.name for quantity in QUANTITIES if quantity.reported}
    assert {name for name in reported if getattr(state, name) is None} == {"tripped"}
    assert (state.seq, state.time, state.agent, state.psu, state.index) == (
        1,
        T0 + timedelta(seconds=1),
        "bench",
        "psu1",
        1,
    )
    assert (state.online, state.model, state.name, state.power) == (True, "FAKE2", "CH1", 1.5)
    assert events == []  # nothing is known of before


def test_a_negative_output_delivers_power_at_negative_volts() -> None:
    bench = Bench()
    states, _ = bench.samples.take({2: ON._replace(voltage=-3.0)}, T0, 0.0)
    assert states[0].power == 1.5
    states, _ = bench.samples.take({1: ON._replace(voltage=-0.0001, current=0.0)}, T0, 1.0)
    assert str(states[0].power) == "0.0"  # no -0.0
    states, _ = bench.samples.take({1: ON._replace(current=None)}, T0, 2.0)
    assert states[0].power is None


def test_energy_counts_while_the_output_is_on_and_the_samples_come() -> None:
    bench = Bench(meters={1: Meter(1.0, 2.0)})
    bench.take()
    state, _ = bench.take(3.0)
    assert (state.energy, state.charge) == (round(1 + 1.5 * 3 / 3600, 6), round(2 + 0.5 * 3 / 3600, 6))
    state, _ = bench.take(6.0)  # too long ago
    assert state.energy == round(1 + 1.5 * 3 / 3600, 6)
    bench.take(1.0, state=False)
    state, _ = bench.take(1.0)
    assert state.energy == round(1 + 1.5 * 3 / 3600, 6)
    assert bench.samples.meters()[1].energy == state.energy


def test_a_slow_unit_has_longer_gaps() -> None:
    bench = Bench(interval=10.0)
    bench.take()
    state, _ = bench.take(29.0)
    assert state.energy == round(1.5 * 29 / 3600, 6)


def test_meters_of_channels_that_the_unit_has_not_shown_yet_are_kept() -> None:
    assert Bench(meters={7: Meter(1.0, 2.0)}).samples.meters()[7].energy == 1.0


def test_a_unit_that_is_lost_is_unknown_and_counts_on() -> None:
    bench = Bench()
    assert not bench.samples.has_states
    state, _ = bench.take()
    assert bench.samples.newest(1) == (ON, 1.0)
    lost = bench.samples.lost(T0)
    assert [(s.seq, s.online, s.state, s.voltage, s.power, s.mode, s.model) for s in lost] == [
        (2, False, None, None, None, None, "FAKE2")
    ] * 2
    assert bench.samples.newest(1) is None
    assert bench.samples.state(1) is lost[0]
    # Differences after its absence are changes; the absence adds no energy.
    state, events = bench.take(1.0, voltage_limit=4.0)
    assert told(events) == [("voltage_limit", 3.0, 4.0, "panel", None)]
    assert (state.seq, state.energy) == (3, 0.0)


def test_another_unit_at_the_address_changed_nothing() -> None:
    bench = Bench()
    bench.take()
    bench.changes.wrote(Write("voltage_limit", (1,), 4.0), bench.job(voltage_limit=4.0))
    bench.samples.forget()
    _, events = bench.take(1.0, voltage_limit=2.0)
    assert events == []
    _, events = bench.take(1.0, voltage_limit=4.0)
    assert told(events) == [("voltage_limit", 2.0, 4.0, "panel", None)]


def test_counts_go_on_through_other_profiles_and_successors() -> None:
    bench = Bench()
    bench.take()
    bench.take()
    smaller = Profile("FAKE1", (output(1),), IDENTITY)
    bench.samples.adopt(smaller, channels_of("psu1", smaller, {}).values())
    bench.samples.take({1: ON}, T0, 9.0)
    assert [state.index for state in bench.samples.lost(T0)] == [1]
    assert bench.samples.counts() == {1: 4, 2: 2}
    bench.samples.adopt(bench.profile, bench.channels.values())
    state, _ = bench.take()
    assert state.seq == 5
    assert bench.samples.counts() == {1: 5, 2: 3}
    successor = Bench(counts=bench.samples.counts())
    assert successor.take()[0].seq == 6


@given(st.lists(st.floats(-2.0, 2.0), max_size=30))
@examples(100)
def test_no_two_samples_have_the_same_time(steps: list[float]) -> None:
    bench = Bench()
    times = []
    now = T0
    for step in steps:
        now += timedelta(milliseconds=step)
        states, _ = bench.samples.take({1: ON}, now, 0.0)
        times.append(states[0].time)
        assert states[0].time >= now
    assert all(later - earlier >= timedelta(milliseconds=1) for earlier, later in itertools.pairwise(times))


def test_a_clock_that_is_set_back_is_followed() -> None:
    bench = Bench()
    bench.take(10.0)
    states, _ = bench.samples.take({1: ON}, T0, 0.0)
    assert states[0].time == T0


def test_a_unit_that_is_polled_without_a_pause_keeps_its_times() -> None:
    bench = Bench(interval=0.0)
    for _ in range(2):
        states, _ = bench.samples.take({1: ON}, T0, 0.0)
        assert states[0].time == T0


# Authors of changes.


@pytest.mark.parametrize(
    ("by", "command_id", "text"),
    [("command", "a", "by command a"), ("command", None, "by command"), ("agent", None, "by the agent")],
)
def test_a_change_is_the_writers(by: By, command_id: str | None, text: str) -> None:
    bench = Bench()
    bench.take()
    bench.changes.wrote(Write("state", (1,), False), bench.job(by, command_id, state=False))
    _, events = bench.take(state=False, mode="OFF", voltage_limit=2.0)
    assert sorted(told(events)) == [
        ("mode", "CV", "OFF", by, command_id),
        ("state", True, False, by, command_id),
        ("voltage_limit", 3.0, 2.0, "panel", None),  # somebody was quick
    ]
    texts = {event.field: event.text for event in events}
    assert texts["state"] == f"state on → off {text}"
    assert texts["voltage_limit"] == "voltage_limit 3 V → 2 V at the unit"
    assert (events[0].model, events[0].name, events[0].time) == ("FAKE2", "CH1", T0 + timedelta(seconds=2))


def test_a_write_that_changed_nothing_does_not_claim_a_later_change() -> None:
    bench = Bench()
    bench.take()
    bench.changes.wrote(Write("voltage_limit", (1,), 3.0), bench.job(voltage_limit=3.0))
    bench.take()
    _, events = bench.take(voltage_limit=4.0)
    assert told(events) == [("voltage_limit", 3.0, 4.0, "panel", None)]


def test_a_trip_is_nobodys_doing_and_its_end_is() -> None:
    bench = Bench()
    bench.take()
    bench.changes.wrote(Write("current_limit", (1,), 0.1), bench.job(current_limit=0.1))
    _, events = bench.take(current_limit=0.1, tripped="OCP", state=False, mode="OFF")
    assert told(events)[:3] == [
        ("state", True, False, "unit", None),
        ("tripped", None, "OCP", "unit", None),
        ("mode", "CV", "OFF", "unit", None),
    ]
    assert {event.text for event in events} >= {"state on → off by the unit itself"}
    assert ("current_limit", 1.0, 0.1, "command", "a") in told(events)
    bench.changes.wrote(Write("clear_protection", (1,), True), bench.job(clear_protection=True))
    _, events = bench.take(current_limit=0.1, state=False, mode="OFF")
    assert told(events) == [("tripped", "OCP", None, "command", "a")]


TRIPPED: dict[str, Any] = {"tripped": "OVP", "state": False, "mode": "OFF"}


def test_an_output_that_trips_right_after_it_was_told_to_be_on_is_the_units_doing() -> None:
    bench = Bench()
    bench.take()
    bench.changes.wrote(Write("state", (1,), True), bench.job(state=True))
    _, events = bench.take(**TRIPPED)
    assert {event.by for event in events} == {"unit"}


def test_a_clear_after_which_it_tripped_again_for_another_reason_is_no_trip_by_command() -> None:
    bench = Bench()
    bench.take(**TRIPPED)
    bench.changes.wrote(Write("clear_protection", (1,), True), bench.job(clear_protection=True))
    _, events = bench.take(**TRIPPED | {"tripped": "OTP"})
    assert told(events) == [("tripped", "OVP", "OTP", "unit", None)]


def test_an_output_that_goes_off_one_reading_after_its_trip_is_the_units_doing() -> None:
    bench = Bench()
    bench.take()
    bench.take(tripped="OVP")
    _, events = bench.take(**TRIPPED)
    assert told(events) == [("state", True, False, "unit", None), ("mode", "CV", "OFF", "unit", None)]


def test_an_off_after_the_trip_is_the_commands() -> None:
    bench = Bench()
    bench.take()
    bench.take(tripped="OVP")
    bench.changes.wrote(Write("state", (1,), False), bench.job(state=False))
    assert {event.by for event in bench.take(**TRIPPED)[1]} == {"command"}


@pytest.mark.parametrize("by", ["command", "panel"])
def test_a_mode_goes_with_the_state_or_is_the_units(by: By) -> None:
    bench = Bench()
    bench.take()
    if by == "command":
        bench.changes.wrote(Write("current_limit", (1,), 0.1), bench.job(current_limit=0.1))
    _, events = bench.take(current_limit=0.1, mode="CC")
    assert {event.field: event.by for event in events} == {"current_limit": by, "mode": "unit"}
    if by == "command":
        bench.changes.wrote(Write("state", (1,), False), bench.job(state=False))
    _, events = bench.take(current_limit=0.1, state=False, mode="OFF")
    assert {event.field: event.by for event in events} == {"state": by, "mode": by}


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_trip_that_is_cleared_at_the_unit_is_the_panels(goes_on: bool) -> None:
    bench = Bench()
    bench.take(**TRIPPED)
    _, events = bench.take() if goes_on else bench.take(state=False, mode="OFF")
    assert {event.by for event in events} == {"panel"}


def test_a_ramp_is_told_when_it_has_arrived() -> None:
    bench = Bench()
    bench.take(voltage_limit=0.0)
    job = bench.job(voltage_limit=2.0, ramp=1.0)
    bench.changes.ramp_begins(job)
    for volts in (0.5, 1.0, 1.5):
        bench.changes.wrote(Write("voltage_limit", (1,), volts), job)
        assert bench.take(voltage_limit=volts)[1] == []
        assert bench.take(voltage_limit=volts)[1] == []  # a poll between two steps
    bench.changes.wrote(Write("voltage_limit", (1,), 2.0), job)
    assert told(bench.take(voltage_limit=2.0)[1]) == [("voltage_limit", 0.0, 2.0, "command", "a")]
    bench.changes.ramp_ends(job.indices)
    assert not bench.changes.has_notes
    assert bench.take(voltage_limit=2.0)[1] == []


def test_a_ramp_that_ends_early_is_told_to_where_it_came() -> None:
    bench = Bench()
    bench.take(voltage_limit=0.0)
    job = bench.job(voltage_limit=2.0, ramp=1.0)
    bench.changes.ramp_begins(job)
    bench.changes.wrote(Write("voltage_limit", (1,), 0.5), job)
    bench.take(voltage_limit=0.5)
    bench.changes.ramp_ends(job.indices)
    # The next reading equals the last: it is told all the same.
    assert told(bench.take(voltage_limit=0.5)[1]) == [("voltage_limit", 0.0, 0.5, "command", "a")]
    assert bench.take(voltage_limit=0.5)[1] == []

"""Only changes are published: none is lost, however slow it is, and a state comes now and then in any case."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.driver import Profile, Reading
from agent.protocol.messages import ChannelState, Event
from agent.unit.changes import Changes
from agent.unit.limits.channel import channels_of
from agent.unit.samples import Samples
from tests.properties import examples
from tests.unit.fakedriver import IDENTITY, output

T0 = datetime(2026, 11, 26, 9, 15, tzinfo=UTC)
ON = Reading(3.0, 0.5, 3.0, 1.0, True, 6.6, False, "CV", None, 5.5, True)


@dataclass
class Deadbands:
    voltage: float | None = 0.01
    current: float | None = 0.001
    power: float | None = None


@dataclass
class Publish:
    changes_only: bool = True
    deadband: Deadbands = field(default_factory=Deadbands)
    heartbeat: float = 60.0


class Bench:
    """The samples of a unit of one output, polled once a second."""

    def __init__(self, publish: Publish | None = None) -> None:
        self.profile = Profile("FAKE1", (output(1),), IDENTITY)
        self.samples = Samples(
            agent="bench",
            unit="psu1",
            interval=1.0,
            changes=Changes("bench", "psu1"),
            meters={},
            publish=publish or Publish(),
        )
        self.connect()
        self.seconds = 1000.0
        self.events: list[Event] = []

    def connect(self) -> None:
        self.samples.adopt(self.profile, channels_of("psu1", self.profile, {}).values())

    def take(self, reading: Reading = ON, *, is_wanted: bool = False) -> ChannelState | None:
        """What is published of the next poll."""
        self.seconds += 1
        moment = T0 + timedelta(seconds=self.seconds)
        states, self.events = self.samples.take({1: reading}, moment, self.seconds, is_wanted=is_wanted)
        return states[0] if states else None


def test_what_does_not_change_is_published_once_in_a_heartbeat() -> None:
    bench = Bench()
    published = [bench.take() for _ in range(181)]
    assert [number for number, state in enumerate(published) if state] == [0, 60, 120, 180]
    assert [state.seq for state in published if state] == [1, 2, 3, 4]  # a gap would mean that one is missing
    energies = [state.energy for state in published if state]
    assert energies == [pytest.approx(3.0 * 0.5 * seconds / 3600, abs=1e-6) for seconds in (0, 60, 120, 180)]


@pytest.mark.parametrize(
    "changed",
    [
        {"voltage": 3.0101},
        {"voltage": 2.9899},
        {"voltage": None},
        {"voltage": math.nan},
        {"current": 0.5011},
        {"voltage_limit": 3.0001},
        {"current_limit": None},
        {"state": False},
        {"state": None},
        {"voltage_protection": 6.7},
        {"current_protection": True},
        {"mode": "CC"},
        {"tripped": "OVP"},
        {"current_protection_level": 5.6},
        {"voltage_protection_state": False},
    ],
)
def test_a_change_is_published_at_once_and_so_is_its_end(changed: dict[str, Any]) -> None:
    bench = Bench()
    bench.take()
    assert bench.take(ON._replace(**changed)) is not None
    assert bench.take(ON._replace(**changed)) is None
    assert bench.take() is not None
    assert bench.take() is None


@pytest.mark.parametrize("changed", [{"voltage": 3.01}, {"voltage": 2.99}, {"current": 0.501}, {"current": 0.499}])
def test_what_moves_by_no_more_than_the_deadband_is_no_change(changed: dict[str, Any]) -> None:
    bench = Bench()
    bench.take()
    assert bench.take(ON._replace(**changed)) is None


def test_the_deadband_is_one_step_where_none_is_given_and_power_has_one_of_its_own() -> None:
    bench = Bench(Publish(deadband=Deadbands(None, None, None)))
    step = output(1).voltage_resolution
    bench.take()
    assert bench.take(ON._replace(voltage=3.0 + step)) is None
    assert bench.take(ON._replace(voltage=3.0 + 2 * step)) is not None

    bench = Bench(Publish(deadband=Deadbands(1.0, 1.0, 0.1)))
    bench.take()
    assert bench.take(ON._replace(voltage=3.1)) is None  # 50 mW
    assert bench.take(ON._replace(voltage=3.3)) is not None  # 150 mW
    bench = Bench(Publish(deadband=Deadbands(0.0, 0.0)))
    bench.take()
    assert bench.take(ON._replace(voltage=math.nextafter(3.0, 4.0))) is not None


def test_a_slow_drift_is_published() -> None:
    bench = Bench(Publish(heartbeat=3600.0))
    published = [bench.take(ON._replace(voltage=3.0 + number / 1000)) for number in range(101)]
    volts = [state.voltage for state in published if state]
    assert volts == pytest.approx([3.0 + number * 0.011 for number in range(10)])


def test_what_somebody_wants_is_published_and_numbered() -> None:
    bench = Bench()
    bench.take()
    assert bench.take() is None
    wanted = bench.take(is_wanted=True)
    assert wanted is not None
    assert wanted.seq == 2
    bench.take(ON._replace(current=0.5005))
    (state,) = bench.samples.publish_newest([1])  # for a response
    assert (state.seq, state.current) == (3, 0.5005)
    assert bench.samples.publish_newest([1]) == []
    assert bench.samples.state(1) is state
    assert bench.take(ON._replace(current=0.5014)) is None  # compared with what was published last


def test_the_first_state_after_a_loss_is_published() -> None:
    bench = Bench()
    bench.take()
    bench.take()
    (lost,) = bench.samples.lost(T0 + timedelta(seconds=bench.seconds))
    assert (lost.seq, lost.online) == (2, False)
    assert bench.samples.publish_newest([1]) == []
    back = bench.take()
    assert back is not None
    assert back.seq == 3


def test_all_is_published_where_nothing_else_is_set() -> None:
    bench = Bench(Publish(changes_only=False))
    assert all(bench.take() for _ in range(5))


_VOLTS = st.one_of(st.none(), st.just(math.nan), st.floats(-1, 1), st.floats(-0.02, 0.02))
_STEPS = st.tuples(
    _VOLTS,  # how far the voltage walks; None and NaN are readings of their own
    st.floats(-0.002, 0.002),
    st.sampled_from(["CV", "CV", "CV", "CC", None]),
    st.sampled_from(["poll", "poll", "poll", "poll", "get", "lost", "response"]),
)


@examples(200)
@given(st.lists(_STEPS, max_size=60), st.floats(0.1, 20))
def test_a_reader_is_never_further_from_the_truth_than_the_deadband(steps: list[Any], heartbeat: float) -> None:
    """Whatever the readings do: after each poll the last state is the reading, but for the deadband."""
    bench = Bench(Publish(heartbeat=heartbeat))
    volts, amperes = 3.0, 0.5
    seen: ChannelState | None = None
    seqs: list[int] = []
    silence = 0
    for by, more, mode, what in steps:
        voltage: float | None
        if by is None or math.isnan(by):
            voltage = by
        else:
            volts += by
            voltage = volts
        amperes += more
        reading = ON._replace(voltage=voltage, current=amperes, mode=mode)
        if what == "lost":
            (seen,) = bench.samples.lost(T0 + timedelta(seconds=bench.seconds))
            seqs.append(seen.seq)
            bench.connect()
            silence = 0
            continue
        state = bench.take(reading, is_wanted=what == "get")
        newest = [state] if state else []
        if what == "response":
            newest += bench.samples.publish_newest([1])
            assert bench.samples.state(1).voltage is reading.voltage
        assert not (what in ("get", "response") and not newest)
        if bench.events:
            assert newest  # who hears of a change finds it in the state
        silence = 0 if newest else silence + 1
        assert silence <= max(0.5, heartbeat)
        seqs += [one.seq for one in newest]
        seen = newest[-1] if newest else seen
        assert seen is not None
        assert seen.online
        assert (seen.mode, seen.voltage_limit, seen.state) == (reading.mode, reading.voltage_limit, reading.state)
        assert seen.current is not None
        assert abs(seen.current - amperes) <= 0.001 * 1.00001
        if voltage is None or math.isnan(voltage):
            assert str(seen.voltage) == str(voltage)
        else:
            assert seen.voltage is not None
            assert abs(seen.voltage - voltage) <= 0.01 * 1.00001
    assert seqs == list(range(1, len(seqs) + 1))

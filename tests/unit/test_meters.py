"""Energy and charge: by the trapezoidal rule, never falling, and nothing for time without samples."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.unit.meters import Meter
from tests.properties import examples


def test_a_steady_hour() -> None:
    meter = Meter()
    for second in range(3601):
        meter.add(float(second), 12.0, 2.0, 5.0)
    assert (meter.energy, meter.charge) == (12.0, 2.0)


def test_a_ramp_is_a_trapezium() -> None:
    meter = Meter()
    meter.add(0.0, 0.0, 0.0, 3600.0)
    meter.add(3600.0, 10.0, 2.0, 3600.0)
    assert (meter.energy, meter.charge) == (5.0, 1.0)


def test_time_without_samples_adds_nothing() -> None:
    meter = Meter(1.0, 1.0)
    meter.add(0.0, 3600.0, 3600.0, 5.0)
    meter.add(5.1, 3600.0, 3600.0, 5.0)
    assert (meter.energy, meter.charge) == (1.0, 1.0)
    meter.pause()
    meter.add(6.0, 3600.0, 3600.0, 5.0)
    assert (meter.energy, meter.charge) == (1.0, 1.0)
    meter.add(7.0, 3600.0, 3600.0, 5.0)
    assert (meter.energy, meter.charge) == (2.0, 2.0)


def test_a_clock_that_goes_backwards_adds_nothing() -> None:
    meter = Meter()
    meter.add(10.0, 3600.0, 1.0, 5.0)
    meter.add(9.0, 3600.0, 1.0, 5.0)
    assert meter.energy == 0.0


def test_noise_around_nothing_takes_no_energy_back() -> None:
    meter = Meter(1.0, 1.0)
    meter.add(0.0, -3600.0, -1.0, 5.0)
    meter.add(1.0, -3600.0, -1.0, 5.0)
    assert meter.energy == 1.0
    assert meter.charge > 1.0  # a sink's charge counts by its magnitude


def test_a_copy_stands_alone() -> None:
    meter = Meter(1.0, 2.0)
    copy = meter.copy()
    meter.add(0.0, 3600.0, 3600.0, 5.0)
    meter.add(1.0, 3600.0, 3600.0, 5.0)
    assert (copy.energy, copy.charge) == (1.0, 2.0)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-100, 100), st.floats(-20, 20))))
@examples()
def test_it_never_falls(samples: list[tuple[float, float, float]]) -> None:
    meter = Meter()
    before = (0.0, 0.0)
    for moment, power, current in samples:
        meter.add(moment, power, current, 5.0)
        after = (meter.energy, meter.charge)
        assert after >= before
        assert after[0] >= before[0]
        assert after[1] >= before[1]
        assert all(math.isfinite(value) for value in after)
        before = after


@pytest.mark.parametrize("interval", [0.1, 1.0])
def test_the_rate_of_sampling_does_not_matter(interval: float) -> None:
    meter = Meter()
    for number in range(round(600 / interval) + 1):
        meter.add(number * interval, 6.0, 1.0, 5.0)
    assert meter.energy == pytest.approx(1.0, abs=2e-6)


def test_totals_of_an_earlier_run_are_added_once() -> None:
    meter = Meter()
    meter.add(0.0, 3600.0, 1.0, 5.0)
    meter.credit(12.5, 2.5)
    meter.add(1.0, 3600.0, 1.0, 5.0)
    assert (meter.energy, meter.charge) == (13.5, 2.500278)
    assert (meter.copy().energy, meter.copy().charge) == (meter.energy, meter.charge)

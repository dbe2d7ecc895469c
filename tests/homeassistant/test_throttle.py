"""The samples that pass, of many."""

from __future__ import annotations

import itertools
from typing import Any

from agent.homeassistant.throttle import BURST, Scale, Throttle
from agent.protocol.messages import ChannelState, utc_now
from tests.homeassistant.units import unit_info
from tests.mqtt import reports

SCALE = Scale.of(unit_info().channels[1])  # 25 V, 2 A
QUIET = {"online": True, **reports.ON, "voltage_protection": 27.5, "current_protection": False}


def sample(**changes: Any) -> ChannelState:
    return ChannelState(
        time=utc_now(), seq=1, agent="a", psu="p", index=2, name="CH2", model="E36313A", **{**QUIET, **changes}
    )


def told(samples: list[tuple[float, ChannelState]], interval: float = 10.0, energy: float = 0.0) -> list[float]:
    """The moments of the samples that pass."""
    throttle = Throttle(SCALE, interval)
    return [moment for moment, state in samples if throttle.passes(state, energy, 0.0, moment)]


def test_noise_of_an_idle_output_is_told_once() -> None:
    noise = [
        (n / 10, sample(state=False, mode="OFF", voltage=0.0004 * (n % 2), current=0.0002 * (n % 3)))
        for n in range(3000)
    ]
    assert told(noise) == [0.0]


def test_what_wanders_is_told_once_an_interval() -> None:
    drift = [(n / 10, sample(voltage=5.0 + n * 0.0001)) for n in range(1000)]
    moments = told(drift)
    assert moments[0] == 0.0
    assert all(later - earlier >= 10.0 for earlier, later in itertools.pairwise(moments))
    assert len(moments) >= 8


def test_energy_alone_is_told_once_an_interval() -> None:
    throttle = Throttle(SCALE, 10.0)
    moments = [n / 10 for n in range(1000) if throttle.passes(sample(), n * 0.001, 0.0, n / 10)]
    assert moments == [float(n) for n in range(0, 100, 10)]


def test_a_load_that_changes_is_told_within_a_second() -> None:
    samples = [(n / 10, sample(current=0.5 if n < 33 else 0.8)) for n in range(60)]
    assert told(samples) == [0.0, 3.3]


def test_a_load_that_never_rests_is_told_once_a_second() -> None:
    samples = [(n / 10, sample(current=0.5 + 0.5 * (n % 2))) for n in range(200)]
    assert len(told(samples)) <= 21


def test_switching_and_trips_are_told_at_once_however_often() -> None:
    samples = [(n / 100, sample(state=n % 2 == 0, tripped="OVP" if n % 3 else None)) for n in range(100)]
    assert len(told(samples)) == 100


def test_a_lost_unit_is_told_at_once() -> None:
    samples = [(0.0, sample()), (0.1, sample()), (0.2, sample(online=False, voltage=None, current=None, power=None))]
    assert told(samples) == [0.0, 0.2]


def test_a_setting_is_told_at_once_and_a_ramp_once_a_second() -> None:
    assert told([(0.0, sample()), (0.1, sample(voltage_limit=3.3))]) == [0.0, 0.1]
    ramp = [(n / 10, sample(voltage_limit=n * 0.01)) for n in range(300)]
    assert len(told(ramp)) <= BURST + 31
    end = told([*ramp, (30.0, sample(voltage_limit=9.0)), (31.0, sample(voltage_limit=9.0))])
    assert end[-1] >= 30.0, "where it ends is told"


def test_digits_that_mean_nothing_are_left_out() -> None:
    known = sample(voltage=4.99987654, current=-0.00001, power=2.49993827, energy=1.3, charge=0.21)
    state = SCALE.rounded(known, 1.23456789, 0.2)
    assert (state.voltage, state.current, state.power) == (4.9999, 0.0, 2.4999)
    assert (state.energy, state.charge) == (1.23457, 0.2)
    unknown = SCALE.rounded(sample(voltage=None), 0.0, 0.0)
    assert (unknown.voltage, unknown.energy, unknown.charge) == (None, None, None)

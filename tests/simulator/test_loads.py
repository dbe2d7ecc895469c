"""The operating points of the loads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.simulator.loads import (
    ConstantCurrent,
    ConstantPower,
    Load,
    Open,
    Resistor,
    Short,
    Square,
    Wander,
)


@pytest.mark.parametrize(
    ("load", "voltage", "limit", "point"),
    [
        (Open(), 5.0, 1.0, (5.0, 0.0, "CV")),
        (Resistor(10), 5.0, 1.0, (5.0, 0.5, "CV")),
        (Resistor(10), 5.0, 0.5, (5.0, 0.5, "CV")),
        (Resistor(10), 5.0, 0.2, (2.0, 0.2, "CC")),
        (Short(), 5.0, 2.0, (0.01, 2.0, "CC")),
        (ConstantCurrent(0.3), 5.0, 1.0, (5.0, 0.3, "CV")),
        (ConstantCurrent(0.3), 5.0, 0.1, (0.0, 0.1, "CC")),
        (ConstantCurrent(0.3), 0.0, 1.0, (0.0, 0.0, "CV")),
        (ConstantPower(6.0, 3.0), 12.0, 1.0, (12.0, 0.5, "CV")),
        (ConstantPower(6.0, 3.0), 12.0, 0.4, (0.6, 0.4, "CC")),
        (ConstantPower(6.0, 3.0), 1.5, 4.0, (1.5, 1.0, "CV")),
        (ConstantPower(6.0, 3.0), 1.5, 0.5, (0.75, 0.5, "CC")),
        (Resistor(10), 0.0, 1.0, (0.0, 0.0, "CV")),
    ],
)
def test_operating_points(load: Load, voltage: float, limit: float, point: tuple[float, float, str]) -> None:
    found = load.operating_point(voltage, limit, 0.0)
    assert (found.voltage, found.current) == pytest.approx(point[:2])
    assert found.mode == point[2]


def test_square() -> None:
    load = Square(Resistor(10), Open(), period=10.0, duty=0.3)
    currents = [load.operating_point(5.0, 1.0, time).current for time in (0.0, 2.9, 3.0, 9.9, 10.0)]
    assert currents == [0.5, 0.5, 0.0, 0.0, 0.5]


def test_wander_depends_on_time_and_seed_alone() -> None:
    def walk(seed: int, times: list[float]) -> list[float]:
        return [Wander(0.5, 0.4, seed=seed).operating_point(5.0, 2.0, time).current for time in times]

    times = [0.0, 1.0, 7.5, 1e6]
    assert walk(1, times) == walk(1, times[::-1])[::-1]
    assert walk(1, times) != walk(2, times)
    assert max(walk(1, [n / 10 for n in range(600)])) - min(walk(1, [n / 10 for n in range(600)])) > 0.2


@pytest.mark.parametrize("make", [lambda: Resistor(0), lambda: Resistor(-1), lambda: ConstantPower(0)])
def test_impossible_loads(make: object) -> None:
    with pytest.raises(ValueError, match="above 0"):
        make()  # type: ignore[operator]


LOADS = st.sampled_from(
    [
        Open(), Short(), Resistor(0.3), Resistor(47), ConstantCurrent(0.7), ConstantPower(3), Wander(1, 1),
        Square(ConstantCurrent(0.08), Resistor(4.2)),
    ]
)  # fmt: skip


@given(LOADS, st.floats(0, 26), st.floats(0, 10), st.floats(0, 1e7))
def test_a_supply_never_exceeds_its_settings(load: Load, voltage: float, limit: float, time: float) -> None:
    point = load.operating_point(voltage, limit, time)
    assert 0 <= point.voltage <= voltage * (1 + 1e-12)
    assert 0 <= point.current <= limit * (1 + 1e-12)
    assert point.mode == "CV" or point.current == limit

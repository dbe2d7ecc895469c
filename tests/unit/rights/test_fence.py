"""An agent that has not heard the broker for long sends no setting."""

from __future__ import annotations

import math

import pytest

from agent.protocol.errors import Refusal
from agent.unit.rights.fence import TURN_ON_FOR, Fence
from tests.lab import wait_until
from tests.unit.fakedriver import Unit, is_write

pytestmark = pytest.mark.usefixtures("quick")


class Clock:
    now = 1000.0
    heard = 1000.0


def make() -> tuple[Fence, Clock]:
    clock = Clock()
    return Fence(lambda: clock.heard, 20.0, lambda: clock.now), clock


def test_settings_end_when_the_time_is_over_and_come_back_with_the_broker() -> None:
    fence, clock = make()
    with Unit(permissions=[fence]) as unit:
        clock.now += 20.0
        assert unit.ask(1, "a", voltage_limit=1) == "ok"
        clock.now += 0.1
        with pytest.raises(Refusal, match="the broker has been away for 20 s, so another agent may serve") as refused:
            unit.send(1, "b", voltage_limit=2)
        assert refused.value.code == "conflict"
        assert unit.ask(1, "off", state=False) == "ok"
        clock.heard = clock.now
        assert unit.ask(1, "c", voltage_limit=2) == "ok"


def test_a_ramp_under_way_ends() -> None:
    fence, clock = make()
    with Unit(permissions=[fence]) as unit:
        unit.send(1, "ramp", voltage_limit=6, ramp=0.5)
        wait_until(lambda: len(unit.driver.writes) > 1, "two steps")
        clock.now += 3600.0  # the host was suspended
        assert unit.sheet.code("ramp") == "conflict"


def test_nothing_is_turned_on_while_somebody_may_have_turned_it_off_elsewhere() -> None:
    fence, clock = make()
    with Unit(permissions=[fence]) as unit:
        unit.set_at_the_panel(1, state=True)
        hold = unit.driver.hold(is_write("state"))
        unit.send(1, "cycle", cycle=0.05)
        hold.wait()
        clock.now += TURN_ON_FOR + 0.1
        hold.release()
        assert unit.sheet.code("cycle") == "conflict"
        assert "may have been told to turn it off" in str(unit.sheet.response("cycle").error)
        assert unit.driver.readings[1].state is False
        assert unit.ask(1, "a", voltage_limit=1) == "ok"
        with pytest.raises(Refusal, match="it is not turned on"):
            unit.send(1, "on", state=True)


def test_a_broker_that_was_never_heard() -> None:
    fence, clock = make()
    clock.heard = -math.inf
    with Unit(permissions=[fence]) as unit, pytest.raises(Refusal, match="since the start"):
        unit.send(1, "a", voltage_limit=1)

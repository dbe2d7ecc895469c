"""Somebody else has a say: at the door, when a command's turn has come, and before each write; an off is never asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from agent.instruments.driver import Write
from agent.protocol.errors import Refusal
from agent.unit.job import Job
from tests.lab import wait_until
from tests.unit.fakedriver import Unit, is_write

pytestmark = pytest.mark.usefixtures("quick")

OFF_1 = Write("state", (1,), False)


class Say:
    """A permission that a test gives and takes away, for some channels or all."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.channels: set[int] = {1, 2, 3}
        self.asked: list[frozenset[int]] = []

    def refusal(self, job: Job, indices: Collection[int], *, turns_on: bool = False) -> Refusal | None:
        self.asked.append(frozenset(indices))
        if self.reason is None or self.channels.isdisjoint(indices):
            return None
        return Refusal("claimed", self.reason)


def test_a_setting_is_refused_at_the_door_and_nothing_is_sent() -> None:
    say = Say()
    with Unit(permissions=[say]) as unit:
        say.reason = "ci-42 holds it"
        with pytest.raises(Refusal, match="ci-42 holds it"):
            unit.send(1, "a", voltage_limit=1)
        assert unit.driver.writes == []
        say.channels = {2}
        assert unit.ask(1, "b", voltage_limit=1) == "ok"
        with pytest.raises(Refusal, match="ci-42"):
            unit.send(None, "c", state=True)


def test_the_first_who_refuses_is_heard() -> None:
    first, second = Say(), Say()
    first.reason, second.reason = "first", "second"
    with Unit(permissions=[first, second]) as unit, pytest.raises(Refusal, match="first"):
        unit.send(1, "a", voltage_limit=1)


def test_an_off_is_done_whoever_has_a_say() -> None:
    say = Say()
    say.reason = "no"
    with Unit(permissions=[say]) as unit:
        assert unit.ask(1, "a", state=False) == "ok"
        assert say.asked == []


def test_of_an_off_with_something_else_the_off_is_left() -> None:
    say = Say()
    say.reason = "ci-42 holds it"
    with Unit(permissions=[say]) as unit:
        unit.set_at_the_panel(1, state=True)
        assert unit.ask(1, "a", state=False, voltage_limit=1) == "claimed"
        response = unit.sheet.response("a")
        assert response.error is not None
        assert response.error.message == "it was turned off, but ci-42 holds it"
        assert response.result.state is False  # type: ignore[union-attr]
        assert unit.driver.writes == [OFF_1]


def test_a_command_that_waits_is_asked_for_again() -> None:
    say = Say()
    with Unit(permissions=[say]) as unit:
        hold = unit.driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        unit.send(1, "a", voltage_limit=1)
        unit.send(1, "b", state=False, voltage_limit=1)
        say.reason = "ci-42 holds it"
        hold.release()
        assert unit.sheet.code("a") == "claimed"
        assert unit.sheet.code("b") == "claimed"
        assert unit.driver.writes == [OFF_1]


def asked_before(setting: str, say: Say, unit: Unit) -> Callable[[], bool]:
    """The permission is taken away in the moment of a write, so that it is the next one that is refused."""
    hold = unit.driver.hold(is_write(setting))

    def take() -> bool:
        hold.wait()
        say.reason = "ci-42 has taken it"
        hold.release()
        return True

    return take


def test_each_write_is_asked_for() -> None:
    say = Say()
    with Unit(permissions=[say]) as unit:
        take = asked_before("voltage_limit", say, unit)
        unit.send(1, "a", voltage_limit=1, current_limit=1, state=True)
        assert take()
        assert unit.sheet.code("a") == "claimed"
        message = str(unit.sheet.response("a").error)
        assert "ci-42 has taken it; the last that was done is voltage_limit 1 V for channel 1" in message
        assert unit.driver.writes == [Write("voltage_limit", (1,), 1.0)]


def test_a_ramp_ends_at_its_next_write() -> None:
    say = Say()
    with Unit(permissions=[say]) as unit:
        unit.send(1, "ramp", voltage_limit=6, ramp=0.5)
        wait_until(lambda: len(unit.driver.writes) > 1, "two steps")
        say.reason = "ci-42 has taken it"
        assert unit.sheet.code("ramp") == "claimed"
        told = len(unit.driver.writes)
        assert unit.ask(1, "off", state=False) == "ok"
        assert unit.driver.writes[told:] == [OFF_1]


def test_the_output_of_a_cycle_stays_off() -> None:
    say = Say()
    with Unit(permissions=[say]) as unit:
        unit.set_at_the_panel(1, state=True)
        take = asked_before("state", say, unit)
        unit.send(1, "cycle", cycle=0.05)
        assert take()
        assert unit.sheet.code("cycle") == "claimed"
        assert unit.driver.writes == [OFF_1]

"""Offs that come in the moments between two standings."""

from __future__ import annotations

import pytest

from agent.instruments.driver import Profile
from agent.unit.standing import ALONE
from tests.lab import wait_until
from tests.unit.fakedriver import Breaks, Unit, is_write
from tests.unit.rights.test_aside import OFF_1, OffAtClose, yield_and_turn_off

pytestmark = pytest.mark.usefixtures("quick")


class Asked(OffAtClose):
    """One that notes at each `connect` if it was told of an off."""

    def __init__(self) -> None:
        super().__init__()
        self.knew: list[bool] = []

    def connect(self) -> Profile:
        self.knew.append(self.off_waits())
        return super().connect()


def test_the_driver_knows_that_the_link_is_opened_for_an_off() -> None:
    """A text driver waits for no other unit then, and on a shared line the unit goes ahead."""
    driver = Asked()
    with Unit(driver) as unit:
        yield_and_turn_off(unit, driver)
        unit.wait_offline()
        driver.script = Breaks(is_write("state"))
        assert unit.ask(1, "again", state=False) == "ok"
        assert driver.knew == [False, True, True, True]
        unit.wait_offline()
        assert not driver.off_waits()


def test_an_off_that_comes_in_a_moment_of_yielding_is_done_at_once() -> None:
    """It was left where the unit looks only when it yields the next time: it would have been done then."""

    class BackAtClose(OffAtClose):
        def close(self) -> None:
            unit = self.unit
            super().close()
            if unit is not None:
                unit.supply.stand(ALONE)

    driver = BackAtClose()
    with Unit(driver) as unit:
        yield_and_turn_off(unit, driver)
        assert unit.driver.writes == [OFF_1]
        wait_until(lambda: unit.supply.online, "the unit")

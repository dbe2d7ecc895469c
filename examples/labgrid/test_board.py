"""Tests of a board with labgrid: pytest --lg-env local.yaml. The fixture `target` is labgrid's."""

import pytest


@pytest.fixture
def power(target):
    """The board's power, on. Off at the end, however the test ends."""
    driver = target.get_driver("PowerProtocol")
    driver.on()
    yield driver
    driver.off()


def test_it_draws_what_it_should(power):
    state = power.wait(lambda state: state.current > 0.05)
    assert state.mode == "CV"
    assert power.volts == pytest.approx(5, abs=0.1)


def test_it_comes_back_after_a_power_cycle(power):
    power.cycle()
    assert power.get()
    assert power.wait(lambda state: state.current > 0.05)

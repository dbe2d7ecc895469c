"""Tests of a device under test that draws current when it has power."""


def test_it_draws_what_it_should(power):
    state = power.wait(lambda state: state["state"] and state["current"] > 0.05)
    assert state["mode"] == "CV"
    assert not state["tripped"]


def test_it_comes_back_after_a_power_cycle(power):
    power.cycle(0.2)
    power.wait(lambda state: state["state"] and state["current"] > 0.05)

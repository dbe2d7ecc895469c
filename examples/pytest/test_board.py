"""Tests of a device under test that draws current when it has power."""


def test_it_draws_what_it_should(psu):
    state = psu.wait(lambda state: state.state and state.current > 0.05)
    assert state.mode == "CV"
    assert not state.tripped
    assert 0.5 < psu.state().power < 2


def test_it_comes_back_after_a_power_cycle(psu):
    psu.cycle(0.2)
    psu.wait(lambda state: state.state and state.current > 0.05)

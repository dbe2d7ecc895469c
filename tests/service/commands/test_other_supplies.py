"""Commands on simulated supplies of other series: switches of several outputs, one that can't be read, a trip that looks well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from agent.simulator import NetworkInstrument, Supply, make_supply
from agent.simulator.e3600.common import E3600
from agent.simulator.loads import Resistor
from tests.lab import Bench, unit, wait_until

Make = Callable[..., tuple[Bench, Supply]]


@pytest.fixture
def make(make_bench: Callable[..., Bench]) -> Iterator[Make]:
    """An agent on one simulated supply of a model, named psu1, over a socket."""
    with ExitStack() as stack:

        def made(model: str, **options: Any) -> tuple[Bench, Supply]:
            supply = make_supply(model, noise=False, **options)
            assert isinstance(supply, Supply)
            pty = "socket" not in supply.transports
            network = stack.enter_context(NetworkInstrument(supply, pty=pty, socket_port=None if pty else 0))
            uri = network.resources["serial" if pty else "socket"]
            entry = unit("psu1", model=f"{supply.manufacturer},{model}", uri=uri, pyvisa_args={"timeout": 2000})
            return make_bench([network], [entry]), supply

        yield made


def are_on(supply: Supply) -> list[int]:
    return [number for number, output in supply.outputs.items() if output.on]


def test_an_e3631a_comes_on_as_a_whole_and_its_off_names_the_others(make: Make) -> None:
    bench, supply = make("E3631A", serial="0")
    observer = bench.observer
    for command in ({"state": True}, {"cycle": 0}, {"state": True, "voltage_limit": 1, "ramp": 10}):
        response = observer.ask("psu/psu1/1/set", command)
        assert response["error"]["code"] == "unsupported"
        assert "has one switch with channels 2 and 3" in response["error"]["message"]
    assert are_on(supply) == []
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 12})["ok"]
    assert observer.ask("psu/psu1/set", {"state": True})["ok"]
    assert are_on(supply) == [1, 2, 3]
    response = observer.ask("psu/psu1/2/set", {"id": "off", "state": False})
    assert (response["ok"], response["also_off"]) == (True, [1, 3])
    assert are_on(supply) == []
    for channel in (1, 3):
        event = observer.wait(f"psu/psu1/{channel}/event", lambda e: e["field"] == "state" and e["to"] is False)
        assert (event["by"], event["id"]) == ("command", "off")


def test_an_spd3303x_switches_an_output_that_it_does_not_tell_of(make: Make) -> None:
    bench, supply = make("SPD3303X", serial="SPD0001")
    observer = bench.observer
    for state in (True, False):
        response = observer.ask("psu/psu1/3/set", {"state": state})
        assert response["ok"], response
        assert response["result"]["state"] is None
        assert supply.outputs[3].on is state
    assert observer.ask("psu/psu1/3/set", {"cycle": 0})["ok"]
    assert supply.outputs[3].on
    observer.send("psu/all/set", "OFF")
    wait_until(lambda: are_on(supply) == [], "the off")


def test_an_e3646a_that_has_tripped_is_not_taken_for_well(make: Make) -> None:
    bench, supply = make("E3646A", serial="0", loads={1: Resistor(10.0)})
    observer = bench.observer
    assert observer.ask("psu/psu1/1/set", {"voltage_limit": 3, "current_limit": 1, "voltage_protection": 6})["ok"]
    assert observer.ask("psu/psu1/set", {"state": True})["ok"]
    supply.outputs[1].trip = "OVP"
    observer.wait_state("psu1", 1, after=observer.mark(), tripped="OVP", mode="OFF")
    assert observer.ask("psu/psu1/set", {"state": True})["error"]["code"] == "instrument_error"
    refused = observer.ask("psu/psu1/1/set", {"clear_protection": True})
    assert "has one switch with 2" in refused["error"]["message"]  # it runs
    assert observer.ask("psu/psu1/set", {"state": False})["ok"]
    assert observer.ask("psu/psu1/1/set", {"clear_protection": True})["ok"]
    assert not supply.outputs[1].trip
    assert are_on(supply) == []
    assert observer.ask("psu/psu1/set", {"state": True})["ok"]


def test_a_setting_outside_the_present_range_of_an_e3646a_is_not_sent(make: Make) -> None:
    bench, supply = make("E3646A", serial="0")
    observer = bench.observer
    response = observer.ask("psu/psu1/1/set", {"voltage_limit": 12, "voltage_protection": 20})
    assert response["error"] == {
        "code": "out_of_range",
        "message": "voltage_limit 12 V is not in the present range of channel 1 of psu1, 0 to 8.24 V; select the other range "
        "at the unit",
    }
    assert supply.outputs[1].voltage_set == 0.0
    assert observer.ask("psu/psu1/1/set", {"voltage_limit": 8.2})["ok"]


def test_a_unit_of_420_w_is_not_set_beyond_its_envelope(make: Make) -> None:
    bench, supply = make("CPX400DP", serial="1")
    observer = bench.observer
    assert observer.ask("psu/psu1/1/set", {"voltage_limit": 21, "current_limit": 20})["ok"]
    response = observer.ask("psu/psu1/1/set", {"voltage_limit": 60})
    assert response["error"]["code"] == "out_of_range"
    assert (
        "60 V with current_limit 20 A is 1200 W, more than the 420 W of channel 1 of psu1"
        in response["error"]["message"]
    )
    assert observer.ask("psu/psu1/1/set", {"voltage_limit": 60, "current_limit": 7})["ok"]
    assert supply.outputs[1].voltage_set == 60


@pytest.mark.parametrize("model", ["E3631A", "E3640A"])
def test_a_unit_that_left_remote_mode_is_turned_off_and_takes_settings_again(model: str, make: Make) -> None:
    bench, supply = make(model, serial="0")
    assert isinstance(supply, E3600)
    observer = bench.observer
    assert observer.ask("psu/psu1/set", {"state": True})["ok"]
    supply.lock_state = "LOC"  # somebody pressed a key of its panel; or its mains went, which no serial line tells of
    response = observer.ask("psu/psu1/1/set", {"state": False})
    assert response["ok"], response
    assert are_on(supply) == []
    supply.lock_state = "LOC"
    refused = observer.ask("psu/psu1/1/set", {"voltage_limit": 3})
    assert "Command not allowed in local" in refused["error"]["message"]
    assert observer.ask("psu/psu1/1/set", {"voltage_limit": 3})["ok"]

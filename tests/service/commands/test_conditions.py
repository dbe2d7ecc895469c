"""Settings at the unit that change the effect of a command: refused before, or covered; and off is done whatever they are."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from agent.simulator.e36300 import E36300, FrontPanel
from tests.lab import Bench, Observer, wait_until
from tests.service.commands.commanding import unique, writes


@pytest.fixture
def supply(bench: Bench) -> Iterator[E36300]:
    """The supply behind ``psu1``, all of whose outputs are set to 2 V."""
    supply = bench.simulator.instrument
    supply.execute("VOLT 2,(@1,2,3)")
    bench.observer.wait_state("psu1", after=bench.observer.mark(), voltage_limit=2.0)
    supply.clear_log()
    yield supply
    supply.inhibit(signal=False)


@pytest.fixture
def panel(supply: E36300) -> FrontPanel:
    return supply.panel


def are_on(supply: E36300) -> list[int]:
    return [number for number, channel in supply.channels.items() if channel.output]


# Output coupling.


@pytest.mark.parametrize("coupled", [(1, 2, 3), (1, 2)])
@pytest.mark.parametrize(
    "command",
    [
        {"state": True},
        {"state": True, "voltage_limit": 1},
        {"state": True, "voltage_limit": 1, "ramp": 50},
        {"cycle": 0},
    ],
)
def test_no_output_goes_on_that_the_command_does_not_name(
    bench: Bench,
    observer: Observer,
    supply: E36300,
    panel: FrontPanel,
    coupled: tuple[int, ...],
    command: dict[str, object],
) -> None:
    panel.knob_voltage(2, 20.0)
    panel.couple(*coupled)
    response = observer.ask("psu/psu1/1/set", command)
    assert response["error"]["code"] == "unsupported"
    assert "coupled" in response["error"]["message"]
    assert "at the unit" in response["error"]["message"]
    assert are_on(supply) == []
    assert writes(bench) == []


def test_outputs_that_are_not_coupled_with_others_are_turned_on(
    observer: Observer, supply: E36300, panel: FrontPanel
) -> None:
    panel.couple(2, 3)
    assert observer.ask("psu/psu1/1/set", {"state": True})["ok"]
    assert are_on(supply) == [1]
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 3})["ok"]  # a level of its own


def test_a_whole_unit_that_is_coupled_is_turned_on_within_its_limits(
    observer: Observer, supply: E36300, panel: FrontPanel
) -> None:
    panel.couple(1, 2, 3)
    panel.knob_voltage(1, 6.0)
    assert observer.code("psu/psu1/set", {"state": True}) == "limit_exceeded"
    assert are_on(supply) == []
    panel.knob_voltage(1, 5.0)
    assert observer.ask("psu/psu1/set", {"state": True})["ok"]
    assert are_on(supply) == [1, 2, 3]


def test_a_cycle_that_would_take_others_along_leaves_all_on(
    bench: Bench, observer: Observer, supply: E36300, panel: FrontPanel
) -> None:
    panel.couple(1, 2)
    panel.press_output(1, True)
    supply.clear_log()
    assert observer.code("psu/psu1/1/set", {"cycle": 0.1}) == "unsupported"
    assert are_on(supply) == [1, 2]
    assert writes(bench) == []


def test_clearing_a_trip_does_not_turn_off_what_is_coupled_and_runs(
    observer: Observer, supply: E36300, panel: FrontPanel
) -> None:
    supply.trip(1, "OVP")
    panel.press_output(2, True)
    panel.couple(1, 2)
    assert observer.code("psu/psu1/1/set", {"clear_protection": True}) == "unsupported"
    assert are_on(supply) == [2]
    panel.press_output(2, False)
    assert observer.ask("psu/psu1/1/set", {"clear_protection": True})["ok"]


def test_a_coupling_that_is_made_in_the_off_time_of_a_cycle(
    observer: Observer, supply: E36300, panel: FrontPanel
) -> None:
    panel.press_output(1, True)
    cycle = unique("cycle")
    observer.send("psu/psu1/1/set", {"id": cycle, "cycle": 0.5})
    wait_until(lambda: are_on(supply) == [], "off")
    panel.couple(1, 2)
    response = observer.wait("psu/psu1/1/response", lambda r: r["id"] == cycle)
    assert response["error"]["code"] == "unsupported"
    assert are_on(supply) == []


def test_off_is_done_on_coupled_outputs_and_tells_by_whom(
    bench: Bench, observer: Observer, supply: E36300, panel: FrontPanel
) -> None:
    panel.couple(1, 2)
    panel.press_output(1, True)
    for channel in (1, 2):
        observer.wait_state("psu1", channel, after=observer.mark(), state=True)
    off = unique("off")
    response = observer.ask("psu/psu1/1/set", {"id": off, "state": False})
    assert (response["ok"], response["also_off"]) == (True, [2])
    assert are_on(supply) == []
    event = observer.wait("psu/psu1/2/event", lambda e: e["field"] == "state" and e["to"] is False)
    assert (event["by"], event["id"]) == ("command", off)


# Delays.


def test_done_is_said_when_the_on_delay_is_over(observer: Observer, supply: E36300, panel: FrontPanel) -> None:
    for command in ({"state": True}, {"state": True, "voltage_limit": 1, "ramp": 20}, {"cycle": 0.05}):
        panel.delay(2, rise=0.4)
        begun = time.monotonic()
        response = observer.ask("psu/psu1/2/set", command)
        assert response["ok"], response
        assert time.monotonic() - begun >= 0.4
        assert response["result"]["voltage"] > 0.9
        panel.delay(2)
        assert observer.ask("psu/psu1/2/set", "OFF")["ok"]


def test_a_trip_at_the_end_of_an_on_delay_is_told(observer: Observer, supply: E36300, panel: FrontPanel) -> None:
    panel.delay(2, rise=0.3)
    assert observer.ask("psu/psu1/2/set", {"current_limit": 0.01, "current_protection": True})["ok"]
    response = observer.ask("psu/psu1/2/set", {"state": True})
    assert response["error"]["code"] == "readback_mismatch"
    assert "OCP" in response["error"]["message"]


def test_off_waits_for_the_off_delay_and_tells_of_one_that_is_too_long(
    observer: Observer, supply: E36300, panel: FrontPanel
) -> None:
    panel.press_output(2, True)
    panel.delay(2, fall=0.4)
    response = observer.ask("psu/psu1/2/set", "OFF")
    assert response["ok"], response
    assert response["result"]["voltage"] < 0.1
    panel.delay(2, fall=3600)
    supply.execute("OUTP 1,(@2)")
    response = observer.ask("psu/psu1/2/set", {"state": False})
    assert response["error"]["code"] == "instrument_error"
    assert "off delay of 3600 s" in response["error"]["message"]
    assert not supply.channels[2].settings.output  # it was told to go off all the same
    response = observer.ask("psu/psu1/2/set", {"state": False, "current_limit": 0.5})
    assert response["error"]["code"] == "instrument_error"


@pytest.mark.parametrize(("target", "first"), [("psu1", {}), ("psu1/2", {}), ("psu1/2", {"current_limit": 0.5})])
def test_an_off_that_waits_for_its_delay_is_not_ended_by_a_newer_command(
    observer: Observer, supply: E36300, panel: FrontPanel, first: dict[str, object], target: str
) -> None:
    name = unique("off")
    panel.press_output(2, True)
    panel.delay(2, fall=1.0)
    observer.send(f"psu/{target}/set", {"id": name, "state": False, **first})
    wait_until(lambda: not supply.channels[2].settings.output, "the unit to be told")
    for newer in ({"state": True}, {"voltage_limit": 1, "ramp": 5, "state": True}, {"cycle": 0.1}):
        response = observer.ask("psu/psu1/2/set", newer)
        assert response["error"]["code"] == "busy", response
        assert "being turned off" in response["error"]["message"]
    # What does not switch it has its way, and another off is confirmed as well.
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 1})["ok"]
    again = observer.ask("psu/psu1/2/set", "OFF")
    assert again["ok"], again
    response = observer.wait(f"psu/{target}/response", lambda message: message["id"] == name)
    assert response["ok"], response
    assert not supply.channels[2].output
    assert observer.ask("psu/psu1/2/set", {"state": True})["ok"]


def test_an_output_with_a_long_delay_is_not_turned_on(
    bench: Bench, observer: Observer, supply: E36300, panel: FrontPanel
) -> None:
    for delays in ({"rise": 11.0}, {"fall": 11.0}):
        panel.delay(2, **delays)
        response = observer.ask("psu/psu1/2/set", {"state": True, "voltage_limit": 1})
        assert response["error"]["code"] == "unsupported"
        assert "delay of 11 s" in response["error"]["message"]
        assert writes(bench) == []


def test_a_cycle_is_off_for_its_time_where_off_is_delayed(
    observer: Observer, supply: E36300, panel: FrontPanel
) -> None:
    panel.press_output(2, True)
    panel.delay(2, fall=0.3)
    begun = time.monotonic()
    assert observer.ask("psu/psu1/2/set", {"cycle": 0.2})["ok"]
    assert time.monotonic() - begun >= 0.5
    assert are_on(supply) == [2]


# Signals and triggers.


def test_an_output_that_a_signal_turns_on_again_is_not_turned_on(
    bench: Bench, observer: Observer, supply: E36300, panel: FrontPanel
) -> None:
    panel.choose_inhibit("LIVE")
    response = observer.ask("psu/psu1/1/set", {"state": True})
    assert response["error"]["code"] == "unsupported"
    assert "inhibit" in response["error"]["message"]
    assert writes(bench) == []
    assert observer.ask("psu/psu1/1/set", {"voltage_limit": 1})["ok"]
    panel.choose_inhibit("OFF")
    assert observer.ask("psu/psu1/1/set", {"state": True})["ok"]


@pytest.mark.parametrize("command", [{"state": True}, {"state": True, "voltage_limit": 1, "ramp": 20}])
def test_an_output_that_a_signal_holds_off_does_not_go_on_when_the_signal_ends(
    observer: Observer, supply: E36300, panel: FrontPanel, command: dict[str, object]
) -> None:
    panel.choose_inhibit("LATC")
    supply.inhibit(signal=True)
    response = observer.ask("psu/psu1/2/set", command)
    assert response["error"]["code"] == "readback_mismatch"
    supply.inhibit(signal=False)
    panel.clear_protection(2)
    assert are_on(supply) == []


@pytest.mark.parametrize("function", ["ONC", "OFFC"])
def test_outputs_that_are_switched_with_those_of_other_units_are_not_turned_on(
    observer: Observer, supply: E36300, function: str
) -> None:
    supply.execute(f"DIG:PIN2:FUNC {function}")
    response = observer.ask("psu/psu1/1/set", {"state": True})
    assert response["error"]["code"] == "unsupported"
    assert "pin 2" in response["error"]["message"]


@pytest.mark.parametrize("mode", ["VOLT:MODE STEP,(@2)", "VOLT:MODE LIST,(@2)", "CURR:MODE STEP,(@2)"])
@pytest.mark.parametrize("command", [{"state": True}, {"voltage_limit": 1}, {"current_limit": 0.5}, {"cycle": 0}])
def test_an_output_whose_levels_a_trigger_sets_takes_no_setting(
    bench: Bench, observer: Observer, supply: E36300, mode: str, command: dict[str, object]
) -> None:
    supply.execute(f"VOLT:TRIG 20,(@2);:{mode};:INIT (@2)")
    supply.clear_log()
    response = observer.ask("psu/psu1/2/set", command)
    assert response["error"]["code"] == "unsupported"
    assert "trigger" in response["error"]["message"]
    assert writes(bench) == []
    assert observer.ask("psu/psu1/1/set", {"voltage_limit": 1})["ok"]
    assert observer.ask("psu/psu1/2/set", "OFF")["ok"]


def test_a_trip_level_without_effect_is_not_set(bench: Bench, observer: Observer, supply: E36300) -> None:
    supply.execute("VOLT:PROT:STAT 0,(@2)")
    assert observer.code("psu/psu1/2/set", {"voltage_protection": 5}) == "unsupported"
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 3})["ok"]


# While a command is carried out.


@pytest.mark.parametrize("setting", ["OUTP:TRAC 1", "VOLT:TRIG 20,(@2);:VOLT:MODE STEP,(@2);:INIT (@2)"])
def test_a_setting_at_the_unit_ends_a_ramp_under_way(observer: Observer, supply: E36300, setting: str) -> None:
    """Within half a second: where outputs track each other, it would move another one past its limits."""
    ramp = unique("ramp")
    observer.send("psu/psu1/2/set", {"id": ramp, "voltage_limit": 25, "ramp": 5})
    wait_until(lambda: supply.channels[2].settings.voltage > 2.2, "the ramp")
    supply.execute(setting)
    response = observer.wait("psu/psu1/2/response", lambda r: r["id"] == ramp)
    assert response["error"]["code"] == "unsupported"
    assert "at psu1" in response["error"]["message"]
    assert "the last that was done is voltage_limit" in response["error"]["message"]
    assert max(supply.channels[2].settings.voltage, supply.channels[3].settings.voltage) < 25


@pytest.mark.parametrize("command", [{"voltage_limit": 25}, {"voltage_limit": 25, "ramp": 500}])
def test_outputs_that_track_each_other_since_the_look_are_told(
    monkeypatch: pytest.MonkeyPatch, observer: Observer, supply: E36300, command: dict[str, object]
) -> None:
    execute = supply.execute

    def track_first(message: str) -> str | None:
        if message.startswith("VOLT 25"):
            execute("OUTP:TRAC 1")
        return execute(message)

    monkeypatch.setattr(supply, "execute", track_first)
    response = observer.ask("psu/psu1/2/set", command)
    assert response["error"]["code"] == "unsupported"
    assert "outputs 2 and 3 track each other" in response["error"]["message"]
    assert "the last that was done is voltage_limit 25 V" in response["error"]["message"]


@pytest.mark.parametrize(
    "command",
    [
        {"state": True},
        {"state": True, "voltage_limit": 1},
        {"cycle": 0},
        {"state": True, "voltage_limit": 1, "ramp": 9},
    ],
)
def test_a_coupling_that_is_made_between_the_look_and_the_switch(
    monkeypatch: pytest.MonkeyPatch, observer: Observer, supply: E36300, panel: FrontPanel, command: dict[str, object]
) -> None:
    execute = supply.execute

    def couple_first(message: str) -> str | None:
        if message.startswith("OUTP 1"):
            panel.couple(2, 3)
        return execute(message)

    monkeypatch.setattr(supply, "execute", couple_first)
    response = observer.ask("psu/psu1/2/set", command)
    assert response["error"]["code"] == "readback_mismatch"
    assert "coupled" in response["error"]["message"]
    assert are_on(supply) == []
    observer.wait_state("psu1", 3, after=observer.mark(), state=False)

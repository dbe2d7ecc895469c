"""Commands are judged whole before their first write, done in an order that trips nothing, and done only if nothing tripped."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.lab import Bench, Observer, unit, wait_until
from tests.service.commands.commanding import later, unique, writes


def is_on(bench: Bench, channel: int = 2) -> bool:
    return bench.simulator.instrument.channels[channel].output


def turn_on(bench: Bench, **settings: object) -> None:
    """Have output 2 on, with these settings."""
    assert bench.observer.ask("psu/psu1/2/set", settings)["ok"]
    assert bench.observer.ask("psu/psu1/2/set", {"state": True})["ok"]
    bench.simulator.instrument.clear_log()


def sent(bench: Bench, header: str) -> list[float]:
    return [float(w.removeprefix(f"{header} ").partition(",")[0]) for w in writes(bench) if w.startswith(f"{header} ")]


# The trip level follows the voltage.


def test_a_ramp_down_lowers_the_trip_level_at_its_end(bench: Bench, observer: Observer) -> None:
    turn_on(bench, voltage_limit=10, voltage_protection=12)
    response = observer.ask("psu/psu1/2/set", {"voltage_limit": 5, "ramp": 20, "voltage_protection": 6})
    assert response["ok"], response
    assert (response["result"]["state"], response["result"]["voltage_protection"]) == (True, 6.0)
    assert writes(bench)[-1] == "VOLT:PROT 6,(@2)"


def test_a_ramp_up_raises_the_trip_level_before_it(bench: Bench, observer: Observer) -> None:
    turn_on(bench, voltage_limit=5, voltage_protection=6)
    response = observer.ask("psu/psu1/2/set", {"voltage_limit": 8, "ramp": 20, "voltage_protection": 9})
    assert response["ok"], response
    assert response["result"]["state"] is True
    assert writes(bench)[0] == "VOLT:PROT 9,(@2)"


@pytest.mark.parametrize(
    "command",
    [
        {"voltage_limit": 5, "voltage_protection": 6},
        {"voltage_limit": 5, "voltage_protection": 6, "state": True},
        {"voltage_limit": 11, "voltage_protection": 11.5},
        {"voltage_limit": 14, "voltage_protection": 15},
        {"voltage_limit": 11, "ramp": 20, "voltage_protection": 11.5},
        {"voltage_limit": 5, "ramp": 50, "voltage_protection": 6, "state": True},
        {"cycle": 0.01, "voltage_limit": 5, "voltage_protection": 6},
        {"cycle": 0.01, "voltage_limit": 14, "voltage_protection": 15},
    ],
)
def test_both_are_changed_without_a_trip(bench: Bench, observer: Observer, command: dict[str, object]) -> None:
    turn_on(bench, voltage_limit=10, voltage_protection=12)
    response = observer.ask("psu/psu1/2/set", command)
    assert response["ok"], response
    assert response["result"]["tripped"] is None
    assert response["result"]["state"] is True
    assert response["result"]["voltage_protection"] == command["voltage_protection"]


def test_a_soft_start_with_a_lower_trip_level(bench: Bench, observer: Observer) -> None:
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 10})["ok"]
    command = {"state": True, "voltage_limit": 5, "ramp": 50, "voltage_protection": 6}
    response = observer.ask("psu/psu1/2/set", command)
    assert response["ok"], response
    assert (response["result"]["state"], response["result"]["voltage_protection"]) == (True, 6.0)


# Done is not said of what has tripped.


def test_a_setting_that_trips_its_own_output_is_not_done(bench: Bench, observer: Observer) -> None:
    turn_on(bench, voltage_limit=5, current_limit=0.1, current_protection=True)  # 50 mA flow
    response = observer.ask("psu/psu1/2/set", {"voltage_limit": 12})
    assert response["error"]["code"] == "readback_mismatch"
    assert "tripped (OCP)" in response["error"]["message"]


def test_a_trip_that_comes_after_a_delay_is_waited_for(bench: Bench, observer: Observer) -> None:
    bench.simulator.instrument.execute("CURR:PROT:DEL 0.3,(@2)")
    turn_on(bench, voltage_limit=5, current_limit=0.1, current_protection=True)
    for command in ({"voltage_limit": 12}, {"state": True, "voltage_limit": 12}):
        response = observer.ask("psu/psu1/2/set", command)
        assert response["error"]["code"] == "readback_mismatch", response
        assert "tripped (OCP)" in response["error"]["message"]
        assert observer.ask("psu/psu1/2/set", {"clear_protection": True})["ok"]


def test_a_ramp_that_trips_on_its_way_is_not_done(bench: Bench, observer: Observer) -> None:
    turn_on(bench, voltage_limit=5, current_limit=0.1, current_protection=True)
    response = observer.ask("psu/psu1/2/set", {"voltage_limit": 10.2, "ramp": 60})  # the last of two steps trips it
    assert response["error"]["code"] == "readback_mismatch"
    assert "OCP" in response["error"]["message"]


def test_a_setting_of_an_output_that_is_tripped_or_off_is_done(bench: Bench, observer: Observer) -> None:
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 3})["ok"]
    bench.simulator.instrument.trip(2, "OVP")
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 4})["ok"]


# Judged before the first write.


@pytest.mark.parametrize(
    "command",
    [
        {"voltage_limit": 6},
        {"voltage_limit": 6, "ramp": 10},
        {"voltage_limit": 6, "current_limit": 0.3},
        {"voltage_limit": 6, "voltage_protection": 5.5},
        {"voltage_protection": 3},
        {"voltage_limit": 4, "voltage_protection": 3},
        {"voltage_limit": 6, "state": True},
        {"voltage_limit": 6, "cycle": 0.1},
        {"voltage_protection": 3, "cycle": 0.1},
    ],
)
def test_a_voltage_above_the_trip_level_is_not_set(
    bench: Bench, observer: Observer, command: dict[str, object]
) -> None:
    turn_on(bench, voltage_limit=4, voltage_protection=5)
    response = observer.ask("psu/psu1/2/set", command)
    assert response["error"]["code"] == "out_of_range"
    assert "would trip (OVP)" in response["error"]["message"]
    assert writes(bench) == []
    assert is_on(bench)


def test_an_output_that_would_trip_at_once_is_not_turned_on(bench: Bench, observer: Observer) -> None:
    assert observer.ask("psu/psu1/2/set", {"voltage_protection": 5, "voltage_limit": 6})["ok"]  # it is off
    bench.simulator.instrument.clear_log()
    for command in ({"state": True}, {"cycle": 0}, {"state": True, "current_limit": 0.2}):
        assert observer.code("psu/psu1/2/set", command) == "out_of_range"
    assert observer.code("psu/psu1/set", {"state": True}) == "out_of_range"
    assert writes(bench) == []


def test_a_cycle_that_could_not_turn_on_again_turns_nothing_off(bench: Bench, observer: Observer) -> None:
    panel = bench.simulator.instrument.panel
    assert observer.ask("psu/psu1/1/set", {"voltage_limit": 2, "current_limit": 0.5, "state": True})["ok"]
    panel.knob_current(1, 1.5)
    bench.simulator.instrument.clear_log()
    for command in ({"cycle": 0.1}, {"cycle": 0.1, "voltage_limit": 3}, {"state": True, "voltage_limit": 3}):
        assert observer.code("psu/psu1/1/set", command) == "limit_exceeded"
    assert writes(bench) == []
    assert is_on(bench, 1)
    assert observer.ask("psu/psu1/1/set", {"cycle": 0.01, "current_limit": 1})["ok"]


def test_a_tripped_output_takes_nothing_of_a_command_that_turns_it_on(bench: Bench, observer: Observer) -> None:
    bench.simulator.instrument.trip(2, "OVP")
    bench.simulator.instrument.clear_log()
    for command in ({"state": True, "voltage_limit": 3}, {"cycle": 0}, {"state": True, "voltage_limit": 3, "ramp": 10}):
        assert observer.code("psu/psu1/2/set", command) == "instrument_error"
    assert observer.code("psu/psu1/set", {"state": True}) == "instrument_error"
    assert writes(bench) == []


def test_a_knob_turned_in_the_off_time_of_a_cycle_keeps_the_output_off(bench: Bench, observer: Observer) -> None:
    turn_on(bench, voltage_limit=4, voltage_protection=5)
    cycle = unique("cycle")
    observer.send("psu/psu1/2/set", {"id": cycle, "cycle": 0.4})
    wait_until(lambda: not is_on(bench), "off")
    bench.simulator.instrument.panel.knob_voltage(2, 6)
    response = observer.wait("psu/psu1/2/response", lambda r: r["id"] == cycle)
    assert response["error"]["code"] == "out_of_range"
    assert not is_on(bench)


# Plans under way.


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"state": True, "voltage_limit": 26}, "out_of_range"),
        ({"voltage_limit": 6}, "out_of_range"),
        ({"voltage_limit": 26}, "out_of_range"),
        ({"state": True, "ramp": 1}, "bad_payload"),
        ({"cycle": 5, "expires_at": True}, "bad_payload"),
    ],
)
def test_a_refused_command_leaves_a_ramp_alone(
    bench: Bench, observer: Observer, command: dict[str, object], code: str
) -> None:
    turn_on(bench, voltage_limit=1, voltage_protection=5)
    ramp = unique("ramp")
    observer.send("psu/psu1/2/set", {"id": ramp, "voltage_limit": 4, "ramp": 4})
    wait_until(lambda: sent(bench, "VOLT"), "the ramp")
    assert observer.code("psu/psu1/2/set", command) == code
    response = observer.wait("psu/psu1/2/response", lambda r: r["id"] == ramp)
    assert response["ok"], response
    assert response["result"]["voltage_limit"] == 4.0


def test_a_refused_command_leaves_a_cycle_alone(bench: Bench, observer: Observer) -> None:
    turn_on(bench, voltage_limit=4, voltage_protection=5)
    cycle = unique("cycle")
    observer.send("psu/psu1/2/set", {"id": cycle, "cycle": 0.6})
    wait_until(lambda: not is_on(bench), "off")
    bench.simulator.instrument.panel.couple(1, 2)  # which the first look of the next one tells
    assert observer.code("psu/psu1/2/set", {"state": True}) == "unsupported"
    bench.simulator.instrument.panel.couple()
    response = observer.wait("psu/psu1/2/response", lambda r: r["id"] == cycle)
    assert response["ok"], response
    assert is_on(bench)


@pytest.mark.parametrize("command", [{"voltage_protection": 3}, {"voltage_limit": 6}, {"voltage_limit": 6, "ramp": 90}])
def test_an_output_that_a_cycle_is_to_turn_on_takes_nothing_that_would_trip_it(
    bench: Bench, observer: Observer, command: dict[str, object]
) -> None:
    turn_on(bench, voltage_limit=4, voltage_protection=5)
    cycle = unique("cycle")
    observer.send("psu/psu1/2/set", {"id": cycle, "cycle": 0.6})
    wait_until(lambda: not is_on(bench), "off")
    bench.simulator.instrument.clear_log()
    assert observer.code("psu/psu1/2/set", command) == "out_of_range"
    assert writes(bench) == []
    response = observer.wait("psu/psu1/2/response", lambda r: r["id"] == cycle)
    assert response["ok"], response


@pytest.mark.parametrize(
    "command",
    [
        {"current_limit": 0.7},
        {"current_protection": True},
        {"voltage_protection": 20},
        {"clear_protection": True},
        {"state": True},
    ],
)
def test_a_command_for_something_else_leaves_a_ramp_alone(
    bench: Bench, observer: Observer, command: dict[str, object]
) -> None:
    turn_on(bench, voltage_limit=1, current_limit=0.5)
    ramp = unique("ramp")
    observer.send("psu/psu1/2/set", {"id": ramp, "voltage_limit": 4, "ramp": 4, "current_limit": 0.6})
    wait_until(lambda: sent(bench, "VOLT"), "the ramp")
    assert observer.ask("psu/psu1/2/set", command)["ok"]
    assert not any(response["id"] == ramp for response in observer.responses("psu1", 2))
    response = observer.wait("psu/psu1/2/response", lambda r: r["id"] == ramp)
    assert response["ok"], response
    assert response["result"]["voltage_limit"] == 4.0
    for field, value in command.items():
        assert response["result"].get(field, value) == value
    observer.wait_state("psu1", 2, after=observer.mark())
    limits = [m for m in observer.events("psu1", 2) if m["field"] == "voltage_limit" and m["id"] == ramp]
    assert [(event["from"], event["to"]) for event in limits] == [(1.0, 4.0)]  # and it is one event


@pytest.mark.parametrize("command", [{"current_limit": 0.7}, {"current_protection": True}, {"voltage_limit": 3}])
def test_a_command_for_something_else_leaves_a_cycle_alone(
    bench: Bench, observer: Observer, command: dict[str, object]
) -> None:
    turn_on(bench, voltage_limit=2)
    cycle = unique("cycle")
    observer.send("psu/psu1/2/set", {"id": cycle, "cycle": 0.6})
    wait_until(lambda: not is_on(bench), "off")
    assert observer.ask("psu/psu1/2/set", command)["ok"]
    response = observer.wait("psu/psu1/2/response", lambda r: r["id"] == cycle)
    assert response["ok"], response
    assert response["result"]["state"] is True
    for field, value in command.items():
        assert response["result"][field] == value


def test_a_trip_level_set_below_the_target_ends_a_ramp_before_it_trips(bench: Bench, observer: Observer) -> None:
    turn_on(bench, voltage_limit=1)
    ramp = unique("ramp")
    observer.send("psu/psu1/2/set", {"id": ramp, "voltage_limit": 20, "ramp": 4})
    wait_until(lambda: sent(bench, "VOLT"), "the ramp")
    assert observer.ask("psu/psu1/2/set", {"voltage_protection": 15})["ok"]
    response = observer.wait("psu/psu1/2/response", lambda r: r["id"] == ramp)
    assert response["error"]["code"] == "superseded"
    assert "voltage_protection" in response["error"]["message"]
    assert is_on(bench)


# Expiry.


def test_an_on_that_a_slow_unit_would_carry_out_too_late_is_not_sent(bench: Bench, observer: Observer) -> None:
    bench.simulator.instrument.clear_log()
    bench.simulator.latency = 0.1
    try:
        command = {"state": True, "voltage_limit": 3, "expires_at": later(0.25)}
        response = observer.ask("psu/psu1/2/set", command)
    finally:
        bench.simulator.latency = 0.0
    assert response["error"]["code"] == "expired"
    assert not any(message.startswith("OUTP 1") for message in writes(bench))
    assert not is_on(bench)


def test_an_on_that_expires_on_its_way_to_a_slow_unit_is_not_sent(make_bench: Callable[..., Bench]) -> None:
    """One message takes the unit longer than what is left when it has answered the look before."""
    simulator = Simulator().start()
    # The unit is busy with no poll when a command comes.
    bench = make_bench([simulator], [unit("psu1", simulator, poll_interval=60)])
    for command in ({"state": True}, {"voltage_limit": 3}, {"current_limit": 1.5}):
        bench.simulator.instrument.execute("CURR 0.5,(@2)")
        bench.simulator.instrument.clear_log()
        bench.simulator.latency = 0.3
        try:
            response = bench.observer.ask("psu/psu1/2/set", {**command, "expires_at": later(0.5)})
        finally:
            bench.simulator.latency = 0.0
        assert response["error"]["code"] == "expired"
        assert writes(bench) == []


def test_a_ramp_stops_raising_when_it_expires_and_goes_on_lowering(bench: Bench, observer: Observer) -> None:
    turn_on(bench, voltage_limit=1)
    response = observer.ask("psu/psu1/2/set", {"voltage_limit": 20, "ramp": 4, "expires_at": later(0.5)})
    assert response["error"]["code"] == "expired"
    reached = bench.simulator.instrument.channels[2].settings.voltage
    assert 1 < reached < 6
    assert "the last that was done is voltage_limit" in response["error"]["message"]
    response = observer.ask("psu/psu1/2/set", {"voltage_limit": 0.5, "ramp": 2, "expires_at": later(0.3)})
    assert response["ok"], response


def test_a_cycle_that_would_expire_in_its_off_time_turns_nothing_off(bench: Bench, observer: Observer) -> None:
    turn_on(bench, voltage_limit=1)
    response = observer.ask("psu/psu1/2/set", {"cycle": 5, "expires_at": later(2)})
    assert response["error"]["code"] == "expired"
    assert writes(bench) == []


# Turns.


def test_three_ramps_on_a_slow_unit_leave_room_for_polls_and_commands(bench: Bench, observer: Observer) -> None:
    for channel in (1, 2, 3):
        bench.simulator.instrument.set_load(channel, Resistor(1000.0))
        assert observer.ask(f"psu/psu1/{channel}/set", {"voltage_limit": 0.1, "state": True})["ok"]
    bench.simulator.latency = 0.03
    try:
        for channel in (1, 2, 3):
            command = {"id": unique("ramp"), "voltage_limit": 5, "ramp": 0.5}
            observer.send(f"psu/psu1/{channel}/set", command)
        wait_until(lambda: len({w.partition("(")[2] for w in writes(bench)[-6:]}) == 3, "three ramps")
        bench.simulator.instrument.clear_log()
        begun = time.monotonic()
        for number in range(5):
            assert observer.ask("psu/psu1/3/set", {"current_limit": 0.5 + number / 100})["ok"]
        took = time.monotonic() - begun
        wait_until(lambda: len(writes(bench)) > 40, "more steps")
    finally:
        bench.simulator.latency = 0.0
    log = bench.simulator.instrument.log
    steps = [place for place, message in enumerate(log) if message.startswith("VOLT ")]
    polls = [place for place, message in enumerate(log) if message.startswith("MEAS:VOLT?")]
    assert polls
    # Between two polls each ramp has its turn once or twice.
    for earlier, later_ in itertools.pairwise(polls):
        assert sum(earlier < step < later_ for step in steps) <= 8
    # A command is three messages, and waits for one turn of all others.
    assert took < 5 * (3 + 9) * 0.03 * 3
    channels = [log[place].partition("(")[2] for place in steps]
    counts = [channels.count(f"@{channel})") for channel in (1, 2, 3)]
    assert max(counts) <= 2 * min(counts) + 2
    observer.send("psu/psu1/set", "OFF")

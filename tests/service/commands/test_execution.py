"""Commands as the unit carries them out, and commands that meet each other, over a real broker."""

from __future__ import annotations

import time

import pytest

from tests.lab import Bench, Observer, wait_until
from tests.service.commands.commanding import the_only_response, writes
from tests.support import inside

# Carried out by the unit, or not.


def test_the_units_own_error_is_told(bench: Bench, observer: Observer) -> None:
    refused: list[str] = []

    def refuse(message: str, answer: str | None) -> str | None:
        if message.startswith("VOLT 2"):
            refused.append(message)
            bench.simulator.instrument.execute("VOLT 1,(@2)")
        if message.startswith("SYST:ERR?") and refused and answer is not None:
            refused.clear()
            return answer.replace('+0,"No error"', '-221,"Settings conflict"')
        return answer

    bench.simulator.tamper = refuse
    response = observer.ask("psu/psu1/2/set", {"voltage_limit": 2, "state": True})
    assert response["error"]["code"] == "instrument_error"
    assert '-221,"Settings conflict"' in response["error"]["message"]
    assert not bench.simulator.instrument.channels[2].output  # what follows in the plan is not carried out


def test_a_setting_that_the_unit_ignores(bench: Bench, observer: Observer) -> None:
    def ignore(message: str, answer: str | None) -> str | None:
        if message.startswith("VOLT 2"):
            bench.simulator.instrument.execute("VOLT 1,(@2)")
        return answer

    bench.simulator.tamper = ignore
    response = observer.ask("psu/psu1/2/set", {"voltage_limit": 2, "state": True})
    assert response["error"]["code"] == "readback_mismatch"
    assert "reads back 1 V, not 2 V" in response["error"]["message"]
    assert not bench.simulator.instrument.channels[2].output
    observer.wait_state("psu1", 2, after=observer.mark(), voltage_limit=1.0)  # the truth


def test_an_output_that_trips_on_being_turned_on(bench: Bench, observer: Observer) -> None:
    assert observer.ask("psu/psu1/2/set", {"current_limit": 0.05, "current_protection": True, "voltage_limit": 6})["ok"]
    response = observer.ask("psu/psu1/2/set", {"state": True})
    assert response["error"]["code"] == "readback_mismatch"
    assert "OCP" in response["error"]["message"]
    assert observer.code("psu/psu1/2/set", {"state": True}) == "instrument_error"  # not while it is tripped
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 1, "clear_protection": True})["result"]["tripped"] is None
    assert not bench.simulator.instrument.channels[2].output


def test_a_knob_turned_above_the_limit_keeps_the_output_off(bench: Bench, observer: Observer) -> None:
    panel = bench.simulator.instrument.panel
    assert observer.ask("psu/psu1/1/set", {"voltage_limit": 3, "current_limit": 0.5})["ok"]
    panel.knob_voltage(1, 6.0)
    response = observer.ask("psu/psu1/1/set", {"state": True})
    assert response["error"]["code"] == "limit_exceeded"
    assert "6 V is above the 5.5 V" in response["error"]["message"]
    panel.knob_voltage(1, 3.0)
    panel.knob_current(1, 1.5)
    assert observer.code("psu/psu1/VDD/set/state", "ON") == "limit_exceeded"
    assert observer.code("psu/psu1/set", {"state": True}) == "limit_exceeded"
    assert observer.code("psu/psu1/1/set", {"voltage_limit": 2, "ramp": 100, "state": True}) == "limit_exceeded"
    assert observer.code("psu/psu1/1/set", {"cycle": 0}) == "limit_exceeded"
    assert not any(channel.output for channel in bench.simulator.instrument.channels.values())
    assert observer.ask("psu/psu1/1/set", {"state": True, "current_limit": 1.0})["ok"]


def test_a_knob_turned_between_the_look_and_the_switch(bench: Bench, observer: Observer) -> None:
    """Somebody turns it while a command that sets other things as well is on its way: what was set last is looked at."""
    panel = bench.simulator.instrument.panel

    def turn(message: str, answer: str | None) -> str | None:
        if message.startswith("CURR 0.5"):
            panel.knob_voltage(1, 6.0)
        return answer

    bench.simulator.tamper = turn
    assert observer.code("psu/psu1/1/set", {"state": True, "current_limit": 0.5}) == "limit_exceeded"
    assert not bench.simulator.instrument.channels[1].output


def test_off_is_accepted_whatever_the_settings_are(bench: Bench, observer: Observer) -> None:
    panel = bench.simulator.instrument.panel
    panel.knob_voltage(1, 6.0)
    panel.press_output(1, True)
    assert observer.ask("psu/psu1/1/set", {"state": False})["ok"]
    assert not bench.simulator.instrument.channels[1].output


# In turn.


def test_a_flood_is_refused_in_part_and_answered_whole(bench: Bench, observer: Observer) -> None:
    for number in range(300):
        observer.send("psu/psu1/3/set", {"id": f"flood {number}", "voltage_limit": 1 + number / 1000}, qos=0)
    wait_until(lambda: len(observer.responses("psu1", 3)) == 300, "a response for each")
    assert {r["id"] for r in observer.responses("psu1", 3)} == {f"flood {number}" for number in range(300)}
    codes = {r["error"]["code"] for r in observer.responses("psu1", 3) if not r["ok"]}
    assert codes <= {"busy"}


def test_busy(bench: Bench, observer: Observer) -> None:
    bench.simulator.tamper = lambda message, answer: time.sleep(0.2) or answer if "VOLT 9" in message else answer  # type: ignore[func-returns-value]
    for number in range(150):
        observer.send("psu/psu1/3/set", {"id": f"busy {number}", "voltage_limit": 9 + number / 1000}, qos=0)
    observer.send("psu/psu1/3/set", {"id": "off", "state": False})
    off = observer.wait("psu/psu1/3/response", lambda r: r["id"] == "off")
    assert off["ok"], off
    bench.simulator.tamper = None
    wait_until(lambda: len(observer.responses("psu1", 3)) == 151, "a response for each")
    answered = [r["id"] for r in observer.responses("psu1", 3)]
    codes = [r["error"]["code"] for r in observer.responses("psu1", 3) if not r["ok"]]
    assert codes.count("busy") >= 40
    carried_out_before = [r for r in observer.responses("psu1", 3)[: answered.index("off")] if r["ok"]]
    assert len(carried_out_before) < 20  # off went ahead of some hundred that waited


@pytest.mark.parametrize("command", [{"state": True}, {"cycle": 0.0}, {"state": True, "voltage_limit": 1, "ramp": 5}])
@pytest.mark.parametrize("topic", ["psu/psu1/2/set", "psu/psu1/set", "psu/all/set"])
def test_off_is_the_last_word_on_what_waited_before_it(
    bench: Bench, observer: Observer, command: dict[str, object], topic: str
) -> None:
    simulator, number = bench.simulators[0], time.monotonic_ns()  # an id is remembered from test to test
    simulator.instrument.clear_log()
    own = "psu/psu1/2/response"
    given = inside.commands(bench.daemon, "psu1")
    simulator.freeze()
    try:
        # The first keeps the unit busy while the others come in.
        observer.send("psu/psu1/2/set", {"id": f"first {number}", "current_limit": 0.5}, qos=0)
        observer.send("psu/psu1/2/set", {"id": f"settings {number}", "current_limit": 0.6}, qos=0)
        observer.send("psu/psu1/2/set", {"id": f"on {number}", **command}, qos=0)
        observer.send(topic, {"id": f"off {number}", "state": False}, qos=0)
        wait_until(lambda: inside.commands(bench.daemon, "psu1") == given + 4, "the commands")
        simulator.thaw()
        where = own if "2" in topic else "psu/psu1/response"
        assert observer.wait(where, lambda r: r["id"] == f"off {number}")["ok"]
        assert observer.wait(own, lambda r: r["id"] == f"on {number}")["error"]["code"] == "superseded"
        assert observer.wait(own, lambda r: r["id"] == f"settings {number}")["ok"]
    finally:
        simulator.thaw()
    assert not [message for message in writes(bench) if message.startswith("OUTP 1")]


def test_off_ends_a_ramp(bench: Bench, observer: Observer) -> None:
    observer.send("psu/psu1/2/set", {"id": "ramp", "state": True, "voltage_limit": 20, "ramp": 1})
    observer.wait_state("psu1", 2, state=True)
    assert observer.ask("psu/psu1/2/set", "OFF")["ok"]
    assert not bench.simulator.instrument.channels[2].output
    assert the_only_response(observer, "psu1", 2, "ramp")["error"]["code"] == "superseded"
    voltage = bench.simulator.instrument.channels[2].settings.voltage
    after = observer.mark()
    observer.wait_state("psu1", 2, after=after)
    observer.wait_state("psu1", 2, after=observer.mark())
    assert bench.simulator.instrument.channels[2].settings.voltage == voltage < 20


def test_off_ends_a_cycle(bench: Bench, observer: Observer) -> None:
    assert observer.ask("psu/psu1/2/set", {"state": True, "voltage_limit": 2})["ok"]
    begun = time.monotonic()
    observer.send("psu/psu1/2/set", {"id": "cycle", "cycle": 3})
    observer.wait_state("psu1", 2, state=False)
    assert observer.ask("psu/psu1/2/set", "OFF")["ok"]
    assert the_only_response(observer, "psu1", 2, "cycle")["error"]["code"] == "superseded"
    bench.simulator.instrument.clear_log()
    wait_until(lambda: time.monotonic() > begun + 3.5, "the moment when it would have been on again")
    assert not bench.simulator.instrument.channels[2].output
    assert writes(bench) == []


def test_a_newer_command_replaces_the_rest_of_an_older_one(bench: Bench, observer: Observer) -> None:
    observer.send("psu/psu1/2/set", {"id": "ramp 1", "voltage_limit": 20, "ramp": 1})
    wait_until(lambda: bench.simulator.instrument.channels[2].settings.voltage > 0, "the ramp")
    observer.send("psu/psu1/3/set", {"id": "cycle 1", "cycle": 60})
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 1})["ok"]
    assert observer.wait("psu/psu1/2/response", lambda r: r["id"] == "ramp 1")["error"]["code"] == "superseded"
    assert [r["id"] for r in observer.responses("psu1", 3)] == []  # another channel's goes on
    assert observer.ask("psu/psu1/3/set", {"state": True})["ok"]
    assert observer.wait("psu/psu1/3/response", lambda r: r["id"] == "cycle 1")["error"]["code"] == "superseded"
    assert bench.simulator.instrument.channels[2].settings.voltage == 1.0


def test_a_cycle(bench: Bench, observer: Observer) -> None:
    assert observer.ask("psu/psu1/2/set", {"state": True, "voltage_limit": 2})["ok"]
    after = observer.mark()
    observer.send("psu/psu1/2/set", {"id": "off, on", "cycle": 1.5, "voltage_limit": 3})
    observer.wait_state("psu1", 2, after=after, state=False)
    response = the_only_response(observer, "psu1", 2, "off, on")
    assert (response["result"]["state"], response["result"]["voltage_limit"]) == (True, 3.0)
    # Polling went on meanwhile.
    assert len([s for s in observer.states("psu1", 2) if s["state"] is False]) >= 3
    assert [w for w in writes(bench) if w.startswith("OUTP")][-2:] == ["OUTP 0,(@2)", "OUTP 1,(@2)"]


def test_a_ramp_never_overshoots_and_polling_goes_on(bench: Bench, observer: Observer) -> None:
    bench.simulator.instrument.clear_log()
    response = observer.ask("psu/psu1/2/set", {"state": True, "voltage_limit": 3, "ramp": 1.5})
    assert (response["result"]["state"], response["result"]["voltage_limit"]) == (True, 3.0)
    steps = [float(w.removeprefix("VOLT ").partition(",")[0]) for w in writes(bench) if w.startswith("VOLT ")]
    assert steps[0] == 0.0  # a soft start
    assert steps == sorted(steps)
    assert steps[-1] == 3.0
    assert len(steps) >= 5
    assert len({s["voltage_limit"] for s in observer.states("psu1", 2)}) >= 4
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 1, "ramp": 20})["result"]["voltage_limit"] == 1.0


def test_a_ramp_ends_when_somebody_turns_the_knob_or_the_output_trips(bench: Bench, observer: Observer) -> None:
    panel = bench.simulator.instrument.panel
    observer.send("psu/psu1/2/set", {"id": "knob", "state": True, "voltage_limit": 20, "ramp": 5})
    observer.wait_state("psu1", 2, state=True)
    # A turn that no poll has seen before the next step is gone: people go on turning.
    wait_until(lambda: panel.knob_voltage(2, 15.0) and observer.responses("psu1", 2), "the end of the ramp")
    assert observer.responses("psu1", 2)[0]["error"]["code"] == "superseded"
    assert bench.simulator.instrument.channels[2].settings.voltage == 15.0
    observer.send("psu/psu1/2/set", {"id": "trip", "voltage_limit": 1, "ramp": 5})
    wait_until(lambda: bench.simulator.instrument.channels[2].settings.voltage < 15, "the ramp")
    bench.simulator.instrument.trip(2, "OCP")
    response = observer.wait("psu/psu1/2/response", lambda r: r["id"] == "trip")
    assert response["error"]["code"] == "readback_mismatch"
    assert "OCP" in response["error"]["message"]

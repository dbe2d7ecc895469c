"""One unit: who changed what, whose unit it is, and that nothing holds up what is due."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from agent.simulator import Quirks, Simulator
from agent.simulator.loads import Resistor
from tests.lab import Bench, Observer, Received, unit, wait_until
from tests.support.messages import writes_in


def told(observer: Observer, name: str = "psu1", channel: int = 1) -> list[tuple[Any, ...]]:
    return [(e["field"], e["from"], e["to"], e["by"], e["id"]) for e in observer.events(name, channel)]


# Events.


def test_who_did_it(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    observer, panel = bench.observer, bench.simulator.instrument.panel
    bench.simulator.instrument.set_load(1, Resistor(100.0))

    assert observer.ask("psu/psu1/1/set", {"id": "a", "voltage_limit": 3, "current_limit": 0.5, "state": True})["ok"]
    wait_until(lambda: len(told(observer)) >= 4, "four events")
    assert sorted(told(observer), key=lambda e: str(e[0])) == [
        ("current_limit", 10.0, 0.5, "command", "a"),
        ("mode", "OFF", "CV", "command", "a"),
        ("state", False, True, "command", "a"),
        ("voltage_limit", 0.0, 3.0, "command", "a"),
    ]

    changes: list[tuple[Callable[[], Any], tuple[Any, ...]]] = [
        (lambda: panel.knob_voltage(1, 4.0), ("voltage_limit", 3.0, 4.0, "panel", None)),
        (lambda: panel.knob_current(1, 0.25), ("current_limit", 0.5, 0.25, "panel", None)),
        (lambda: panel.knob_protection(1, 5.5), ("voltage_protection", 6.6, 5.5, "panel", None)),
        (lambda: panel.press_current_protection(1, True), ("current_protection", False, True, "panel", None)),
        (lambda: panel.press_output(1, False), ("state", True, False, "panel", None)),
        (lambda: panel.press_output(1, True), ("state", False, True, "panel", None)),
        (lambda: bench.simulator.instrument.trip(1, "OVP"), ("tripped", None, "OVP", "unit", None)),
        (lambda: panel.clear_protection(1), ("tripped", "OVP", None, "panel", None)),
    ]  # fmt: skip
    for change, event in changes:
        known = len(told(observer))
        change()
        wait_until(lambda: event in told(observer)[known:], f"the event {event}")  # noqa: B023

    assert observer.ask("psu/psu1/1/set", {"id": "b", "voltage_protection": 6, "current_protection": False})["ok"]
    wait_until(lambda: ("voltage_protection", 5.5, 6.0, "command", "b") in told(observer), "the event")
    wait_until(lambda: ("current_protection", True, False, "command", "b") in told(observer), "the event")
    assert observer.ask("psu/psu1/1/set/state", "OFF")["ok"]
    wait_until(lambda: ("state", True, False, "command", None) in told(observer), "the event")


def test_another_program_is_the_panel(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.simulator.instrument.execute("VOLT 2,(@2)")
    bench.observer.wait("psu/psu1/2/event", lambda e: e["field"] == "voltage_limit" and e["by"] == "panel")
    assert told(bench.observer, channel=1) == []


def test_a_trip_and_the_mode_it_ends(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    observer = bench.observer
    bench.simulator.instrument.set_load(2, Resistor(10.0))
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 5, "current_limit": 1, "state": True})["ok"]
    bench.simulator.instrument.set_load(2, Resistor(1.0))
    observer.wait("psu/psu1/2/event", lambda e: e["field"] == "mode" and e["to"] == "CC" and e["by"] == "unit")
    response = observer.ask("psu/psu1/2/set", {"id": "ocp", "current_protection": True})
    assert response["error"]["code"] == "readback_mismatch"
    assert "tripped (OCP) while it was set" in response["error"]["message"]
    assert (response["result"]["state"], response["result"]["tripped"]) == (False, "OCP")
    for field, to in (("tripped", "OCP"), ("mode", "OFF")):
        observer.wait("psu/psu1/2/event", lambda e, to=(field, to): (e["field"], e["to"]) == to)  # type: ignore[misc]
    # The command set the protection; that the output went off is nobody's wish.
    by_the_unit = [("state", True, False), ("tripped", None, "OCP"), ("mode", "CC", "OFF")]
    assert [e for e in told(observer, channel=2) if e[:3] in by_the_unit] == [(*e, "unit", None) for e in by_the_unit]
    state = observer.wait_state("psu1", 2, tripped="OCP")
    assert (state["state"], state["mode"]) == (False, "OFF")
    assert observer.code("psu/psu1/2/set", {"id": "clear", "clear_protection": True}) == "ok"
    event = observer.wait("psu/psu1/2/event", lambda e: e["field"] == "tripped" and e["to"] is None)
    assert (event["by"], event["id"], event["text"]) == ("command", "clear", "tripped OCP → none by command clear")


def test_a_ramp_is_one_event(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    observer = bench.observer
    assert observer.ask("psu/psu1/2/set", {"id": "ramp", "voltage_limit": 3, "ramp": 1.5})["ok"]
    observer.wait("psu/psu1/2/event", lambda e: e["field"] == "voltage_limit")
    observer.wait_state("psu1", 2, after=observer.mark())
    assert told(observer, channel=2) == [("voltage_limit", 0.0, 3.0, "command", "ramp")]
    assert len({s["voltage_limit"] for s in observer.states("psu1", 2)}) > 3


def test_a_ramp_that_is_cut_short_is_one_event_to_where_it_came(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    observer = bench.observer
    observer.send("psu/psu1/2/set", {"id": "ramp", "voltage_limit": 20, "ramp": 5, "state": True})
    observer.wait("psu/psu1/2/state", lambda s: s["voltage_limit"] > 0.5)
    assert observer.ask("psu/psu1/2/set", {"id": "off", "state": False})["ok"]
    observer.wait("psu/psu1/2/event", lambda e: e["field"] == "voltage_limit")
    observer.wait_state("psu1", 2, after=observer.mark())
    reached = bench.simulator.instrument.channels[2].settings.voltage
    limits = [e for e in told(observer, channel=2) if e[0] == "voltage_limit"]
    assert limits == [("voltage_limit", 0.0, pytest.approx(reached, abs=0.0011), "command", "ramp")]
    assert [(e[2], e[3], e[4]) for e in told(observer, channel=2) if e[0] == "state"] == [
        (True, "command", "ramp"),
        (False, "command", "off"),
    ]


@pytest.mark.usefixtures("quick")
def test_what_changed_while_the_unit_was_away_is_told(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.simulator.stop()
    bench.observer.wait_state("psu1", online=False)
    bench.simulator.instrument.panel.knob_voltage(1, 2.0)
    bench.simulator.instrument.panel.press_output(2, True)
    bench.simulator.start()
    bench.observer.wait("psu/psu1/1/event", lambda e: (e["field"], e["from"], e["to"]) == ("voltage_limit", 0, 2))
    bench.observer.wait("psu/psu1/2/event", lambda e: (e["field"], e["to"], e["by"]) == ("state", True, "panel"))


# Identity.


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"model": "E36312A"}, "is a Keysight Technologies E36313A, not a E36312A"),
        ({"serial": "MY00000000"}, "is number MY61000001, not MY00000000"),
    ],
)
def test_another_unit_at_the_address_gets_no_command(
    make_bench: Callable[..., Bench], entry: dict[str, Any], said: str
) -> None:
    simulator = Simulator("E36313A", "MY61000001").start()
    bench = make_bench([simulator], [unit("psu1", simulator, **entry)], online=False)
    info = bench.observer.wait_online("psu1", online=False)
    info = bench.observer.wait("psu/psu1/info", lambda i: said in (i["reason"] or ""))
    assert info["online"] is False
    assert bench.observer.wait_state("psu1", online=False)["state"] is None
    for payload in ({"state": True}, {"state": False}):
        response = bench.observer.ask("psu/psu1/1/set", payload)
        assert response["error"]["code"] == "offline"
        assert said in response["error"]["message"]
    assert set(simulator.instrument.log) == {"*IDN?"}


@pytest.mark.usefixtures("quick")
def test_a_unit_that_is_swapped_during_a_reconnection(make_bench: Callable[..., Bench]) -> None:
    first = Simulator("E36313A", "MY61000001").start()
    bench = make_bench([first], [unit("psu1", first, serial="MY61000001")])
    port = first.socket_port
    first.stop()
    bench.observer.wait_state("psu1", online=False)
    with Simulator("E36313A", "MY61000002", socket_port=port) as second:
        bench.observer.wait("psu/psu1/info", lambda i: "MY61000002, not MY61000001" in (i["reason"] or ""))
        assert bench.observer.code("psu/psu1/1/set", {"state": True}) == "offline"
        assert set(second.instrument.log) == {"*IDN?"}
    after = bench.observer.mark()
    first.start()
    bench.observer.wait_online("psu1", after=after)


@pytest.mark.usefixtures("quick")
def test_an_exchanged_unit_is_not_taken_for_changes_of_the_old_one(make_bench: Callable[..., Bench]) -> None:
    """Where no serial number is asked for, a spare may take the place; what it is set to is nobody's doing."""
    first = Simulator("E36313A").start()
    bench = make_bench([first], [unit("psu1", first, model="E36300")])
    observer = bench.observer
    assert observer.ask("psu/psu1/1/set", {"voltage_limit": 3})["ok"]
    wait_until(lambda: len(told(observer)) == 1, "the event")
    port = first.socket_port
    first.stop()
    observer.wait_state("psu1", online=False)
    after = observer.mark()
    with Simulator("E36312A", socket_port=port) as second:
        second.instrument.execute("VOLT 2,(@1)")
        info = observer.wait_online("psu1", after=after)
        assert (info["model"], info["serial"]) == ("E36312A", second.instrument.serial)
        assert observer.wait_state("psu1", after=after, online=True)["model"] == "E36312A"
        assert len(told(observer)) == 1
        # Its own rating holds: 5.15 A where the other had 10.3.
        assert observer.code("psu/psu1/1/set", {"current_limit": 8}) == "out_of_range"
        bench.stop()


@pytest.mark.usefixtures("quick")
def test_an_online_info_comes_ahead_of_states_and_the_status_behind_them(make_bench: Callable[..., Bench]) -> None:
    """A command of somebody who has seen a state finds that the agent serves the unit; who has seen the status has states."""
    bench = make_bench()
    simulator, observer = bench.simulator, bench.observer

    def first(topic: str, after: int, is_online: Callable[[Received], bool]) -> int:
        messages = list(enumerate(observer.received))[after:]
        return next(number for number, message in messages if message.topic == topic and is_online(message))

    def order(after: int) -> tuple[int, list[int], int]:
        return (
            first("psu/psu1/info", after, lambda message: message.json["online"]),
            [first(f"psu/psu1/{n}/state", after, lambda message: message.json["online"]) for n in (1, 2, 3)],
            first("psu/psu1/status", after, lambda message: message.payload == b"online"),
        )

    info, states, _ = order(0)  # with all that a new connection tells
    assert info < min(states)
    simulator.stop()
    observer.wait_online("psu1", online=False)
    after = observer.mark()
    simulator.start()
    observer.wait_online("psu1", after=after)
    info, states, status = order(after)
    assert info < min(states)
    assert max(states) < status


# Due polls and steps.


@pytest.mark.parametrize("interval", [0.0, 0.05])
def test_a_ramp_on_a_slow_unit_holds_up_neither_polls_nor_commands(
    make_bench: Callable[..., Bench], interval: float
) -> None:
    """Each step takes the unit longer than the time to the next step: polls and other commands have their turn."""
    simulator = Simulator(latency=0.06).start()
    bench = make_bench([simulator], poll_interval=interval)
    observer = bench.observer
    observer.send("psu/psu1/2/set", {"id": "ramp", "voltage_limit": 20, "ramp": 0.5})
    wait_until(lambda: simulator.instrument.channels[2].settings.voltage > 0, "the ramp")
    simulator.instrument.clear_log()

    def steps() -> list[int]:
        """The places of the ramp's steps in the log."""
        return [place for place, message in enumerate(list(simulator.instrument.log)) if message.startswith("VOLT ")]

    wait_until(lambda: len(steps()) >= 8, "eight steps")
    # By the unit, as states reach the broker a moment later.
    assert sum(message.startswith("MEAS") for message in list(simulator.instrument.log)[: steps()[7]]) >= 4
    assert observer.ask("psu/psu1/3/set", {"voltage_limit": 2})["ok"]
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 1})["ok"]
    assert observer.wait("psu/psu1/2/response", lambda r: r["id"] == "ramp")["error"]["code"] == "superseded"


def test_the_schedule_does_not_drift(make_bench: Callable[..., Bench]) -> None:
    """Polls that take a third of the interval come at one place of it all the same, but for those that are held up."""
    simulator = Simulator(latency=0.03).start()
    bench = make_bench([simulator], poll_interval=0.1)

    def stay() -> bool:
        states = bench.observer.states("psu1")[-30:]
        places = [datetime.fromisoformat(state["time"]).timestamp() % 0.1 for state in states]
        # With a drift of 0.03 s a poll, 9 or 10 of 30 would be within a quarter of the interval, wherever that begins.
        return len(states) == 30 and max(sum((p - begin) % 0.1 < 0.025 for p in places) for begin in places) >= 18

    wait_until(stay, "polls at one place of the interval")


def test_off_goes_ahead_of_a_command_in_progress(make_bench: Callable[..., Bench]) -> None:
    """Not after the plan that is being carried out: after the message that is on its way."""
    simulator = Simulator(latency=0.1).start()
    bench = make_bench([simulator])
    observer = bench.observer
    simulator.instrument.panel.press_output(1, True)
    observer.wait_state("psu1", state=True)
    simulator.instrument.clear_log()
    payload = {"id": "long", "voltage_limit": 5, "current_limit": 1, "voltage_protection": 6, "state": True}
    observer.send("psu/psu1/1/set", payload)
    wait_until(lambda: any(m.startswith(("VOLT", "CURR")) for m in writes_in(simulator.instrument.log)), "a write")
    sent = len(simulator.instrument.log)
    assert observer.ask("psu/psu1/1/set", "OFF")["ok"]
    assert observer.wait("psu/psu1/1/response", lambda r: r["id"] == "long")["error"]["code"] == "superseded"
    before_off = simulator.instrument.log[sent : simulator.instrument.log.index("OUTP 0,(@1)")]
    # The exchange under way may end, and nothing else: a write with its question for errors.
    assert len(before_off) <= 1, before_off
    assert not simulator.instrument.channels[1].output


@pytest.mark.usefixtures("quick")
def test_other_units_start_while_one_hangs(make_bench: Callable[..., Bench]) -> None:
    frozen, well = Simulator().start(), Simulator().start()
    frozen.freeze()
    units = [unit("psu1", frozen, pyvisa_args={"timeout": 20_000}), unit("psu2", well)]
    bench = make_bench([frozen, well], units, online=False)
    bench.observer.wait_online("psu2")
    assert bench.observer.ask("psu/psu2/1/set", {"state": True})["ok"]
    assert bench.observer.code("psu/psu1/1/set", {"state": True}) == "offline"
    assert bench.observer.states("psu1") == [] or bench.observer.states("psu1")[-1]["online"] is False
    frozen.thaw()
    bench.observer.wait_state("psu1", online=True)


@pytest.mark.parametrize(
    ("quirks", "messages"),
    [(Quirks(compound_messages=False), 12), (Quirks(compound_messages=False, channel_lists="single"), 30)],
)
def test_units_that_refuse_large_messages_are_polled_in_smaller_ones(
    make_bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture, quirks: Quirks, messages: int
) -> None:
    simulator = Simulator(quirks=quirks).start()
    caplog.set_level(logging.INFO)
    bench = make_bench([simulator])
    assert bench.observer.ask("psu/psu1/2/set", {"voltage_limit": 2, "state": True})["result"]["voltage_limit"] == 2
    assert f"{messages} messages a poll" in caplog.text


@pytest.fixture
def negative() -> Iterator[Simulator]:
    with Simulator("E36311A") as simulator:
        yield simulator


def test_the_negative_output(make_bench: Callable[..., Bench], negative: Simulator) -> None:
    bench = make_bench([negative], [unit("psu1", negative, channels={3: {"voltage_max": 12}})])
    observer = bench.observer
    negative.instrument.set_load(3, Resistor(100.0))
    response = observer.ask("psu/psu1/3/set", {"voltage_limit": -10, "state": True})
    assert response["ok"], response
    state = response["result"]
    assert (state["voltage_limit"], round(state["voltage"]), state["power"] > 0) == (-10.0, -10, True)
    assert observer.code("psu/psu1/3/set", {"voltage_limit": 1}) == "out_of_range"
    assert observer.code("psu/psu1/3/set", {"voltage_limit": -12.5}) == "limit_exceeded"
    negative.instrument.panel.knob_voltage(3, -15.0)
    assert observer.ask("psu/psu1/3/set", "OFF")["ok"]
    assert observer.code("psu/psu1/3/set", {"state": True}) == "limit_exceeded"
    assert observer.ask("psu/psu1/3/set", {"voltage_limit": -3, "ramp": 30, "state": True})["ok"]


def test_no_two_samples_have_the_same_time(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    samples: set[tuple[int, str]] = set()
    # Where the machine is busy, several that wait are answered together.
    while len(samples) <= 80:
        for number in range(40):
            bench.observer.send("psu/psu1/get", b"", qos=0)
            bench.observer.send("psu/psu1/1/set", {"voltage_limit": number % 5}, qos=0)
        bench.observer.ask("psu/psu1/1/set", {"voltage_limit": 1})
        samples = {(state["seq"], state["time"]) for state in bench.observer.states("psu1")}
    assert len({time for _, time in samples}) == len({seq for seq, _ in samples})

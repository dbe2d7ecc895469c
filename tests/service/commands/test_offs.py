"""Off over a real broker: every form, whatever else is wrong, whatever came before, however late it is read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from agent.mqtt.incoming import Incoming
from agent.simulator import Simulator
from tests.lab import Bench, Observer, unit, wait_until
from tests.service.commands.commanding import later, the_only_response, writes


def turn_on(bench: Bench, observer: Observer) -> None:
    assert observer.ask("psu/psu1/2/set/state", "ON")["ok"]
    bench.simulator.instrument.clear_log()


_BARE = [
    b"off", b"OFF", b"false", b"0", b'"OFF"', b" OFF\r\n", b"\xef\xbb\xbfOFF", b"OFF\0", "OFF".encode("utf-16"), b"0.0",
]  # fmt: skip
_OBJECTS = [b'{"state": "false"}', b'\xef\xbb\xbf{"state": false}', b'{"state": 0.0}']
_TOPICS = ["psu1/2/set", "psu1/set", "all/set"]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [(topic, payload) for topic in _TOPICS for payload in _BARE + _OBJECTS]
    + [(f"{topic}/state", payload) for topic in _TOPICS for payload in _BARE],
)
def test_every_form_of_off(bench: Bench, observer: Observer, topic: str, payload: bytes) -> None:
    turn_on(bench, observer)
    if topic.startswith("all"):
        observer.send(f"psu/{topic}", payload)
        response = observer.wait("psu/psu1/response", lambda r: r["ok"])
    else:
        response = observer.ask(f"psu/{topic}", payload)
    assert response["ok"], response
    assert not bench.simulator.instrument.channels[2].output


#: Each with its code and a part of the message.
FAULTY: dict[str, tuple[bytes, str, str]] = {
    "number as id": (b'{"id": 42, "state": false}', "bad_payload", "id takes a string"),
    "unknown key": (b'{"state": false, "colour": 1}', "bad_payload", "colour"),
    "another case": (b'{"State": "off"}', "bad_payload", "State"),
    "expires_at": (b'{"state": false, "expires_at": "soon"}', "bad_payload", "RFC 3339"),
    "too high": (b'{"state": false, "voltage_limit": 99}', "out_of_range", "99 V"),
    "no number": (b'{"state": false, "voltage_limit": "x"}', "bad_payload", "voltage_limit takes a number"),
    "ramp": (b'{"ramp": 1, "voltage_limit": 1, "state": false}', "bad_payload", "ramp"),
    "cycle": (b'{"cycle": 1, "state": false}', "bad_payload", "cycle"),
    "twice": (b'{"state": false, "state": false}', "bad_payload", "more than once"),
    "cut short": (b'{"state": false', "bad_payload", "not JSON"),
    "Python": (b"{'state': False}", "bad_payload", "not JSON"),
    "deep": (b'{"state": false, "x": ' + b"[" * 5000, "bad_payload", ""),
}


@pytest.mark.parametrize("name", FAULTY)
def test_an_off_with_something_wrong_is_done_and_told(bench: Bench, observer: Observer, name: str) -> None:
    payload, code, said = FAULTY[name]
    turn_on(bench, observer)
    response = observer.ask("psu/psu1/2/set", payload)
    assert response["ok"] is False
    assert response["error"]["code"] == code
    assert said in response["error"]["message"]
    assert response["result"]["state"] is False
    assert response["result"]["index"] == 2
    assert writes(bench) == ["OUTP 0,(@2)"]
    assert not bench.simulator.instrument.channels[2].output


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("psu1/2/set/", "OFF"),
        ("psu1/2/set/", '{"state": false}'),
        ("psu1/2/set/state/", "0"),
        ("psu1/2/set/State", "off"),
        ("psu1/2/set/state", '{"state": false}'),
        ("psu1/set/", "OFF"),
        ("psu1/set", '{"state": false, "voltage_limit": 1}'),
        ("all/set/", "OFF"),
        ("all/set", '{"state": false, "voltage_limit": 3}'),
        ("all/set", '{"state": false, "x": 3}'),
    ],
)
def test_an_off_on_a_topic_with_something_wrong_is_done_and_told(
    bench: Bench, observer: Observer, topic: str, payload: str
) -> None:
    turn_on(bench, observer)
    if topic.startswith("all"):
        observer.send(f"psu/{topic}", payload)
        response = observer.wait("psu/psu1/response")
    else:
        response = observer.ask(f"psu/{topic}", payload)
    assert response["ok"] is False
    states = response["result"] if isinstance(response["result"], list) else [response["result"]]
    assert [state["state"] for state in states] == [False] * len(states)
    assert not bench.simulator.instrument.channels[2].output


@pytest.mark.parametrize(
    "topic", ["psu1//set", "psu1/2/3/set", "all/2/set", "psu1/2/set/state/x", "psu1/2/set/voltage_limit"]
)
def test_an_off_whose_outputs_are_not_clear_is_refused(bench: Bench, observer: Observer, topic: str) -> None:
    turn_on(bench, observer)
    after = observer.mark()
    observer.send(f"psu/{topic}", "OFF")
    response = wait_until(
        lambda: [
            m.json for m in observer.received[after:] if m.topic.startswith("psu/psu1") and b'"error"' in m.payload
        ],
        "a refusal",
    )[0]
    assert "result" not in response
    assert bench.simulator.instrument.channels[2].output


# Seen before.


def test_an_off_is_never_a_duplicate(bench: Bench, observer: Observer) -> None:
    turn_on(bench, observer)
    for _ in range(3):
        assert observer.code("psu/psu1/2/set", {"id": "1", "state": False}) == "ok"
    # Its id counts for what is no off.
    assert observer.code("psu/psu1/2/set", {"id": "1", "state": True}) == "duplicate"
    assert observer.code("psu/psu1/2/set", {"id": "2", "state": True}) == "ok"
    assert observer.code("psu/psu1/2/set", {"id": "2", "state": False}) == "ok"
    assert not bench.simulator.instrument.channels[2].output


def test_correlation_data_makes_no_off_a_duplicate(bench: Bench, observer: Observer) -> None:
    for payload in ("ON", "OFF", "ON", "OFF"):
        observer.send("psu/psu1/2/set", json.dumps({"state": payload}), response_topic="clients/y", correlation=b"same")
    found = wait_until(lambda: len(observer.on("clients/y")) == 4 and observer.on("clients/y"), "four responses")
    codes = [m.json["error"]["code"] if "error" in m.json else m.json["result"]["state"] for m in found]
    assert codes.count(False) == 2
    assert codes.count("duplicate") == 1
    assert not bench.simulator.instrument.channels[2].output


def test_what_rides_on_a_repeated_off_is_refused_and_the_off_done(bench: Bench, observer: Observer) -> None:
    assert observer.code("psu/psu1/2/set", {"id": "r", "state": False, "voltage_limit": 1}) == "ok"
    turn_on(bench, observer)
    response = observer.ask("psu/psu1/2/set", {"id": "r", "state": False, "voltage_limit": 2})
    assert response["error"]["code"] == "duplicate"
    assert response["result"]["state"] is False
    assert response["result"]["voltage_limit"] == 1
    assert writes(bench) == ["OUTP 0,(@2)"]


@pytest.mark.parametrize("held_up", [{"stale": True}, {"dup": True}])
def test_an_off_is_done_whenever_it_is_read(bench: Bench, observer: Observer, held_up: dict[str, bool]) -> None:
    """As the session hands over what came in while the process was held up, and what the broker delivers again."""
    turn_on(bench, observer)

    def hand_over(name: str, payload: dict[str, Any]) -> Any:
        message = Incoming("psu/psu1/2/set", json.dumps({"id": name, **payload}).encode(), retain=False, dup=False)
        bench.daemon._handle(replace(message, **held_up))  # type: ignore[arg-type]
        return the_only_response(observer, "psu1", 2, name)

    code = "expired" if "stale" in held_up else "duplicate"
    case = code[:2]
    assert hand_over(f"on {case}", {"state": True, "voltage_limit": 1})["error"]["code"] == code
    both = hand_over(f"both {case}", {"state": False, "voltage_limit": 1})
    assert (both["error"]["code"], both["result"]["state"]) == (code, False)
    turn_on(bench, observer)
    assert hand_over(f"off {case}", {"state": False})["ok"]
    assert not bench.simulator.instrument.channels[2].output
    turn_on(bench, observer)
    past = hand_over(f"past {case}", {"state": False, "expires_at": later(-1)})
    assert (past["error"]["code"], "result" in past) == ("expired", False)
    assert bench.simulator.instrument.channels[2].output


def test_an_off_that_is_out_of_date_or_retained_is_not_done_whatever_its_faults(
    bench: Bench, observer: Observer
) -> None:
    turn_on(bench, observer)
    past = {"state": False, "x": 1, "expires_at": later(-1)}
    assert observer.code("psu/psu1/2/set", past) == "expired"
    assert observer.code("psu/psu1/2/set", {"state": False, "expires_at": later(-1)}) == "expired"
    assert bench.simulator.instrument.channels[2].output


# A key that is stuck.


def test_a_stuck_key_on_a_slow_unit_ends_with_the_key(make_bench: Any) -> None:
    simulator = Simulator(latency=0.1).start()
    bench = make_bench([simulator], [unit("psu1", simulator)])
    observer = bench.observer
    simulator.instrument.clear_log()
    for number in range(200):
        observer.send("psu/psu1/2/set", {"id": f"key {number}", "state": False}, qos=0)
    wait_until(lambda: len(observer.responses("psu1", 2)) == 200, "a response for each")
    assert all(response["ok"] for response in observer.responses("psu1", 2))
    assert len({response["id"] for response in observer.responses("psu1", 2)}) == 200
    assert simulator.instrument.log.count("OUTP 0,(@2)") < 40
    count = simulator.instrument.log.count("OUTP 0,(@2)")
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 1})["ok"]
    assert simulator.instrument.log.count("OUTP 0,(@2)") == count

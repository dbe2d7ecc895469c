"""The command contract over a real broker: what is carried out, what is refused as old or repeated, where responses go."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import datetime
from typing import Any

import pytest

from tests.lab import Bench, Observer, needs, wait_until
from tests.service.commands.commanding import later, the_only_response

# Carried out.


def test_a_command_is_carried_out_and_answered_with_the_state_read_back(bench: Bench, observer: Observer) -> None:
    observer.send("psu/psu1/1/set", {"id": "42", "state": True, "voltage_limit": 3.3, "current_limit": 0.5})
    response = the_only_response(observer, "psu1", 1, "42")
    assert (response["ok"], response["psu"], response["index"]) == (True, "psu1", 1)
    assert "error" not in response
    result = response["result"]
    assert (result["state"], result["voltage_limit"], result["current_limit"], result["mode"]) == (True, 3.3, 0.5, "CV")
    assert result["voltage"] == pytest.approx(3.3, abs=0.01)
    output = bench.simulator.instrument.channels[1]
    assert (output.output, output.settings.voltage, output.settings.current) == (True, 3.3, 0.5)
    assert datetime.fromisoformat(response["time"]).tzinfo is not None


def test_a_channel_goes_by_its_name_or_its_number(bench: Bench, observer: Observer) -> None:
    assert observer.ask("psu/psu1/VDD/set", {"voltage_limit": 1})["index"] == 1
    assert observer.ask("psu/psu1/CH2/set/voltage_limit", "2")["result"]["index"] == 2
    assert [bench.simulator.instrument.channels[n].settings.voltage for n in (1, 2)] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("field", "payload", "read_back"),
    [
        ("state", "ON", True),
        ("state", "1", True),
        ("state", "true", True),
        ("state", "off", False),
        ("voltage_limit", "3.3", 3.3),
        ("voltage_limit", " +.5 ", 0.5),
        ("current_limit", "5e-1", 0.5),
        ("voltage_protection", "5", 5.0),
        ("current_protection", "ON", True),
    ],
)
def test_a_bare_field(bench: Bench, observer: Observer, field: str, payload: str, read_back: object) -> None:
    assert observer.ask(f"psu/psu2/1/set/{field}", payload)["result"][field] == read_back


def test_mosquitto_pub_is_enough(bench: Bench, observer: Observer) -> None:
    port = bench.data["settings"]["mqtt"]["port"]
    needs("mosquitto_pub")
    command = ["mosquitto_pub", "-p", str(port), "-t", "psu/psu1/2/set", "-m", '{"id": "m", "voltage_limit": 1.25}']
    subprocess.run(command, check=True, timeout=20)
    assert the_only_response(observer, "psu1", 2, "m")["result"]["voltage_limit"] == 1.25


def test_mosquitto_rr_gets_its_response(bench: Bench) -> None:
    port = bench.data["settings"]["mqtt"]["port"]
    needs("mosquitto_rr")
    command = ["mosquitto_rr", "-V", "5", "-p", str(port), "-t", "psu/psu1/2/set/voltage_limit", "-m", "1.5"]
    for topic in ("clients/rr", "psu/response/me", "psu/response/me/42"):
        answer = subprocess.run([*command, "-e", topic], check=True, timeout=20, capture_output=True).stdout
        assert json.loads(answer)["result"]["voltage_limit"] == 1.5


def test_a_whole_unit(bench: Bench, observer: Observer) -> None:
    response = observer.ask("psu/psu2/set", {"id": "u", "state": True})
    assert response["index"] is None
    assert [(s["index"], s["state"]) for s in response["result"]] == [(1, True), (2, True), (3, True)]
    assert observer.code("psu/psu2/set", {"voltage_limit": 1}) == "unsupported"
    assert observer.code("psu/psu2/set/voltage_limit", "1") == "unsupported"
    observer.send("psu/psu2/set", "OFF")
    response = the_only_response(observer, "psu2", None, None)
    assert [s["state"] for s in response["result"]] == [False, False, False]


def test_all_turns_every_unit_off_and_takes_nothing_else(bench: Bench, observer: Observer) -> None:
    for name in ("psu1", "psu2"):
        assert observer.ask(f"psu/{name}/set", {"state": True})["ok"]
    for refused in ({"state": True}, {"voltage_limit": 0}, {"x": 1}, {"state": None}):
        after = observer.mark()
        observer.send("psu/all/set", refused)
        for name in ("psu1", "psu2"):
            response = observer.wait(f"psu/{name}/response", after=after)
            assert response["error"]["code"] == "bad_payload"
    assert all(channel.output for s in bench.simulators for channel in s.instrument.channels.values())
    observer.send("psu/all/set", {"id": "stop", "state": False})
    for name in ("psu1", "psu2"):
        response = the_only_response(observer, name, None, "stop")
        assert [s["state"] for s in response["result"]] == [False, False, False]
    assert not any(channel.output for s in bench.simulators for channel in s.instrument.channels.values())


def test_get_polls_at_once_and_publishes(make_bench: Any) -> None:
    own = make_bench(poll_interval=3600.0)
    states = len(own.observer.states("psu1", 2))
    for topic in ("psu/psu1/get", "psu/psu1/2/get"):
        own.observer.send(topic, b"\xff anything")
        states += 1
        wait_until(lambda: len(own.observer.states("psu1", 2)) == states, "one more state")  # noqa: B023


# Retained, expired, seen before.


def test_a_live_retained_command_is_refused(bench: Bench, observer: Observer) -> None:
    needs("mosquitto")  # iotcore hides the flag: see test_a_broker_that_hides_the_retain_flag_is_told
    try:
        response = observer.ask("psu/psu1/2/set", {"id": "r", "state": True}, retain=True)
        assert (response["error"]["code"], response["id"]) == ("retained", "r")
        assert observer.code("psu/psu1/2/set/state", "ON", retain=True) == "retained"
        assert observer.code("psu/psu1/2/set", b"\xff", retain=True) == "retained"
        assert not bench.simulator.instrument.channels[2].output
    finally:
        for topic in ("psu/psu1/2/set", "psu/psu1/2/set/state"):
            observer.send(topic, b"", retain=True)


def test_expires_at(bench: Bench, observer: Observer) -> None:
    response = observer.ask("psu/psu1/2/set", {"id": "e", "state": True, "expires_at": later(-1)})
    assert (response["error"]["code"], response["id"]) == ("expired", "e")
    assert observer.code("psu/psu1/2/set", {"state": True, "expires_at": later(60)}) == "ok"
    assert observer.code("psu/psu1/2/set", {"state": False, "expires_at": "1990-01-01T00:00:00+05:00"}) == "expired"
    assert bench.simulator.instrument.channels[2].output


def test_an_expiry_that_runs_out_while_the_unit_is_busy(bench: Bench, observer: Observer) -> None:
    bench.simulator.freeze()
    observer.send("psu/psu1/1/set", {"id": "slow", "voltage_limit": 1})
    observer.send("psu/psu1/3/set", {"id": "mqtt", "voltage_limit": 2}, expiry=1)
    observer.send("psu/psu1/3/set", {"id": "own", "voltage_limit": 2, "expires_at": later(1)})
    sent = time.monotonic()
    wait_until(lambda: time.monotonic() > sent + 1.2, "the time that makes them too old")
    bench.simulator.thaw()
    codes = {
        identity: observer.wait("psu/psu1/3/response", lambda r, i=identity: r["id"] == i)["error"]["code"]  # type: ignore[misc]
        for identity in ("mqtt", "own")
    }
    assert codes == {"mqtt": "expired", "own": "expired"}
    assert bench.simulator.instrument.channels[3].settings.voltage == 0.0


def test_an_id_is_carried_out_once(bench: Bench, observer: Observer) -> None:
    assert observer.code("psu/psu1/2/set", {"id": "once", "voltage_limit": 1}) == "ok"
    assert observer.code("psu/psu1/2/set", {"id": "once", "voltage_limit": 2}) == "duplicate"
    assert bench.simulator.instrument.channels[2].settings.voltage == 1.0
    # Another unit, and another channel, may have a command of the same id: `all` reaches many units with one.
    assert observer.code("psu/psu2/2/set", {"id": "once", "voltage_limit": 1}) == "ok"


def test_correlation_data_is_carried_out_once(bench: Bench, observer: Observer) -> None:
    for voltage in ("1", "2"):
        observer.send("psu/psu1/2/set/voltage_limit", voltage, response_topic="clients/x", correlation=b"\x00\xff")
    found = wait_until(lambda: len(observer.on("clients/x")) == 2 and observer.on("clients/x"), "two responses")
    assert sorted("ok" if m.json["ok"] else m.json["error"]["code"] for m in found) == ["duplicate", "ok"]
    assert [m.correlation for m in found] == [b"\x00\xff"] * 2
    assert bench.simulator.instrument.channels[2].settings.voltage == 1.0


# The response's way.


@pytest.mark.parametrize(
    "topic",
    [
        "psu/psu2/1/set",
        "psu/psu2/1/set/state",
        "psu/all/set",
        "psu/psu2/set",
        "psu/psu2/get",
        "psu/psu2/1/state",
        "psu/psu2/response/state",
        "psu/response/state",
        "psu/response/psu2/set",
        "psu/response",
        "psu/psu2/status",
        "psu/agents/bench/status",
        "$SYS/x",
        "$share/a/b",
        "psu",
        "x" * 2000,
    ],
)
def test_a_malicious_response_topic_is_not_used(bench: Bench, observer: Observer, topic: str) -> None:
    reached = len(observer.on(topic))
    observer.send("psu/psu1/2/set", {"id": topic[:20], "voltage_limit": 1}, response_topic=topic)
    assert the_only_response(observer, "psu1", 2, topic[:20])["ok"]
    assert [m for m in observer.on(topic)[reached:] if b'"ok"' in m.payload] == []


def test_a_response_topic_below_the_base_topic_is_used_if_it_is_one_for_responses(
    bench: Bench, observer: Observer
) -> None:
    observer.send("psu/psu1/2/set", {"id": "own", "voltage_limit": 1}, response_topic="psu/psu1/2/response/me")
    assert observer.wait("psu/psu1/2/response/me")["id"] == "own"

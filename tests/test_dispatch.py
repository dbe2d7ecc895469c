"""The command contract over a real broker: what is carried out, and with which code everything else is refused."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import ChannelSettings
from agent.local.broker import LocalBroker
from agent.mqtt.broker import Incoming
from agent.protocol.topics import Topics
from agent.service.dispatch import Dispatcher
from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from agent.unit.supply import Supply
from tests.lab import Bench, Observer, needs, unit, wait_until
from tests.properties import examples
from tests.unit.fakedriver import FakeDriver, Sheet


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with LocalBroker(tmp_path_factory.mktemp("broker")) as broker:
        simulators = [Simulator().start(), Simulator().start()]
        units = [
            unit("psu1", simulators[0], channels={1: {"name": "VDD", "voltage_max": 5.5, "current_max": 1.0}}),
            unit("psu2", simulators[1]),
        ]
        with Bench(broker.port, tmp_path_factory.mktemp("bench"), simulators, units) as bench:
            yield bench


@pytest.fixture
def bench(shared: Bench) -> Bench:
    for simulator in shared.simulators:
        simulator.tamper = None
        simulator.instrument.execute("*RST;*CLS;CURR 0.9,(@1)")
        for channel in (1, 2, 3):
            simulator.instrument.set_load(channel, Resistor(100.0))
    for name in ("psu1", "psu2"):
        shared.observer.wait_state(name, after=shared.observer.mark(), state=False, voltage_limit=0.0)
    shared.observer.clear()
    return shared


@pytest.fixture
def observer(bench: Bench) -> Observer:
    return bench.observer


def later(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def writes(bench: Bench, number: int = 0) -> list[str]:
    """The messages without a question that the unit has been sent."""
    return [message for message in bench.simulators[number].instrument.log if "?" not in message and message[0] != "*"]


def the_only_response(observer: Observer, unit: str, channel: int | None, identity: str | None) -> Any:
    """The response on the unit's own topic; that there is no second one is seen after another command has passed."""
    topic = f"psu/{unit}/response" if channel is None else f"psu/{unit}/{channel}/response"
    found = observer.wait(topic, lambda r: r["id"] == identity)
    observer.ask(f"psu/{unit}/2/set/current_protection", "0")
    assert [r["id"] for r in observer.responses(unit, channel)].count(identity) == 1
    return found


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
    answer = subprocess.run([*command, "-e", "clients/rr"], check=True, timeout=20, capture_output=True).stdout
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
    for refused in (
        {"state": True},
        {"voltage_limit": 0},
        {"state": False, "voltage_limit": 0},
        {"state": False, "x": 1},
    ):
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


# Refused before anything is sent.


@pytest.mark.parametrize(
    ("topic", "payload", "code", "said"),
    [
        ("psu1/4/set", {"state": True}, "unknown_channel", "1 (VDD), 2, 3"),
        ("psu1/VSS/set", {"state": True}, "unknown_channel", "VSS"),
        ("psu1/1/set", {"voltage_limit": 9}, "limit_exceeded", "9 V is above the 5.5 V that channel 1 (VDD) of psu1"),
        ("psu1/1/set", {"voltage_limit": 5.5001}, "limit_exceeded", "5.5001 V"),
        ("psu1/1/set", {"voltage_limit": -5.6}, "limit_exceeded", "5.5 V"),
        ("psu1/1/set", {"current_limit": 1.01}, "limit_exceeded", "1 A"),
        ("psu1/1/set", {"voltage_limit": 9, "ramp": 1}, "limit_exceeded", "9 V"),
        ("psu1/1/set", {"voltage_limit": 9, "cycle": 0}, "limit_exceeded", "9 V"),
        ("psu1/1/set/voltage_limit", "5.6", "limit_exceeded", "5.5 V"),
        ("psu1/2/set", {"voltage_limit": 25.76}, "out_of_range", "0 to 25.75 V"),
        ("psu1/2/set", {"voltage_limit": -0.1}, "out_of_range", "0 to 25.75 V"),
        ("psu1/2/set", {"current_limit": 2.07}, "out_of_range", "0 to 2.06 A"),
        ("psu1/2/set", {"voltage_protection": 0.4}, "out_of_range", "0.5 to 27.5 V"),
        ("psu1/2/set", {"voltage_protection": 28}, "out_of_range", "0.5 to 27.5 V"),
        ("psu1/2/set", {"voltage_limit": 1e300}, "out_of_range", "25.75"),
        ("psu1/2/set", {"state": False, "voltage_limit": 99}, "out_of_range", "99 V"),
        ("psu1/set", {"cycle": 1}, "unsupported", "cycle"),
        ("psu1/2/set/colour", "1", "bad_payload", "colour"),
        ("psu1/2/set", {"ramp": 1}, "bad_payload", "voltage_limit"),
        ("psu1/2/set", {"ramp": 0, "voltage_limit": 1}, "bad_payload", "above 0"),
        ("psu1/2/set", {"cycle": -1}, "bad_payload", "3600"),
        ("psu1/2/set", {"cycle": 1, "state": True}, "bad_payload", "cycle"),
        ("psu1/2/set", {"ramp": 1, "voltage_limit": 1, "state": False}, "bad_payload", "ramp"),
        ("psu1/2/set", {"clear_protection": True, "state": True}, "bad_payload", "second command"),
        ("psu1/2/set", {"clear_protection": False}, "bad_payload", "true"),
        ("psu1/2/set", {"expires_at": "tomorrow", "state": True}, "bad_payload", "RFC 3339"),
        ("psu1/2/set", {"expires_at": "2026-11-23T09:15:02", "state": True}, "bad_payload", "offset"),
        ("psu1/2/set", {"id": "", "state": True}, "bad_payload", "1 to 128"),
        ("psu1/2/set", {"id": "x" * 129, "state": True}, "bad_payload", "1 to 128"),
        ("psu1/2/set", {"id": "only"}, "bad_payload", "asks for nothing"),
    ],
)  # fmt: skip
def test_refused_whole(
    bench: Bench, observer: Observer, topic: str, payload: str | dict[str, Any], code: str, said: str
) -> None:
    bench.simulator.instrument.clear_log()
    response = observer.ask(f"psu/{topic}", payload)
    assert response["ok"] is False
    assert "result" not in response
    assert response["error"]["code"] == code
    assert said in response["error"]["message"]
    assert writes(bench) == []


_DEEP = 5000
PAYLOADS: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "blank": b"  \n",
    "number": b"5",
    "true": b"true",
    "string": b'"ON"',
    "on": b"ON",
    "array": b'[{"state": true}]',
    "deep arrays": b"[" * _DEEP + b"]" * _DEEP,
    "deep objects": b'{"state":' * 1500 + b"1" + b"}" * 1500,
    "deep and open": b"[" * 16000,
    "repeated key": b'{"state": false, "state": true}',
    "repeated key inside": b'{"id": {"a": 1, "a": 2}, "state": true}',
    "NaN": b'{"voltage_limit": NaN}',
    "Infinity": b'{"voltage_limit": Infinity}',
    "minus Infinity": b'{"voltage_limit": -Infinity}',
    "1e999": b'{"voltage_limit": 1e999}',
    "huge integer": b'{"voltage_limit": ' + b"9" * 400 + b"}",
    "integer that int() refuses": b'{"voltage_limit": ' + b"9" * 5000 + b"}",
    "number as text": b'{"voltage_limit": "3.3"}',
    "boolean as number": b'{"voltage_limit": true}',
    "number as boolean": b'{"state": 2}',
    "1.0 as boolean": b'{"state": 1.0}',
    "null field": b'{"state": null}',
    "unknown field": b'{"state": true, "voltage": 3}',
    "control characters in a field": b'{"\\u001b[2J": 1}',
    "lone surrogate as id": b'{"id": "\\ud800", "state": true}',
    "lone surrogate as field": b'{"\\ud800": 1, "state": true}',
    "lone surrogate as value": b'{"state": "\\udfff"}',
    "invalid UTF-8": b'{"state": true, "id": "\xff\xfe"}',
    "UTF-16": '{"state": true}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"state": true}',
    "trailing text": b'{"state": true} x',
    "two objects": b'{"state": true}{"state": true}',
    "single quotes": b"{'state': true}",
    "NUL": b'{"state": true}\x00',
    "5 MB": b'{"id": "' + b"x" * 5_000_000 + b'", "state": true}',
    "5 MB of nothing": b" " * 5_000_000,
    "17 KB": b'{"state": true}' + b" " * 17_000,
    "id that is a number": b'{"id": 42, "state": true}',
    "id that is null and nothing else": b'{"id": null}',
    "float that is no number": b'{"voltage_limit": 0x10}',
    "date of the year 10000": b'{"state": true, "expires_at": "99999-01-01T00:00:00Z"}',
    "date of the month 13": b'{"state": true, "expires_at": "2026-13-01T00:00:00Z"}',
    "date of the 61st second": b'{"state": true, "expires_at": "2026-11-01T00:00:61Z"}',
}  # fmt: skip


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_of_any_shape_gets_one_refusal_and_does_no_harm(bench: Bench, observer: Observer, name: str) -> None:
    bench.simulator.instrument.clear_log()
    response = observer.ask("psu/psu1/2/set", PAYLOADS[name])
    assert response["error"]["code"] == "bad_payload"
    message = response["error"]["message"]
    assert len(message) < 400
    assert message.isprintable()
    assert writes(bench) == []
    assert observer.ask("psu/psu1/2/set/voltage_limit", "1")["ok"]  # the agent is well


@pytest.mark.parametrize(
    ("field", "payload"),
    [
        ("voltage_limit", b"nan"),
        ("voltage_limit", b"inf"),
        ("voltage_limit", b"1e9999"),
        ("voltage_limit", b"1_0"),
        ("voltage_limit", "٣".encode()),
        ("voltage_limit", b"3,3"),
        ("voltage_limit", b"3.3 V"),
        ("voltage_limit", b""),
        ("voltage_limit", b"\xff"),
        ("voltage_limit", b"9" * 1_000_000),
        ("state", b"maybe"),
        ("state", b""),
        ("clear_protection", b"OFF"),
        ("cycle", b"4000"),
        ("ramp", b"1"),
        ("id", b"42"),
    ],
)
def test_a_bare_value_of_any_shape(bench: Bench, observer: Observer, field: str, payload: bytes) -> None:
    bench.simulator.instrument.clear_log()
    assert observer.code(f"psu/psu1/2/set/{field}", payload) == "bad_payload"
    assert writes(bench) == []


@pytest.mark.parametrize(
    "topic",
    [
        "psu/psu1/set/set",
        "psu/psu1/set/get",
        "psu/psu9/1/set",
        "psu/agents/set",
        "psu/all/1/set",
        "psu/all/set/state",
        "psu/psu1//set",
        "psu/psu1/1/set/",
        "psu/psu1/1/set/state/x",
        "PSU/psu1/1/set",
    ],
)
def test_a_topic_that_is_none_of_ours_does_nothing(bench: Bench, observer: Observer, topic: str) -> None:
    for simulator in bench.simulators:
        simulator.instrument.clear_log()
    observer.send(topic, {"state": True})
    assert observer.ask("psu/psu1/2/set/current_protection", "OFF")["ok"]
    assert writes(bench) in (["CURR:PROT:STAT 0,(@2)"], [])
    assert not any(channel.output for s in bench.simulators for channel in s.instrument.channels.values())


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
    bench.simulator.tamper = lambda _message, answer: time.sleep(0.07) or answer  # type: ignore[func-returns-value]
    observer.send("psu/psu1/1/set", {"id": "slow", "voltage_limit": 1})
    for number in range(6):
        observer.send("psu/psu1/2/set", {"id": f"slow {number}", "voltage_limit": 2 + number})
    observer.send("psu/psu1/3/set", {"id": "mqtt", "voltage_limit": 2}, expiry=1)
    observer.send("psu/psu1/3/set", {"id": "own", "voltage_limit": 2, "expires_at": later(1)})
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
    assert observer.ask("psu/psu1/2/set", {"voltage_protection": 5, "voltage_limit": 6})["ok"]
    response = observer.ask("psu/psu1/2/set", {"state": True})
    assert response["error"]["code"] == "readback_mismatch"
    assert "OVP" in response["error"]["message"]
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
    simulator.latency = 0.1
    try:
        # The first keeps the unit busy while the others come in.
        observer.send("psu/psu1/2/set", {"id": f"first {number}", "current_limit": 0.5}, qos=0)
        observer.send("psu/psu1/2/set", {"id": f"settings {number}", "current_limit": 0.6}, qos=0)
        observer.send("psu/psu1/2/set", {"id": f"on {number}", **command}, qos=0)
        observer.send(topic, {"id": f"off {number}", "state": False}, qos=0)
        where = own if "2" in topic else "psu/psu1/response"
        assert observer.wait(where, lambda r: r["id"] == f"off {number}")["ok"]
        assert observer.wait(own, lambda r: r["id"] == f"on {number}")["error"]["code"] == "superseded"
        assert observer.wait(own, lambda r: r["id"] == f"settings {number}")["ok"]
    finally:
        simulator.latency = 0.0
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
    observer.send("psu/psu1/2/set", {"id": "cycle", "cycle": 0.5})
    observer.wait_state("psu1", 2, state=False)
    assert observer.ask("psu/psu1/2/set", "OFF")["ok"]
    assert the_only_response(observer, "psu1", 2, "cycle")["error"]["code"] == "superseded"
    bench.simulator.instrument.clear_log()
    deadline = time.monotonic() + 0.7
    wait_until(lambda: time.monotonic() > deadline, "the moment when it would have been on again")
    assert not bench.simulator.instrument.channels[2].output
    assert writes(bench) == []


def test_a_newer_command_replaces_the_rest_of_an_older_one(bench: Bench, observer: Observer) -> None:
    observer.send("psu/psu1/2/set", {"id": "ramp 1", "voltage_limit": 20, "ramp": 1})
    wait_until(lambda: bench.simulator.instrument.channels[2].settings.voltage > 0, "the ramp")
    observer.send("psu/psu1/3/set", {"id": "cycle 1", "cycle": 60})
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 1})["ok"]
    assert observer.wait("psu/psu1/2/response", lambda r: r["id"] == "ramp 1")["error"]["code"] == "superseded"
    assert [r["id"] for r in observer.responses("psu1", 3)] == []  # another channel's goes on
    assert observer.ask("psu/psu1/3/set", {"voltage_limit": 1})["ok"]
    assert observer.wait("psu/psu1/3/response", lambda r: r["id"] == "cycle 1")["error"]["code"] == "superseded"
    assert bench.simulator.instrument.channels[2].settings.voltage == 1.0


def test_a_cycle(bench: Bench, observer: Observer) -> None:
    assert observer.ask("psu/psu1/2/set", {"state": True, "voltage_limit": 2})["ok"]
    after = observer.mark()
    observer.send("psu/psu1/2/set", {"id": "off, on", "cycle": 0.4, "voltage_limit": 3})
    observer.wait_state("psu1", 2, after=after, state=False)
    response = the_only_response(observer, "psu1", 2, "off, on")
    assert (response["result"]["state"], response["result"]["voltage_limit"]) == (True, 3.0)
    # Polling went on meanwhile.
    assert len([s for s in observer.states("psu1", 2) if s["state"] is False]) >= 3
    assert [w for w in writes(bench) if w.startswith("OUTP")][-2:] == ["OUTP 0,(@2)", "OUTP 1,(@2)"]


def test_a_ramp_never_overshoots_and_polling_goes_on(bench: Bench, observer: Observer) -> None:
    bench.simulator.instrument.clear_log()
    response = observer.ask("psu/psu1/2/set", {"state": True, "voltage_limit": 3, "ramp": 5})
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


# Anything at all.


_topics = st.lists(
    st.sampled_from(["psu1", "psu2", "psu9", "all", "agents", "set", "get", "1", "3", "VDD", "state", "ramp", "id", ""])
    | st.text(max_size=6),
    min_size=1,
    max_size=4,
).map(lambda levels: "/".join(["psu", *levels]))
_payloads = st.binary(max_size=60) | st.sampled_from(
    [
        b"OFF",
        b"ON",
        b"1",
        b'{"state": true}',
        b'{"id": "x", "state": false}',
        b'{"ramp": 1, "voltage_limit": 2}',
        b"{",
        b"",
    ]
)


@given(
    st.builds(
        Incoming,
        topic=_topics,
        payload=_payloads,
        retain=st.booleans(),
        dup=st.booleans(),
        response_topic=st.none() | st.text(max_size=10) | st.sampled_from(["psu/all/set", "clients/me", "#"]),
        correlation=st.none() | st.binary(max_size=4),
        expiry=st.none() | st.integers(0, 100),
        stale=st.booleans(),
    )
)
@examples(300)
def test_any_message_gets_the_responses_that_it_asks_for_and_raises_nothing(incoming: Incoming) -> None:
    sheet = Sheet()
    topics = Topics("psu")
    channels = {1: ChannelSettings(name="VDD")}
    supplies = {
        name: Supply(name=name, agent="bench", driver=FakeDriver(), outlets=(sheet,), channels=channels)  # type: ignore[arg-type]
        for name in ("psu1", "psu2")
    }
    spool = MagicMock()
    spool.is_duplicate.return_value = False
    Dispatcher(topics, supplies, spool, sheet).handle(incoming)
    request = topics.parse(incoming.topic)
    if request is None or request.verb == "get" or (incoming.retain and not incoming.payload):
        expected = []
    elif request.unit is None:
        expected = ["psu1", "psu2"]
    else:
        expected = [request.unit] if request.unit in supplies else []
    assert [response.psu for response in sheet.responses] == expected
    for response in sheet.responses:
        assert response.error is not None  # no unit is there
        response.to_json()

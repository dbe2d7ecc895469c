"""Commands that are refused whole before anything is sent: each with its code, and nothing reaches the unit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab import Bench, Observer, needs, wait_until
from tests.service.commands.commanding import writes

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
        ("psu1/set", {"cycle": 1}, "unsupported", "cycle"),
        ("psu1/2/set/colour", "1", "bad_payload", "colour"),
        ("psu1/2/set", {"ramp": 1}, "bad_payload", "voltage_limit"),
        ("psu1/2/set", {"ramp": 0, "voltage_limit": 1}, "bad_payload", "above 0"),
        ("psu1/2/set", {"cycle": -1}, "bad_payload", "3600"),
        ("psu1/2/set", {"cycle": 1, "state": True}, "bad_payload", "cycle"),
        ("psu1/2/set", {"ramp": 1e-9, "voltage_limit": 1}, "out_of_range", "more than 24 hours from 0 V to 1 V"),
        ("psu1/2/set", {"ramp": 5e-324, "voltage_limit": 1, "state": True}, "out_of_range", "24 hours"),
        ("psu1/2/set", {"ramp": 1e-5, "voltage_limit": 1, "current_limit": 0.5}, "out_of_range", "24 hours"),
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
    ["psu/psu9/1/set", "psu/agents/set", "psu/groups/x/set", "psu//1/set", "psu/psu1/1/2/3/set", "PSU/psu1/1/set"],
)
def test_a_topic_that_is_none_of_ours_does_nothing(bench: Bench, observer: Observer, topic: str) -> None:
    for simulator in bench.simulators:
        simulator.instrument.clear_log()
    observer.send(topic, {"state": True})
    assert observer.ask("psu/psu1/2/set/current_protection", "OFF")["ok"]
    assert writes(bench) in (["CURR:PROT:STAT 0,(@2)"], [])
    assert not any(channel.output for s in bench.simulators for channel in s.instrument.channels.values())


#: Where the response goes that has no Response Topic; None: as for a whole unit.
ODD_TOPICS: dict[str, tuple[str, str | None]] = {
    "psu1//set": ("unknown_channel", None),
    "psu1//set/state": ("unknown_channel", None),
    "psu1//set/": ("unknown_channel", None),
    "psu1/" + "x" * 257 + "/set": ("unknown_channel", None),
    "psu1/" + "x" * 20_000 + "/set/state": ("unknown_channel", None),
    "psu1/" + "é" * 256 + "/set": ("unknown_channel", "é" * 256),
    "psu1/9/set": ("unknown_channel", "9"),
    "psu1/get/set": ("unknown_channel", "get"),
    "psu1/1/2/set": ("unknown_channel", None),
    "psu1/1/2/set/state": ("unknown_channel", None),
    "psu1/set/set": ("bad_payload", None),
    "psu1/set/get": ("bad_payload", None),
    "psu1/2/set/set": ("bad_payload", "2"),
    "psu1/2/set/get": ("bad_payload", "2"),
    "psu1/2/set/" + "x" * 300: ("bad_payload", "2"),
    "psu1/set/": ("bad_payload", None),
    "psu1/set/state/": ("bad_payload", None),
    "psu1/2/set/": ("bad_payload", "2"),
    "psu1/2/set//": ("bad_payload", "2"),
    "psu1/2/set/state/": ("bad_payload", "2"),
    "psu1/2/set/voltage_limit/": ("bad_payload", "2"),
    "psu1/2/set/state/x": ("bad_payload", "2"),
    "psu1/2/set//state": ("bad_payload", "2"),
}


@pytest.mark.parametrize("topic", ODD_TOPICS, ids=lambda topic: topic[:30])
def test_a_command_on_an_odd_topic_gets_one_response(bench: Bench, observer: Observer, topic: str) -> None:
    bench.simulator.instrument.clear_log()
    code, level = ODD_TOPICS[topic]
    for payload in ("ON", '{"state": true}', "1"):
        assert observer.code(f"psu/{topic}", payload) == code
    own = "psu/psu1/response" if level is None else f"psu/psu1/{level}/response"
    reached = observer.count(own)
    observer.send(f"psu/{topic}", "ON")
    wait_until(lambda: observer.count(own) == reached + 1, "the response on the unit's own topic")
    assert writes(bench) == []
    assert observer.ask("psu/psu1/2/set/voltage_limit", "1")["ok"]
    assert observer.count(own) <= reached + 2  # the last command has one of its own, on the observer's topic


@pytest.mark.parametrize(
    "topic", ["all/set/state", "all/set/", "all/1/set", "all//set", "all/set/set", "all/set/state/x"]
)
def test_a_command_to_all_on_an_odd_topic_gets_a_response_from_each_unit(
    bench: Bench, observer: Observer, topic: str
) -> None:
    after = observer.mark()
    observer.send(f"psu/{topic}", "ON")
    for name in ("psu1", "psu2"):
        assert observer.wait(f"psu/{name}/response", after=after)["error"]["code"] == "bad_payload"
    assert not any(channel.output for s in bench.simulators for channel in s.instrument.channels.values())


def test_a_lease_on_all_units_is_refused_by_each_with_the_topic_that_takes_one(
    bench: Bench, observer: Observer
) -> None:
    after = observer.mark()
    observer.send("psu/all/lease/set", {"holder": "ci-42", "ttl": 60})
    for name in ("psu1", "psu2"):
        error = observer.wait(f"psu/{name}/response", after=after)["error"]
        assert (error["code"], error["message"]) == (
            "bad_payload",
            f"all units together take no lease; publish to psu/{name}/lease/set",
        )


@pytest.mark.parametrize("topic", ["psu1/2/set", "psu1/2/set/state", "psu1/set"])
def test_an_empty_payload_gets_a_response(bench: Bench, observer: Observer, topic: str) -> None:
    assert observer.code(f"psu/{topic}", b"") == "bad_payload"


def test_an_empty_retained_payload_gets_one_response(bench: Bench, observer: Observer) -> None:
    needs("mosquitto")  # iotcore hides the flag
    response = observer.ask("psu/psu1/2/set", b"", retain=True)
    assert response["error"]["code"] == "retained"
    assert "removes a retained message" in response["error"]["message"]
    after = observer.mark()
    observer.send("psu/psu1/2/set/state", b"", retain=True)
    assert observer.wait("psu/psu1/2/response", after=after)["error"]["code"] == "retained"
    assert observer.ask("psu/psu1/2/set/voltage_limit", "1")["ok"]
    assert len([m for m in observer.received[after:] if m.topic == "psu/psu1/2/response"]) == 1


@pytest.mark.parametrize("topic", ["psu1/get/", "psu1/2/get/", "psu1/2/get/foo", "psu1//get", "psu1/1/get/set"])
def test_a_request_to_poll_on_an_odd_topic_polls(bench: Bench, observer: Observer, topic: str) -> None:
    seen = observer.mark()
    observer.send(f"psu/{topic}", b"")
    observer.wait_state("psu1", 2, after=seen)

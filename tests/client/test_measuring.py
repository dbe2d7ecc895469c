"""Brokers are measured as they are: what they have, what they lack, and what is said of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.client.broker import measuring
from agent.client.broker.findings import BrokerFindings
from agent.client.broker.measuring import SIZES, measure, scratch
from agent.config import Mqtt
from agent.local.broker import LocalBroker
from agent.local.ports import free_port
from tests.commandline import invoke
from tests.lab import Observer
from tests.mqtt.broker.gatekeeper import Gatekeeper
from tests.mqtt.test_strangers import CONNACK_5, answering


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "expires" not in request.node.name:
        monkeypatch.setattr(measuring, "EXPIRY", 0)


def settings(port: int, **more: Any) -> Mqtt:
    return Mqtt.model_validate({"host": "127.0.0.1", "port": port, "base_topic": "lab/psu", **more})


def said(found: BrokerFindings) -> str:
    return "\n".join(found.missing(scratch(settings(1), "bench")))


@pytest.fixture
def gate(broker: LocalBroker) -> Iterator[Gatekeeper]:
    with Gatekeeper(broker.port) as gate:
        yield gate


def test_a_broker_that_has_everything_and_what_expires(make_broker: Callable[..., LocalBroker]) -> None:
    broker = make_broker(kind="mosquitto")
    observer = Observer(broker.port)
    found = measure(settings(broker.port), "bench", filters=["lab/psu/psu1/set/#"] * 20)
    assert said(found) == ""
    assert found.is_usable
    assert (found.mqtt_5, found.mqtt_3_1_1, found.version) == (True, True, "5")
    flags = "may_publish may_read qos_1 retained will retain_as_published expiry_passed_on expiry_obeyed response_topic"
    assert all(getattr(found, flag) is True for flag in flags.split())
    assert (found.largest_passed, found.smallest_failed, found.filters_failed) == (SIZES[-1], None, None)
    assert found.receive_maximum == 1000  # as `LocalBroker` sets it
    # It stays below its own topic, and leaves nothing there.
    assert all(message.topic.startswith("lab/psu/agents/bench/check/") for message in observer.received)
    assert observer.received
    observer.close()
    late = Observer(broker.port)
    late.send("the/end", {})
    late.wait("the/end")
    assert [message.topic for message in late.received] == ["the/end"]
    late.close()


@pytest.mark.parametrize(
    ("conf", "protocol", "sentence"),
    [
        ("max_packet_size 20000", "5", "it takes no packet of more than 20000 bytes"),
        (
            "max_packet_size 20000",
            "3.1.1",
            "it closes the connection for a message of 32768 bytes, and took one of 16384",
        ),
        (
            "message_size_limit 20000",
            "3.1.1",
            "it drops a message of 32768 bytes without a word, and took one of 16384",
        ),
        ("retain_available false", "auto", "it keeps no retained messages"),
        ("retain_available false", "3.1.1", "it keeps no retained messages"),
        ("max_inflight_messages 5", "auto", "it takes 5 messages at a time"),
    ],
)
def test_what_a_broker_lacks_is_said(
    conf: str, protocol: str, sentence: str, make_broker: Callable[..., LocalBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "SIZES", (16_384, 32_768))
    broker = make_broker(kind="mosquitto", conf=conf)
    found = measure(settings(broker.port, protocol=protocol))
    assert sentence in said(found)
    assert found.is_usable
    assert found.will is True
    assert found.response_topic is (None if protocol == "3.1.1" else True)


def test_iotcore_as_it_is(make_broker: Callable[..., LocalBroker]) -> None:
    broker = make_broker(kind="iotcore")
    found = measure(settings(broker.port))
    assert (found.mqtt_5, found.mqtt_3_1_1, found.retained, found.will) == (True, False, True, True)
    assert found.retain_as_published is False
    assert "it hides the retain flag of live messages" in said(found)
    found = measure(settings(broker.port_311))
    assert (found.mqtt_5, found.mqtt_3_1_1, found.version) == (False, True, "3.1.1")
    assert "it does not take MQTT 5" in said(found)


def test_a_list_of_what_this_user_may_do(make_broker: Callable[..., LocalBroker], tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite lab/psu/agents/bench/check/#\n")
    broker = make_broker(kind="mosquitto", conf=f"acl_file {acl}")
    found = measure(settings(broker.port), "bench")
    assert (found.may_publish, found.may_read, found.retained) == (True, True, True)
    for protocol in ("5", "3.1.1"):  # 3.1.1 acknowledges what is denied
        found = measure(settings(broker.port, protocol=protocol), "another")
        assert (found.may_publish, found.retained, found.is_usable) == (False, None, True)
        assert "does not come back, so little could be measured: let it read and publish there" in said(found)


def test_commands_that_this_user_may_not_hear_are_a_fault(gate: Gatekeeper, tmp_path: Path) -> None:
    gate.refused = b"psu/psu1/set/#"
    file = tmp_path / "psu-agent.yaml"
    file.write_text(
        f"settings: {{agent: bench, state_dir: {tmp_path}, mqtt: {{host: 127.0.0.1, port: {gate.port}}}}}\n"
        "units: [{name: psu1, model: E36313A, uri: 'TCPIP::127.0.0.1::1::SOCKET'}]\n"
    )
    [broker] = [line for line in invoke("check", "--connect", str(file)).stdout.splitlines() if "broker at" in line]
    assert broker.startswith("FAULT")
    gate.refused = b"psu/+/info"  # an agent works without
    result = invoke("check", "--connect", str(file))
    assert re.search("^ok +broker at", result.stdout, re.MULTILINE)
    assert "does not let this user read psu/+/info" in result.stdout


def test_a_broker_that_closes_on_nine_filters(gate: Gatekeeper) -> None:
    gate.most_filters = 8
    found = measure(settings(gate.port))
    assert (found.filters_taken, found.filters_failed) == (8, 9)
    assert "SUBSCRIBE" not in said(found)
    gate.most_filters = 4
    assert "it takes no 8 filters in a SUBSCRIBE" in said(measure(settings(gate.port)))


def test_one_that_does_not_answer_is_left_in_time(gate: Gatekeeper) -> None:
    gate.delay = 3600.0
    began = time.monotonic()
    found = measure(settings(gate.port), longest=0.3)
    assert "it does not answer CONNECT within 0.3 s" in str(found.problem)
    assert time.monotonic() - began < measuring.LONGEST
    assert not found.is_usable
    assert said(found) == ""
    found = measure(settings(free_port()))
    assert "refused" in str(found.problem)


def test_one_that_closes_the_connection_for_a_retained_message_is_measured_to_the_end(gate: Gatekeeper) -> None:
    gate.forbidden = "/retained"
    found = measure(settings(gate.port))
    assert found.retained is False
    assert (found.qos_1, found.will, found.response_topic, found.filters_taken) == (True, True, True, 100)
    assert "it keeps no retained messages" in said(found)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x16",
        b"\x20\x03\x00\xee\x00",
        CONNACK_5 % 0x87,
        CONNACK_5 % 0 + b"\xf0\x00",
        CONNACK_5 % 0 + b"\x90\x00",
        CONNACK_5 % 0 + b"\x30\x05\x00\x01\xff\x00a",
    ],
)
def test_whatever_answers_is_a_finding(answer: bytes) -> None:
    with answering(answer) as port:
        found = measure(settings(port), longest=1.0)
        assert "\n" not in str(found.problem)
        assert isinstance(said(found), str)
        assert found.retained is not True


def test_check_prints_a_sentence_each(make_broker: Callable[..., LocalBroker], tmp_path: Path) -> None:
    broker = make_broker(kind="mosquitto", conf="max_packet_size 20000")
    file = tmp_path / "psu-agent.yaml"
    file.write_text(
        f"settings: {{agent: bench, state_dir: {tmp_path}, mqtt: {{host: 127.0.0.1, port: {broker.port}}}}}\n"
        "units: [{name: psu1, model: E36313A, uri: 'TCPIP::127.0.0.1::1::SOCKET'}]\n"
    )
    result = invoke("check", "--connect", str(file))
    assert "connected, MQTT 5" in result.stdout
    assert "\n      - it takes no packet of more than 20000 bytes" in result.stdout
    result = invoke("check", "--connect", "--json", str(file))
    [found] = [one for one in json.loads(result.stdout) if one["place"] == "broker"]
    assert found["ok"]
    assert found["broker"]["told_largest_packet"] == 20000
    assert found["remarks"]

"""A broker that keeps no retained messages: the agent works there, and says once what is lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest

from agent.client import connection
from agent.local.broker import LocalBroker
from agent.mqtt import exchange
from tests.commandline import invoke
from tests.lab import Bench, Observer, wait_until

CONF = "retain_available false"


@pytest.fixture
def broker(make_broker: Callable[..., LocalBroker], monkeypatch: pytest.MonkeyPatch) -> LocalBroker:
    monkeypatch.setattr(exchange, "REPETITION", 0.5)
    return make_broker(kind="mosquitto", conf=CONF)


def test_it_publishes_live_says_so_once_and_repeats_what_newcomers_need(
    broker: LocalBroker, make_bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench = make_bench(port=broker.port, homeassistant={})
    session = bench.daemon.session
    assert session.protocol == "5"  # its refusal of a retained will is no refusal of MQTT 5
    assert not session.retains
    bench.observer.send("psu/psu1/1/set", {"id": "1", "voltage_limit": 2})
    assert bench.observer.wait("psu/psu1/1/response")["ok"]
    late = Observer(broker.port)
    assert late.wait("psu/psu1/info")["online"]
    late.wait("psu/agents/bench/info")
    late.wait_state("psu1")
    wait_until(lambda: late.on("psu/psu1/status"), "the unit's status")
    wait_until(lambda: late.on("psu/agents/bench/status"), "the agent's status")
    assert not any(message.retain for message in late.received)
    discovery = [message for message in late.received if message.topic.startswith("homeassistant/")]
    assert not discovery  # large; Home Assistant asks for it when it starts
    late.send("homeassistant/status", "online")
    wait_until(lambda: late.on("homeassistant/device/psu-agent_bench/config"), "the devices")
    late.close()
    session._exchange.connection._client.socket().close()  # type: ignore[union-attr]
    wait_until(lambda: session.reconnects and session.connected, "the next connection")
    messages = [record.getMessage() for record in caplog.records]
    assert sum("it keeps no retained messages" in message for message in messages) == 1
    assert not any("hides the retain flag" in message for message in messages)
    assert not any("trying again" in message for message in messages)


def test_the_will_is_published_without_being_retained(broker: LocalBroker, make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(port=broker.port)
    after = bench.observer.mark()
    bench.daemon.session._exchange.connection._client.socket().close()  # type: ignore[union-attr]
    bench.observer.wait_agent(status="offline", after=after)
    bench.observer.wait_agent(after=after)


def test_the_command_line_sees_a_unit_at_its_next_poll(
    broker: LocalBroker, make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "QUIET_WITHOUT_RETAINED", 1.0)
    make_bench(port=broker.port)
    result = invoke("get", "psu1/1", "--broker", f"mqtt://127.0.0.1:{broker.port}")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["psu"] == "psu1"
    result = invoke("set", "psu1/1", "--voltage-limit", "3", "--broker", f"mqtt://127.0.0.1:{broker.port}")
    assert result.exit_code == 0, result.stderr

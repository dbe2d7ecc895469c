"""`watch` where the broker goes away: nothing that was known before is shown as present."""

from __future__ import annotations

import json

import paho.mqtt.publish

from agent.local.broker import LocalBroker
from tests.client.test_fleet import info, state
from tests.commandline import Running


def publish(broker: LocalBroker, **changes: object) -> None:
    messages = [
        ("psu/agents/bench/status", b"online", 1, True),
        ("psu/psu1/status", b"online", 1, True),
        ("psu/psu1/1/state", state("psu1", 1, **changes), 1, True),
    ]
    paho.mqtt.publish.multiple(messages, broker.host, broker.port_311)  # type: ignore[arg-type]


def test_the_broker_goes_and_comes_back(broker: LocalBroker) -> None:
    publish(broker, voltage=1.25)
    with Running("watch", "--json", "--broker", f"mqtt://{broker.host}:{broker.port}") as watch:
        shown = json.loads(watch.wait_for('"psu":"psu1"'))
        assert (shown["online"], shown["voltage"]) == (True, 1.25)
        broker.kill()
        shown = json.loads(watch.wait_for('"psu":"psu1"'))
        assert (shown["online"], shown["voltage"]) == (False, None)
        broker.start()
        publish(broker, voltage=2.5)
        shown = json.loads(watch.wait_for('"voltage":2.5'))
        assert shown["online"] is True
        assert watch.end() == 0
    assert "Traceback" not in "\n".join(watch.output)


def test_a_unit_that_goes_offline_is_a_line(broker: LocalBroker) -> None:
    publish(broker, voltage=1.25)
    with Running("watch", "--broker", f"mqtt://{broker.host}:{broker.port}") as watch:
        watch.wait_for("psu1/1 CH1: ON 1.2500 V")
        paho.mqtt.publish.single("psu/psu1/status", b"offline", 1, True, broker.host, broker.port_311)
        watch.wait_for("psu1/1 CH1: offline")
        assert watch.end() == 0


def test_another_agent_that_claims_a_unit_is_a_line(broker: LocalBroker) -> None:
    publish(broker, voltage=1.25)
    other = {"agent": "bench2", "instance": "i2", "host": "host2", "unit": "psu1", "why": "name"}
    known = {"online": True, "reason": None}

    def tell(payload: bytes) -> None:
        paho.mqtt.publish.single("psu/psu1/info", payload, 1, True, broker.host, broker.port_311)

    with Running("watch", "--broker", f"mqtt://{broker.host}:{broker.port}") as watch:
        watch.wait_for("psu1/1 CH1: ON 1.2500 V")
        tell(info("psu1", **known, conflict=other))
        watch.wait_for("psu1: agent bench2 on host2 has another supply of this name")
        tell(info("psu1", **known))
        watch.wait_for("psu1: no other agent claims it any more")
        assert watch.end() == 0

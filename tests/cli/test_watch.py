"""`watch` where the broker goes away: nothing that was known before is shown as present."""

from __future__ import annotations

import json

import paho.mqtt.publish

from agent.local.broker import LocalBroker
from tests.client.test_fleet import state
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

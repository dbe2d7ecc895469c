"""More commands than the agent can carry out: each is answered, offs are done, and the connection stays."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.lab import AgentProcess, Observer, settings, unit, wait_until
from tests.support.processes import Process

_PUBLISHER = """
import json, sys
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
client = Client(CallbackAPIVersion.VERSION2)
client.max_inflight_messages_set(500)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_start()
for number in range(int(sys.argv[2])):
    command = {"id": f"flood {number}", "voltage_limit": 1 + number % 2}
    last = client.publish("psu/psu1/1/set", json.dumps(command), qos=1)
last.wait_for_publish(120)
"""


@pytest.mark.timeout(300)
def test_a_flood_of_valid_commands(make_broker: Callable[..., LocalBroker], tmp_path: Path) -> None:
    """16,000 as fast as they can be published, of which the broker drops none."""
    number = 16_000
    broker = make_broker(kind="mosquitto", conf="max_queued_messages 0")
    with Simulator() as first, Simulator() as second:
        first.instrument.panel.press_all(True)
        second.instrument.panel.press_all(True)
        # The simulated units are slow in this process, which counts 16,000 responses meanwhile.
        patient = {"timeout": 10_000, "open_timeout": 10_000}
        units = [unit("psu1", first, pyvisa_args=patient), unit("psu2", second, pyvisa_args=patient)]
        mqtt = {"keepalive": 5}
        data = settings(broker.port, units, tmp_path / "state", mqtt=mqtt)
        answers = Observer(broker.port, "psu/psu1/1/response")
        observer = Observer(broker.port, "psu/agents/#")
        others = Observer(broker.port, "psu/psu2/#")
        asking = Observer(broker.port, "clients/#")
        with AgentProcess(data, tmp_path) as agent:
            observer.wait_agent()
            others.wait_state("psu2", online=True)
            flood = Process([sys.executable, "-c", _PUBLISHER, str(broker.port), str(number)], tmp_path / "flood.log")
            with flood:
                offs = [("psu/psu2/1/set", 1), ("psu/psu2/3/set", 3)]
                wait_until(lambda: answers.count("psu/psu1/1/response") > 500, "the flood")
                for topic, channel in offs:
                    assert asking.ask(topic, {"state": False})["ok"]
                    assert not second.instrument.channels[channel].output
                assert asking.ask("psu/psu1/2/set/state", "OFF")["ok"]
                assert not first.instrument.channels[2].output
                # How long that takes is the machine's business; a pause is not.
                while (found := answers.count("psu/psu1/1/response")) < number:
                    wait_until(lambda: answers.count("psu/psu1/1/response") > found, f"response {found + 1}")
            ids = Counter(json.loads(message.payload)["id"] for message in answers.on("psu/psu1/1/response"))
            assert ids == Counter(f"flood {count}" for count in range(number))
            codes = Counter(
                json.loads(message.payload).get("error", {}).get("code")
                for message in answers.on("psu/psu1/1/response")
            )
            assert codes.keys() <= {None, "busy", "expired"}, codes
            # Then everything is as before.
            wait_until(lambda: asking.ask("psu/psu2/2/set/voltage_limit", "1")["ok"], "a command that is carried out")
            assert agent.stop() == 0
        assert "gone:" not in agent.log.read_text()
        for client in (answers, observer, others, asking):
            client.close()

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml

from agent.local.broker import LocalBroker, NoBrokerError
from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.homeassistant.instance import CHECKOUT, HomeAssistant, missing
from tests.homeassistant.lab import STRANGE, Lab
from tests.lab import unit


def documented_automation() -> str:
    """The one in docs/home-assistant.md that tells of refusals; here by MQTT, and of another channel."""
    text = (CHECKOUT / "docs" / "home-assistant.md").read_text()
    found = re.search(r"```yaml\n(  triggers:.*?)  ```", text, re.DOTALL)
    assert found is not None
    automation = yaml.safe_load(found[1].replace("psu1_vdd", "psu1_ch2"))
    message = automation["actions"]["data"]["message"]
    automation["actions"] = {"action": "mqtt.publish", "data": {"topic": "refusals", "payload": message}}
    return yaml.safe_dump([automation])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("lab")
    try:
        broker = LocalBroker(folder)
        broker.start()
    except NoBrokerError as error:
        pytest.skip(str(error))
    homeassistant = HomeAssistant(broker.port)
    bench = Lab(folder, broker, homeassistant)
    try:
        for name, model in (("psu1", "E36313A"), ("psu2", "E36311A")):
            bench.simulators[name] = Simulator(model, f"MY6100{name[-1]}", loads={1: Resistor(10.0)}).start()
            bench.units.append(unit(name, bench.simulators[name]))
        bench.units[0]["channels"] = {1: {"name": "VDD", "voltage_max": 5.5, "current_max": 1.0}}
        bench.units[1]["channels"] = {2: {"name": STRANGE}}
        homeassistant.create(documented_automation())
        bench.start_agent()
        yield bench
    finally:
        bench.close()
        homeassistant.close()
        broker.stop()


@pytest.fixture
def ha(lab: Lab) -> HomeAssistant:
    return lab.homeassistant

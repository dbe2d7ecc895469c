"""Discovery payloads against what Home Assistant documents for its MQTT integration."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import ChannelSettings
from agent.homeassistant import payloads as homeassistant
from agent.instruments.catalogue import candidates
from agent.instruments.scpi.driver import ScpiDriver
from agent.instruments.visa.session import Session
from agent.protocol.messages import AgentInfo, UnitInfo, utc_now
from agent.protocol.topics import Topics
from agent.unit.supply import Supply

TOPICS = Topics("lab3/psu")
STRANGE = "\"5 V\" 'rail' {{ 7 * 6 }} {% raw %} %s <b>&amp; 🔥\\"

# https://www.home-assistant.io/integrations/mqtt/ and, for each platform, …/integrations/{platform}.mqtt/
COMMON = {
    "platform": str,
    "unique_id": str,
    "name": str,
    "device_class": str,
    "entity_category": str,
    "icon": str,
    "enabled_by_default": bool,
    "availability": list,
    "availability_mode": str,
    "json_attributes_topic": str,
    "json_attributes_template": str,
    "qos": int,
}
KEYS: dict[str, dict[str, Any]] = {
    "sensor": {
        "state_topic": str,
        "value_template": str,
        "unit_of_measurement": str,
        "state_class": str,
        "suggested_display_precision": int,
        "options": list,
    },
    "binary_sensor": {"state_topic": str, "value_template": str, "payload_on": str, "payload_off": str},
    "switch": {
        "state_topic": str,
        "command_topic": str,
        "value_template": str,
        "payload_on": str,
        "payload_off": str,
        "retain": bool,
    },
    "number": {
        "state_topic": str,
        "command_topic": str,
        "value_template": str,
        "unit_of_measurement": str,
        "min": float,
        "max": float,
        "step": float,
        "mode": str,
        "retain": bool,
    },
    "button": {"command_topic": str, "payload_press": str, "retain": bool},
}
REQUIRED = {
    "sensor": {"state_topic"},
    "binary_sensor": {"state_topic"},
    "switch": {"command_topic"},
    "number": {"command_topic"},
    "button": {"command_topic"},
}
CLASSES = {
    "sensor": {"voltage", "current", "power", "energy", "enum", "timestamp", "frequency", "data_size"},
    "binary_sensor": {"connectivity", "problem"},
    "switch": {"outlet"},
    "number": {"voltage", "current"},
    "button": {"restart"},
}
UNITS = {"voltage": "V", "current": "A", "power": "W", "energy": "Wh", "frequency": "Hz", "data_size": "MiB"}
DEVICE_KEYS = {"identifiers", "name", "manufacturer", "model", "serial_number", "sw_version", "via_device"}
# homeassistant/components/mqtt/discovery.py, TOPIC_MATCHER
OBJECT_ID = re.compile(r"[a-zA-Z0-9_-]+")


def unit_info(
    model: str = "E36313A", channels: dict[int, ChannelSettings] | None = None, **identity: str | None
) -> UnitInfo:
    """What a supply says of itself, with an identity as if it had been reached."""
    uri = "TCPIP::192.168.50.51::inst0::INSTR"
    driver = ScpiDriver(Session(uri), name="psu1", models=candidates(model))  # type: ignore[arg-type]
    supply = Supply(name="psu1", agent="bench3", driver=driver, outlets=(), channels=channels)
    known = {
        "model": model,
        "manufacturer": "Keysight Technologies",
        "serial": "MY61004803",
        "firmware": "1.0.4-1.0.0-1.00",
    }
    return supply.info().model_copy(update={**known, **identity})


def agent_info() -> AgentInfo:
    return AgentInfo(
        time=utc_now(),
        agent="bench3",
        version="1.2.3",
        host="lab",
        start_time=utc_now(),
        units=["psu1"],
        base_topic="lab3/psu",
    )


def payload_of(info: UnitInfo) -> dict[str, Any]:
    payload = homeassistant.unit_discovery(info, homeassistant.unit_key(info), TOPICS, "1.2.3")
    return dict(json.loads(homeassistant.encode(payload, {})))


def check(payload: dict[str, Any]) -> None:
    """All that Home Assistant would refuse, or quietly drop."""
    assert set(payload) == {"device", "origin", "components"}
    assert payload["origin"] == {"name": "psu-agent", "sw_version": "1.2.3"}
    device = payload["device"]
    assert set(device) <= DEVICE_KEYS
    assert all(isinstance(value, str) for name, value in device.items() if name != "identifiers")
    (key,) = device["identifiers"]
    assert OBJECT_ID.fullmatch(key)
    unique_ids = [component["unique_id"] for component in payload["components"].values()]
    assert len(set(unique_ids)) == len(unique_ids)
    for name, component in payload["components"].items():
        assert OBJECT_ID.fullmatch(name)
        assert component["unique_id"].startswith(f"{key}_")
        check_component(component)


def check_component(component: dict[str, Any]) -> None:
    platform = component["platform"]
    allowed = {**COMMON, **KEYS[platform]}
    for key, value in component.items():
        assert key in allowed, f"{platform} takes no {key}"
        assert isinstance(value, allowed[key]), (key, value)
    assert set(component) >= REQUIRED[platform]
    device_class = component.get("device_class")
    assert device_class is None or device_class in CLASSES[platform]
    if device_class in UNITS:
        assert component["unit_of_measurement"] == UNITS[device_class]
    if device_class == "enum":
        assert component["options"]
        assert not {"state_class", "unit_of_measurement"} & set(component)
    if platform == "sensor":
        assert component.get("entity_category") in (None, "diagnostic")
    if platform == "number":
        assert component["min"] < component["max"]
        assert component["step"] >= 0.001
    for entry in component.get("availability", []):
        assert set(entry) <= {"topic", "payload_available", "payload_not_available", "value_template"}
    if len(component.get("availability", [])) > 1:
        assert component["availability_mode"] == "all"
    if "command_topic" in component:
        assert component["retain"] is False
        assert component["qos"] == 0


@pytest.mark.parametrize("model", ["E36311A", "E36312A", "E36313A"])
def test_every_model_makes_a_payload_that_home_assistant_takes(model: str) -> None:
    check(payload_of(unit_info(model)))


def test_the_agents_own_device() -> None:
    payload = json.loads(homeassistant.encode(homeassistant.agent_discovery(agent_info(), TOPICS), {}))
    check(payload)
    assert payload["device"]["identifiers"] == [payload_of(unit_info())["device"]["via_device"]]
    connectivity = payload["components"]["connectivity"]
    assert connectivity["state_topic"] == "lab3/psu/agents/bench3/status"
    assert "availability" not in connectivity, "of an agent that is gone this is the one thing that is known"


def test_the_identity_is_the_units_own() -> None:
    device = payload_of(unit_info())["device"]
    assert device == {
        "identifiers": ["psu_E36313A_MY61004803"],
        "name": "psu1",
        "manufacturer": "Keysight Technologies",
        "model": "E36313A",
        "serial_number": "MY61004803",
        "sw_version": "1.0.4-1.0.0-1.00",
        "via_device": "psu-agent_bench3",
    }


def test_ranges_are_the_models_within_the_configurations_limits() -> None:
    limits = {1: ChannelSettings(voltage_max=5.5, current_max=1.0)}
    components = payload_of(unit_info("E36311A", limits))["components"]
    ranges = {name: (c["min"], c["max"], c["step"]) for name, c in components.items() if c["platform"] == "number"}
    assert ranges == {
        "ch1_voltage_limit": (0.0, 5.5, 0.001),
        "ch1_current_limit": (0.0, 1.0, 0.001),
        "ch1_voltage_protection": (0.5, 6.6, 0.001),
        "ch2_voltage_limit": (0.0, 25.75, 0.002),
        "ch2_current_limit": (0.0, 1.03, 0.001),
        "ch2_voltage_protection": (0.5, 27.5, 0.002),
        "ch3_voltage_limit": (-25.75, 0.0, 0.002),
        "ch3_current_limit": (0.0, 1.03, 0.001),
        "ch3_voltage_protection": (0.5, 27.5, 0.002),
    }


def test_commands_go_to_the_topics_of_bare_fields() -> None:
    components = payload_of(unit_info())["components"]
    topics = {name: c["command_topic"] for name, c in components.items() if "command_topic" in c}
    assert topics["off"] == "lab3/psu/psu1/set/state"
    assert topics["ch2_state"] == "lab3/psu/psu1/2/set/state"
    assert topics["ch2_voltage_limit"] == "lab3/psu/psu1/2/set/voltage_limit"
    assert topics["ch2_cycle"] == "lab3/psu/psu1/2/set/cycle"
    assert components["ch2_cycle"]["payload_press"] == "2"
    for topic in topics.values():
        request = TOPICS.parse(topic)
        assert request is not None
        assert request.verb == "set"
        assert request.field is not None


def test_availability_is_of_the_agent_and_the_unit_and_the_channel_together() -> None:
    components = payload_of(unit_info())["components"]
    for name, component in components.items():
        topics = [entry["topic"] for entry in component["availability"]]
        assert topics[0] == "lab3/psu/agents/bench3/status"
        if name.startswith("ch2_"):
            assert topics[1:] == ["lab3/psu/psu1/status", "lab3/psu/psu1/2/homeassistant"]
    assert len(components["connectivity"]["availability"]) == 1
    assert len(components["off"]["availability"]) == 2


def test_a_feature_that_a_channel_does_not_have_makes_no_entity() -> None:
    info = unit_info()
    poor = info.channels[0].model_copy(
        update={"voltage_protection_range": None, "fields": ["state", "voltage_limit", "current_limit"]}
    )
    components = payload_of(info.model_copy(update={"channels": [poor]}))["components"]
    assert not {"ch1_voltage_protection", "ch1_current_protection", "ch1_cycle", "ch1_clear_protection"} & set(
        components
    )
    assert {"ch1_state", "ch1_voltage_limit", "ch1_energy", "ch1_mode", "ch1_tripped"} <= set(components)


def test_channel_names_become_entity_names_and_nothing_else() -> None:
    plain = payload_of(unit_info())["components"]
    named = payload_of(unit_info(channels={2: ChannelSettings(name=STRANGE)}))["components"]
    assert named["ch2_voltage"]["name"] == f"{STRANGE} voltage"
    for name, component in named.items():
        assert {**component, "name": ""} == {**plain[name], "name": ""}, "a name stands in nothing but names"


@given(name=st.text(min_size=1, max_size=64))
def test_no_name_breaks_the_payload(name: str) -> None:
    info = unit_info(channels={1: ChannelSettings.model_construct(name=name)})
    try:
        payload = payload_of(info)
    except UnicodeEncodeError:
        # Half a surrogate pair: the configuration file, being UTF-8, can't hold one.
        assert any("\ud800" <= character <= "\udfff" for character in name)
        return
    check(payload)
    assert payload["components"]["ch1_state"]["name"] == f"{name} output"


@given(serial=st.text(min_size=1), other=st.text(min_size=1))
def test_different_serial_numbers_make_different_topics(serial: str, other: str) -> None:
    key, other_key = (homeassistant.unit_key(unit_info(serial=text)) for text in (serial, other))
    assert OBJECT_ID.fullmatch(key)
    if serial != other and other_key != homeassistant.place_key(unit_info()):
        assert key != other_key


@pytest.mark.parametrize("serial", [None, "", "0", "000000", "N/A", "none"])
def test_a_unit_without_a_serial_number_is_known_by_its_place(serial: str | None) -> None:
    assert homeassistant.unit_key(unit_info(serial=serial)) == "psu-agent_bench3_psu1"


def test_what_is_gone_stands_there_bare() -> None:
    info = unit_info()
    payload = homeassistant.unit_discovery(info, homeassistant.unit_key(info), TOPICS, "1.2.3")
    encoded = json.loads(homeassistant.encode(payload, {"ch9_voltage": "sensor"}))
    assert encoded["components"]["ch9_voltage"] == {"platform": "sensor"}
    assert encoded["components"]["ch1_voltage"]["platform"] == "sensor"


def test_ghosts_are_never_available_and_command_nothing() -> None:
    info = unit_info()
    key = homeassistant.unit_key(info)
    payload = homeassistant.ghost_of(homeassistant.unit_discovery(info, key, TOPICS, "1.2.3"), "bench3", TOPICS)
    components = {**payload["components"], **homeassistant.ghosts(key, "bench3", {"old": "number"}, TOPICS)}
    for component in components.values():
        assert component["command_topic"] == "lab3/psu/agents/bench3/nowhere"
        assert [entry["topic"] for entry in component["availability"]] == ["lab3/psu/agents/bench3/nowhere"]
    assert TOPICS.parse("lab3/psu/agents/bench3/nowhere") is None


def test_whose_a_payload_is() -> None:
    unit = homeassistant.unit_discovery(unit_info(), "psu_x", TOPICS, "1")
    agent = homeassistant.agent_discovery(agent_info(), TOPICS)
    assert homeassistant.owner(homeassistant.encode(unit, {})) == "psu-agent_bench3"
    assert homeassistant.owner(homeassistant.encode(agent, {})) == "psu-agent_bench3"
    foreign = {**unit, "origin": {"name": "zigbee2mqtt"}}
    assert homeassistant.owner(homeassistant.encode(foreign, {})) is None


_KEYS = st.sampled_from(["device", "origin", "name", "identifiers", "via_device", "psu-agent"])
_JSON = st.recursive(st.none() | st.text() | _KEYS, lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner))


@given(payload=st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_no_payload_of_others_is_a_fault(payload: bytes) -> None:
    found = homeassistant.owner(payload)
    assert found is None or b"psu-agent" in payload

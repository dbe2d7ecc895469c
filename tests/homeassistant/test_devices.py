"""Discovery payloads against what Home Assistant documents for its MQTT integration."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.homeassistant import devices, entities
from agent.homeassistant.devices import agent_discovery, owner, place_key, unit_discovery, unit_key
from agent.homeassistant.placeholders import encode, placeholder_of, placeholders_for
from agent.instruments import catalogue
from agent.protocol.messages import AgentRemark, ChannelInfo, Metrics, UnitInfo
from agent.protocol.quantities import LEVELS, QUANTITIES, Quantity
from agent.protocol.topics import Topics
from tests.homeassistant.units import agent_info, unit_info

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
MEASUREMENTS = [quantity.name for quantity in QUANTITIES if quantity.reported and quantity.commanded is None]
# homeassistant/components/mqtt/discovery.py, TOPIC_MATCHER
OBJECT_ID = re.compile(r"[a-zA-Z0-9_-]+")


def payload_of(info: UnitInfo) -> dict[str, Any]:
    payload = unit_discovery(info, unit_key(info), TOPICS, "1.2.3")
    return dict(json.loads(encode(payload, {})))


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


@pytest.mark.parametrize("model", catalogue.all_models(), ids=lambda model: f"{model.series.name}-{model.name}")
def test_every_model_makes_a_payload_that_home_assistant_takes(model: catalogue.Model) -> None:
    info = unit_info(model)
    payload = payload_of(info)
    check(payload)
    sensors = {name for name, c in payload["components"].items() if name.startswith("ch") and "command_topic" not in c}
    assert sensors == {
        f"ch{channel.index}_{name}"
        for channel in info.channels
        for name in MEASUREMENTS
        if name in (channel.tells or ())
    }


def test_an_output_that_tells_nothing_keeps_what_it_can_be_told() -> None:
    """Output 3 of an SPD3303X is switched, and nothing of it can be read."""
    components = payload_of(unit_info("SPD3303X", channels={3: {"fields": ["state", "cycle"]}}))["components"]
    assert {name for name in components if name.startswith("ch3_")} == {"ch3_state", "ch3_cycle"}
    assert components["ch3_state"]["platform"] == "switch"
    assert {"ch1_voltage", "ch1_power", "ch1_energy", "ch1_mode"} <= set(components)
    assert "ch1_tripped" not in components, "no register of it tells a trip"


def test_a_channel_of_which_nobody_knows_what_it_tells_has_all_sensors() -> None:
    """Programs of the user's own decide from poll to poll."""
    components = payload_of(unit_info(channels={1: {"tells": None}}))["components"]
    assert {f"ch1_{name}" for name in MEASUREMENTS} <= set(components)


def test_the_agents_own_device() -> None:
    payload = json.loads(encode(agent_discovery(agent_info(), TOPICS), {}))
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


def test_ranges_are_the_channels() -> None:
    limits = {1: {"voltage_limit_range": (0.0, 5.5), "current_limit_range": (0.0, 1.0)}}
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


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.name)
def test_every_quantity_has_its_entity(quantity: Quantity) -> None:
    ranges = {f"{level}_range": (0.5, 5.0) for level in LEVELS}
    components = payload_of(unit_info(channels={1: ranges}))["components"]
    component = components.get(f"ch1_{quantity.name}")
    if quantity.name == "ramp":
        assert component is None, "it makes no sense without a voltage limit beside it"
        return
    assert component is not None
    assert component["name"] == f"CH1 {quantity.label}"
    assert ("command_topic" in component) == (quantity.commanded is not None)
    assert ("state_topic" in component) == quantity.reported
    if component["platform"] in ("sensor", "number"):
        assert component.get("unit_of_measurement", "") == quantity.unit


def test_a_new_row_of_the_table_makes_an_entity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this room has to be changed for a new level, switch, flag or word."""
    level = Quantity(
        "trip_current", "number", "A", commanded="channel", written=True, watched=True, label="trip current"
    )
    switch = Quantity("trip", "switch", commanded="channel", written=True, watched=True, label="trip switch")
    flag = Quantity("interlock", "switch", label="interlock")
    word = Quantity("tracking", "word", label="tracking")
    heat = Quantity("temperature", "number", "°C", label="temperature")
    monkeypatch.setattr(entities, "QUANTITIES", (*QUANTITIES, level, switch, flag, word, heat))
    ranges: list[tuple[float, float]] = [(0.1, 5.5)]
    monkeypatch.setattr(ChannelInfo, "range_of", lambda self, name: ranges[0] if name == "trip_current" else None)
    info = unit_info(channels={1: {"fields": ["trip_current", "trip"], "tells": None}})
    payload = payload_of(info)
    for component in payload["components"].values():
        check_component(component)
    made = {name: payload["components"][f"ch1_{name}"] for name in ("trip_current", "trip", "interlock", "tracking")}
    assert [component["platform"] for component in made.values()] == ["number", "switch", "binary_sensor", "sensor"]
    number = made["trip_current"]
    assert (number["min"], number["max"], number["unit_of_measurement"]) == (0.1, 5.5, "A")
    assert number["device_class"] == "current"
    assert number["entity_category"] == made["trip"]["entity_category"] == "config"
    assert number["command_topic"] == "lab3/psu/psu1/1/set/trip_current"
    assert payload["components"]["ch1_temperature"]["unit_of_measurement"] == "°C"
    ranges.clear()
    ranges.append(None)  # type: ignore[arg-type]
    assert "ch1_trip_current" not in payload_of(info)["components"], "a level without a range can't be set"


def test_the_agents_sensors_are_metrics() -> None:
    components = agent_discovery(agent_info(), TOPICS)["components"]
    fields = {name for name, c in components.items() if c["state_topic"] == TOPICS.agent_metrics("bench3")}
    assert len(fields) > 10
    assert fields <= set(Metrics.model_fields)


def test_the_last_warning_is_available_when_the_agent_is_not() -> None:
    warning = agent_discovery(agent_info(), TOPICS)["components"]["last_warning"]
    assert warning["state_topic"] == warning["json_attributes_topic"] == TOPICS.agent_log("bench3")
    assert "availability" not in warning
    for field in ("time", "level", "unit", "text"):
        assert f"value_json.{field}" in warning["json_attributes_template"]
        assert field in AgentRemark.model_fields


def test_channel_names_become_entity_names_and_nothing_else() -> None:
    plain = payload_of(unit_info())["components"]
    named = payload_of(unit_info(channels={2: {"name": STRANGE}}))["components"]
    assert named["ch2_voltage"]["name"] == f"{STRANGE} voltage"
    for name, component in named.items():
        assert {**component, "name": ""} == {**plain[name], "name": ""}, "a name stands in nothing but names"


@given(name=st.text(min_size=1, max_size=64))
def test_no_name_breaks_the_payload(name: str) -> None:
    info = unit_info(channels={1: {"name": name}})
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
    key, other_key = (unit_key(unit_info(serial=text)) for text in (serial, other))
    assert OBJECT_ID.fullmatch(key)
    if serial != other and other_key != place_key(unit_info()):
        assert key != other_key


@pytest.mark.parametrize("serial", [None, "", "0", "000000", "N/A", "none"])
def test_a_unit_without_a_serial_number_is_known_by_its_place(serial: str | None) -> None:
    assert unit_key(unit_info(serial=serial)) == "psu-agent_bench3_psu1"


def test_what_is_gone_stands_there_bare() -> None:
    info = unit_info()
    payload = unit_discovery(info, unit_key(info), TOPICS, "1.2.3")
    encoded = json.loads(encode(payload, {"ch9_voltage": "sensor"}))
    assert encoded["components"]["ch9_voltage"] == {"platform": "sensor"}
    assert encoded["components"]["ch1_voltage"]["platform"] == "sensor"


def test_placeholders_are_never_available_and_command_nothing() -> None:
    info = unit_info()
    key = unit_key(info)
    payload = placeholder_of(unit_discovery(info, key, TOPICS, "1.2.3"), "bench3", TOPICS)
    components = {**payload["components"], **placeholders_for(key, "bench3", {"old": "number"}, TOPICS)}
    for component in components.values():
        assert component["command_topic"] == "lab3/psu/agents/bench3/nowhere"
        assert [entry["topic"] for entry in component["availability"]] == ["lab3/psu/agents/bench3/nowhere"]
    assert TOPICS.parse("lab3/psu/agents/bench3/nowhere") is None


def test_topics_of_devices() -> None:
    topic = devices.discovery_topic("ha/lab", "psu_x_1")
    assert topic == "ha/lab/device/psu_x_1/config"
    assert devices.parse_discovery_topic(topic) == ("ha/lab", "psu_x_1")
    assert devices.is_discovery_topic(topic)
    for other in ("homeassistant/status", "psu/psu1/1/set", "psu/device/1/set", "a/config"):
        assert not devices.is_discovery_topic(other)


def test_whose_a_payload_is() -> None:
    unit = unit_discovery(unit_info(), "psu_x", TOPICS, "1")
    agent = agent_discovery(agent_info(), TOPICS)
    assert owner(encode(unit, {})) == "psu-agent_bench3"
    assert owner(encode(agent, {})) == "psu-agent_bench3"
    foreign = {**unit, "origin": {"name": "zigbee2mqtt"}}
    assert owner(encode(foreign, {})) is None


_KEYS = st.sampled_from(["device", "origin", "name", "identifiers", "via_device", "psu-agent"])
_JSON = st.recursive(st.none() | st.text() | _KEYS, lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner))


@given(payload=st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_no_payload_of_others_is_a_fault(payload: bytes) -> None:
    found = owner(payload)
    assert found is None or b"psu-agent" in payload

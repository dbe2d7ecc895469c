"""What Home Assistant is told: device-based MQTT discovery, derived from what a unit can do and what it is called.

Nothing here has a state or a connection; `agent.discovery` decides when a payload is published and when it is cleared.
The keys are those of https://www.home-assistant.io/integrations/mqtt/, chapter "Device discovery payload", and of the
chapters on each entity platform. No text of a user or of an instrument ever stands in a template.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.protocol.messages import AgentInfo, ChannelInfo, UnitInfo
from agent.protocol.topics import Topics

#: s that the button "power cycle" leaves an output off.
POWER_CYCLE: Final = 2
#: The name under which discovery says who wrote it.
ORIGIN: Final = "psu-agent"

Payload = dict[str, Any]
Component = dict[str, Any]

_ONLINE = "{{ 'online' if value_json.online else 'offline' }}"
# Why the last command was refused stands beside the value that holds: the sentence changes an attribute, so that a
# front end that shows what was typed draws the entity anew, with its true value.
_REFUSAL = (
    "{{ ({} if value_json.ok else {'refused': value_json.error.message, 'refused_at': value_json.time}) | to_json }}"
)
#: Home Assistant takes no smaller step.
_SMALLEST_STEP = 0.001


def unit_key(info: UnitInfo) -> str:
    """What stays the same of a unit whatever it is called and wherever it is connected: its model and its serial number.

    Where it has no serial number worth the name, its place in this agent's configuration has to do.
    """
    if (
        info.model
        and info.serial
        and re.search(r"[1-9A-Za-z]", info.serial)
        and info.serial.casefold() not in _NO_SERIAL
    ):
        return f"psu_{_slug(info.model)}_{_slug(info.serial)}"
    return place_key(info)


_NO_SERIAL = frozenset({"n/a", "na", "none", "null", "unknown"})


def place_key(info: UnitInfo) -> str:
    """A unit's place in this agent's configuration."""
    return f"{ORIGIN}_{_slug(info.agent)}_{_slug(info.psu)}"


def agent_key(agent: str) -> str:
    return f"{ORIGIN}_{_slug(agent)}"


def _slug(text: str) -> str:
    """A part of a discovery topic, which takes letters, digits, ``-`` and ``_``; different for different texts."""
    slug = re.sub(r"[^A-Za-z0-9-]+", "-", text)
    return slug if slug == text else f"{slug}-{hashlib.blake2b(text.encode(), digest_size=3).hexdigest()}"


def discovery_topic(prefix: str, key: str) -> str:
    return f"{prefix}/device/{key}/config"


def parse_discovery_topic(topic: str) -> tuple[str, str]:
    """The prefix and the key."""
    prefix, _, rest = topic.rpartition("/device/")
    return prefix, rest.removesuffix("/config")


def encode(payload: Payload, gone: Mapping[str, str], ghosts: Mapping[str, Component] | None = None) -> bytes:
    """The payload as it is published.

    :param gone: component id → platform of what an older payload had; naming it bare is what removes it
    :param ghosts: what is to stand in the place of those, see `ghosts`
    """
    bare = {name: {"platform": platform} for name, platform in gone.items()}
    components = {**bare, **(ghosts or {}), **payload["components"]}
    return json.dumps({**payload, "components": components}, ensure_ascii=False, separators=(",", ":")).encode()


def ghosts(key: str, agent: str, gone: Mapping[str, str], topics: Topics) -> dict[str, Component]:
    """Entities that are never available, with the unique ids of entities that are gone.

    A Home Assistant that was not there when an entity was removed remembers it for ever, and lets go of it only when the
    entity comes and is removed once more.
    """
    return {
        name: {
            "platform": platform,
            "unique_id": f"{key}_{name}",
            "name": name.replace("_", " "),
            **_silence(agent, topics),
        }
        for name, platform in gone.items()
    }


def ghost_of(payload: Payload, agent: str, topics: Topics) -> Payload:
    """A device that is gone: all its entities, none of them ever available."""
    silence = _silence(agent, topics)
    return {**payload, "components": {name: {**c, **silence} for name, c in payload["components"].items()}}


def _silence(agent: str, topics: Topics) -> Component:
    nowhere = topics.agent_nowhere(agent)
    return {"state_topic": nowhere, "command_topic": nowhere, "availability": [_status(nowhere)]}


def platforms(payload: Payload) -> dict[str, str]:
    """component id → platform"""
    return {name: component["platform"] for name, component in payload["components"].items()}


def owner(payload: bytes) -> str | None:
    """The key of the agent that published this discovery payload; None if it was none of ours."""
    try:
        data = json.loads(payload)
        device = data["device"]
        if data["origin"]["name"] != ORIGIN:
            return None
        key = device.get("via_device") or device["identifiers"][0]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return key if isinstance(key, str) else None


# A unit.


def unit_discovery(info: UnitInfo, key: str, topics: Topics, version: str) -> Payload:
    """The device of one unit, with the entities of its channels.

    :param info: with the identity that the unit itself has told
    :param key: from `unit_key` or `place_key`
    """
    there = [_status(topics.agent_status(info.agent)), _status(topics.status(info.psu))]
    components = dict(_unit_components(info, topics, there))
    for channel in info.channels:
        # The statuses do not tell whether a value has come since the unit is back: what the channel says itself does.
        measured = {"topic": topics.homeassistant(info.psu, channel.index), "value_template": _ONLINE}
        common = {"availability": [*there, measured], "availability_mode": "all"}
        for name, component in _channel_components(info.psu, channel, topics):
            components[f"ch{channel.index}_{name}"] = {**component, **common}
    device = {
        "identifiers": [key],
        "name": info.psu,
        "manufacturer": info.manufacturer,
        "model": info.model,
        "serial_number": info.serial,
        "sw_version": info.firmware,
        "via_device": agent_key(info.agent),
    }
    return _payload(key, device, components, version)


def _unit_components(info: UnitInfo, topics: Topics, there: list[Component]) -> Iterator[tuple[str, Component]]:
    yield (
        "connectivity",
        {
            "platform": "binary_sensor",
            "name": "Connection",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": topics.status(info.psu),
            "payload_on": "online",
            "payload_off": "offline",
            "json_attributes_topic": topics.info(info.psu),
            "json_attributes_template": (
                "{{ {'reason': value_json.reason, 'uri': value_json.uri, "
                "'poll_interval': value_json.poll_interval} | to_json }}"
            ),
            # Of a unit that is lost this is the one thing that is known.
            "availability": there[:1],
        },
    )
    yield (
        "off",
        {
            "platform": "button",
            "name": "All outputs off",
            "icon": "mdi:power-off",
            **_command(f"{topics.set(info.psu)}/state"),
            "payload_press": "OFF",
            "availability": there,
            "availability_mode": "all",
        },
    )


def _channel_components(unit: str, channel: ChannelInfo, topics: Topics) -> Iterator[tuple[str, Component]]:
    """The entities of one channel, by component id, without what they have in common."""
    state = topics.homeassistant(unit, channel.index)
    refusal = {"json_attributes_topic": topics.response(unit, channel.index), "json_attributes_template": _REFUSAL}
    for field, component in _settings(channel):
        if field in channel.fields:
            yield (
                field,
                {
                    **component,
                    "state_topic": state,
                    **_command(f"{topics.set(unit, channel.index)}/{field}"),
                    **refusal,
                },
            )
    for field, component in _measurements(channel):
        yield field, {**component, "state_topic": state}
    yield (
        "tripped",
        {
            "platform": "binary_sensor",
            "name": f"{channel.name} trip",
            "device_class": "problem",
            "state_topic": state,
            "value_template": "{{ 'None' if not value_json.online else 'ON' if value_json.tripped else 'OFF' }}",
            "json_attributes_topic": state,
            "json_attributes_template": "{{ {'tripped': value_json.tripped} | to_json }}",
        },
    )
    for field, component in _buttons(channel):
        if field in channel.fields:
            yield field, {**component, **_command(f"{topics.set(unit, channel.index)}/{field}")}


def _settings(channel: ChannelInfo) -> Iterator[tuple[str, Component]]:
    yield (
        "state",
        {
            "platform": "switch",
            "name": f"{channel.name} output",
            "device_class": "outlet",
            **_on_off("value_json.state"),
        },
    )
    volts = {"device_class": "voltage", "unit_of_measurement": "V"}
    amperes = {"device_class": "current", "unit_of_measurement": "A"}
    if channel.voltage_limit_range is not None:
        yield (
            "voltage_limit",
            {
                "name": f"{channel.name} voltage limit",
                **volts,
                **_number("voltage_limit", channel.voltage_limit_range, channel.voltage_resolution),
            },
        )
    if channel.current_limit_range is not None:
        yield (
            "current_limit",
            {
                "name": f"{channel.name} current limit",
                **amperes,
                **_number("current_limit", channel.current_limit_range, channel.current_resolution),
            },
        )
    if channel.voltage_protection_range is not None:
        yield (
            "voltage_protection",
            {
                "name": f"{channel.name} over-voltage protection",
                "entity_category": "config",
                **volts,
                **_number("voltage_protection", channel.voltage_protection_range, channel.voltage_resolution),
            },
        )
    yield (
        "current_protection",
        {
            "platform": "switch",
            "name": f"{channel.name} over-current protection",
            "entity_category": "config",
            **_on_off("value_json.current_protection"),
        },
    )


def _measurements(channel: ChannelInfo) -> Iterator[tuple[str, Component]]:
    kinds: tuple[tuple[str, str, Component, int], ...] = (
        (
            "voltage",
            "V",
            {"device_class": "voltage", "state_class": "measurement"},
            _digits(channel.voltage_resolution),
        ),
        (
            "current",
            "A",
            {"device_class": "current", "state_class": "measurement"},
            _digits(channel.current_resolution),
        ),
        ("power", "W", {"device_class": "power", "state_class": "measurement"}, 3),
        ("energy", "Wh", {"device_class": "energy", "state_class": "total_increasing"}, 3),
        # Home Assistant has no device class for ampere-hours.
        ("charge", "Ah", {"icon": "mdi:battery-charging-medium", "state_class": "total_increasing"}, 3),
    )
    for field, unit, options, digits in kinds:
        yield (
            field,
            {
                "platform": "sensor",
                "name": f"{channel.name} {field}",
                "unit_of_measurement": unit,
                **options,
                "suggested_display_precision": digits,
                "value_template": f"{{{{ value_json.{field} }}}}",
            },
        )
    yield (
        "mode",
        {
            "platform": "sensor",
            "name": f"{channel.name} mode",
            "device_class": "enum",
            "options": ["CV", "CC", "UR", "OFF"],
            "value_template": "{{ value_json.mode }}",
        },
    )


def _buttons(channel: ChannelInfo) -> Iterator[tuple[str, Component]]:
    yield (
        "cycle",
        {
            "platform": "button",
            "name": f"{channel.name} power cycle",
            "device_class": "restart",
            "payload_press": str(POWER_CYCLE),
        },
    )
    yield (
        "clear_protection",
        {
            "platform": "button",
            "name": f"{channel.name} clear protection",
            "icon": "mdi:shield-refresh",
            "payload_press": "ON",
        },
    )


def _number(field: str, interval: tuple[float, float], resolution: float) -> Component:
    return {
        "platform": "number",
        "mode": "box",
        "min": interval[0],
        "max": interval[1],
        "step": max(_SMALLEST_STEP, resolution),
        "value_template": _within(field, interval, resolution),
    }


def _command(topic: str) -> Component:
    # QoS 0: at 1 the client in Home Assistant would keep a command for a broker that is away, and deliver it when nobody
    # wants it any more. A retained one would be refused.
    return {"command_topic": topic, "qos": 0, "retain": False}


def _on_off(value: str) -> Component:
    return {
        "payload_on": "ON",
        "payload_off": "OFF",
        "value_template": f"{{{{ 'None' if {value} is none else 'ON' if {value} else 'OFF' }}}}",
    }


def _within(field: str, interval: tuple[float, float], resolution: float) -> str:
    """The setting; "None", which is "unknown", for one that somebody set at the unit beyond what is allowed here.

    Home Assistant ignores a number outside the range, and would go on showing the one before.
    """
    low, high = interval
    return (
        f"{{% set v = value_json.{field} %}}"
        f"{{{{ [[v, {low!r}] | max, {high!r}] | min "
        f"if v is number and {low - resolution:.6f} <= v <= {high + resolution:.6f} else 'None' }}}}"
    )


def _digits(resolution: float) -> int:
    """Decimal places that show a step of this size."""
    return max(0, len(f"{resolution:.6f}".rstrip("0").partition(".")[2]))


# The agent.


def agent_discovery(info: AgentInfo, topics: Topics) -> Payload:
    """The device of the agent itself: whether it runs, and how it does."""
    key = agent_key(info.agent)
    status = _status(topics.agent_status(info.agent))
    components: dict[str, Component] = {
        "connectivity": {
            "platform": "binary_sensor",
            "name": "Connection",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": status["topic"],
            "payload_on": "online",
            "payload_off": "offline",
        },
        "start_time": {
            "platform": "sensor",
            "name": "Started",
            "device_class": "timestamp",
            "entity_category": "diagnostic",
            "state_topic": topics.agent_info(info.agent),
            "value_template": "{{ value_json.start_time }}",
            "availability": [status],
        },
    }
    for field, (text, options) in _METRICS.items():
        components[field] = {
            "platform": "sensor",
            "name": text,
            "entity_category": "diagnostic",
            "state_topic": topics.agent_metrics(info.agent),
            "value_template": f"{{{{ value_json.{field} }}}}",
            "availability": [status],
            **options,
        }
    device = {
        "identifiers": [key],
        "name": f"{ORIGIN} {info.agent}",
        "manufacturer": ORIGIN,
        "model": "Agent",
        "sw_version": info.version,
    }
    return _payload(key, device, components, info.version)


_COUNT: Final[Component] = {"state_class": "total_increasing"}
#: Metrics come every 10 s: what changes with each of them is rounded, or left for its user to enable.
_METRICS: Final[dict[str, tuple[str, Component]]] = {
    "units_online": ("Units online", {"state_class": "measurement"}),
    "poll_rate": (
        "Poll rate",
        {
            "state_class": "measurement",
            "unit_of_measurement": "Hz",
            "device_class": "frequency",
            "value_template": "{{ value_json.poll_rate | round(1) }}",
        },
    ),
    "backlog": ("Backlog", {"state_class": "measurement"}),
    "memory": (
        "Memory",
        {
            "state_class": "measurement",
            "unit_of_measurement": "MiB",
            "device_class": "data_size",
            "value_template": "{{ (value_json.memory / 1048576) | round(0) | int }}",
        },
    ),
    "errors": ("Errors", _COUNT),
    "late_polls": ("Late polls", _COUNT),
    "reconnects": ("Unit reconnections", _COUNT),
    "broker_reconnects": ("Broker reconnections", _COUNT),
    "commands": ("Commands", _COUNT),
    "refusals": ("Refused commands", _COUNT),
    "dropped_samples": ("Dropped samples", _COUNT),
    "polls": ("Polls", {**_COUNT, "enabled_by_default": False}),
    "published": ("Published messages", {**_COUNT, "enabled_by_default": False}),
}


def _status(topic: str) -> Component:
    return {"topic": topic, "payload_available": "online", "payload_not_available": "offline"}


def _payload(key: str, device: Mapping[str, Any], components: Mapping[str, Component], version: str) -> Payload:
    return {
        "device": {name: value for name, value in device.items() if value not in (None, "")},
        "origin": {"name": ORIGIN, "sw_version": version},
        "components": {name: {**c, "unique_id": f"{key}_{name}"} for name, c in components.items()},
    }

"""The devices that Home Assistant is told of, a unit's and the agent's own: their keys, their topics and their payloads.

Nothing here has a state or a connection; `agent.homeassistant.discovery` decides when a payload is published and when it is
cleared. The keys are those of https://www.home-assistant.io/integrations/mqtt/, chapter "Device discovery payload". No text of
a user or of an instrument ever stands in a template.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, Final

from agent.homeassistant.entities import Component, channel_entities, command_options, json_attributes, json_value
from agent.protocol.messages import AgentInfo, UnitInfo
from agent.protocol.topics import Topics

#: The name of this program in the ``origin`` of a payload.
ORIGIN: Final = "psu-agent"

Payload = dict[str, Any]

_ONLINE = "{{ 'online' if value_json is mapping and value_json.online else 'offline' }}"
#: The texts that units without a serial number give for one, in lower case.
_NO_SERIAL = frozenset({"n/a", "na", "none", "null", "unknown"})


#: The fields of a unit's info that its device depends on.
_description = attrgetter("agent", "psu", "uri", "model", "manufacturer", "serial", "firmware", "channels")


def is_the_same(one: UnitInfo | None, other: UnitInfo | None) -> bool:
    """True if two infos make the same device."""
    return one is not None and other is not None and _description(one) == _description(other)


def unit_key(info: UnitInfo) -> str:
    """A unit's key, made of its model and serial number, so that it stays the same under another name or address.

    A unit without a usable serial number has the key of its place in this agent's configuration.
    """
    if (
        info.model
        and info.serial
        and re.search(r"[1-9A-Za-z]", info.serial)
        and info.serial.casefold() not in _NO_SERIAL
    ):
        return f"psu_{_slug(info.model)}_{_slug(info.serial)}"
    return place_key(info)


def place_key(info: UnitInfo) -> str:
    """The key of a unit's place in this agent's configuration."""
    return f"{ORIGIN}_{_slug(info.agent)}_{_slug(info.psu)}"


def agent_key(agent: str) -> str:
    """The key of the agent's own device."""
    return f"{ORIGIN}_{_slug(agent)}"


def _slug(text: str) -> str:
    """A part of a discovery topic, which takes letters, digits, ``-`` and ``_``; different for different texts."""
    slug = re.sub(r"[^A-Za-z0-9-]+", "-", text)
    return slug if slug == text else f"{slug}-{hashlib.blake2b(text.encode(), digest_size=3).hexdigest()}"


def discovery_topic(prefix: str, key: str) -> str:
    """The topic on which the payload of the device with this key is published."""
    return f"{prefix}/device/{key}/config"


def parse_discovery_topic(topic: str) -> tuple[str, str]:
    """The prefix and the key out of a topic that `discovery_topic` has made."""
    prefix, _, rest = topic.rpartition("/device/")
    return prefix, rest.removesuffix("/config")


def is_discovery_topic(topic: str) -> bool:
    """True if a topic has the form of those that `discovery_topic` makes; it may be another program's."""
    return topic.endswith("/config") and "/device/" in topic


def platforms(payload: Payload) -> dict[str, str]:
    """The platform of every component of a payload, by component id."""
    return {name: component["platform"] for name, component in payload["components"].items()}


def owner(payload: bytes) -> str | None:
    """The key of the agent that published this discovery payload; None if no psu-agent did."""
    try:
        data = json.loads(payload)
        device = data["device"]
        if data["origin"]["name"] != ORIGIN:
            return None
        key = device.get("via_device") or device["identifiers"][0]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return key if isinstance(key, str) else None


def unit_discovery(info: UnitInfo, key: str, topics: Topics, version: str) -> Payload:
    """The device of one unit, with the entities of its channels.

    :param info: with the identity that the unit itself has told
    :param key: from `unit_key` or `place_key`
    """
    there = [availability(topics.agent_status(info.agent)), availability(topics.status(info.psu))]
    components = dict(_unit_components(info, topics, there))
    for channel in info.channels:
        # The two statuses do not tell if a sample has come since the unit is back; the channel's own state does.
        measured = {"topic": topics.homeassistant(info.psu, channel.index), "value_template": _ONLINE}
        common = {"availability": [*there, measured], "availability_mode": "all"}
        for name, component in channel_entities(info.psu, channel, topics):
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
            "json_attributes_template": json_attributes("reason", "uri", "poll_interval"),
            # Available while the unit is lost, too: that it is lost is known then.
            "availability": there[:1],
        },
    )
    yield (
        # Of the unit as a whole: an entity for each channel would make the payload a tenth longer, and few reserve channels.
        "lease",
        {
            "platform": "sensor",
            "name": "Reserved by",
            "icon": "mdi:account-lock",
            "entity_category": "diagnostic",
            "state_topic": topics.lease(info.psu),
            "value_template": json_value("value_json.holder"),
            "json_attributes_topic": topics.lease(info.psu),
            "json_attributes_template": json_attributes("since", "until"),
            "availability": there[:1],
        },
    )
    yield (
        "off",
        {
            "platform": "button",
            "name": "All outputs off",
            "icon": "mdi:power-off",
            **command_options(topics.set(info.psu, field="state")),
            "payload_press": "OFF",
            "availability": there,
            "availability_mode": "all",
        },
    )


def agent_discovery(info: AgentInfo, topics: Topics) -> Payload:
    """The device of the agent itself: its connection and its metrics."""
    key = agent_key(info.agent)
    # Its payloads are Home Assistant's defaults, and it stands in each entity: some brokers take small messages alone.
    status = {"topic": topics.agent_status(info.agent)}
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
            "value_template": json_value("value_json.start_time"),
            "availability": [status],
        },
    }
    log = topics.agent_log(info.agent)
    components["last_warning"] = {
        "platform": "sensor",
        "name": "Last warning",
        "icon": "mdi:alert-outline",
        "entity_category": "diagnostic",
        "state_topic": log,
        # Home Assistant takes a state of 255 characters; the whole text stands in the attributes.
        "value_template": json_value("((value_json.unit ~ ': ' if value_json.unit else '') ~ value_json.text)[:255]"),
        "json_attributes_topic": log,
        "json_attributes_template": json_attributes("level", "unit", "text", "time"),
        # Always available: what an agent said before it went is what one wants to read then.
    }
    for field, (text, options) in _METRICS.items():
        components[field] = {
            "platform": "sensor",
            "name": text,
            "entity_category": "diagnostic",
            "state_topic": topics.agent_metrics(info.agent),
            "value_template": json_value(f"value_json.{field}"),
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
#: Metrics come every 10 s: a value that changes with each of them is rounded, or disabled until somebody enables it.
_METRICS: Final[dict[str, tuple[str, Component]]] = {
    "units_online": ("Units online", {"state_class": "measurement"}),
    "poll_rate": (
        "Poll rate",
        {
            "state_class": "measurement",
            "unit_of_measurement": "Hz",
            "device_class": "frequency",
            "value_template": json_value("value_json.poll_rate | round(1)"),
        },
    ),
    "backlog": ("Backlog", {"state_class": "measurement"}),
    "memory": (
        "Memory",
        {
            "state_class": "measurement",
            "unit_of_measurement": "MiB",
            "device_class": "data_size",
            "value_template": json_value("(value_json.memory / 1048576) | round(0) | int"),
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


def availability(topic: str) -> Component:
    """An entry of an entity's availability: a topic that says ``online`` or ``offline``."""
    return {"topic": topic, "payload_available": "online", "payload_not_available": "offline"}


def _payload(key: str, device: Mapping[str, Any], components: Mapping[str, Component], version: str) -> Payload:
    return {
        "device": {name: value for name, value in device.items() if value not in (None, "")},
        "origin": {"name": ORIGIN, "sw_version": version},
        "components": {name: {**c, "unique_id": f"{key}_{name}"} for name, c in components.items()},
    }

"""The entities of one channel, derived from the table of quantities and from what the channel can do.

The keys are those of https://www.home-assistant.io/integrations/mqtt/ and of its chapters on each entity platform. No text of
a user or of an instrument ever stands in a template.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, get_args

from agent.homeassistant.ranges import bounds
from agent.protocol.messages import ChannelInfo, Mode
from agent.protocol.quantities import QUANTITIES, Quantity
from agent.protocol.topics import Topics

#: s that the button "power cycle" leaves an output off.
POWER_CYCLE: Final = 2

Component = dict[str, Any]

#: Home Assistant takes no smaller step.
_SMALLEST_STEP = 0.001
#: By unit symbol. Home Assistant has no device class for ampere-hours.
_DEVICE_CLASSES = {"V": "voltage", "A": "current", "W": "power", "Wh": "energy"}
#: Unit symbols of what only grows.
_TOTALS = frozenset({"Wh", "Ah"})
#: Decimal places of measurements whose unit has no resolution at the channel.
_DIGITS = 3
#: Settings for every day. All others stand under "Configuration" on the device's page.
_EVERYDAY = frozenset({"state", "voltage_limit", "current_limit"})
#: Options of entities that the table of quantities does not have.
_OPTIONS: Final[dict[str, Component]] = {
    "state": {"device_class": "outlet"},
    "charge": {"icon": "mdi:battery-charging-medium"},
    "mode": {"device_class": "enum", "options": list(get_args(Mode))},
    "cycle": {"device_class": "restart"},
    "clear_protection": {"icon": "mdi:shield-refresh"},
}
# The reason of the last refusal stands beside the value that holds: the sentence changes an attribute, so that a
# front end that shows what was typed draws the entity anew, with its true value.
_REFUSAL = (
    "{{ ({'refused': value_json.error.message, 'refused_at': value_json.time} "
    "if value_json is mapping and not value_json.ok else {}) | to_json }}"
)


def json_value(expression: str) -> str:
    """The template of a value out of JSON; "None", which is "unknown", for any other payload.

    A retained topic is removed by an empty payload, which Home Assistant hears as it hears any other.
    """
    return f"{{{{ {expression} if value_json is mapping else 'None' }}}}"


def json_attributes(*names: str) -> str:
    """The template of attributes out of JSON, each under its own name; none for any other payload."""
    pairs = ", ".join(f"'{name}': value_json.{name}" for name in names)
    return f"{{{{ ({{{pairs}}} if value_json is mapping else {{}}) | to_json }}}}"


def channel_entities(unit: str, channel: ChannelInfo, topics: Topics) -> Iterator[tuple[str, Component]]:
    """Every entity of one channel as (name of its quantity, component), without availability and unique id."""
    state = topics.homeassistant(unit, channel.index)
    for quantity in QUANTITIES:
        name = {"name": f"{channel.name} {quantity.label}"}
        if quantity.commanded is None:
            # A sensor that is unknown for ever would say that something is broken.
            if channel.tells is not None and quantity.name not in channel.tells:
                continue
            yield quantity.name, {**name, **_measurement(quantity, channel, state)}
        elif quantity.name in channel.fields:
            response = topics.response(unit, channel.index)
            found = _setting(quantity, channel, state, response) if quantity.reported else _button(quantity)
            if found is not None:
                command = command_options(topics.set(unit, channel.index, quantity.name))
                yield quantity.name, {**name, **found, **command}


def command_options(topic: str) -> Component:
    """The part of an entity that has it send commands to this topic."""
    # QoS 0: at 1 the client in Home Assistant would keep a command for a broker that is away, and deliver it when nobody
    # wants it any more. A retained one would be refused.
    return {"command_topic": topic, "qos": 0, "retain": False}


def _setting(quantity: Quantity, channel: ChannelInfo, state_topic: str, response_topic: str) -> Component | None:
    """The entity of something that can be set and read back; None for one that the channel has no range for."""
    component: Component = {
        "state_topic": state_topic,
        "json_attributes_topic": response_topic,
        "json_attributes_template": _REFUSAL,
        **_OPTIONS.get(quantity.name, {}),
    }
    if quantity.name not in _EVERYDAY:
        component["entity_category"] = "config"
    if quantity.kind == "switch":
        return {**component, "platform": "switch", **_on_off(quantity.name)}
    interval = channel.range_of(quantity.name)
    if interval is None:
        return None
    resolution = channel.resolution_of(quantity.unit) or 0.0
    return {
        **component,
        "platform": "number",
        "mode": "box",
        **_unit(quantity),
        "min": interval[0],
        "max": interval[1],
        "step": max(_SMALLEST_STEP, resolution),
        "value_template": _within(quantity.name, interval, resolution),
    }


def _measurement(quantity: Quantity, channel: ChannelInfo, state_topic: str) -> Component:
    """The entity of something that is only read."""
    component: Component = {"state_topic": state_topic, **_OPTIONS.get(quantity.name, {})}
    if quantity.name == "tripped":
        return {
            **component,
            "platform": "binary_sensor",
            "device_class": "problem",
            "value_template": json_value(
                "('None' if not value_json.online else 'ON' if value_json.tripped else 'OFF')"
            ),
            "json_attributes_topic": state_topic,
            "json_attributes_template": json_attributes("tripped"),
        }
    if quantity.kind == "switch":
        return {**component, "platform": "binary_sensor", **_on_off(quantity.name)}
    component |= {"platform": "sensor", "value_template": json_value(f"value_json.{quantity.name}")}
    if quantity.kind == "word":
        return component
    resolution = channel.resolution_of(quantity.unit)
    return {
        **component,
        **_unit(quantity),
        "state_class": "total_increasing" if quantity.unit in _TOTALS else "measurement",
        "suggested_display_precision": _DIGITS if resolution is None else _digits(resolution),
    }


def _button(quantity: Quantity) -> Component | None:
    """The entity of an action; None for a quantity that only makes sense beside another field, such as a ramp."""
    component: Component = {"platform": "button", **_OPTIONS.get(quantity.name, {})}
    if quantity.name == "cycle":
        return {**component, "payload_press": str(POWER_CYCLE)}
    return {**component, "payload_press": "ON"} if quantity.kind == "action" else None


def _unit(quantity: Quantity) -> Component:
    options = {"unit_of_measurement": quantity.unit} if quantity.unit else {}
    if quantity.unit in _DEVICE_CLASSES:
        options["device_class"] = _DEVICE_CLASSES[quantity.unit]
    return options


def _on_off(name: str) -> Component:
    told = f"value_json.{name}"
    return {
        "payload_on": "ON",
        "payload_off": "OFF",
        "value_template": json_value(f"('None' if {told} is none else 'ON' if {told} else 'OFF')"),
    }


def _within(name: str, interval: tuple[float, float], resolution: float) -> str:
    """The setting; "None", which is "unknown", for one outside of the range, until that reaches to it (`Ranges`).

    Home Assistant ignores a number outside the range, and would go on showing the one before.
    """
    (low, high), (least, greatest) = interval, bounds(interval, resolution)
    return (
        f"{{% set v = value_json.{name} if value_json is mapping else none %}}"
        f"{{{{ [[v, {low!r}] | max, {high!r}] | min if v is number and {least!r} <= v <= {greatest!r} else 'None' }}}}"
    )


def _digits(resolution: float) -> int:
    """Decimal places that show a step of this size."""
    return len(f"{resolution:.6f}".rstrip("0").partition(".")[2])

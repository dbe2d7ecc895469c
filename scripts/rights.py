"""Rights at the broker: mosquitto/users.toml is judged, and becomes an access control list."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
LEVEL = re.compile(r"[A-Za-z0-9_.-]+|\+")
TOPIC = re.compile(r"(\+|[^/+#\s$][^/+#\s]*)(/(\+|[^/+#\s]+))*")
#: Names that no unit may have: they are other things below the base topic.
RESERVED_UNITS = {"all", "agents", "groups", "response"}
#: The topics of an agent's messages below {base}/{unit}/ and below {base}/agents/{agent}/.
CHANNEL_TOPICS = ("state", "backlog", "event", "lease", "response")
UNIT_TOPICS = ("status", "info", "lease", "response")
AGENT_TOPICS = ("status", "info", "metrics", "log")
#: Those of a channel's plain values (docs/plain-values.md).
VALUE_TOPICS = (
    *("name", "online", "output", "voltage", "current", "power", "voltage_limit", "current_limit", "mode", "tripped"),
    *("voltage_protection", "current_protection", "current_protection_level", "voltage_protection_state"),
    *("energy", "charge"),
)


def published(base: str, unit: str = "+", agent: str = "+") -> Iterator[str]:
    """The filters of everything that agents publish, but for discovery and responses to a named topic."""
    yield from (f"{base}/{unit}/+/{leaf}" for leaf in (*CHANNEL_TOPICS, *VALUE_TOPICS))
    yield from (f"{base}/{unit}/{leaf}" for leaf in UNIT_TOPICS)
    yield from (f"{base}/agents/{agent}/{leaf}" for leaf in AGENT_TOPICS)


def requests(base: str) -> Iterator[str]:
    """The filters of everything that can be asked of units, reservations (``…/lease/set``) among them."""
    yield from (f"{base}/+/{leaf}" for leaf in ("set", "set/+", "+/set", "+/set/+", "+/lease/set", "get", "+/get"))


def heard(base: str, unit: str) -> Iterator[str]:
    """The filters that an agent subscribes to: all that means a command, so that one on an odd topic is answered, too."""
    yield from (f"{base}/{unit}/{leaf}/#" for leaf in ("set", "+/set"))
    if unit != "all":
        yield from (f"{base}/{unit}/{leaf}/#" for leaf in ("+/+/set", "get", "+/get"))


def agent_rules(user: dict[str, Any], base: str, prefix: str) -> Iterator[str]:
    for unit in user["units"]:
        yield from (f"topic write {topic}" for topic in published(base, unit, user["name"]))
        yield f"topic write {base}/{unit}/+/homeassistant"
        # What is retained of its units, by itself or by somebody who should not; and the wish that it take a unit over.
        yield from (f"topic read {base}/{unit}/{leaf}" for leaf in ("lease", "+/lease", "takeover"))
        yield from (f"topic read {topic}" for topic in heard(base, unit))
    yield from (f"topic read {topic}" for topic in heard(base, "all"))
    # Who else serves what, and lives: by that agents find out that two of them have one name, one unit or one supply.
    yield from (f"topic read {base}/{topic}" for topic in ("+/info", "agents/+/status", "agents/+/info"))
    yield f"topic read {base}/agents/{user['name']}/metrics"  # for its container's health check
    yield f"topic readwrite {base}/agents/{user['name']}/check/#"  # where `psu-agent check --connect` measures the broker
    yield from (f"topic write {topic}" for topic in ("reply/#", f"{base}/response/#"))
    if user.get("discovery", True):
        # Of all agents: the name of a device is made of the serial number that its supply tells.
        yield f"topic readwrite {prefix}/device/+/config"
        yield f"topic read {prefix}/status"


def telegraf_rules(_user: dict[str, Any], base: str, _prefix: str) -> Iterator[str]:
    yield f"topic deny {base}/+/set/+"  # which …/+/+/state would let through
    yield from (f"topic read {base}/+/+/{leaf}" for leaf in ("state", "backlog", "event"))
    yield from (f"topic read {base}/+/{leaf}" for leaf in ("status", "info"))
    yield from (f"topic read {base}/agents/+/{leaf}" for leaf in ("status", "metrics"))


def reader_rules(_user: dict[str, Any], base: str, _prefix: str) -> Iterator[str]:
    yield f"topic deny {base}/+/set/+"
    yield from (f"topic read {topic}" for topic in published(base))


def command_rules(_user: dict[str, Any], base: str, _prefix: str) -> Iterator[str]:
    yield from (f"topic read {topic}" for topic in published(base))
    yield from (f"topic write {topic}" for topic in requests(base))
    yield f"topic write {base}/+/takeover"


def homeassistant_rules(user: dict[str, Any], base: str, prefix: str) -> Iterator[str]:
    yield from command_rules(user, base, prefix)
    yield f"topic read {base}/+/+/homeassistant"
    yield f"topic read {prefix}/device/+/config"
    yield f"topic readwrite {prefix}/status"


def bridge_rules(user: dict[str, Any], _base: str, _prefix: str) -> Iterator[str]:
    yield f"topic deny {user['base_topic']}/+/set/+"
    yield from (f"topic write {topic}" for topic in published(user["base_topic"]))
    yield from (f"topic read {topic}" for topic in requests(user["base_topic"]))
    yield "topic write reply/#"


def health_rules(_user: dict[str, Any], _base: str, _prefix: str) -> Iterator[str]:
    yield "topic read $SYS/broker/uptime"


ROLES: dict[str, Callable[[dict[str, Any], str, str], Iterator[str]]] = {
    "agent": agent_rules,
    "telegraf": telegraf_rules,
    "commands": command_rules,
    "readers": reader_rules,
    "homeassistant": homeassistant_rules,
    "bridge": bridge_rules,
    "health": health_rules,
}
KEYS_OF_ROLE = {"agent": {"name", "units"}, "bridge": {"base_topic"}}
OPTIONAL_KEYS_OF_ROLE = {"agent": {"discovery"}}


def check(config: dict[str, Any]) -> list[str]:
    """Every fault in users.toml, one sentence each."""
    unknown = config.keys() - {"base_topic", "discovery_prefix", "users", "bridge"}
    faults = [f"{key}: unknown; known are base_topic, discovery_prefix, [users.NAME] and [bridge]" for key in unknown]
    faults += [
        f'{key}: must be a topic, for instance "psu"; is {config.get(key)!r}'
        for key in ("base_topic", "discovery_prefix")
        if not isinstance(config.get(key), str) or not TOPIC.fullmatch(config[key])
    ]
    users = config.get("users")
    if not isinstance(users, dict) or not users:
        return [*faults, "users: must have a [users.NAME] for everybody who may connect"]
    for name, user in users.items():
        where = f"users.{name}"
        if not NAME.fullmatch(name):
            faults.append(
                f"{where}: a user name is made of letters, digits, '_', '.' and '-', the last two not in front"
            )
        if not isinstance(user, dict):
            faults.append(f"{where}: must be a table, [users.{name}]; is {user!r}")
            continue
        role = user.get("role")
        if not isinstance(role, str) or role not in ROLES:
            faults.append(f"{where}.role: must be one of {', '.join(ROLES)}; is {role!r}")
            continue
        expected = KEYS_OF_ROLE.get(role, set()) | {"role"}
        known = expected | OPTIONAL_KEYS_OF_ROLE.get(role, set())
        faults += [f"{where}.{key}: unknown for role {role}" for key in user.keys() - known]
        faults += [f"{where}.{key}: missing; role {role} needs it" for key in sorted(expected - user.keys())]
        if "name" in user and (not isinstance(user["name"], str) or not LEVEL.fullmatch(user["name"])):
            faults.append(f'{where}.name: must be one topic level, for instance "bench3"; is {user["name"]!r}')
        below = user.get("base_topic", "psu")
        if not isinstance(below, str) or not TOPIC.fullmatch(below):
            faults.append(f'{where}.base_topic: must be a topic, for instance "site1/psu"; is {below!r}')
        if not isinstance(user.get("discovery", True), bool):
            faults.append(f"{where}.discovery: must be true or false; is {user['discovery']!r}")
        units = user.get("units", [])
        if not isinstance(units, list) or not all(isinstance(unit, str) and LEVEL.fullmatch(unit) for unit in units):
            faults.append(f'{where}.units: must be a list of names of units, for instance ["psu1"]; is {units!r}')
        elif reserved := RESERVED_UNITS.intersection(units):
            faults.append(f"{where}.units: no unit may be called {', '.join(sorted(reserved))}")
    if "bridge" in config:
        bridge = config["bridge"]
        if not isinstance(bridge, dict):
            return [*faults, f"bridge: must be a table, [bridge]; is {bridge!r}"]
        words = ("address", "username", "site")
        faults += [f"bridge.{key}: missing" for key in words if not bridge.get(key)]
        faults += [
            f"bridge.{key}: must be one line of text; is {bridge[key]!r}"
            for key in words
            if bridge.get(key) and not (isinstance(bridge[key], str) and bridge[key].isprintable())
        ]
        if not isinstance(bridge.get("tls", True), bool):
            faults.append(f"bridge.tls: must be true or false; is {bridge['tls']!r}")
        faults += [f"bridge.{key}: unknown" for key in bridge.keys() - {"address", "username", "site", "tls"}]
    return faults


def acl(config: dict[str, Any]) -> str:
    """The broker's access control list: a topic that nothing here allows is refused."""
    base, prefix = config["base_topic"], config["discovery_prefix"]
    lines = ["# Generated from mosquitto/users.toml by `make secrets`."]
    lines += [f"pattern read {topic}/%u/#" for topic in ("reply", f"{base}/response")]
    for name, user in config["users"].items():
        lines += ["", f"user {name}", *ROLES[user["role"]](user, base, prefix)]
    return "\n".join(lines) + "\n"

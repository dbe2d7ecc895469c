#!/usr/bin/env python3
"""Generate what the stack keeps secret, into secrets/. Run by ``make secrets``; needs nothing but Python.

A password that is there already stays as it is, so this can be run again after a change in mosquitto/users.toml.
secrets/ itself is for its owner alone; the files in it can be read by all, because each container mounts its own
folder and runs as a user of its own.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:
    sys.exit("make secrets takes Python 3.11 or newer, this is " + sys.version.split()[0])

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"[A-Za-z0-9_.-]+")
LEVEL = re.compile(r"[A-Za-z0-9_.-]+|\+")
TOPIC = re.compile(r"(\+|[^/+#\s$][^/+#\s]*)(/(\+|[^/+#\s]+))*")
#: The users that are services of the stack; the container mounts the folder of its name.
SERVICE_USERS = ("agent", "telegraf")
#: Secrets of the services themselves.
SERVICE_SECRETS = (
    ("influxdb", "admin_password"),
    ("influxdb", "admin_token"),
    ("grafana", "admin_password"),
)
#: The topics of an agent's messages below {base}/{unit}/ and below {base}/agents/{agent}/.
CHANNEL_TOPICS = ("state", "backlog", "event", "response")
UNIT_TOPICS = ("status", "info", "response")
AGENT_TOPICS = ("status", "info", "metrics")


class Fault(Exception):
    """Something the user can put right; its text says how."""


def published(base: str, unit: str = "+", agent: str = "+") -> Iterator[str]:
    """The filters of everything that agents publish, but for discovery and responses to a named topic."""
    yield from (f"{base}/{unit}/+/{leaf}" for leaf in CHANNEL_TOPICS)
    yield from (f"{base}/{unit}/{leaf}" for leaf in UNIT_TOPICS)
    yield from (f"{base}/agents/{agent}/{leaf}" for leaf in AGENT_TOPICS)


def requests(base: str) -> Iterator[str]:
    """The filters of everything that can be asked of units."""
    yield from (f"{base}/+/{leaf}" for leaf in ("set", "set/+", "+/set", "+/set/+", "get", "+/get"))


def heard(base: str, unit: str) -> Iterator[str]:
    """The filters that an agent subscribes to: all that means a command, so that one on an odd topic is answered, too."""
    yield from (f"{base}/{unit}/{leaf}/#" for leaf in ("set", "+/set"))
    if unit != "all":
        yield from (f"{base}/{unit}/{leaf}/#" for leaf in ("+/+/set", "get", "+/get"))


def agent_rules(user: dict[str, Any], base: str, prefix: str) -> Iterator[str]:
    for unit in user["units"]:
        yield from (f"topic write {topic}" for topic in published(base, unit, user["name"]))
        yield f"topic write {base}/{unit}/+/homeassistant"
        yield f"topic read {base}/{unit}/info"  # what it once said of a unit that it serves no more
        yield from (f"topic read {topic}" for topic in heard(base, unit))
    yield from (f"topic read {topic}" for topic in heard(base, "all"))
    # For its container's health check; the others show it another agent of its name.
    yield from (f"topic read {base}/agents/{user['name']}/{leaf}" for leaf in ("metrics", "status", "info"))
    yield "topic write reply/#"
    yield f"topic readwrite {prefix}/device/+/config"
    yield f"topic read {prefix}/status"


def telegraf_rules(_user: dict[str, Any], base: str, _prefix: str) -> Iterator[str]:
    yield f"topic deny {base}/+/set/+"  # which …/+/+/state would let through
    yield from (f"topic read {base}/+/+/{leaf}" for leaf in ("state", "backlog", "event"))
    yield f"topic read {base}/+/status"
    yield from (f"topic read {base}/agents/+/{leaf}" for leaf in ("status", "metrics"))


def reader_rules(_user: dict[str, Any], base: str, _prefix: str) -> Iterator[str]:
    yield f"topic deny {base}/+/set/+"
    yield from (f"topic read {topic}" for topic in published(base))


def command_rules(_user: dict[str, Any], base: str, _prefix: str) -> Iterator[str]:
    yield from (f"topic read {topic}" for topic in published(base))
    yield from (f"topic write {topic}" for topic in requests(base))


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
            faults.append(f"{where}: a user name is made of letters, digits, '_', '.' and '-'")
        role = user.get("role")
        if role not in ROLES:
            faults.append(f"{where}.role: must be one of {', '.join(ROLES)}; is {role!r}")
            continue
        expected = KEYS_OF_ROLE.get(role, set()) | {"role"}
        faults += [f"{where}.{key}: unknown for role {role}" for key in user.keys() - expected]
        faults += [f"{where}.{key}: missing; role {role} needs it" for key in sorted(expected - user.keys())]
        if "name" in user and (not isinstance(user["name"], str) or not LEVEL.fullmatch(user["name"])):
            faults.append(f'{where}.name: must be one topic level, for instance "bench3"; is {user["name"]!r}')
        below = user.get("base_topic", "psu")
        if not isinstance(below, str) or not TOPIC.fullmatch(below):
            faults.append(f'{where}.base_topic: must be a topic, for instance "site1/psu"; is {below!r}')
        units = user.get("units", [])
        if not isinstance(units, list) or not all(isinstance(unit, str) and LEVEL.fullmatch(unit) for unit in units):
            faults.append(f'{where}.units: must be a list of names of units, for instance ["psu1"]; is {units!r}')
    if "bridge" in config:
        bridge = config["bridge"]
        faults += [f"bridge.{key}: missing" for key in ("address", "username", "site") if not bridge.get(key)]
        faults += [f"bridge.{key}: unknown" for key in bridge.keys() - {"address", "username", "site", "tls"}]
    return faults


def acl(config: dict[str, Any]) -> str:
    """The broker's access control list: a topic that nothing here allows is refused."""
    base, prefix = config["base_topic"], config["discovery_prefix"]
    lines = ["# Generated from mosquitto/users.toml by `make secrets`.", "pattern read reply/%u/#"]
    for name, user in config["users"].items():
        lines += ["", f"user {name}", *ROLES[user["role"]](user, base, prefix)]
    return "\n".join(lines) + "\n"


def hashed(password: str) -> str:
    """As mosquitto_passwd does it: PBKDF2 with SHA-512. The passwords are random, so stretching them adds nothing."""
    iterations, salt = 101, os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def write(path: Path, text: str) -> None:
    """Replace a file in one step, so that a service never reads half of it. It has to keep its place in the folder
    that a container has mounted, which a rename within the folder does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.chmod(0o444)
    temporary.replace(path)


def keep_or_make(path: Path) -> str:
    if not path.exists():
        write(path, secrets.token_urlsafe(24))
    text = path.read_text().strip()
    if not text:
        raise Fault(f"{path} is empty: delete it, then run `make secrets` again for a new one")
    return text


def client_id(path: Path, name: str, is_new: bool) -> str:
    """The MQTT client identifier under which a broker keeps a session. Whoever knows it, and any password, can take the session.

    An installation that is there already goes on under the bare name: under another one the broker would queue for both.
    """
    if not path.exists():
        write(path, f"{name}-{secrets.token_hex(16)}" if is_new else name)
    return keep_or_make(path)


def bridge(config: dict[str, Any], template: str, out: Path) -> None:
    """The bridge's configuration, or none where users.toml has no [bridge]."""
    target = out / "mosquitto" / "conf.d" / "bridge.conf"
    target.parent.mkdir(parents=True, exist_ok=True)
    if "bridge" not in config:
        target.unlink(missing_ok=True)
        return
    password = out / "central_password"
    if not password.exists():
        raise Fault(f"{password} is missing: put the password there that the central broker has for this site")
    ca = out / "mosquitto" / "tls" / "central_ca.crt"
    where = "bridge_cafile /run/secrets/tls/central_ca.crt" if ca.exists() else "bridge_capath /etc/ssl/certs"
    values = config["bridge"] | {"base": config["base_topic"], "password": password.read_text().strip()}
    values["client"] = client_id(out / "bridge_client_id", f"{values['site']}-bridge", not target.exists())
    values["tls"] = where if config["bridge"].get("tls", True) else "# without TLS: `tls = false` in users.toml"
    write(target, re.sub(r"\{([a-z]+)\}", lambda match: str(values.get(match[1], match[0])), template))


def generate(users_toml: Path, out: Path) -> dict[str, str]:
    """Write everything below ``out``. Returns each MQTT user's role."""
    try:
        config = tomllib.loads(users_toml.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Fault(f"{users_toml}: {error}") from None
    if faults := check(config):
        raise Fault("\n".join(f"{users_toml}: {fault}" for fault in faults))

    os.umask(0o022)
    out.mkdir(exist_ok=True)
    out.chmod(0o700)
    if "telegraf" in config["users"]:
        service = out / "telegraf"
        client_id(service / "client_id", "telegraf", not (service / "mqtt_password").exists())
    passwords = {}
    for name in config["users"]:
        file = out / name / "mqtt_password" if name in SERVICE_USERS else out / "users" / name
        passwords[name] = keep_or_make(file)
    for folder, file in SERVICE_SECRETS:
        keep_or_make(out / folder / file)

    broker = out / "mosquitto"
    write(broker / "passwd", "".join(f"{name}:{hashed(password)}\n" for name, password in passwords.items()))
    write(broker / "acl", acl(config))
    for name, user in config["users"].items():
        if user["role"] == "health":
            write(broker / "mosquitto_sub", f"-u {name}\n-P {passwords[name]}\n")
    bridge(config, (ROOT / "mosquitto" / "bridge.conf").read_text(), out)
    return {name: user["role"] for name, user in config["users"].items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=Path, default=ROOT / "mosquitto" / "users.toml")
    parser.add_argument("--out", type=Path, default=ROOT / "secrets")
    arguments = parser.parse_args()
    try:
        roles = generate(arguments.users, arguments.out)
    except Fault as fault:
        print(fault, file=sys.stderr)
        return 2
    print(f"{arguments.out}: passwords of {len(roles)} MQTT users, of InfluxDB and of Grafana")
    for name, role in roles.items():
        if (file := arguments.out / "users" / name).exists() and role != "health":
            print(f"  MQTT user {name} ({role}): {file}")
    print(f"  Grafana user admin: {arguments.out / 'grafana' / 'admin_password'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

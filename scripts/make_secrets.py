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
COMMENT = re.compile(r"(?:^|\s)#")
#: Names that no unit may have: they are other things below the base topic.
RESERVED_UNITS = {"all", "agents", "groups", "response"}
#: The users that are services of the stack; the container mounts the folder of its name.
SERVICE_USERS = ("agent", "telegraf")
#: How the broker learns of new passwords: while it runs, and where sessions of clients that are away must lose nothing.
REREAD, RESTART_BROKER = "kill -s HUP mosquitto", "restart mosquitto"
#: Secrets of the services themselves.
SERVICE_SECRETS = (
    ("influxdb", "admin_password"),
    ("grafana", "admin_password"),
)
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


class Fault(Exception):
    """Something the user can put right; its text says how. ``code`` is the exit code."""

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.code = code


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
            faults.append(f"{where}: a user name is made of letters, digits, '_', '.' and '-'")
        role = user.get("role")
        if role not in ROLES:
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
        faults += [f"bridge.{key}: missing" for key in ("address", "username", "site") if not bridge.get(key)]
        faults += [f"bridge.{key}: unknown" for key in bridge.keys() - {"address", "username", "site", "tls"}]
    return faults


def listed(words: list[str], out: Path) -> dict[str, list[str]]:
    """The units of each agent of the list: what is remembered in ``out/agents``, and what these words add or replace.

    :param words: ``NAME:UNIT,UNIT`` each, or the path of a file with lines of the form ``NAME: UNIT UNIT``
    """
    remembered = out / "agents"
    lines = remembered.read_text().splitlines() if remembered.exists() else []
    for word in words:
        path = Path(word)
        lines += path.read_text().splitlines() if path.is_file() else [word]
    agents: dict[str, list[str]] = {}
    for line in lines:
        name, _, rest = COMMENT.split(line, maxsplit=1)[0].partition(":")
        if name := name.strip():
            # A name alone stands for what is known of it.
            agents[name] = rest.replace(",", " ").split() or agents.get(name, [])
    return agents


def with_agents(config: dict[str, Any], agents: dict[str, list[str]]) -> dict[str, Any]:
    """The users with one for each agent of the list.

    :raises Fault: one has no units, or a name that another user has
    """
    users = dict(config.get("users") or {})
    for name, units in agents.items():
        there = users.get(name, {"role": "agent"})
        if there.get("role") != "agent" or name in SERVICE_USERS:
            raise Fault(f"agent {name}: there is a user of that name in users.toml; give the agent another name")
        served = units or there.get("units", [])
        if not served:
            raise Fault(
                f'agent {name}: name its units, for instance AGENTS="{name}:psu1,psu2" (as in its `units:`), so that it '
                f"can't speak for another agent's; {name}:+ stands for any unit"
            )
        users[name] = {**there, "role": "agent", "name": there.get("name", name), "units": served}
    return config | {"users": users}


def acl(config: dict[str, Any]) -> str:
    """The broker's access control list: a topic that nothing here allows is refused."""
    base, prefix = config["base_topic"], config["discovery_prefix"]
    lines = ["# Generated from mosquitto/users.toml by `make secrets`."]
    lines += [f"pattern read {topic}/%u/#" for topic in ("reply", f"{base}/response")]
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


def steps_after(name: str, out: Path) -> list[str]:
    """What tells the running services of a new secret, as arguments of `docker compose`: an MQTT user's, or another's."""
    reset = "exec -T grafana grafana cli --homepath /usr/share/grafana admin reset-admin-password --password-from-stdin"
    others = {
        "influxdb": ["run --rm --no-deps influxdb-setup --renew admin"],
        "grafana": [f"{reset} < {os.path.relpath(out, ROOT)}/grafana/admin_password"],
        "telegraf-token": ["run --rm --no-deps influxdb-setup --renew telegraf", "restart telegraf"],
        "grafana-token": ["run --rm --no-deps influxdb-setup --renew grafana", "restart grafana"],
        "certificate": [REREAD],
    }
    if name == "telegraf":
        # Mosquitto that reads a new password again refuses all that comes for the session of the old one until its client is
        # back (2.0.11: five of five messages lost); one that starts keeps it.
        return [RESTART_BROKER, "restart telegraf"]
    return others.get(name, [REREAD, *(["restart agent"] if name == "agent" else [])])


def new_names(before: set[Path], out: Path) -> list[str]:
    """The names, for `steps_after`, of the secrets that were not there before."""
    made = [path for path in out.rglob("*") if path.is_file() and path not in before]
    services = [path.parent.name for path in made if path.name in ("mqtt_password", "admin_password")]
    return sorted([*services, *(path.name for path in made if path.parent.name == "users")])


def generate(users_toml: Path, out: Path, words: list[str]) -> dict[str, dict[str, Any]]:
    """Write everything below ``out``. Returns the MQTT users.

    :param words: agents for `listed`
    """
    try:
        config = tomllib.loads(users_toml.read_text())
        agents = listed(words, out)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Fault(
            f"{users_toml if isinstance(error, tomllib.TOMLDecodeError) else ''}: {error}".lstrip(": ")
        ) from None
    config = with_agents(config, agents)
    if faults := check(config):
        raise Fault("\n".join(f"{users_toml}: {fault}" for fault in faults))

    os.umask(0o022)
    out.mkdir(exist_ok=True)
    out.chmod(0o700)
    if agents:
        write(out / "agents", "".join(f"{name}: {' '.join(config['users'][name]['units'])}\n" for name in agents))
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
    return dict(config["users"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=Path, default=ROOT / "mosquitto" / "users.toml")
    parser.add_argument("--out", type=Path, default=ROOT / "secrets")
    parser.add_argument(
        "--agents",
        nargs="*",
        default=[],
        metavar="NAME:UNIT,UNIT",
        help="a user for each of these agents; or a file with lines `NAME: UNIT UNIT`. They are remembered in OUT/agents",
    )
    arguments = parser.parse_args()
    before = set(arguments.out.rglob("*"))
    try:
        users = generate(arguments.users, arguments.out, arguments.agents)
    except Fault as fault:
        print(fault, file=sys.stderr)
        return 2
    print(f"{arguments.out}: passwords of {len(users)} MQTT users, of InfluxDB and of Grafana")
    for name, user in users.items():
        if (file := arguments.out / "users" / name).exists() and user["role"] != "health":
            units = f" for {', '.join(user['units'])}" if user["role"] == "agent" else ""
            print(f"  MQTT user {name} ({user['role']}{units}): {file}")
    print(f"  Grafana user admin: {arguments.out / 'grafana' / 'admin_password'}")
    if before:
        for name in new_names(before, arguments.out):
            steps = " && ".join(f"docker compose {step}" for step in steps_after(name, arguments.out))
            print(f"  New for {name}. Services that run go on with the old one until: {steps}")
    agents = [name for name, user in users.items() if user["role"] == "agent"]
    for name in agents:
        if len(agents) > 1 and "+" in (users[name]["name"], *users[name]["units"]):
            print(
                f"  The user {name} may speak for every agent's units: give it its `name` and `units` ({arguments.users})"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())

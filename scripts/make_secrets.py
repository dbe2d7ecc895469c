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
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:
    sys.exit("make secrets takes Python 3.11 or newer, this is " + sys.version.split()[0])

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.common import ROOT, Fault, finished, locked, told
from scripts.rights import acl, check

COMMENT = re.compile(r"(?:^|\s)#")
#: The users that are services of the stack; the container mounts the folder of its name.
SERVICE_USERS = ("agent", "telegraf")
#: How the broker learns of new passwords: while it runs, and where sessions of clients that are away must lose nothing.
REREAD, RESTART_BROKER = "kill -s HUP mosquitto", "restart mosquitto"
#: Secrets of the services themselves.
SERVICE_SECRETS = (
    ("influxdb", "admin_password"),
    ("grafana", "admin_password"),
)
#: What `make rotate` renews and is no MQTT user: the file that is made anew, if it is one of secrets/. An MQTT user of such a
#: name is ``users/NAME``.
OTHERS = {
    "influxdb": "influxdb/admin_password",
    "grafana": "grafana/admin_password",
    "telegraf-token": None,
    "grafana-token": None,
    "certificate": None,
}


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
    users = config.get("users") or {}
    if not isinstance(users, dict):
        return config  # and `check` tells it
    users = dict(users)
    for name, units in agents.items():
        there = users.get(name, {"role": "agent"})
        if not isinstance(there, dict) or there.get("role") != "agent" or name in SERVICE_USERS:
            raise Fault(f"agent {name}: there is a user of that name in users.toml; give the agent another name")
        served = units or there.get("units", [])
        if not served:
            raise Fault(
                f'agent {name}: name its units, for instance AGENTS="{name}:psu1,psu2" (as in its `units:`), so that it '
                f"can't speak for another agent's; {name}:+ stands for any unit"
            )
        users[name] = {**there, "role": "agent", "name": there.get("name", name), "units": served}
    return config | {"users": users}


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
    try:
        kept = path.read_bytes()
        text = kept.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise Fault(f"{path} is not in UTF-8: delete it, then run `make secrets` again for a new one") from None
    if not text:
        raise Fault(f"{path} is empty: delete it, then run `make secrets` again for a new one")
    if not text.isprintable():
        raise Fault(
            f"{path} has several lines: a password is one; delete it, then run `make secrets` again for a new one"
        )
    if kept != text.encode():
        # An editor's end of line and mark of encoding: some of the services would take them as a part of the password.
        write(path, text)
    return text


def client_id(path: Path, name: str, is_new: bool) -> str:
    """The MQTT client identifier under which a broker keeps a session. It and any password are enough to take the session.

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
    ca = out / "mosquitto" / "tls" / "central_ca.crt"
    where = "bridge_cafile /run/secrets/tls/central_ca.crt" if ca.exists() else "bridge_capath /etc/ssl/certs"
    values = config["bridge"] | {"base": config["base_topic"], "password": keep_or_make(out / "central_password")}
    values["client"] = client_id(out / "bridge_client_id", f"{values['site']}-bridge", not target.exists())
    values["tls"] = where if config["bridge"].get("tls", True) else "# without TLS: `tls = false` in users.toml"
    write(target, re.sub(r"\{([a-z]+)\}", lambda match: str(values.get(match[1], match[0])), template))


def steps_after(name: str, out: Path) -> list[str]:
    """The commands that tell the services of a new secret (an MQTT user's, or another), as arguments of `docker compose`."""
    reset = "exec -T grafana grafana cli --homepath /usr/share/grafana admin reset-admin-password --password-from-stdin"
    others = {
        "influxdb": ["run --rm --no-deps influxdb-setup --renew admin"],
        "grafana": [f"{reset} < {os.path.relpath(out, ROOT)}/grafana/admin_password"],
        "telegraf-token": ["run --rm --no-deps influxdb-setup --renew telegraf", "restart telegraf"],
        "grafana-token": ["run --rm --no-deps influxdb-setup --renew grafana", "restart grafana"],
        "certificate": [REREAD],
    }
    if name.startswith("users/"):
        return [REREAD]
    if name == "telegraf":
        # Mosquitto that reads a new password again refuses all that comes for the session of the old one until its client is
        # back (2.0.11: five of five messages lost); one that starts keeps it.
        return [RESTART_BROKER, "restart telegraf"]
    return others.get(name, [REREAD, *(["restart agent"] if name == "agent" else [])])


def new_names(before: set[Path], out: Path) -> list[str]:
    """The names, for `steps_after`, of the secrets that were not there before."""
    made = [path for path in out.rglob("*") if path.is_file() and path not in before]
    services = [path.parent.name for path in made if path.name in ("mqtt_password", "admin_password")]
    users = [path.name for path in made if path.parent.name == "users"]
    return sorted([*services, *(f"users/{name}" if name in OTHERS else name for name in users)])


def load(users_toml: Path, out: Path, words: list[str]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The configuration in users.toml with the agents of the list, and these agents.

    :param words: agents for `listed`
    :raises Fault: it is wrong, or something is missing that it needs
    """
    try:
        config = tomllib.loads(users_toml.read_text(encoding="utf-8-sig"))
        agents = listed(words, out)
    except OSError as error:
        raise Fault(told(error)) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Fault(f"{users_toml}: {error}") from None
    config = with_agents(config, agents)
    if faults := check(config):
        raise Fault("\n".join(f"{users_toml}: {fault}" for fault in faults))
    password = out / "central_password"
    if "bridge" in config and not password.exists():
        raise Fault(f"{password} is missing: put the password there that the central broker has for this site")
    return config, agents


def generate(users_toml: Path, out: Path, words: list[str]) -> dict[str, dict[str, Any]]:
    """Write everything below ``out``. Returns the MQTT users.

    :param words: agents for `listed`
    """
    config, agents = load(users_toml, out, words)
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


def tell(users: dict[str, dict[str, Any]], users_toml: Path, out: Path, before: set[Path]) -> None:
    """Print where the passwords are, and what tells services of those that were not there ``before``."""
    print(f"{out}: passwords of {len(users)} MQTT users, of InfluxDB and of Grafana")
    for name, user in users.items():
        if (file := out / "users" / name).exists() and user["role"] != "health":
            units = f" for {', '.join(user['units'])}" if user["role"] == "agent" else ""
            print(f"  MQTT user {name} ({user['role']}{units}): {file}")
    print(f"  Grafana user admin: {out / 'grafana' / 'admin_password'}")
    if before:
        for name in new_names(before, out):
            steps = " && ".join(f"docker compose {step}" for step in steps_after(name, out))
            print(f"  New for {name}. Services that run go on with the old one until: {steps}")
    agents = [name for name, user in users.items() if user["role"] == "agent"]
    for name in agents:
        if len(agents) > 1 and "+" in (users[name]["name"], *users[name]["units"]):
            print(f"  The user {name} may speak for every agent's units: give it its `name` and `units` ({users_toml})")


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

    def work() -> None:
        with locked(arguments.out.absolute().parent):
            before = set(arguments.out.rglob("*"))
            users = generate(arguments.users, arguments.out, arguments.agents)
        tell(users, arguments.users, arguments.out, before)

    return finished(work, then="Nothing that was there is lost: run `make secrets` again")


if __name__ == "__main__":
    sys.exit(main())

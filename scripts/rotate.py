#!/usr/bin/env python3
"""A new password or token in the place of one, and every service told. Run by ``make rotate NAME=…``.

What it does may be done again at any time: each run makes a new one. Where a service could not be told it names the
commands that remain; until then the old one is what that service has, and the broker or the store may refuse it.

Exit code: 0 when the new one is in use, 1 when something remains to be done, 2 when nothing was done.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import make_secrets
from scripts.composing import Compose
from scripts.make_secrets import ROOT, Fault, steps_after

#: What is no MQTT user: the file that is made anew, if it is one of secrets/.
OTHERS = {
    "influxdb": "influxdb/admin_password",
    "grafana": "grafana/admin_password",
    "telegraf-token": None,
    "grafana-token": None,
    "certificate": None,
}


def carry_out(compose: Compose, step: str) -> bool:
    """True if it succeeded. A step is what follows `docker compose`, and ``< FILE`` where it reads one."""
    words, _, source = step.partition(" < ")
    if not source:
        return compose.run(words) == 0
    with open(ROOT / source, "rb") as file:
        return compose.run(words, file) == 0


def users_of(path: Path, out: Path) -> dict[str, Any]:
    """The MQTT users, with further agents'.

    :raises Fault: the file is wrong
    """
    try:
        config = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Fault(f"{path}: {error}") from None
    return dict(make_secrets.with_agents(config, make_secrets.listed([], out))["users"])


def rotate(name: str, users_toml: Path, out: Path) -> int:
    users = users_of(users_toml, out)
    if name not in users and name not in OTHERS:
        raise Fault(f"{name or 'NAME'}: name one of {', '.join([*users, *OTHERS])}")
    if not (out / "mosquitto" / "passwd").exists():
        raise Fault(f"{out}: there are no secrets yet: `make secrets`")
    compose = Compose()
    running = compose.running()
    file = OTHERS.get(name, f"{name}/mqtt_password" if name in make_secrets.SERVICE_USERS else f"users/{name}")
    if name == "influxdb" and not carry_out(compose, "run --rm --no-deps influxdb-setup"):
        # Without entry of its own the setup could not exchange a password that nobody has any more.
        raise Fault("Nothing was changed: InfluxDB has to be well first")
    if file:
        # What is interrupted here, `make secrets` ends.
        (out / file).unlink(missing_ok=True)
        make_secrets.generate(users_toml, out, [])
        print(f"{out / file}: new")
    elif name == "certificate":
        make = [str(ROOT / "scripts" / "make_certs.sh")]
        subprocess.run(make, env=os.environ | {"OUT": str(out)}, check=True)  # noqa: S603

    remaining = steps_after(name, out)
    if "telegraf" not in running:  # and so away: see `steps_after`
        remaining = [step.replace(make_secrets.REREAD, make_secrets.RESTART_BROKER) for step in remaining]
    while remaining:
        service = remaining[0].split()[-1]
        if remaining[0].startswith(("kill", "restart")) and service not in running:
            print(f"{service} does not run: it reads what is new when it starts")
        elif not carry_out(compose, remaining[0]):
            print("That did not succeed. It remains to run:", file=sys.stderr)
            for step in remaining:
                print(f"  {compose.shown(step)}", file=sys.stderr)
            return 1
        remaining = remaining[1:]
    if name == "influxdb":
        (out / "influxdb" / "admin_token").unlink(missing_ok=True)  # of an earlier version; the store refuses it now
    if name in users and users[name]["role"] not in ("telegraf", "health") and name not in make_secrets.SERVICE_USERS:
        print(f"Whoever connects as {name} needs it now: {out / 'users' / name}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "name",
        nargs="?",
        default="",
        help="an MQTT user, or influxdb, grafana, telegraf-token, grafana-token, certificate",
    )
    parser.add_argument("--users", type=Path, default=ROOT / "mosquitto" / "users.toml")
    parser.add_argument("--out", type=Path, default=ROOT / "secrets")
    arguments = parser.parse_args()
    try:
        return rotate(arguments.name, arguments.users, arguments.out)
    except Fault as fault:
        print(fault, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

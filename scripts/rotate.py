#!/usr/bin/env python3
"""A new password or token in the place of one, and every service told. Run by ``make rotate NAME=…``.

It may be run again at any time: each run makes a new one. Where a service could not be told it names the commands that
remain; until then that service has the old one, and the broker or the store may refuse it.

Exit code: 0 when the new one is in use, 1 when something remains to be done, 2 when nothing was done.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import make_secrets
from scripts.common import ROOT, Fault, finished, locked, say, told
from scripts.composing import Compose
from scripts.make_secrets import OTHERS, steps_after


def carry_out(compose: Compose, step: str) -> bool:
    """True if it succeeded. A step is what follows `docker compose`, and ``< FILE`` where it reads one."""
    words, _, source = step.partition(" < ")
    if words.startswith("restart"):
        return compose.insist(words) == 0
    if not source:
        return compose.run(words) == 0
    with open(ROOT / source, "rb") as file:
        return compose.run(words, file) == 0


def file_of(name: str, out: Path) -> Path | None:
    """Where the secret of this name is kept, if it is in secrets/."""
    if name in OTHERS:
        place = OTHERS[name]
        return out / place if place else None
    user = name.removeprefix("users/")
    return out / (f"{user}/mqtt_password" if user in make_secrets.SERVICE_USERS else f"users/{user}")


def renew(name: str, users_toml: Path, out: Path) -> None:
    """Make the new one.

    :raises Fault: the old one is still there
    """
    if name == "certificate":
        make = [str(ROOT / "scripts" / "make_certs.sh")]
        if subprocess.run(make, env=os.environ | {"OUT": str(out)}, check=False).returncode != 0:  # noqa: S603
            raise Fault("The certificate is as it was: see above")
    if not (file := file_of(name, out)):
        return
    old = file.read_bytes() if file.exists() else None
    # If this is interrupted, `make secrets` makes the missing file.
    file.unlink(missing_ok=True)
    try:
        make_secrets.generate(users_toml, out, [])
    except (Fault, OSError) as error:
        if old is not None:
            file.write_bytes(old)
            file.chmod(0o444)
        reason = told(error) if isinstance(error, OSError) else str(error)
        raise Fault(f"{reason}\n{file} is as it was") from None
    say(f"{file}: new")


def effects(steps: list[str], running: set[str], user: str, role: str) -> list[str]:
    """Sentences on outputs that the steps may turn off, and offs that may not be done while they last."""
    if "mosquitto" not in running:
        return []
    off = 'with on_broker_loss: "off" are turned off if that lasts longer than their broker_loss_after'
    found = []
    if make_secrets.RESTART_BROKER in steps:
        found.append(
            f"Mosquitto is restarted: for some seconds nothing can be switched, off included. Channels of every agent {off}"
        )
    if "restart agent" in steps and "agent" in running:
        found.append(
            f"The agent is refused, then restarted: for some seconds it switches nothing, off included. Its channels {off}"
        )
    elif role == "agent":
        found.append(
            f"The agent that connects as {user} is refused until it has the new password, and switches nothing, off included. "
            f"Its channels {off}"
        )
    elif role in ("commands", "bridge"):
        found.append(
            f"A client that connects as {user} is refused until it has the new password, and so are its commands, offs included"
        )
    return found


def elsewhere(name: str, out: Path) -> str:
    """What to do with a new password from a broker that is not the stack's own."""
    if (file := file_of(name, out)) is None:
        return "Clients need the certificate of its authority, where that is another one"
    user = name.removeprefix("users/")
    then = f", then docker compose restart {user}" if user in make_secrets.SERVICE_USERS else ""
    return f"Write it into {file}{then}"


def announce(told: list[str]) -> None:
    """Tell it, and ask where somebody can answer.

    :raises Fault: the answer is not yes
    """
    if not told:
        return
    print(*told, sep="\n", flush=True)
    if not sys.stdin.isatty():
        return
    try:
        answer = input("Go on? [y/N] ")
    except (EOFError, KeyboardInterrupt):
        print()
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Fault("Nothing was changed")


def rotate(name: str, users_toml: Path, out: Path) -> int:
    if not (out / "mosquitto" / "passwd").exists():
        raise Fault(f"{out}: there are no secrets yet: `make secrets`")
    users, _ = make_secrets.load(users_toml, out, [])
    users = users["users"]
    user = name.removeprefix("users/")
    if user not in users and name not in OTHERS:
        known = [f"users/{one}" if one in OTHERS else one for one in users]
        raise Fault(f"{name or 'NAME'}: name one of {', '.join([*known, *OTHERS])}")
    compose = Compose()
    running = compose.running()
    remaining = steps_after(name if name in OTHERS else f"users/{user}" if user in OTHERS else user, out)
    if "telegraf" not in running:  # and so away: see `steps_after`
        remaining = [step.replace(make_secrets.REREAD, make_secrets.RESTART_BROKER) for step in remaining]
    role = users[user]["role"] if user in users and name not in OTHERS else ""
    is_brokers = bool(role) or name == "certificate"
    if is_brokers and "mosquitto" not in running and "mosquitto" not in (compose.services() or {"mosquitto"}):
        # A service that connects would be refused by the other broker from then on.
        raise Fault(
            f"The broker is none of this stack's services: what is new comes from there. {elsewhere(name, out)}"
        )
    announce(effects(remaining, running, user, role))
    if name == "influxdb" and not carry_out(compose, "run --rm --no-deps influxdb-setup"):
        # Without entry of its own the setup could not exchange a password that nobody has any more.
        raise Fault("Nothing was changed: InfluxDB has to be well first")
    renew(name, users_toml, out)

    why = "That did not succeed."
    try:
        while remaining:
            service = remaining[0].split()[-1]
            if remaining[0].startswith(("kill", "restart")) and service not in running:
                say(f"{service} does not run: it reads what is new when it starts")
            elif not carry_out(compose, remaining[0]):
                break
            remaining = remaining[1:]
            if compose.interrupted:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        why = "Interrupted."
    if remaining:
        print(f"{why} It remains to run:", file=sys.stderr)
        for step in remaining:
            print(f"  {compose.shown(step)}", file=sys.stderr)
        return 1
    if name == "influxdb":
        (out / "influxdb" / "admin_token").unlink(missing_ok=True)  # of an earlier version; the store refuses it now
    if (
        name not in OTHERS
        and user not in make_secrets.SERVICE_USERS
        and users[user]["role"] not in ("telegraf", "health")
    ):
        print(f"Give it to those who connect as {user}: {out / 'users' / user}")
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def work() -> int:
        with locked(arguments.out.absolute().parent):
            return rotate(arguments.name, arguments.users, arguments.out)

    return finished(work, then="`make rotate` with the same NAME puts everything right", code=1)


if __name__ == "__main__":
    sys.exit(main())

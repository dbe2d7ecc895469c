"""Starts the agent as a Home Assistant add-on: makes its configuration of the add-on's options and of the broker that Home
Assistant has, or takes a psu-agent.yaml of the user's, then becomes `psu-agent run`.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.config.source import as_yaml

OPTIONS = Path("/data/options.json")
MADE = Path("/data/psu-agent.yaml")
#: In the folder `addon_configs/…_psu_agent` of Home Assistant.
OWN = Path("/config/psu-agent.yaml")
STATE = "/data/state"
SERVICE = "http://supervisor/services/mqtt"
TIMEOUT = 10.0  # s

Service = Mapping[str, Any]


class OptionError(Exception):
    """The options make no configuration. The text says what is wrong and what to do."""


def mqtt_service() -> Service | None:
    """The broker that Home Assistant knows (host, port, username, password, ssl), of the Supervisor; None where it has none."""
    request = urllib.request.Request(SERVICE, headers={"Authorization": f"Bearer {os.environ['SUPERVISOR_TOKEN']}"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            found = json.load(answer)["data"]
    except (OSError, ValueError, KeyError):
        return None
    return found if isinstance(found, dict) and found.get("host") else None


def broker(options: Mapping[str, Any], service: Service | None) -> dict[str, Any]:
    """`settings.mqtt` but for the topic. Options go before what the Supervisor says, all of them together.

    :raises OptionError: neither names a broker
    """
    if options.get("mqtt_host"):
        given = {name: options.get(f"mqtt_{name}") for name in ("host", "port", "username", "password", "tls")}
    elif service is not None:
        given = {name: service.get(name) for name in ("host", "port", "username", "password")}
        given["tls"] = service.get("ssl")
    else:
        raise OptionError(
            "Home Assistant has no MQTT broker: install the add-on Mosquitto broker and start it, or give mqtt_host"
        )
    found = {name: value for name, value in given.items() if value not in (None, "", False)}
    if found.get("tls") and "port" not in found:
        found["port"] = 8883
    return found


def configuration(options: Mapping[str, Any], service: Service | None) -> dict[str, Any]:
    """What psu-agent.yaml holds.

    :raises OptionError: a unit is missing, or a channel names one that is not there
    """
    units = {}
    for given in options.get("units") or []:
        if given["name"] in units:
            raise OptionError(f"units: {given['name']!r} is there twice; give each unit a name of its own")
        units[given["name"]] = {name: value for name, value in given.items() if value not in (None, "")}
    if not units:
        raise OptionError(
            "units: there is none; add your first supply with name, model and uri, and start the add-on again"
        )
    for given in options.get("channels") or []:
        if (unit := units.get(given["unit"])) is None:
            known = ", ".join(units)
            raise OptionError(f"channels: there is no unit {given['unit']!r}; there is {known}")
        channels = unit.setdefault("channels", {})
        if given["channel"] in channels:
            raise OptionError(f"channels: {given['unit']} {given['channel']} is there twice; keep one of them")
        rest = {name: value for name, value in given.items() if name not in ("unit", "channel")}
        channels[given["channel"]] = {name: value for name, value in rest.items() if value not in (None, "")}
    settings: dict[str, Any] = {"agent": "homeassistant", "state_dir": STATE}
    settings["mqtt"] = broker(options, service) | {"base_topic": options.get("base_topic") or "psu"}
    if options.get("homeassistant", True):
        settings["homeassistant"] = {}
    return {"settings": settings, "units": list(units.values())}


def environment(service: Service | None) -> dict[str, str]:
    """What a psu-agent.yaml of one's own may name: ``${MQTT_HOST}``, ``${MQTT_USERNAME}``, ``${MQTT_PASSWORD}``."""
    known = service or {}
    return {f"MQTT_{name.upper()}": str(known.get(name) or "") for name in ("host", "username", "password")}


def main() -> None:
    """Become `psu-agent run`.

    :raises SystemExit: with 1 and a sentence on stderr, as there is no configuration to run with
    """
    options = json.loads(OPTIONS.read_text(encoding="utf-8"))
    service = mqtt_service()
    path = OWN
    if OWN.exists():
        print(f"psu-agent add-on: {OWN} is taken; of the options log_level alone counts", file=sys.stderr)
    else:
        path = MADE
        try:
            made = configuration(options, service)
        except OptionError as error:
            sys.exit(f"psu-agent add-on: {error}")
        MADE.touch(0o600)
        MADE.write_text(as_yaml(made), encoding="utf-8")
    Path(STATE).mkdir(mode=0o700, exist_ok=True)
    command = ["psu-agent", "run", str(path), "--log-level", options.get("log_level") or "info"]
    os.execvpe(command[0], command, os.environ | environment(service))


if __name__ == "__main__":
    main()

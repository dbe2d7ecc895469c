"""The units, channels and agents that a command can name now: of the broker, and of the configuration."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: s that the broker may take altogether, once the program is ready to ask it; a key was pressed, and somebody waits.
PATIENCE = 0.7
#: s without a further info after which all of them are taken to have come; the first one may take longer.
_QUIET, _FIRST = 0.06, 0.3


@dataclass
class Known:
    """The names that are known: of agents, and of units with their channels, by number."""

    units: dict[str, dict[int, str]] = field(default_factory=dict)
    agents: set[str] = field(default_factory=set)

    def add(self, unit: object, channels: Mapping[int, str]) -> None:
        """Add a unit, if its name can be completed, and its channels."""
        if isinstance(unit, str) and _is_plain(unit):
            self.units.setdefault(unit, {}).update(channels)


def _is_plain(name: str) -> bool:
    """False for a name that holds what acts on a terminal, or ends a line."""
    return bool(name) and name.isprintable()


def known(options: Mapping[str, Any], *, with_broker: bool = True) -> Known:
    """The names that are known within `PATIENCE` s. A configuration or a broker that can't be read or reached adds none.

    :param options: the values of the command's options so far, with the names of `agent.cli.options.broker_options`
    """
    found = Known()
    with contextlib.suppress(Exception):
        _read_configuration(options.get("config_path"), found)
    if with_broker:
        _ask_broker(options, found)
    return found


def _read_configuration(path: Path | None, found: Known) -> None:
    """Add the names in a configuration file, which may have faults. It is not checked, as that takes long."""
    import yaml

    named = path or os.environ.get("PSU_AGENT_CONF")
    places = [Path(named)] if named else [Path("psu-agent.yaml"), Path("/etc/psu-agent/psu-agent.yaml")]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return
    for unit in yaml.load(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["units"]:  # noqa: S506
        with contextlib.suppress(Exception):
            channels = unit.get("channels") or {}
            names = {
                index: str((channel or {}).get("name") or f"CH{index}")
                for index, channel in channels.items()
                if isinstance(index, int)
            }
            found.add(unit["name"], names)


def _ask_broker(options: Mapping[str, Any], found: Known) -> None:
    """Add the names in the infos that the broker retains."""
    from agent.client.address import find_address
    from agent.client.connection import Client, Message

    infos: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def ask() -> None:
        names = ("broker", "config_path", "base_topic", "ca", "password_file")
        with (
            contextlib.suppress(Exception),
            Client(find_address(**{name: options.get(name) for name in names})) as client,
        ):
            client.subscribe([client.topics.every_info])
            patience = _FIRST
            while True:
                message = client.inbox.get(timeout=patience)
                if isinstance(message, Message):
                    patience = _QUIET
                    infos.put(message.payload)
        infos.put(None)

    threading.Thread(target=ask, name="broker", daemon=True).start()
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(queue.Empty):
        while (info := infos.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
            with contextlib.suppress(Exception):
                _take(json.loads(info), found)


def _take(info: Any, found: Known) -> None:
    """Add what the info of a unit tells."""
    channels = {int(one["index"]): str(one["name"]) for one in info["channels"] if isinstance(one["index"], int)}
    found.add(info["psu"], channels)
    if _is_plain(str(info["agent"])):
        found.agents.add(str(info["agent"]))

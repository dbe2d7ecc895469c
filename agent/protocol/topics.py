"""The topic tree, built and parsed in this one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Levels that stand where a unit's name could.
RESERVED_UNITS = frozenset({"all", "agents"})
#: Levels that stand where a channel could.
RESERVED_CHANNELS = frozenset({"set", "get", "status", "info", "response"})
#: What stands last in a topic where the agent itself tells something, or is told something.
_OWN = frozenset({"state", "backlog", "event", "status", "info", "metrics", "set", "get"})
#: MQTT 5, 4.7.3: a topic takes at most 65,535 bytes. Ours end long before that.
_LONGEST_LEVEL = 256


@dataclass(frozen=True, slots=True)
class Request:
    """What a message on one of the topics that an agent listens to asks for.

    ``unit`` is None for ``all``; ``channel`` is None for the whole unit, else a number or a name as it stood in the
    topic; ``field`` is None where the payload is a whole command.
    """

    verb: Literal["set", "get"]
    unit: str | None
    channel: str | None = None
    field: str | None = None


class Topics:
    """The topics below one base topic, which may have several levels (``lab3/psu``)."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._prefix = f"{base}/"

    def state(self, unit: str, channel: int | str) -> str:
        return f"{self._prefix}{unit}/{channel}/state"

    def backlog(self, unit: str, channel: int | str) -> str:
        return f"{self._prefix}{unit}/{channel}/backlog"

    def homeassistant(self, unit: str, channel: int | str) -> str:
        """The state again, as often as is good for Home Assistant's database."""
        return f"{self._prefix}{unit}/{channel}/homeassistant"

    def event(self, unit: str, channel: int | str) -> str:
        return f"{self._prefix}{unit}/{channel}/event"

    def response(self, unit: str, channel: int | str | None = None) -> str:
        return f"{self._prefix}{unit}/response" if channel is None else f"{self._prefix}{unit}/{channel}/response"

    def status(self, unit: str) -> str:
        return f"{self._prefix}{unit}/status"

    def info(self, unit: str) -> str:
        return f"{self._prefix}{unit}/info"

    @property
    def every_info(self) -> str:
        """The filter through which every unit's info arrives."""
        return self.info("+")

    def unit_of_info(self, topic: str) -> str | None:
        """The unit whose info stands on a topic; None where it is another topic."""
        match topic.removeprefix(self._prefix).split("/"):
            case [unit, "info"] if topic.startswith(self._prefix):
                return unit
        return None

    def agent_status(self, agent: str) -> str:
        return f"{self._prefix}agents/{agent}/status"

    def agent_info(self, agent: str) -> str:
        return f"{self._prefix}agents/{agent}/info"

    def agent_metrics(self, agent: str) -> str:
        return f"{self._prefix}agents/{agent}/metrics"

    def agent_nowhere(self, agent: str) -> str:
        """Nothing is ever published here."""
        return f"{self._prefix}agents/{agent}/nowhere"

    def set(self, unit: str, channel: int | str | None = None) -> str:
        """Where a command goes: to a channel, a unit, or ``all``."""
        return f"{self._prefix}{unit}/set" if channel is None else f"{self._prefix}{unit}/{channel}/set"

    def get(self, unit: str, channel: int | str | None = None) -> str:
        return f"{self._prefix}{unit}/get" if channel is None else f"{self._prefix}{unit}/{channel}/get"

    def subscriptions(self, units: list[str]) -> list[str]:
        """The filters through which every request to these units, and no other unit's, arrives."""
        filters = [f"{self._prefix}all/set"]
        for unit in units:
            root = f"{self._prefix}{unit}"
            filters += [
                f"{root}/set",
                f"{root}/set/+",
                f"{root}/+/set",
                f"{root}/+/set/+",
                f"{root}/get",
                f"{root}/+/get",
            ]
        return filters

    def takes_responses(self, topic: str) -> bool:
        """Whether a response may go to a topic that a requester named.

        Not to a pattern, and below the base topic not where anything but responses stands: an agent must not be made to
        send commands, or to pass a response off as a state.
        """
        if not topic or len(topic.encode()) > 1024 or topic.startswith("$") or not topic.isprintable():
            return False
        if "+" in topic or "#" in topic or self.parse(topic) is not None:
            return False
        if not f"{topic}/".startswith(self._prefix):
            return True
        levels = topic[len(self._prefix) :].split("/")
        return "response" in levels[1:] and levels[-1] not in _OWN

    def parse(self, topic: str) -> Request | None:
        """What a message on this topic asks for; None where it is no request."""
        if not topic.startswith(self._prefix):
            return None
        levels = topic[len(self._prefix) :].split("/")
        if any(not level or len(level) > _LONGEST_LEVEL for level in levels):
            return None
        match levels:
            case ["all", "set"]:
                return Request("set", None)
            case ["all" | "agents", *_]:
                return None
            case [unit, "set"]:
                return Request("set", unit)
            case [unit, "get"]:
                return Request("get", unit)
            case [unit, "set", "set" | "get"]:
                return None
            case [unit, "set", field]:
                return Request("set", unit, None, field)
            case [unit, channel, "set"]:
                return Request("set", unit, channel)
            case [unit, channel, "get"]:
                return Request("get", unit, channel)
            case [unit, channel, "set", field]:
                return Request("set", unit, channel, field)
        return None

"""The topic tree: every topic is built and parsed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from agent.protocol import fields
from agent.protocol.names import RESERVED_UNITS

_UnitKind = Literal["status", "info", "lease", "response"]
_ChannelKind = Literal["state", "backlog", "homeassistant", "event", "lease", "response"]
_AgentKind = Literal["status", "info", "metrics", "log"]

_UNIT_KINDS: dict[str, _UnitKind] = {kind: kind for kind in get_args(_UnitKind)}
_CHANNEL_KINDS: dict[str, _ChannelKind] = {kind: kind for kind in get_args(_ChannelKind)}
_AGENT_KINDS: dict[str, _AgentKind] = {kind: kind for kind in get_args(_AgentKind)}
#: A response never goes to a topic with one of these as its last level: there the agent publishes, or is sent requests.
_TAKEN = {
    *_UNIT_KINDS,
    *_CHANNEL_KINDS,
    *_AGENT_KINDS,
    *fields.LEVELS.values(),
    "set",
    "get",
    "takeover",
} - {"response"}
#: Characters. MQTT 5, 4.7.3: a topic takes at most 65,535 bytes. Ours end long before that.
LONGEST_LEVEL = 256
#: bytes
_LONGEST_RESPONSE_TOPIC = 1024
#: Mosquitto ends the connection of a client that publishes to a topic of more than 200 levels; other brokers allow fewer.
_MOST_RESPONSE_LEVELS = 100


@dataclass(frozen=True, slots=True)
class Request:
    """The meaning of a topic that an agent listens to.

    ``unit`` is None for ``all``; ``channel`` is None for the whole unit, else a number or a name as it stood in the
    topic, which may be empty; ``field`` is None where the payload is a whole command or request for a lease. ``has_slash``: the
    topic ends with a slash, which is a fault. ``copies``: the filters that the topic matches; some brokers deliver the message
    once for each.
    """

    verb: Literal["set", "get", "lease"]
    unit: str | None
    channel: str | None = None
    field: str | None = None
    has_slash: bool = False
    copies: int = 1


@dataclass(frozen=True, slots=True)
class UnitTopic:
    """A topic on which an agent publishes something of a whole unit."""

    unit: str
    kind: _UnitKind


@dataclass(frozen=True, slots=True)
class ChannelTopic:
    """A topic on which an agent publishes something of one channel; ``channel`` as it stood in the topic, mostly its number."""

    unit: str
    channel: str
    kind: _ChannelKind


@dataclass(frozen=True, slots=True)
class AgentTopic:
    """A topic on which an agent publishes something of itself."""

    agent: str
    kind: _AgentKind


Published = UnitTopic | ChannelTopic | AgentTopic


class Topics:
    """The topics below one base topic, which may have several levels (``lab3/psu``)."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._prefix = f"{base}/"

    # Of a channel.

    def state(self, unit: str, channel: int | str) -> str:
        """Where a channel's present state is retained."""
        return f"{self._prefix}{unit}/{channel}/state"

    def backlog(self, unit: str, channel: int | str) -> str:
        """Where samples are published that were taken while the broker was away."""
        return f"{self._prefix}{unit}/{channel}/backlog"

    def homeassistant(self, unit: str, channel: int | str) -> str:
        """Where the state is published again, but only as often as is good for Home Assistant's database."""
        return f"{self._prefix}{unit}/{channel}/homeassistant"

    def event(self, unit: str, channel: int | str) -> str:
        """Where changes of a channel are published."""
        return f"{self._prefix}{unit}/{channel}/event"

    def value(self, unit: str, channel: int | str, field: str) -> str:
        """Where one field of a channel's state is retained as a bare value, if the configuration asks for it."""
        return f"{self._prefix}{unit}/{channel}/{fields.LEVELS[field]}"

    # Of a unit.

    def status(self, unit: str) -> str:
        """Where ``online`` or ``offline`` is retained for a unit."""
        return f"{self._prefix}{unit}/status"

    def info(self, unit: str) -> str:
        """Where a unit's identity and channels are retained."""
        return f"{self._prefix}{unit}/info"

    @property
    def every_info(self) -> str:
        """The filter through which every unit's info arrives."""
        return self.info("+")

    def response(self, unit: str, channel: int | str | None = None) -> str:
        """Where the outcome of a command is published, of one for a channel or for a whole unit."""
        return f"{self._prefix}{unit}/response" if channel is None else f"{self._prefix}{unit}/{channel}/response"

    def lease(self, unit: str, channel: int | str | None = None) -> str:
        """Where the holder of the lease on a unit, or on a channel, is retained."""
        return f"{self._prefix}{unit}/lease" if channel is None else f"{self._prefix}{unit}/{channel}/lease"

    @property
    def every_lease(self) -> tuple[str, str]:
        """The filters through which every unit's and every channel's lease arrives."""
        return self.lease("+"), self.lease("+", "+")

    # Of an agent.

    def agent_status(self, agent: str) -> str:
        """Where ``online`` is retained while an agent runs, and ``offline`` by its Last Will."""
        return f"{self._prefix}agents/{agent}/status"

    def agent_info(self, agent: str) -> str:
        """Where an agent's version, host and units are retained."""
        return f"{self._prefix}agents/{agent}/info"

    def agent_metrics(self, agent: str) -> str:
        """Where an agent's counters are published."""
        return f"{self._prefix}agents/{agent}/metrics"

    def agent_log(self, agent: str) -> str:
        """Where an agent's warnings and errors are published."""
        return f"{self._prefix}agents/{agent}/log"

    def agent_nowhere(self, agent: str) -> str:
        """A topic on which nothing is ever published."""
        return f"{self._prefix}agents/{agent}/nowhere"

    def parse_published(self, topic: str) -> Published | None:
        """The meaning of a topic on which agents publish; None where it is another topic."""
        match self._levels(topic):
            case ["agents", agent, kind]:
                return AgentTopic(agent, _AGENT_KINDS[kind]) if kind in _AGENT_KINDS else None
            case [name, *_] if name in RESERVED_UNITS:
                return None
            case [_, "set" | "get", _]:
                return None
            case [unit, kind] if kind in _UNIT_KINDS:
                return UnitTopic(unit, _UNIT_KINDS[kind])
            case [unit, channel, kind] if kind in _CHANNEL_KINDS:
                return ChannelTopic(unit, channel, _CHANNEL_KINDS[kind])
        return None

    # Requests.

    def set(self, unit: str, channel: int | str | None = None, field: str | None = None) -> str:
        """Where a command goes: to a channel, a unit, or ``all``; as a bare value of one field, where one is given."""
        root = f"{self._prefix}{unit}/set" if channel is None else f"{self._prefix}{unit}/{channel}/set"
        return root if field is None else f"{root}/{field}"

    def get(self, unit: str, channel: int | str | None = None) -> str:
        """Where a request to poll and publish now goes."""
        return f"{self._prefix}{unit}/get" if channel is None else f"{self._prefix}{unit}/{channel}/get"

    def lease_set(self, unit: str, channel: int | str | None = None) -> str:
        """Where a request goes to take a lease on a unit or a channel, to renew it or to give it back."""
        return f"{self.lease(unit, channel)}/set"

    def takeover(self, unit: str) -> str:
        """Where an agent is asked to serve a unit that another agent served."""
        return f"{self._prefix}{unit}/takeover"

    @property
    def every_takeover(self) -> str:
        """The filter through which every request to serve a unit arrives."""
        return self.takeover("+")

    def parse_takeover(self, topic: str) -> str | None:
        """The unit that an agent is asked to serve; None where a topic is another one."""
        match self._levels(topic):
            case [unit, "takeover"] if unit not in RESERVED_UNITS:
                return unit
        return None

    def subscriptions(self, units: list[str]) -> list[str]:
        """The filters through which every request to these units, and no other unit's, arrives.

        They end in ``#``, so that a command on a topic with a level too many is answered, too.
        """
        filters = [f"{self._prefix}all/set/#", f"{self._prefix}all/+/set/#"]
        for unit in units:
            root = f"{self._prefix}{unit}"
            filters += [f"{root}/set/#", f"{root}/+/set/#", f"{root}/+/+/set/#", f"{root}/get/#", f"{root}/+/get/#"]
        return filters

    def parse(self, topic: str) -> Request | None:
        """The request that a message on this topic is; None where it is none. Everything that `subscriptions` lets in is one."""
        if not topic.startswith(self._prefix):
            return None
        name, *levels = topic[len(self._prefix) :].split("/")
        if not name or (name in RESERVED_UNITS and name != "all"):
            return None
        unit = None if name == "all" else name
        verb: Literal["set", "lease"] = "set"
        match levels:
            case ["set", *rest]:
                channel = None
            case ["lease", "set", *rest] if unit is not None:
                verb, channel = "lease", None
            case [channel, "set", *rest]:
                pass
            case ["get", *_] | [_, "get", *_] if unit is None:
                return None
            case ["get", *_]:
                return Request("get", unit)
            case [channel, "get", *_]:
                return Request("get", unit, channel)
            case [channel, "lease", "set", *rest] if unit is not None:
                verb = "lease"
            case [first, second, "set", *rest] if unit is not None:
                channel = f"{first}/{second}"
            case _:
                return None
        has_slash = bool(rest) and not rest[-1]
        field = "/".join(rest).rstrip("/")
        copies = sum(level in ("set", "get") for level in levels[:2]) + (levels[2:3] == ["set"])
        return Request(verb, unit, channel, field or None, has_slash, copies)

    def takes_responses(self, topic: str) -> bool:
        """True if a response may go to a topic that a requester named.

        It may not be a pattern, and below the base topic only a topic of responses, ``…/response/…`` or a topic below
        ``{base}/response``, where no unit is: nobody must be able to make an agent send commands, or publish a response as a
        state.
        """
        if (
            not topic
            or len(topic.encode()) > _LONGEST_RESPONSE_TOPIC
            or topic.count("/") >= _MOST_RESPONSE_LEVELS
            or topic.startswith("$")
            or not topic.isprintable()
        ):
            return False
        if "+" in topic or "#" in topic or self.parse(topic) is not None:
            return False
        if not f"{topic}/".startswith(self._prefix):
            return True
        levels = topic[len(self._prefix) :].split("/")
        return len(levels) > 1 and "response" in levels and levels[-1] not in _TAKEN

    @property
    def response_topics(self) -> str:
        """The topics that responses may go to, for a sentence that begins with "give"."""
        return f"a topic below {self._prefix}response/ or outside of {self._prefix}, without wildcards"

    def _levels(self, topic: str) -> list[str] | None:
        """The levels below the base topic; None where it is not below it, or no topic of ours could be that long."""
        if not topic.startswith(self._prefix):
            return None
        levels = topic[len(self._prefix) :].split("/")
        return None if any(not level or len(level) > LONGEST_LEVEL for level in levels) else levels

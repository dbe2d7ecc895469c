"""The messages that an agent publishes, typed: states, events, responses, and the infos of agents and units."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from agent.protocol.errors import ErrorCode

#: CV and CC: the output regulates its voltage or its current. CP: its power. UR: unregulated. OFF: it is off.
Mode = Literal["CV", "CC", "CP", "UR", "OFF"]
#: The protection that turned an output off. OVP, UVP: its voltage was too high, too low. OCP, OPP: too much current, power. OTP:
#: too hot. FOLD: it left the mode that it was to stay in (foldback). AC: the mains were away or too low. FAN: a fan stands still.
#: INTERLOCK, INHIBIT: a signal from outside. OTHER: another one, or the unit does not say which.
Trip = Literal["OVP", "OCP", "OPP", "OTP", "UVP", "AC", "FOLD", "INTERLOCK", "INHIBIT", "FAN", "OTHER"]
#: The author of a change: a command, a person at the panel or another program, the agent itself, or the unit, whose modes and
#: trips nobody asks for.
By = Literal["command", "panel", "agent", "unit"]


def utc_now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


@lru_cache(maxsize=16)  # the channels of a unit are polled together and share their time
def format_time(time: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, ``2026-11-23T09:15:02.417Z``."""
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


Time = Annotated[datetime, PlainSerializer(format_time, return_type=str, when_used="json")]


class _Message(BaseModel):
    # A field that a newer agent adds does not make its messages unreadable to an older reader.
    model_config = ConfigDict(extra="ignore", frozen=True)

    def to_json(self) -> bytes:
        """The message as it is published: JSON in UTF-8."""
        return self.__pydantic_serializer__.to_json(self)


class ChannelState(_Message):
    """One sample of one channel, in V, A, W, Wh and Ah; None for what is not known.

    The fields after ``online`` are the reported rows of `agent.protocol.quantities`, in the order of the table.
    """

    time: Time
    seq: int
    agent: str
    psu: str
    index: int
    name: str
    model: str | None
    online: bool
    state: bool | None = None
    voltage: float | None = None
    current: float | None = None
    power: float | None = None
    voltage_limit: float | None = None
    current_limit: float | None = None
    mode: Mode | None = None
    tripped: Trip | None = None
    voltage_protection: float | None = None
    current_protection: bool | None = None
    current_protection_level: float | None = None
    voltage_protection_state: bool | None = None
    energy: float | None = None
    charge: float | None = None


class Event(_Message):
    """One change of one field of a channel, and its author."""

    time: Time
    agent: str
    psu: str
    index: int
    name: str
    model: str | None
    field: str
    from_: float | bool | str | None = Field(serialization_alias="from", validation_alias="from")
    to: float | bool | str | None
    by: By
    id: str | None = None
    text: str

    def to_json(self) -> bytes:
        """The event as it is published: JSON in UTF-8, with ``from`` for ``from_``."""
        return self.__pydantic_serializer__.to_json(self, by_alias=True)


class ResponseError(_Message):
    """Why a command was not, or not wholly, carried out: a code for programs and a sentence for people."""

    code: ErrorCode
    message: str


class LeaseState(_Message):
    """The lease on a unit (``index`` None) or on one of its channels: its ``holder``, since and until when; None: nobody."""

    time: Time
    agent: str
    psu: str
    index: int | None
    holder: str | None
    since: Time | None
    until: Time | None


class Response(_Message):
    """The outcome of a command: the state of the channel, or of the unit's channels, as read back; the error; or both.

    Both: it was not, or not wholly, carried out, and the unit was read after the last write. Of a request for a lease the result
    is the lease as it is now. ``also_off``: the channels that were on and went off with an off, because the unit has one switch
    for them, or couples them.
    """

    id: str | None
    ok: bool
    time: Time
    psu: str
    index: int | None
    result: ChannelState | list[ChannelState] | LeaseState | None = None
    also_off: list[int] = []
    error: ResponseError | None = None

    def to_json(self) -> bytes:
        """The response as it is published: JSON in UTF-8, without ``error``, ``result`` or ``also_off`` where there is none."""
        without = {"error"} if self.ok else {"result"} if self.result is None else set()
        if not self.also_off:
            without.add("also_off")
        return self.__pydantic_serializer__.to_json(self, exclude=without)


class ChannelInfo(_Message):
    """The ratings of a channel (V, A), and the ranges of its settings within the limits of the configuration (V, A).

    None for a value that the channel does not have or does not tell. Each level of `agent.protocol.quantities` has a range here.
    ``fields``: the fields of a command that it takes. ``tells``: the fields of its state that can have a value, in
    their order; None while nobody knows, as before the unit has answered.
    """

    index: int
    name: str
    voltage_rating: float | None
    current_rating: float | None
    voltage_limit_range: tuple[float, float] | None
    current_limit_range: tuple[float, float] | None
    voltage_protection_range: tuple[float, float] | None
    current_protection_level_range: tuple[float, float] | None = None
    voltage_resolution: float
    current_resolution: float
    on_broker_loss: Literal["keep", "off"]
    broker_loss_after: float | None = None
    fields: list[str]
    tells: list[str] | None = None

    def range_of(self, level: str) -> tuple[float, float] | None:
        """The lowest and the highest value of a level, such as ``voltage_limit``; None where the channel does not have it."""
        found: tuple[float, float] | None = getattr(self, f"{level}_range")
        return found

    def resolution_of(self, symbol: str) -> float | None:
        """The step in which quantities of this unit symbol are set, V or A; None for every other unit."""
        return {"V": self.voltage_resolution, "A": self.current_resolution}.get(symbol)


class Conflict(_Message):
    """The other agent that claims the same unit name (``why: name``), the same supply, or the same agent name.

    ``unit``: what the other one calls the unit; None where it claims the whole agent's name. ``instance``: of that run of it.
    """

    agent: str
    instance: str | None
    host: str | None
    unit: str | None
    why: Literal["name", "supply", "agent"]


class UnitInfo(_Message):
    """The identity of a unit, its channels, and the reason if it is offline, or if another agent serves it.

    ``power_up``: a sentence if its outputs come back by themselves when the mains return; None if they stay off, or nobody knows.
    ``heartbeat``: the time (s) after which a state is published though nothing has changed; None where each poll is published.

    Who serves it: ``instance`` of the ``agent`` on ``host``, since ``since``; if ``serves`` is false another agent does.
    ``conflict``: the other agent that claims the unit, whichever of the two serves it. ``settings_for``: for so long (s) the
    agent may send settings to the unit without hearing from the broker; another agent that takes the unit over waits longer.
    """

    time: Time
    agent: str
    psu: str
    online: bool
    reason: str | None
    model: str | None
    manufacturer: str | None
    serial: str | None
    firmware: str | None
    uri: str
    poll_interval: float
    channels: list[ChannelInfo]
    heartbeat: float | None = None
    power_up: str | None = None
    instance: str | None = None
    host: str | None = None
    serves: bool = True
    since: Time | None = None
    conflict: Conflict | None = None
    settings_for: float | None = None


class AgentInfo(_Message):
    """The agent: its version, its host and the units that it serves. ``instance`` is another one with each start.

    Not retained, it is a question or an answer: ``asks``: is another agent of this name there already? ``answers``: yes, to the
    instance that asked.
    """

    time: Time
    agent: str
    version: str
    host: str
    start_time: Time
    units: list[str]
    base_topic: str
    instance: str | None = None
    asks: bool = False
    answers: str | None = None


class AgentRemark(_Message):
    """A warning or an error of the agent's log, in one line, without secrets.

    ``unit``: the unit that it is about, whose name ``text`` does not repeat; None for one that is about none, or about several.
    """

    time: Time
    agent: str
    level: Literal["warning", "error", "critical"]
    unit: str | None
    text: str


class Metrics(_Message):
    """Counters since the agent's start; ``poll_rate`` in polls a second over the last interval, ``memory`` in bytes.

    ``state_age``: the largest age (s) of a state at the moment it was sent, in the last interval; 0 where none was sent.
    """

    time: Time
    agent: str
    version: str
    uptime: float
    units: int
    units_online: int
    polls: int
    late_polls: int
    errors: int
    reconnects: int
    commands: int
    refusals: int
    published: int
    undeliverable: int
    backlog: int
    dropped_samples: int
    dropped_messages: int
    dropped_log_lines: int
    broker_reconnects: int
    memory: int
    poll_rate: float
    state_age: float = 0.0

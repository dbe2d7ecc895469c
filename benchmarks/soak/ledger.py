"""The rules, and the books that prove that they were kept: every message between agent and broker and at every unit.

1. Exactly one response to each delivered command. Delivered is what the agent has acknowledged to the broker (it does so
   after it has taken the command); on a connection that broke before, none or one. A response that was not acknowledged
   when the connection broke is sent again as it was: that is one response. Of commands that repeat each other at most one
   is carried out, and what is forbidden, malformed, retained or expired is refused with the right code.
2. A unit turns an output on only for a command that was delivered, was not refused, has no response yet, has not been spent
   on another turning on, and is not older than one that turned the output off and was confirmed.
3. A unit receives no setpoint above a limit, and no output goes on while a setpoint is above one, unless somebody turned the
   knob after the agent had looked.
4. Every `seq` of every channel reaches the broker, as state or in the backlog; never two different states with one `seq`.
5. What is published as present is what the unit answered at that time, each answer once.
6. What a response says was done was done.

Every method may be called from any thread.
"""

from __future__ import annotations

import collections
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from benchmarks.soak.commands import ALL, CHANNELS, LIMITS, Command
from benchmarks.soak.tap import Publish

#: s. An acknowledgement may have been on its way when the connection broke.
GRACE = 2.0
#: s between a unit's answer and the time of the state made of it, at most: a timeout and a busy machine.
LATEST_ANSWER = 4.0
#: s. After it a command that has been taken must have been answered, if the broker was there.
LATEST_RESPONSE = 60.0
#: s that a message which the agent sent, and is unsure of, may take to be carried out by the unit.
LATEST_EFFECT = 15.0
_Identity = tuple[str, bytes, bytes | None]
#: V and A. What a knob may be above a limit by the unit's own rounding.
_ROUNDING = 0.0021

_OUTPUT = re.compile(r"OUTP (0|1|ON|OFF),\(@([\d,]+)\)")
_LEVEL = re.compile(r"(VOLT|CURR) ([-+.\dEe]+),\(@([\d,]+)\)")


@dataclass(frozen=True, slots=True)
class Setting:
    """Of one output, at the unit."""

    on: bool
    voltage: float
    current: float


@dataclass(slots=True, eq=False)
class Delivery:
    """One command as one unit's; a command to all of them is one for each."""

    command: Command
    unit: str
    order: int
    time: float
    connection: int
    mid: int
    taken: bool = False  # the agent acknowledged it
    code: str | None = None  # of the response, "ok" if it was carried out


@dataclass(slots=True, eq=False)
class _Right:
    """To turn outputs on, once."""

    delivery: Delivery
    spent: bool = False
    closed: float | None = None  # since when it is too late
    revoked: bool = False  # by a confirmed off


@dataclass(slots=True, eq=False)
class _Sent:
    """A message of the agent that its broker has not acknowledged, or only just."""

    packet: Publish
    connection: int
    acknowledged: float | None = None


@dataclass(slots=True)
class _Answer:
    """Of a unit, when it was asked for a channel's voltage; and which state was made of it."""

    time: float
    seq: int | None = None


@dataclass(slots=True)
class _Channel:
    """What is known of one channel."""

    rights: list[_Right] = field(default_factory=list)
    states: dict[int, tuple[bytes, bool]] = field(default_factory=dict)  # by seq: payload, whether it was acknowledged
    answers: dict[float, list[_Answer]] = field(default_factory=lambda: collections.defaultdict(list))  # by voltage
    newest_live: tuple[int, int] = (0, 0)  # connection, seq
    newest_backlog: tuple[int, int] = (0, 0)
    in_backlog: set[int] = field(default_factory=set)
    looked: float = 0.0
    turned_off: float = 0.0
    knob_turned: float = 0.0


class Ledger:
    """``complain`` is called with each violation, as soon as it is seen."""

    def __init__(self, base: str, units: list[str], complain: Callable[[str], None]) -> None:
        self._prefix = f"{base}/"
        self._units = units
        self._complain = complain
        self._lock = threading.RLock()
        self._published: dict[int, Command] = {}
        self._deliveries: dict[tuple[int, str], list[Delivery]] = collections.defaultdict(list)
        self._by_mid: dict[tuple[int, int], list[Delivery]] = {}
        self._order = self._connection = 0
        self._channels = {(unit, index): _Channel() for unit in units for index in CHANNELS}
        self._in_flight: dict[tuple[int, int], _Sent] = {}
        self._unsettled: collections.Counter[_Identity] = collections.Counter()  # may come again, as it was
        self._unconfirmed: dict[_Identity, Delivery] = {}  # responses that the broker has not acknowledged
        self._carried_out: collections.Counter[tuple[int, str]] = collections.Counter()
        self._recent: dict[str, collections.deque[str]] = {unit: collections.deque(maxlen=12) for unit in units}

        self.connected_since: float | None = None
        self.online: dict[str, bool] = dict.fromkeys(units, False)
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.kinds: collections.Counter[str] = collections.Counter()
        self.counts: collections.Counter[str] = collections.Counter()
        self.delays: dict[str, list[float]] = collections.defaultdict(list)

    # What the soak itself does.

    def sending(self, command: Command) -> None:
        with self._lock:
            self._published[command.number] = command

    def turning_knob(self, unit: str, channel: int) -> None:
        """Somebody is about to change a setting at the unit. Called with the instrument's lock held."""
        with self._lock:
            self._channels[unit, channel].knob_turned = time.monotonic()

    # What the tap sees.

    def connected(self, connection: int) -> None:
        with self._lock:
            self._connection = connection
            self.connected_since = time.monotonic()
            self.counts["connections"] += 1

    def disconnected(self, connection: int) -> None:
        with self._lock:
            self.connected_since = None
            now = time.monotonic()
            for key, sent in list(self._in_flight.items()):
                if key[0] == connection:
                    del self._in_flight[key]
                    may_come_again = sent.packet.topic.endswith(("/response", "/backlog"))
                    if may_come_again and (sent.acknowledged is None or now - sent.acknowledged < GRACE):
                        self._unsettled[_identity(sent.packet)] += 1

    def delivered(self, connection: int, packet: Publish) -> None:
        levels = packet.topic.removeprefix(self._prefix).split("/")
        if "set" not in levels or (packet.retain and not packet.payload):  # which removes a retained command
            return
        with self._lock:
            number = int(packet.correlation or b"0")
            command = self._published.get(number)
            if command is None:
                self._complain(
                    f"the broker delivered a command that nobody sent: {packet.topic} {packet.payload[:80]!r}"
                )
                return
            self._order += 1
            now = time.monotonic()
            deliveries = [
                Delivery(command, unit, self._order, now, connection, packet.mid)
                for unit in (self._units if command.unit == ALL else [command.unit])
            ]
            self._by_mid[connection, packet.mid] = deliveries
            self.counts["deliveries"] += len(deliveries)
            self.kinds[command.kind] += 1
            for delivery in deliveries:
                earlier = self._deliveries[number, delivery.unit]
                earlier.append(delivery)
                if command.turns_on and len(earlier) == 1 and not command.refusals:
                    right = _Right(delivery)
                    for index in command.indices:
                        self._channels[delivery.unit, index].rights.append(right)

    def agent_acknowledged(self, connection: int, mid: int) -> None:
        with self._lock:
            for delivery in self._by_mid.pop((connection, mid), ()):
                delivery.taken = True

    def published(self, connection: int, packet: Publish) -> None:
        levels = packet.topic.removeprefix(self._prefix).split("/")
        with self._lock:
            self._in_flight[connection, packet.mid] = _Sent(packet, connection)
            match levels:
                case [unit, index, "state" | "backlog" as kind] if unit in self._recent:
                    self._state(connection, self._channels[unit, int(index)], kind == "backlog", packet)
                case [unit, "status"] if unit in self._recent:
                    self.online[unit] = packet.payload == b"online"
                case [_, _, "event"]:
                    self.counts["events"] += 1
                case [*_, "response"]:
                    self._response(packet)

    def broker_acknowledged(self, connection: int, mid: int) -> None:
        with self._lock:
            sent = self._in_flight.get((connection, mid))
            if sent is None:
                return
            # Kept for a while: the acknowledgement may not reach the agent. `sweep` forgets it.
            sent.acknowledged = time.monotonic()
            levels = sent.packet.topic.removeprefix(self._prefix).split("/")
            match levels:
                case [unit, index, "state" | "backlog"] if unit in self._recent:
                    seq = json.loads(sent.packet.payload)["seq"]
                    self._channels[unit, int(index)].states[seq] = sent.packet.payload, True
                case [*_, "response"]:
                    self._unconfirmed.pop(_identity(sent.packet), None)

    def sweep(self) -> None:
        """Look for what should have happened by now. To be called every second or so."""
        with self._lock:
            now = time.monotonic()
            for key, sent in list(self._in_flight.items()):
                if sent.acknowledged is not None and now - sent.acknowledged > GRACE:
                    del self._in_flight[key]
            if self.connected_since is None or now - self.connected_since < LATEST_RESPONSE / 4:
                return
            for delivery in self._unanswered():
                if delivery.taken and now - delivery.time > LATEST_RESPONSE:
                    self._violated(1, delivery.unit, f"no response for {LATEST_RESPONSE:g} s to {_shown(delivery)}")
                    delivery.code = "none"

    # 1 and 6: responses.

    def _response(self, packet: Publish) -> None:
        identity = _identity(packet)
        if self._unsettled[identity] > 0:
            self._unsettled[identity] -= 1
            self.counts["responses sent again"] += 1
            return
        message = json.loads(packet.payload)
        unit = message["psu"]
        number = int(packet.correlation or b"0")
        now = time.monotonic()
        deliveries = self._deliveries[number, unit]
        open_ones = [delivery for delivery in deliveries if delivery.code is None]
        if not open_ones:
            what = f"a second response to {_shown(deliveries[0])}" if deliveries else "a response to no command"
            self._violated(1, unit, f"{what}: {packet.payload.decode()[:300]}")
            return
        code = "ok" if message["ok"] else str(message["error"]["code"])
        # Of several deliveries of one command any may be the one that is meant, so it is their numbers that have to agree:
        # those that need a response come first, those of a connection that broke before they were taken need none.
        delivery = max(open_ones, key=lambda d: (d.connection == self._connection, d.taken, -d.order))
        delivery.code = code
        self._unconfirmed[identity] = delivery
        command = delivery.command
        self.outcomes[code] += 1
        self._check_topic(command, unit, packet)
        if command.kind not in ("cycle", "ramp") and code != "expired":
            kind = "off" if command.turns_off else "refused at once" if command.refusals else "others"
            self.delays[kind].append(now - delivery.time)
        if code == "duplicate":
            if len(deliveries) == 1 and command.kind not in ("repetition", "repeated"):
                self._violated(1, unit, f"called a duplicate, and is none: {_shown(delivery)}")
            return
        allowed = command.refusals | ({"expired"} if command.refusals else set())
        if allowed and code not in allowed:
            self._violated(
                1, unit, f"{_shown(delivery)} had to be refused as {' or '.join(command.refusals)}: {message}"
            )
        if code == "ok":
            self._check_result(delivery, message["result"])
        for index in command.indices:
            channel = self._channels[unit, index]
            for right in channel.rights:
                if right.delivery.command is command:
                    right.closed = now + LATEST_EFFECT if code == "uncertain" else now
                elif code == "ok" and command.turns_off and right.delivery.order < delivery.order:
                    right.revoked = True
            channel.rights = [r for r in channel.rights if r.closed is None or now - r.closed < LATEST_EFFECT]

    def _check_topic(self, command: Command, unit: str, packet: Publish) -> None:
        if command.own_topic:
            level = f"{command.channel}/" if command.channel is not None else ""
            level = f"{command.topic_channel}/" if command.topic_channel is not None else level
            wanted = f"{self._prefix}{unit}/{level}response"
        else:
            wanted = RESPONSE_TOPIC
        if packet.topic != wanted:
            self._violated(1, unit, f"the response to command {command.number} went to {packet.topic}, not to {wanted}")

    def _check_result(self, delivery: Delivery, result: Any) -> None:
        command, unit = delivery.command, delivery.unit
        self._carried_out[command.group, unit] += 1
        if self._carried_out[command.group, unit] > 1:
            self._violated(1, unit, f"carried out twice: {_shown(delivery)}")
        states = result if isinstance(result, list) else [result]
        for state in states:
            for name, value in command.wanted.items():
                found = state[name]
                if found is None or abs(found - value) > _ROUNDING:  # True and False are 1 and 0
                    self._violated(6, unit, f"{name} is {found} in the response to {_shown(delivery)}")
        if command.turns_off:
            for index in command.indices:
                if self._channels[unit, index].turned_off < delivery.time:
                    self._violated(
                        6, unit, f"channel {index} was never turned off by {_shown(delivery)}, which was confirmed"
                    )

    def _unanswered(self) -> Iterator[Delivery]:
        for deliveries in self._deliveries.values():
            for delivery in deliveries:
                if delivery.code is None:
                    yield delivery

    # 2 and 3: what the units receive.

    def executed(
        self, unit: str, message: str, before: Mapping[int, Setting], after: Mapping[int, Setting], answer: str | None
    ) -> None:
        """A unit carried out a message. ``answer`` is None where there is none, or where it was garbled on its way."""
        now = time.monotonic()
        with self._lock:
            self.counts["messages to units"] += 1
            if "?" in message:
                self._answered(unit, message, answer, now)
            else:
                self._recent[unit].append(message)
            turned_on: set[int] = set()
            for match in _OUTPUT.finditer(message):
                indices = [int(index) for index in match[2].split(",")]
                if match[1] in ("0", "OFF"):
                    for index in indices:
                        self._channels[unit, index].turned_off = now
                else:
                    turned_on.update(indices)
                    self._turned_on(unit, indices, before, now)
            for match in _LEVEL.finditer(message):
                for index in map(int, match[3].split(",")):
                    self.counts["setpoints"] += 1
                    limit = LIMITS[index][match[1] == "CURR"]
                    if abs(float(match[2])) > limit:
                        self._violated(3, unit, f"received {message} above the limit of {limit:g}")
            for index in CHANNELS:
                if after[index].on and not before[index].on and index not in turned_on:
                    self._violated(2, unit, f"channel {index} went on by {message!r}")
                for name, limit in zip(("voltage", "current"), LIMITS[index], strict=True):
                    value = getattr(after[index], name)
                    if value != getattr(before[index], name) and value > limit + 1e-9:
                        self._violated(3, unit, f"{name} of channel {index} was set to {value:g} by {message!r}")

    def _turned_on(self, unit: str, indices: list[int], before: Mapping[int, Setting], now: float) -> None:
        self.counts["outputs turned on"] += len(indices)
        rights = [right for right in self._channels[unit, indices[0]].rights if not right.spent]
        if set(indices) == set(CHANNELS):
            fitting = [right for right in rights if right.delivery.command.channel is None]
        else:
            fitting = [right for right in rights if right.delivery.command.indices == tuple(indices)]
        usable = [right for right in fitting if not right.revoked and (right.closed is None or now <= right.closed)]
        if usable:
            # The oldest: commands of one unit are carried out in their order, and what is left must not be too old.
            usable[0].spent = True
        else:
            why = (
                "only for commands older than one that turned it off and was confirmed"
                if any(right.revoked for right in fitting)
                else "only for commands that had been answered"
                if fitting
                else "for no command"
            )
            self._violated(2, unit, f"channels {indices} were turned on, {why}")
        for index in indices:
            channel = self._channels[unit, index]
            voltage, current = LIMITS[index]
            if before[index].voltage > voltage + _ROUNDING or before[index].current > current + _ROUNDING:
                if channel.knob_turned > channel.looked:
                    self.counts["knob turned between look and on"] += 1
                else:
                    self._violated(3, unit, f"channel {index} was turned on at {before[index]}")

    # 4 and 5: states.

    def _answered(self, unit: str, message: str, answer: str | None, now: float) -> None:
        """Note what a unit answered of its voltages: with their noise they tell one answer from another."""
        if answer is None:
            return
        questions, answers = message.split(";:"), answer.split(";")
        for question in questions:
            if question.startswith(("VOLT? (@", "OUTP? (@")):
                for index in _list(question):
                    self._channels[unit, index].looked = now
        if len(questions) != len(answers):
            return
        moment = time.time()
        for question, said in zip(questions, answers, strict=True):
            if question.startswith("MEAS:VOLT? (@"):
                for index, value in zip(_list(question), said.split(","), strict=True):
                    self._channels[unit, index].answers[float(value)].append(_Answer(moment))

    def _state(self, connection: int, channel: _Channel, is_backlog: bool, packet: Publish) -> None:
        state = json.loads(packet.payload)
        seq, unit = state["seq"], state["psu"]
        self.counts["backlog" if is_backlog else "states"] += 1
        known = channel.states.get(seq)
        if known is not None and known[0] != packet.payload:
            self._violated(4, unit, f"two states with seq {seq}: {known[0].decode()} and {packet.payload.decode()}")
        if known is None:
            channel.states[seq] = packet.payload, False
            self._check_truth(channel, state)
        if is_backlog:
            if seq in channel.in_backlog and self._unsettled[_identity(packet)] <= 0:
                self._violated(4, unit, f"seq {seq} of channel {state['index']} came twice by the backlog")
            channel.in_backlog.add(seq)
            if channel.newest_backlog[0] == connection and seq < channel.newest_backlog[1]:
                self._violated(4, unit, f"seq {seq} of channel {state['index']} came late by the backlog")
            channel.newest_backlog = connection, seq
        else:
            if channel.newest_live[0] == connection and seq < channel.newest_live[1]:
                self._violated(4, unit, f"state {seq} of channel {state['index']} came after {channel.newest_live[1]}")
            channel.newest_live = connection, seq
        self._unsettled.pop(_identity(packet), None)

    def _check_truth(self, channel: _Channel, state: Mapping[str, Any]) -> None:
        if not state["online"]:
            self.counts["states offline"] += 1
            stale = [
                name for name in ("state", "voltage", "current", "voltage_limit", "mode") if state[name] is not None
            ]
            if stale:
                self._violated(5, state["psu"], f"offline, and yet {', '.join(stale)} are given: {state}")
            return
        moment = datetime.fromisoformat(state["time"]).timestamp()
        answers = channel.answers.get(state["voltage"], [])
        # The newest that it can be: two answers may be alike, and their states come in any order.
        fitting = [
            answer for answer in answers if answer.seq is None and -0.01 <= moment - answer.time <= LATEST_ANSWER
        ]
        if fitting:
            max(fitting, key=lambda answer: answer.time).seq = state["seq"]
            return
        alike = ", ".join(
            f"{moment - answer.time:.2f} s before it" + (f", which is seq {answer.seq}" if answer.seq else "")
            for answer in answers[-10:]
        )
        self._violated(5, state["psu"], f"not what the unit answered ({alike or 'never'} it did): {dict(state)}")

    # At the end.

    def due(self) -> list[str]:
        """What has not come yet: units that are not online, commands not answered, states not acknowledged."""
        with self._lock:
            due = [f"{unit} is not online" for unit, online in self.online.items() if not online]
            due += [f"a response to {_shown(delivery)}" for delivery in self._unanswered() if delivery.taken]
            due += [f"the broker's word for the response to {_shown(d)}" for d in self._unconfirmed.values()]
            for (unit, index), channel in self._channels.items():
                if missing := self._missing(channel):
                    due.append(f"seq {missing[:5]} of {unit}/{index}")
            return due

    def quiet(self) -> bool:
        """Whether nothing is due."""
        return not self.due()

    def kept(self, samples: list[tuple[str, bytes]], responses: list[tuple[str, bytes, bytes | None]]) -> None:
        """What the agent kept on disk for its next start."""
        with self._lock:
            for topic, payload in samples:
                unit, index, _ = topic.removeprefix(self._prefix).split("/")
                self._channels[unit, int(index)].states[json.loads(payload)["seq"]] = payload, True
                self.counts["kept for the next start"] += 1
            for response in responses:
                self._unconfirmed.pop(response, None)

    def close(self) -> None:
        """The last look: nothing more will come."""
        with self._lock:
            for delivery in self._unanswered():
                if delivery.taken:
                    self._violated(1, delivery.unit, f"no response to {_shown(delivery)}")
                else:
                    self.counts["deliveries cut off"] += 1
            for delivery in self._unconfirmed.values():
                self._violated(1, delivery.unit, f"the response never reached the broker, to {_shown(delivery)}")
            for (unit, index), channel in self._channels.items():
                missing = self._missing(channel)
                self.counts["missing"] += len(missing)
                if missing:
                    self._violated(4, unit, f"channel {index}: seq {missing[:20]} never reached the broker")
                self.counts["samples"] += len(channel.states)
            self.counts["responses"] = sum(self.outcomes.values())

    @staticmethod
    def _missing(channel: _Channel) -> list[int]:
        states = channel.states
        return [seq for seq in range(1, max(states, default=0) + 1) if seq not in states or not states[seq][1]]

    def _violated(self, rule: int, unit: str, what: str) -> None:
        self.counts["violations"] += 1
        recent = " | ".join(self._recent.get(unit, ()))
        self._complain(f"rule {rule}: {unit}: {what}\n    last written to {unit}: {recent}")


#: Where those responses go that are asked for with MQTT 5's Response Topic.
RESPONSE_TOPIC = "soak/response"


def _identity(packet: Publish) -> _Identity:
    return packet.topic, packet.payload, packet.correlation


def _list(question: str) -> list[int]:
    return [int(index) for index in question[question.index("(@") + 2 :].rstrip(")").split(",")]


def _shown(delivery: Delivery) -> str:
    command = delivery.command
    payload = command.payload if len(command.payload) < 150 else command.payload[:150] + b"..."
    return f"command {command.number} ({command.kind}, {command.topic}, {payload!r})"

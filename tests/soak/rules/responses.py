"""Rules 1, 6 and 7: exactly one response to each delivered command, right about what was done, and nothing old was done."""

from __future__ import annotations

import collections
import json
import time
from collections.abc import Iterator
from typing import Any

from tests.soak.commands import ALL, Command
from tests.soak.rules.books import RESPONSE_TOPIC, ROUNDING, Books, Delivery, Identity, Right, identity, shown
from tests.soak.rules.effects import Effects
from tests.soak.tap import Publish

#: s. After it a command that has been taken must have been answered, if the broker was there.
LATEST_RESPONSE = 60.0
#: s that a message which the agent sent, and is unsure of, may take to be carried out by the unit.
LATEST_EFFECT = 15.0
#: s. A command that the broker has had for longer when it comes is too old: the contract's 2 s, and 1 s for a busy machine.
TOO_OLD = 3.0


class Responses:
    """Commands from their being sent to their responses. Call its methods with the lock of the books held."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._effects = Effects(books)
        self._published: dict[int, Command] = {}
        self._accepted: dict[int, float] = {}  # when the broker had it at the latest
        self._deliveries: dict[tuple[int, str], list[Delivery]] = collections.defaultdict(list)
        self._by_mid: dict[tuple[int, int], list[Delivery]] = {}
        self._order = 0
        self._said: dict[Identity, float] = {}  # every response, and when
        self._killed = 0.0
        self._unconfirmed: dict[Identity, Delivery] = {}  # responses that the broker has not acknowledged
        self._carried_out: collections.Counter[tuple[int, str]] = collections.Counter()
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.kinds: collections.Counter[str] = collections.Counter()
        self.delays: dict[str, list[float]] = collections.defaultdict(list)

    def sending(self, command: Command) -> None:
        """A command is about to be published."""
        self._published[command.number] = command

    def accepted(self, number: int, moment: float) -> None:
        """The broker has acknowledged a command to its sender."""
        self._accepted[number] = moment

    def delivered(self, connection: int, packet: Publish) -> None:
        """The broker hands a command to the agent."""
        number = int(packet.correlation or b"0")
        command = self._published.get(number)
        if command is None:
            self._books.complain(
                f"the broker delivered a command that nobody sent: {packet.topic} {packet.payload[:80]!r}"
            )
            return
        self._order += 1
        now = time.monotonic()
        age = now - self._accepted.get(number, now)
        age = age if age > TOO_OLD else 0.0
        deliveries = [
            Delivery(command, unit, self._order, now, connection, packet.mid, age)
            for unit in (self._books.units if command.unit == ALL else [command.unit])
        ]
        self._by_mid[connection, packet.mid] = deliveries
        self._books.counts["deliveries"] += len(deliveries)
        self._books.counts["deliveries of old commands"] += age > 0
        self.kinds[command.kind] += 1
        for delivery in deliveries:
            earlier = self._deliveries[number, delivery.unit]
            earlier.append(delivery)
            if command.turns_on and len(earlier) == 1 and not command.refusals:
                right = Right(delivery)
                for index in command.indices:
                    self._books.channel(delivery.unit, index).rights.append(right)
            self._effects.delivered(delivery)

    def taken(self, connection: int, mid: int) -> None:
        """The agent has acknowledged a command."""
        for delivery in self._by_mid.pop((connection, mid), ()):
            delivery.taken = True
            self._effects.taken(delivery)

    def stopped(self, since: float) -> None:
        """The agent goes on after it was stopped: what came soon enough before that is old."""
        now = time.monotonic()
        for delivery in self._unanswered():
            if delivery.time > since and not delivery.taken and now - delivery.time > TOO_OLD:
                delivery.age = now - delivery.time

    def killed(self, unwritten_since: float) -> None:
        """The agent was killed. What it took before may be carried out now, not later.

        :param unwritten_since: since when its disk may have taken nothing
        """
        self._killed = time.monotonic()
        for delivery in self._unanswered():
            delivery.orphaned = True
            delivery.forgotten = delivery.time > unwritten_since
        for unit in self._books.units.values():
            for channel in unit.channels.values():
                for right in channel.rights:
                    if right.closed is None:
                        right.closed = self._killed + LATEST_EFFECT
        self._effects.killed()

    def confirmed(self, packet: Publish) -> None:
        """The broker has acknowledged a response."""
        self._unconfirmed.pop(identity(packet), None)

    def kept(self, response: Identity) -> None:
        """The agent keeps a response on disk for its next start."""
        self._unconfirmed.pop(response, None)

    def sweep(self, now: float) -> None:
        """Look for commands that should have been answered by now."""
        self._effects.sweep(now)
        for delivery in self._unanswered():
            if _needs_response(delivery) and now - delivery.time > LATEST_RESPONSE:
                self._books.violated(1, delivery.unit, f"no response for {LATEST_RESPONSE:g} s to {shown(delivery)}")
                delivery.code = "none"

    def due(self) -> list[str]:
        """Responses that have not come yet, or have not been acknowledged."""
        due = [f"a response to {shown(delivery)}" for delivery in self._unanswered() if _needs_response(delivery)]
        return due + [f"the broker's word for the response to {shown(d)}" for d in self._unconfirmed.values()]

    def close(self) -> None:
        """The last check: nothing more will come."""
        for delivery in self._unanswered():
            if _needs_response(delivery):
                self._books.violated(1, delivery.unit, f"no response to {shown(delivery)}")
            else:
                self._books.counts["deliveries cut off"] += 1
        for delivery in self._unconfirmed.values():
            self._books.violated(1, delivery.unit, f"the response never reached the broker, to {shown(delivery)}")
        self._books.counts["responses"] = sum(self.outcomes.values())

    def answered(self, connection: int, packet: Publish) -> None:
        """The agent publishes a response. ``connection`` is the present one."""
        key = identity(packet)
        if self._books.unsettled[key] > 0:
            self._books.unsettled[key] -= 1
            self._books.counts["responses sent again"] += 1
            return
        message = json.loads(packet.payload)
        unit = message["psu"]
        number = int(packet.correlation or b"0")
        now = time.monotonic()
        deliveries = self._deliveries[number, unit]
        open_ones = [delivery for delivery in deliveries if delivery.code is None]
        said = self._said.get(key)
        self._said[key] = now
        if said is not None and said <= self._killed:
            # It had been sent when the agent was killed, perhaps acknowledged, and not been written off on its disk.
            self._books.counts["responses sent again"] += 1
            return
        if not open_ones:
            what = f"a second response to {shown(deliveries[0])}" if deliveries else "a response to no command"
            self._books.violated(1, unit, f"{what}: {packet.payload.decode()[:300]}")
            return
        code = "ok" if message["ok"] else str(message["error"]["code"])
        # Of several deliveries of one command any may be the one that is meant, so it is their numbers that have to agree:
        # those that need a response come first, those of a connection that broke before they were taken need none.
        delivery = max(open_ones, key=lambda d: (d.connection == connection, d.taken, -d.order))
        delivery.code = code
        self._unconfirmed[key] = delivery
        command = delivery.command
        if command.kind != "flood":
            self._books.note(unit, f"command {command.number} is answered {code}")
        self.outcomes[code] += 1
        self._check_topic(command, unit, packet)
        if command.kind not in ("cycle", "ramp") and code != "expired":
            kind = "off" if command.turns_off else "refused at once" if command.refusals else "others"
            self.delays[kind].append(now - delivery.time)
        self._effects.answered(delivery, code, message)
        if code == "duplicate" and code not in command.refusals and not command.turns_off:
            if len(deliveries) == 1 and command.kind not in ("repetition", "repeated"):
                self._books.violated(1, unit, f"called a duplicate, and is none: {shown(delivery)}")
            return
        allowed = command.refusals | {"expired", "busy"} | ({"uncertain"} if delivery.orphaned else set())
        if command.refusals and code not in allowed:
            self._books.violated(
                1, unit, f"{shown(delivery)} had to be refused as {' or '.join(command.refusals)}: {message}"
            )
        if code == "ok":
            self._check_result(delivery, message["result"])
            if delivery.age and not command.turns_off:
                self._books.violated(7, unit, f"carried out, {delivery.age:.1f} s old when it came: {shown(delivery)}")
        for index in command.indices:
            channel = self._books.channel(unit, index)
            for right in channel.rights:
                if right.delivery.command is command and not delivery.orphaned:
                    right.closed = now + LATEST_EFFECT if code == "uncertain" else now
                elif code == "ok" and command.turns_off and right.delivery.order < delivery.order:
                    right.revoked = True
            channel.rights = [r for r in channel.rights if r.closed is None or now - r.closed < LATEST_EFFECT]

    def _check_topic(self, command: Command, unit: str, packet: Publish) -> None:
        if command.own_topic:
            level = f"{command.channel}/" if command.channel is not None else ""
            level = f"{command.topic_channel}/" if command.topic_channel is not None else level
            wanted = f"{self._books.prefix}{unit}/{level}response"
        else:
            wanted = RESPONSE_TOPIC
        if packet.topic != wanted:
            self._books.violated(
                1, unit, f"the response to command {command.number} went to {packet.topic}, not to {wanted}"
            )

    def _check_result(self, delivery: Delivery, result: Any) -> None:
        command, unit = delivery.command, delivery.unit
        self._carried_out[command.group, unit] += not command.turns_off
        if self._carried_out[command.group, unit] > 1:
            self._books.violated(1, unit, f"carried out twice: {shown(delivery)}")
        states = result if isinstance(result, list) else [result]
        for state in states:
            for name, value in command.wanted.items():
                found = state[name]
                if found is None or abs(found - value) > ROUNDING:  # True and False are 1 and 0
                    self._books.violated(6, unit, f"{name} is {found} in the response to {shown(delivery)}")
        if command.turns_off:
            for index in command.indices:
                if self._books.channel(unit, index).asked_off < delivery.time:
                    self._books.violated(
                        6, unit, f"channel {index} was never turned off by {shown(delivery)}, which was confirmed"
                    )

    def _unanswered(self) -> Iterator[Delivery]:
        for deliveries in self._deliveries.values():
            for delivery in deliveries:
                if delivery.code is None:
                    yield delivery


def _needs_response(delivery: Delivery) -> bool:
    return delivery.taken and not delivery.forgotten

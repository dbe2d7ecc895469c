"""The side of the session that other threads publish by: nothing here waits for the broker."""

from __future__ import annotations

import time
from collections.abc import Mapping

from agent.mqtt.exchange import Exchange
from agent.mqtt.inbox import MessageQueue, items_of
from agent.mqtt.item import Item, Kind, Serializable
from agent.mqtt.presence import Presence
from agent.mqtt.subscriptions import Subscriptions
from agent.mqtt.turn import NAP, Turn
from agent.protocol.report import Report
from agent.protocol.topics import Topics
from agent.store.backlog import Backlog
from agent.store.commands import OpenCommands


class Sending:
    """The `Outlet` for units, and the way for all other messages of the agent. For any thread; all of it returns at once."""

    def __init__(self, topics: Topics, subscriptions: Subscriptions, backlog: Backlog, commands: OpenCommands) -> None:
        """Begin without a connection."""
        self._topics = topics
        self._turn = Turn()
        self._presence = Presence(time.monotonic())
        self._inbox = MessageQueue()
        self._exchange = Exchange(self._inbox, subscriptions, backlog, commands, self._turn, self._presence, topics)
        self._reported_at = 0.0  # of the newest report, for the threads of units

    @property
    def published(self) -> int:
        """The number of messages that the broker has acknowledged."""
        return self._exchange.published

    @property
    def undeliverable(self) -> int:
        """The number of messages that the broker did not take where they were to go."""
        return self._exchange.undeliverable

    @property
    def gone_since(self) -> float | None:
        """The moment (`time.monotonic`) since when nothing was heard of the broker; None while it is there."""
        return self._presence.gone_since

    @property
    def heard(self) -> float:
        """A moment of `agent.timing.system_clock` (s): the broker has answered something that was sent later; -inf before."""
        return self._presence.heard

    @property
    def connected(self) -> bool:
        """True while there is a connection, with its subscriptions."""
        return self._presence.connected

    @property
    def speaks(self) -> bool:
        """True while there is a connection that has been joined, and this agent publishes more than responses there."""
        return self._presence.connected and not self._exchange.is_silent

    @property
    def congested(self) -> bool:
        """True while the broker takes states more slowly than they come."""
        return self._presence.connected and self._exchange.is_congested

    def take_lateness(self) -> tuple[float, int]:
        """The largest age (s) of a state when it was sent, since the last call; and how many late samples wait in memory."""
        return self._exchange.take_lateness()

    @property
    def late_samples(self) -> int:
        """How many late samples wait in memory."""
        return self._exchange.outbox.late_count

    def report(self, report: Report) -> None:
        """Publish a unit's report, or keep it for a broker that is away. All of it is queued together.

        States alone may wait up to `NAP` s for more of them. A response is sent at once, in the calling thread if this
        session's sleeps: to wake it would take longer.
        """
        now = time.monotonic()
        items = self._exchange.receipts.answer(items_of(report, self._topics, now))
        if self._exchange.is_silent:
            items = [item for item in items if item.kind is Kind.RESPONSE]
        if not items:
            return
        self._inbox.put(items)
        is_urgent = len(items) > len(report.states)
        if is_urgent:
            self._inbox.is_urgent = True
        is_alone = now - self._reported_at >= NAP
        self._reported_at = now
        if (is_alone or report.response is not None) and self._exchange.send_here():
            return
        if is_urgent or not self._turn.is_napping:
            self._turn.wake()

    def keep(self, topic: str, payload: bytes) -> None:
        """Publish retained, and again whenever the broker may have lost it. An empty payload removes it from the broker."""
        self._put(Item(Kind.KEEP, topic, payload))

    def keep_values(self, values: Mapping[str, bytes]) -> None:
        """Publish plain values retained, by topic, behind all else; an empty one removes what is there. `forget` ends it."""
        self._exchange.values.put(values)
        if not self._turn.is_napping:
            self._turn.wake()

    def forget(self, topic: str) -> None:
        """Publish nothing more on a retained topic, which is another agent's from now on, and do not remove what is there."""
        self._inbox.forget(topic)
        self._exchange.values.forget(topic)

    def be_silent(self) -> None:
        """Publish nothing but responses from now on, until `Joining.end` of a later connection allows it again."""
        self._exchange.is_silent = True

    def is_pending(self, topic: str) -> bool:
        """True if a broker that comes back is to be told of this topic; for a removal until one has confirmed it."""
        return self._inbox.is_pending(topic)

    def passing(self, topic: str, message: Serializable) -> None:
        """Publish a message that is not retained, and is dropped without a broker."""
        if self._presence.connected:
            self._put(Item(Kind.PASSING, topic, message))

    def _put(self, item: Item) -> None:
        if self._exchange.is_silent:
            if item.kind is Kind.KEEP:
                self._inbox.retain(item)
            return
        self._inbox.put((item,))
        self._inbox.is_urgent = True
        self._turn.wake()

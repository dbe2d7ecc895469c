"""The messages that other threads want published, and the conversion of a unit's report to messages."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Sequence

from agent.mqtt.item import Item, Kind
from agent.protocol.report import Report
from agent.protocol.topics import Topics


class MessageQueue:
    """Messages in the order in which they came, for any thread, and the newest message of each retained topic.

    A broker that comes back may have lost all that it retained, so the newest messages are told again. A removal (an empty
    payload) is among them until a broker has confirmed it.
    """

    def __init__(self) -> None:
        """Begin empty."""
        #: For `Outbox.take`, which empties it while other threads put more into it.
        self.items: deque[Item] = deque()
        #: True if something else than states has come, which is not to wait for more.
        self.is_urgent = False
        self._retained: dict[str, Item] = {}  # by topic
        self._lock = threading.Lock()

    def put(self, items: Sequence[Item]) -> None:
        """Queue messages, all of them before any other thread's next."""
        retained = self._retained
        with self._lock:
            for item in items:
                if item.kind is Kind.STATE or item.kind is Kind.KEEP:
                    retained[item.topic] = item
            self.items.extend(items)

    def take_all(self) -> list[Item]:
        """Empty it."""
        taken = []
        with contextlib.suppress(IndexError):  # another thread may take from it, too
            while True:
                taken.append(self.items.popleft())
        return taken

    def is_pending(self, topic: str) -> bool:
        """True if a broker that comes back is to be told of this topic; for a removal until one has confirmed it."""
        return topic in self._retained

    def forget(self, topic: str) -> None:
        """Publish nothing more retained on a topic, which is another agent's from now on, and do not remove what is there.

        A message that is not retained stays: with one this agent says on the topic of an info that it does not serve the unit.
        """

        def is_to_stay(item: Item) -> bool:
            return item.topic != topic or not item.retain

        with self._lock:
            self._retained.pop(topic, None)
            if not all(map(is_to_stay, list(self.items))):
                self.items.extend(list(filter(is_to_stay, self.take_all())))

    def retain(self, item: Item) -> None:
        """Remember a retained message for the next connection, without queuing it."""
        with self._lock:
            self._retained[item.topic] = item

    def confirmed(self, item: Item) -> None:
        """Forget a removal that the broker has acknowledged: another agent may publish on the topic now."""
        with self._lock:
            if self._retained.get(item.topic) is item:
                del self._retained[item.topic]

    def begin_connection(self, first: str = "") -> tuple[list[Item], list[Item]]:
        """Empty it.

        :param first: the topic that goes ahead of all others
        :return: what was in it, and all that is retained in this moment; messages that are put in later are newer than both
        """
        with self._lock:
            # A state becomes a message of its own: the sample that it was may be on its way to the backlog.
            present = [
                item if item.kind is Kind.KEEP else Item(Kind.KEEP, item.topic, item.content)
                for item in self._retained.values()
            ]
            present.sort(key=lambda item: item.topic != first)
            return self.take_all(), present

    def to_repeat(self, prefix: str) -> list[Item]:
        """The newest messages below a topic that are not states, for a broker that retains none; without removals."""
        with self._lock:
            kept = list(self._retained.values())
        return [
            Item(Kind.KEEP, item.topic, item.content)
            for item in kept
            if item.kind is Kind.KEEP and item.content != b"" and item.topic.startswith(prefix)
        ]


def items_of(report: Report, topics: Topics, now: float) -> list[Item]:
    """A report as messages, in its order: info and status, states, events, the response.

    :param now: `time.monotonic`, s
    """
    items: list[Item] = []
    info = report.info
    if info is not None:
        # The info first: a command of somebody who sees the status or a state finds that all agents have seen the info.
        items.append(Item(Kind.KEEP, topics.info(info.psu), info.to_json()))
        if not info.online:
            items.append(Item(Kind.KEEP, topics.status(info.psu), b"offline"))
    for state in report.states:
        psu, index = state.psu, state.index
        items.append(Item(Kind.STATE, topics.state(psu, index), state, None, topics.backlog(psu, index), made=now))
    if info is not None and info.online:
        items.append(Item(Kind.KEEP, topics.status(info.psu), b"online"))
    for event in report.events:
        items.append(Item(Kind.MESSAGE, topics.event(event.psu, event.index), event))  # noqa: PERF401
    response = report.response
    if response is not None:
        unit, index_or_none = response.psu, response.index
        behind: tuple[str, ...] = ()
        if index_or_none is not None:
            behind = (topics.state(unit, index_or_none),)
        elif isinstance(response.result, list):
            behind = tuple(topics.state(unit, state.index) for state in response.result)
        topic = report.reply_to.topic or topics.response(unit, index_or_none)
        reply_to = report.reply_to
        items.append(Item(Kind.RESPONSE, topic, response, reply_to.correlation, behind=behind, ticket=reply_to.ticket))
    return items

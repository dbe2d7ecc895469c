"""What other threads want published, and what a report of a unit's is as messages."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Sequence

from agent.mqtt.item import Item, Kind
from agent.mqtt.retained import Retained
from agent.protocol.report import Report
from agent.protocol.topics import Topics


class Inbox:
    """Messages in the order in which they came, for any thread; with the newest of each retained topic."""

    def __init__(self) -> None:
        """It is empty."""
        #: For `Outbox.take`, which empties it while other threads put more into it.
        self.items: deque[Item] = deque()
        #: Something else than states has come, which is not to wait for more.
        self.is_urgent = False
        self.retained = Retained()
        self._lock = threading.Lock()

    def put(self, items: Sequence[Item]) -> None:
        """Queue messages, all of them before any other thread's next."""
        retained, queue = self.retained, self.items
        with self._lock:
            for item in items:
                if item.kind is Kind.STATE or item.kind is Kind.KEEP:
                    retained.put(item)
            queue.extend(items)

    def take_all(self) -> list[Item]:
        """Empty it."""
        taken = []
        with contextlib.suppress(IndexError):  # another thread may take from it, too
            while True:
                taken.append(self.items.popleft())
        return taken

    def confirmed(self, item: Item) -> None:
        """The broker has acknowledged a removal: its topic is not `Retained.is_pending` any more."""
        with self._lock:
            self.retained.confirmed(item)

    def begin_connection(self) -> tuple[list[Item], list[Item]]:
        """Empty it: what was in it, and all that is retained in this moment.

        What is put in later is newer than both.
        """
        with self._lock:
            return self.take_all(), self.retained.present()


def items_of(report: Report, topics: Topics) -> list[Item]:
    """A report as messages, in its order: status and info, states, events, the response."""
    items: list[Item] = []
    info = report.info
    if info is not None:
        items.append(Item(Kind.KEEP, topics.status(info.psu), b"online" if info.online else b"offline"))
        items.append(Item(Kind.KEEP, topics.info(info.psu), info.to_json()))
    for state in report.states:
        psu, index = state.psu, state.index
        items.append(Item(Kind.STATE, topics.state(psu, index), state, None, topics.backlog(psu, index)))
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
        items.append(Item(Kind.RESPONSE, topic, response, report.reply_to.correlation, behind=behind))
    return items

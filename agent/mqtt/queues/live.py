"""Retained messages that wait for room in the window. Where they wait too long, the newest of each topic goes, and no other.

On a link that takes fewer messages than come, a queue of all states would grow, and each state on the broker would be older than
the one before. So the older states of a topic become samples of the backlog, and its newest one takes their place in the queue.

With w messages in flight and a round trip of r s, the state of one of n channels waits for LATE + (n / w + 1) r s at most; w is
the broker's window, or `Pace.width` if that is less. Where a flood of responses takes three of four places, it waits longer.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator

from agent.mqtt.item import Item, Kind

#: s. States that wait for less than this all go as states: a broker that writes its file for a moment makes no backlog.
LATE = 0.1


class LiveQueue:
    """The retained messages that wait, and their order, without a clock.

    A topic has one place in the order. With n topics each state waits behind n - 1 messages at most, however fast any of them
    comes.
    """

    __slots__ = ("_newest", "_queue", "_superseded", "is_late")

    def __init__(self, superseded: Callable[[Item], None]) -> None:
        """Begin empty. ``superseded`` takes each state that is not to be published as one, in the order of its topic."""
        #: True while only the newest message of each topic waits.
        self.is_late = False
        self._superseded = superseded
        self._queue: deque[Item] = deque()
        self._newest: OrderedDict[str, Item] = OrderedDict()  # by topic, while it is late

    def add(self, item: Item) -> None:
        """Queue a message: behind all others, or in the place of the one that waits on its topic."""
        if not self.is_late:
            self._queue.append(item)
            return
        older = self._newest.get(item.topic)
        self._newest[item.topic] = item
        if older is not None and older.kind is Kind.STATE:
            self._superseded(older)

    def thin(self, now: float) -> None:
        """Give up the older ones of each topic if the first message has waited for longer than `LATE`."""
        queue = self._queue
        if queue and now - queue[0].made > LATE:
            self.is_late = True
            while queue:
                self.add(queue.popleft())

    def take(self) -> Item:
        """Take away the first message."""
        if not self.is_late:
            return self._queue.popleft()
        _, item = self._newest.popitem(last=False)
        self.is_late = bool(self._newest)
        return item

    def take_one_on(self, topics: Collection[str], before: int) -> Item | None:
        """Take away a message on one of these topics, if one that came before this place waited; None where there is none.

        Where only the newest wait, it may have come later: see `Item.order`.
        """
        if not self.is_late:
            for position, item in enumerate(self._queue):
                if item.order < before and item.topic in topics:
                    del self._queue[position]
                    return item
            return None
        for topic in topics:
            newest = self._newest.pop(topic, None)
            if newest is not None:
                self.is_late = bool(self._newest)
                return newest
        return None

    def clear(self) -> None:
        """Empty it."""
        self.is_late = False
        self._queue.clear()
        self._newest.clear()

    def __len__(self) -> int:
        return len(self._queue) or len(self._newest)

    def __iter__(self) -> Iterator[Item]:
        """The messages, in their order."""
        yield from self._queue
        yield from self._newest.values()

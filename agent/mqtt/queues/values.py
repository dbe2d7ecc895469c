"""Plain values on their way to the broker: of each topic the newest alone, and behind all that others wait for."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import islice

from agent.mqtt.item import Item, Kind

#: Plain values that may be sent and not acknowledged: a state, or a response, never waits behind more.
MOST_IN_FLIGHT = 50


class ValueQueue:
    """The plain values that are to be retained, for any thread. Nothing here waits, or grows beyond one value a topic."""

    def __init__(self) -> None:
        """Begin empty."""
        #: True if some wait that came after the last `take`.
        self.has_news = False
        self._lock = threading.Lock()
        self._newest: dict[str, bytes] = {}  # by topic; an empty one, a removal, until a broker has confirmed it
        self._waiting: dict[str, None] = {}  # topics, in the order in which they are sent
        self._in_flight = 0

    def put(self, values: Mapping[str, bytes]) -> None:
        """Have these published, by topic. One that waits already keeps its place, with the newer value."""
        with self._lock:
            self._newest.update(values)
            self._waiting.update(dict.fromkeys(values))
            self._tell_news()

    def forget(self, topic: str) -> None:
        """Publish nothing more on a topic, which is another agent's from now on, and do not remove what is there."""
        with self._lock:
            self._newest.pop(topic, None)
            self._waiting.pop(topic, None)
            self.has_news = self.has_news and bool(self._waiting)

    def begin_connection(self) -> None:
        """Have all of them published again: the broker may have lost what it retained."""
        with self._lock:
            self._waiting = dict.fromkeys(self._newest)
            self._in_flight = 0
            self._tell_news()

    def repeat(self) -> None:
        """Have all but removals published again: the broker keeps no retained messages."""
        with self._lock:
            self._waiting.update({topic: None for topic, payload in self._newest.items() if payload})
            self._tell_news()

    def _tell_news(self) -> None:
        # If none waits it has to be false: nobody calls `take` then, which would end it, and the session's thread never sleeps.
        self.has_news = bool(self._waiting)

    @property
    def waits(self) -> bool:
        """True if some wait to be sent."""
        return bool(self._waiting)

    def take(self, room: int) -> list[Item]:
        """The next ones, as far as there is room for so many in flight, with those that are in flight already."""
        with self._lock:
            self.has_news = False
            topics = list(islice(self._waiting, max(0, min(room, MOST_IN_FLIGHT) - self._in_flight)))
            for topic in topics:
                del self._waiting[topic]
            self._in_flight += len(topics)
            return [Item(Kind.VALUE, topic, self._newest[topic]) for topic in topics]

    def ended(self, item: Item, *, was_taken: bool) -> None:
        """Take note that a message, if it is a value, is not in flight any more.

        :param was_taken: the broker has it; False if it refused it, or can't be given it
        """
        if item.kind is not Kind.VALUE:
            return
        with self._lock:
            self._in_flight -= 1
            is_removed = was_taken and not item.content and item.topic not in self._waiting
            if is_removed and self._newest.get(item.topic) == b"":
                del self._newest[item.topic]

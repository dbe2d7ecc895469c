"""Retained messages and states that a broker ends the connection for: found by sending one message at a time, and left out then.

A broker that knows no MQTT 5 does not say how large a packet may be, and closes the connection for a larger one. As all that is
retained is sent again on each connection, such a message would cost each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.mqtt.item import Item, Kind

#: Connections in a row that ended before all that is retained was acknowledged, until messages are sent one at a time; and that
#: ended while a message was alone in flight, until it is left out. One is enough if the broker said that it was a message.
MOST_UNFINISHED, MOST_ALONE = 2, 2
#: Topics left out until all messages of such a size are, if nothing as large was ever taken: the size is it, then.
ENOUGH_TOPICS = 2
#: Of the size of a message that was left out: a state on its topic is a little longer or shorter each time.
_NEARLY = 0.9
#: Topics that are remembered.
_MOST = 5_000


class Caution:
    """The suspicions that last over the connections of one run. For the thread that has the session's turn."""

    def __init__(self) -> None:
        """Nothing is suspected."""
        self._unfinished = 0
        self._left: set[str] = set()  # topics that the present connection began with, and that are not done yet
        self._alone: dict[str, int] = {}  # topic → connections that ended while a message on it was alone in flight
        self._left_out: dict[str, int] = {}  # topic → bytes
        self._largest_taken = 0
        self._limit: int | None = None

    @property
    def exists(self) -> bool:
        """True if a message has to be looked at before it is sent."""
        return bool(self._alone or self._left_out)

    @property
    def is_on(self) -> bool:
        """True while messages are to be sent one at a time."""
        return bool(self._left) and self.is_searching

    @property
    def is_searching(self) -> bool:
        """True from connections that ended too early until one on which all that is retained was acknowledged or left out."""
        return self._unfinished >= MOST_UNFINISHED

    @property
    def is_beginning(self) -> bool:
        """True until all that is retained has been acknowledged, or left out, on the present connection."""
        return bool(self._left)

    def begin(self, retained: list[Item]) -> list[Item]:
        """Begin a connection.

        :param retained: the messages that are sent first, one of each topic
        :return: the same, in the order in which they are to be sent: those that are likelier to cost the connection later
        """
        self._left = {item.topic for item in retained}
        return sorted(retained, key=_size) if self.is_on else retained

    def left_out(self, item: Item) -> None:
        """Take note that a message is not sent."""
        self._done(item)

    def taken(self, item: Item) -> None:
        """Take note that the broker took a message."""
        self._done(item)
        if is_own(item):
            self._alone.pop(item.topic, None)
            self._largest_taken = max(self._largest_taken, _size(item))
            if self._limit is not None and self._largest_taken >= self._limit:
                self._limit = None

    def _done(self, item: Item) -> None:
        if self._left and is_own(item):
            self._left.discard(item.topic)
            if not self._left:
                self._unfinished = 0

    def connection_ended(self, in_flight: Sequence[Item], *, with_reason: bool) -> None:
        """Take note of what was in flight on a connection that the broker closed.

        :param with_reason: it said that it could not take a message
        """
        if with_reason:
            self._unfinished = max(self._unfinished, MOST_UNFINISHED - 1)
        was_on = self.is_on
        self._unfinished = self._unfinished + 1 if self._left else 0
        self._left = set()
        if was_on and len(in_flight) == 1 and is_own(in_flight[0]):
            self._accuse(in_flight[0], 1 if with_reason else MOST_ALONE)

    def _accuse(self, item: Item, enough: int) -> None:
        ends = self._alone[item.topic] = self._alone.get(item.topic, 0) + 1
        if ends < enough or len(self._left_out) >= _MOST:
            return
        del self._alone[item.topic]
        self._left_out[item.topic] = int(_size(item) * _NEARLY)
        smallest = min(self._left_out.values())
        if len(self._left_out) >= ENOUGH_TOPICS and smallest > self._largest_taken:
            self._limit = smallest

    def is_left_out(self, item: Item) -> bool:
        """True if a message is not to be sent."""
        if not is_own(item):
            return False
        size = _size(item)
        limit = self._left_out.get(item.topic, self._limit)
        return limit is not None and size >= limit

    def is_suspected(self, item: Item) -> bool:
        """True if a connection ended while a message on this topic was alone in flight."""
        return is_own(item) and item.topic in self._alone


def is_own(item: Item) -> bool:
    """True for a message on a topic of this agent's own, of which only the size can be wrong."""
    return item.kind is Kind.KEEP or (item.kind is Kind.STATE and not item.is_backlog)


def _size(item: Item) -> int:
    return len(item.topic) + len(item.payload)

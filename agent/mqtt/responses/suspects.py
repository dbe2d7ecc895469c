"""Messages that a broker may end the connection for: each is tried alone, and given up if the connection ends again.

A broker closes the connection on a message that it can't take, as Mosquitto does on a topic of more than 200 levels or on one
above its packet limit. Not every broker says why, and the message that was in flight would be sent first on the next connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from agent.mqtt.item import Item, Kind
from agent.mqtt.responses.caution import Caution, is_own

#: Connections that ended while a message was the oldest in flight, until it is given up. Links break by themselves, too, but
#: seldom three times in the milliseconds that one message takes. Two are enough if the broker said that it was a message.
MOST_ENDS, MOST_ENDS_WITH_REASON = 3, 2
#: s on a new connection before a message is sent for the third time.
CAUTION = 1.0
#: bytes. A response that is larger may go to its topic, and be refused for its size alone.
SUSPICIOUS_SIZE = 4096
#: Messages, and topics, that are remembered.
_MOST = 5_000


class Suspects:
    """The messages that are suspected, over connections. For the thread that has the session's turn."""

    def __init__(self) -> None:
        """Nothing is suspected."""
        #: True if anything is. `Outbox` looks at it for each message.
        self.exist = False
        #: For what is retained.
        self.caution = Caution()
        self._ends: dict[int, int] = {}  # message → connections that ended while it was in flight
        self._bad_topics: dict[str, None] = {}

    def connection_ended(self, in_flight: Iterable[Item], *, with_reason: bool) -> Item | None:
        """Suspect what was in flight, oldest first, on a connection that the broker closed.

        :param with_reason: it said that it could not take a message
        :return: the message that is given up now, if there is one
        """
        in_flight = list(in_flight)
        self.caution.connection_ended(in_flight, with_reason=with_reason)
        given_up = None
        enough = MOST_ENDS_WITH_REASON if with_reason else MOST_ENDS
        suspicious = [item for item in in_flight if is_candidate(item) or _is_sample(item)]
        if suspicious and _is_sample(suspicious[0]):
            self._suspect_topic(suspicious[0].topic, enough)
        for position, item in enumerate(item for item in suspicious if is_candidate(item)):
            key = _key(item)
            ends = self._ends.get(key, 0) + 1
            if not position and ends >= enough:
                ends, given_up = MOST_ENDS, item
            # The oldest is the likeliest: the broker would have acknowledged it before it came to the others.
            self._ends[key] = ends if not position else min(ends, MOST_ENDS - 1)
        for old in list(islice(self._ends, max(0, len(self._ends) - _MOST))):
            del self._ends[old]
        self._look()
        return given_up

    def _look(self) -> None:
        self.exist = bool(self._ends or self._bad_topics or self.caution.exists)

    def _suspect_topic(self, topic: str, enough: int) -> None:
        """Samples of the backlog are too many to be sent one by one. A topic is given up if not one on it was ever taken."""
        ends = self._ends[hash(topic)] = self._ends.get(hash(topic), 0) + 1
        if ends >= enough:
            self.avoid(topic)

    def avoid(self, topic: str) -> None:
        """Send no response, and nothing that was kept, to this topic any more."""
        if len(self._bad_topics) >= _MOST:
            del self._bad_topics[next(iter(self._bad_topics))]
        self._bad_topics[topic] = None
        self.exist = True

    def is_given_up(self, item: Item) -> bool:
        """True if a message is not to be sent."""
        if is_own(item):
            return self.caution.is_left_out(item)
        if is_candidate(item):
            return item.topic in self._bad_topics or self._ends.get(_key(item), 0) >= MOST_ENDS
        return _is_sample(item) and item.topic in self._bad_topics

    def wait(self, item: Item, age: float) -> float | None:
        """How long (s) a message waits on a connection of this age (s), to be sent alone then; None where it is not suspected."""
        if self.caution.is_suspected(item):
            return max(0.0, CAUTION - age)
        ends = self._ends.get(_key(item), 0) if self._ends and is_candidate(item) else 0
        if not ends:
            return None
        return 0.0 if ends < MOST_ENDS_WITH_REASON else max(0.0, CAUTION - age)

    def acquit(self, item: Item) -> None:
        """Take note that the broker took a message."""
        self.caution.taken(item)
        if self._ends and (is_candidate(item) or _is_sample(item)):
            self._ends.pop(hash(item.topic) if _is_sample(item) else _key(item), None)
        self._look()


def is_candidate(item: Item) -> bool:
    """True for a message that may be the reason that a connection ended, for its topic or its size."""
    return item.kind in (Kind.RESPONSE, Kind.MESSAGE)


def _is_sample(item: Item) -> bool:
    return item.is_backlog


def _key(item: Item) -> int:
    return hash((item.topic, item.payload, item.correlation))

"""The messages of one connection: in which order they are sent, and which the broker has not acknowledged yet.

There is no socket, no clock and no lock: the caller has the session's turn, and gives the time (s, `time.monotonic`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from agent.mqtt.item import Item, Kind
from agent.mqtt.responses.suspects import Suspects, is_candidate

#: Messages that may be sent and not acknowledged, where the broker does not ask for fewer.
MOST_IN_FLIGHT = 1000
#: Samples of the backlog among them: a present state never waits behind more.
MOST_BACKLOG_IN_FLIGHT = 100
#: Samples of the backlog a second. Faster, and a broker's queue for a subscriber runs over, silently: Mosquitto's holds 1,000.
BACKLOG_RATE = 1000.0
#: Samples that wait in memory for a broker that is there but slow. Older ones go to the backlog.
MOST_LIVE = 6000
#: States that a response may wait for.
FEW = 60

Publish = Callable[[Item], int]
"""Hands a message to the connection, and returns its packet identifier; 0 where the broker takes none so large."""


class Outbox:
    """The messages of one connection, in four queues: present states and what else is retained, responses, events, backlog."""

    def __init__(self, suspects: Suspects | None = None, begun: float = 0.0) -> None:
        """Begin empty.

        :param begun: when the connection was made, or nearly so
        """
        #: How many messages may be in flight; the broker may ask for fewer than `MOST_IN_FLIGHT`.
        self.window = MOST_IN_FLIGHT
        #: Samples of the backlog among the messages in flight.
        self.backlog_in_flight = 0
        self._rejected: list[Item] = []
        self._suspects = suspects or Suspects()
        self._begun = begun
        self._aside: deque[Item] = deque()  # suspects, which are sent one by one
        self._in_flight: dict[int, Item] = {}
        self._live: deque[Item] = deque()
        self._responses: deque[Item] = deque()
        self._messages: deque[Item] = deque()
        self._backlog: deque[Item] = deque()
        self._again: set[int] = set()  # numbers of the responses that came with what was kept
        self._paused_until = 0.0
        self._paid_until = 0.0

    # In.

    def take(self, inbox: deque[Item]) -> list[Item]:
        """Sort what other threads put into the inbox.

        :return: the oldest states, where more than `MOST_LIVE` wait; they are the caller's to keep
        """
        while inbox:
            item = inbox.popleft()
            if item.kind is Kind.RESPONSE:
                # One that the disk took while the connection began is among what was kept, too.
                if not item.number or item.number not in self._again:
                    self._responses.append(item)
            elif item.kind is Kind.MESSAGE:
                self._messages.append(item)
            else:
                self._live.append(item)
        return [] if len(self._live) <= MOST_LIVE else self._overflow()

    def _overflow(self) -> list[Item]:
        older = [self._live.popleft() for _ in range(len(self._live) - MOST_LIVE // 2)]
        self._live.extendleft(item for item in reversed(older) if item.kind is not Kind.STATE)
        return [item for item in older if item.kind is Kind.STATE]

    def put_present(self, items: Iterable[Item]) -> None:
        """Queue retained messages, behind the states that wait."""
        self._live.extend(items)

    def put_first(self, item: Item) -> None:
        """Queue a response ahead of all others."""
        self._responses.appendleft(item)

    def put_messages(self, items: Iterable[Item]) -> None:
        """Queue events and responses that were kept."""
        for item in items:
            self._messages.append(item)
            if item.number:
                self._again.add(item.number)

    def put_backlog(self, items: Iterable[Item]) -> None:
        """Queue samples that were kept, oldest first."""
        self._backlog.extend(items)

    # Out.

    def send(self, publish: Publish, now: float, *, backlog: bool = True) -> None:
        """Publish as many messages as the window has room for: states, then responses, which tell of them, then events.

        Where more than `FEW` states wait, responses and events go before them. The backlog comes last.
        """
        room = self.window - len(self._in_flight)
        if len(self._live) <= FEW:
            order = (self._live, self._responses, self._messages)
        else:
            order = (self._responses, self._messages, self._live)
        for queue in order:
            while room > 0 and queue:
                self._send(publish, queue.popleft(), now)
                room -= 1
        if self._aside and room > 0:
            self._send_suspect(publish, now)
        if backlog and self._backlog:
            self._send_backlog(publish, now)

    def send_responses(self, publish: Publish, now: float) -> None:
        """Publish responses, each behind the states of its own channels and ahead of all others.

        Does nothing where more than `FEW` states wait.
        """
        if len(self._live) > FEW:
            return
        while self._responses and len(self._in_flight) + len(self._live) < self.window:
            response = self._responses.popleft()
            others = deque[Item]()
            for item in self._live:
                if item.topic in response.behind:
                    self._send(publish, item, now)
                else:
                    others.append(item)
            self._live = others
            self._send(publish, response, now)

    def _send_backlog(self, publish: Publish, now: float) -> None:
        room = self.room_for_backlog(now)
        # An unused part of the rate is not made up for.
        self._paid_until = max(self._paid_until, now - MOST_BACKLOG_IN_FLIGHT / BACKLOG_RATE)
        while room > 0 and self._backlog:
            self.backlog_in_flight += 1
            self._send(publish, self._backlog.popleft(), now)
            self._paid_until += 1 / BACKLOG_RATE
            room -= 1

    def _send(self, publish: Publish, item: Item, now: float) -> None:
        if self._suspects.exist and self._is_held_back(item, now):
            return
        mid = publish(item)
        if mid:
            item.sent = now
            self._in_flight[mid] = item
        else:
            self._reject(item)

    def _reject(self, item: Item) -> None:
        self._rejected.append(item)
        if item.row and item.kind is Kind.STATE:
            self.backlog_in_flight -= 1

    def _is_held_back(self, item: Item, now: float) -> bool:
        if self._suspects.is_given_up(item):
            self._reject(item)
        elif self._suspects.wait(item, now - self._begun) is not None or (self._aside and is_candidate(item)):
            self._aside.append(item)  # also what is not suspected, or a suspect would never be alone under load
        else:
            return False
        return True

    def _send_suspect(self, publish: Publish, now: float) -> None:
        """Send the first suspect that is due, if nothing else is in flight that the broker may close the connection for."""
        if any(is_candidate(item) for item in self._in_flight.values()):
            return
        for _ in range(len(self._aside)):
            item = self._aside.popleft()
            if self._suspects.is_given_up(item):
                self._reject(item)
            elif self._suspects.wait(item, now - self._begun):
                self._aside.append(item)
            else:
                mid = publish(item)
                if mid:
                    item.sent = now
                    self._in_flight[mid] = item
                    return
                self._reject(item)

    # Acknowledgements.

    def acknowledged(self, mid: int) -> Item | None:
        """Take the message of a PUBACK out of those in flight; None where there is none."""
        item = self._in_flight.pop(mid, None)
        if self._suspects.exist and item is not None:
            self._suspects.acquit(item)
        if item is not None and item.row and item.kind is Kind.STATE:
            self.backlog_in_flight -= 1
        return item

    def pause_backlog(self, until: float) -> None:
        """Send no samples of the backlog until then, and forget those that wait here; the backlog still has them."""
        self._backlog.clear()
        self._paused_until = until

    @property
    def has_rejected(self) -> bool:
        """True if there are messages that can't be sent to this broker."""
        return bool(self._rejected)

    def take_rejected(self) -> list[Item]:
        """Take away the messages that can't be sent to this broker."""
        rejected, self._rejected = self._rejected, []
        return rejected

    # State.

    @property
    def live_count(self) -> int:
        """How many states, and other retained messages, wait."""
        return len(self._live)

    @property
    def takes_messages(self) -> bool:
        """True if it has nothing to send but states, and room in its window."""
        return not self._messages and len(self._in_flight) < self.window

    @property
    def has_backlog(self) -> bool:
        """True if samples of the backlog wait here."""
        return bool(self._backlog)

    def room_for_backlog(self, now: float) -> int:
        """How many samples of the backlog may be sent now: by the window, by their part of it, and by their rate."""
        if now < self._paused_until:
            return 0
        room = self.window - len(self._in_flight)
        room = min(room, max(1, min(MOST_BACKLOG_IN_FLIGHT, self.window // 2)) - self.backlog_in_flight)
        return max(0, min(room, int((now - self._paid_until) * BACKLOG_RATE)))

    def is_paused(self, now: float) -> bool:
        """True if no samples of the backlog are sent for now."""
        return now < self._paused_until

    @property
    def oldest_sent(self) -> float | None:
        """The moment at which the message was sent that has waited longest for its PUBACK; None where none waits."""
        oldest = next(iter(self._in_flight.values()), None)
        return None if oldest is None else oldest.sent

    @property
    def in_flight(self) -> list[Item]:
        """The messages that the broker has not acknowledged, in the order in which they were sent."""
        return list(self._in_flight.values())

    @property
    def in_flight_count(self) -> int:
        """How many messages the broker has not acknowledged."""
        return len(self._in_flight)

    @property
    def response_count(self) -> int:
        """How many responses wait to be sent."""
        return len(self._responses)

    @property
    def is_idle(self) -> bool:
        """True if everything but backlog has been sent and acknowledged."""
        return not (self._responses or self._messages or self._live or any(not i.row for i in self._in_flight.values()))

    def undelivered(self) -> list[Item]:
        """Empty it.

        :return: the messages that the broker may not have, and the store has not: those in flight, then those that wait
        """
        items = [
            *self._in_flight.values(),
            *self._rejected,
            *self._aside,
            *self._responses,
            *self._messages,
            *self._live,
        ]
        self._in_flight.clear()
        self._rejected.clear()
        for queue in (self._aside, self._responses, self._messages, self._live, self._backlog):
            queue.clear()
        self.backlog_in_flight = 0
        return [item for item in items if not item.row and not item.number]

"""The session's use of the backlog: messages are kept there and come back from there. Nothing here waits for the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from agent.mqtt.item import Item, Kind
from agent.mqtt.outbox import Outbox
from agent.store.backlog import Backlog
from agent.store.rows import Row

#: Rows asked for at a time.
MOST_SAMPLES, MOST_MESSAGES = 500, 100
#: s until the backlog is asked again, where it delivered less than it has counted, as with a disk that can't be read.
_ASK_AGAIN = 1.0
#: s. A broker that does not accept the backlog is tried again after so long.
_REFUSED_PAUSE = 60.0
#: s between two tries where the rate allows no more of the backlog.
_RATE_TICK = 0.02


class Spooling:
    """The session's side of the backlog, for the thread that has the session's turn; `keep` is for any thread."""

    def __init__(self, backlog: Backlog, wake: Callable[[], None]) -> None:
        """``wake`` ends the sleep of the session's thread. It is called from the store's."""
        self._backlog = backlog
        self._wake = wake
        self._delivered: deque[tuple[int, Kind, list[Row]]] = deque()
        self._connection = 0  # a count: rows that were requested for an older one are not taken any more
        self._acknowledged: list[int] = []
        self._acknowledged_messages: list[int] = []
        self.restart()

    def restart(self) -> None:
        """Begin a connection, on which all that is kept is to be sent."""
        self._connection += 1
        self._last_sample = self._last_message = 0
        self._requested: set[Kind] = set()
        self._has_messages = True  # as far as is known
        self._ask_samples_at = 0.0

    def keep(self, items: Iterable[Item]) -> None:
        """Give samples, events and responses to the backlog. Of the rest only the newest counts, or nothing.

        The response to a command that is kept (`agent.store.commands`) is kept with it already.
        """
        samples = []
        messages = []
        for item in items:
            if item.kind is Kind.STATE:
                samples.append((item.backlog_topic, item.payload))
            elif item.kind in (Kind.MESSAGE, Kind.RESPONSE) and not item.number:
                messages.append((item.topic, item.payload, item.correlation))
        self._backlog.add_samples(samples)
        self._backlog.add_messages(messages)

    def keep_overflow(self, outbox: Outbox) -> None:
        """Give samples to the backlog that are too many to wait in memory."""
        overflow = outbox.take_overflow()
        if overflow:
            self.keep(overflow)

    @property
    def has_kept(self) -> bool:
        """True if the backlog is not empty."""
        return self._backlog.sample_count > 0 or self._backlog.message_count > 0

    @property
    def has_delivered(self) -> bool:
        """True if the store has delivered rows that `feed` has not taken yet."""
        return bool(self._delivered)

    def feed(self, outbox: Outbox, now: float) -> None:
        """Give the outbox as many of the messages that were kept as it has room for, and ask the store for more."""
        outbox.store_goes_first = self._backlog.sample_count > outbox.rows_in_flight
        if not self.has_kept and not self._delivered:
            return
        self._take(outbox, now)
        if self._has_messages and outbox.takes_messages and Kind.MESSAGE not in self._requested:
            self._request(Kind.MESSAGE)
        wanted = outbox.store_goes_first and not outbox.has_backlog
        if (
            wanted
            and now >= self._ask_samples_at
            and Kind.STATE not in self._requested
            and outbox.room_for_backlog(now) > 0
        ):
            self._request(Kind.STATE)
        self._take(outbox, now)  # rows that are in memory come at once

    def _request(self, kind: Kind) -> None:
        self._requested.add(kind)
        deliver = partial(self._deliver, self._connection, kind)
        if kind is Kind.STATE:
            self._backlog.request_samples(self._last_sample, MOST_SAMPLES, deliver)
        else:
            self._backlog.request_messages(self._last_message, MOST_MESSAGES, deliver)

    def _deliver(self, connection: int, kind: Kind, rows: list[Row]) -> None:
        """Take rows from the store, in its thread or, if they were in memory, in the one that asked."""
        self._delivered.append((connection, kind, rows))
        self._wake()

    def _take(self, outbox: Outbox, now: float) -> None:
        while self._delivered:
            connection, kind, rows = self._delivered.popleft()
            if connection != self._connection:
                continue
            self._requested.discard(kind)
            items = [Item.from_row(kind, row) for row in rows]
            if kind is Kind.MESSAGE:
                self._has_messages = bool(rows)
                self._last_message = rows[-1].id if rows else self._last_message
                outbox.put_messages(items)
            elif rows:
                self._last_sample = rows[-1].id
                outbox.put_backlog(items)
            else:
                self._ask_samples_at = now + _ASK_AGAIN
                if not outbox.rows_in_flight:
                    self._last_sample = 0

    def acknowledged(self, item: Item) -> None:
        """Have a message that the broker has acknowledged removed from the backlog by the next `settle`."""
        if item.kind is Kind.STATE:
            self._acknowledged.append(item.row)
        else:
            self._acknowledged_messages.append(item.row)

    def refused(self, item: Item, outbox: Outbox, now: float) -> None:
        """Keep a sample that the broker refuses, and try again from the oldest one later; a message is dropped."""
        if item.kind is not Kind.STATE:
            self._acknowledged_messages.append(item.row)
            return
        if not item.row:
            self.keep((item,))
        outbox.pause_backlog(now + _REFUSED_PAUSE)
        self._connection += 1  # the rows that are being read come after the one that was refused
        self._requested.clear()
        self._last_sample = 0

    def settle(self) -> None:
        """Remove from the backlog the messages that the broker has acknowledged."""
        if self._acknowledged:
            self._backlog.remove_samples(self._acknowledged)
            self._acknowledged = []
        if self._acknowledged_messages:
            self._backlog.remove_messages(self._acknowledged_messages)
            self._acknowledged_messages = []

    def patience(self, outbox: Outbox, now: float, longest: float) -> float:
        """How long (s) the session's thread may sleep while nothing happens: less where the rate holds the backlog back."""
        if (
            (self._backlog.sample_count or outbox.late_count)
            and not outbox.live_count
            and not outbox.backlog_in_flight
            and Kind.STATE not in self._requested
            and now >= self._ask_samples_at
            and not outbox.is_paused(now)
        ):
            return _RATE_TICK
        return longest

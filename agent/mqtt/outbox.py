"""The messages of one connection: in which order they are sent, and which the broker has not acknowledged yet.

There is no socket, no clock and no lock: the caller has the session's turn, and gives the time (s, `time.monotonic`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from agent.mqtt.item import Item, Kind
from agent.mqtt.queues.live import LiveQueue
from agent.mqtt.queues.pace import Pace
from agent.mqtt.responses.caution import is_own
from agent.mqtt.responses.suspects import Suspects, is_candidate

#: Messages that may be sent and not acknowledged, where the broker does not ask for fewer.
MOST_IN_FLIGHT = 1000
#: Samples of the backlog among them: a present state never waits behind more.
MOST_BACKLOG_IN_FLIGHT = 100
#: Samples of the backlog a second. Faster, and a broker's queue for a subscriber runs over, silently: Mosquitto's holds 1,000.
BACKLOG_RATE = 1000.0
#: Superseded samples that wait in memory. Of more than that the older half goes to the store.
MOST_LATE = 2000
#: States that a response may wait for.
FEW = 60
#: Responses that are sent in a row while states wait, and states in a row while events do.
IN_A_ROW = 3

Publish = Callable[[Item], int]
"""Hands a message to the connection, and returns its packet identifier; 0 where the broker takes none so large."""


class Outbox:
    """The messages of one connection, in four queues: present states and what else is retained, responses, events, backlog.

    A state that has waited too long and has a newer one behind it becomes a sample of the backlog: see `LiveQueue`. Such samples
    stay here, behind those that the store has, or go to the store where they are many.
    """

    def __init__(self, suspects: Suspects | None = None, begun: float = 0.0) -> None:
        """Begin empty.

        :param begun: when the connection was made, or nearly so
        """
        #: How many messages may be in flight; the broker may ask for fewer than `MOST_IN_FLIGHT`.
        self.window = MOST_IN_FLIGHT
        #: Samples of the backlog among the messages in flight, and of them those that the store has.
        self.backlog_in_flight = self.rows_in_flight = 0
        #: True while the store has samples that are older than those that wait here.
        self.store_goes_first = False
        #: The largest age (s) of a state when it was sent, since `state_age` was set to 0.
        self.state_age = 0.0
        self._rejected: list[Item] = []
        self._suspects = suspects or Suspects()
        self._begun = begun
        self._aside: deque[Item] = deque()  # suspects, which are sent one by one
        self._in_flight: dict[int, Item] = {}
        self._late: deque[Item] = deque()  # superseded states
        self._live = LiveQueue(self._supersede)
        self._pace = Pace(MOST_IN_FLIGHT, MOST_BACKLOG_IN_FLIGHT)
        self._taken = 0  # messages
        self._states_in_a_row = self._responses_in_a_row = 0
        self._responses: deque[Item] = deque()
        self._messages: deque[Item] = deque()
        self._backlog: deque[Item] = deque()
        self._again: set[int] = set()  # numbers of the responses that came with what was kept
        self._paused_until = 0.0
        self._paid_until = 0.0

    # In.

    def take(self, inbox: deque[Item], now: float) -> None:
        """Sort what other threads put into the inbox."""
        add = self._live.add
        while inbox:
            item = inbox.popleft()
            self._taken = item.order = self._taken + 1
            kind = item.kind
            if kind is Kind.STATE:
                add(item)
            elif kind is Kind.KEEP:
                item.made = now
                add(item)
            elif kind is not Kind.RESPONSE:
                self._messages.append(item)
            elif not item.number or item.number not in self._again:
                # One that the disk took while the connection began is among what was kept, too.
                self._responses.append(item)

    def _supersede(self, item: Item) -> None:
        item.supersede()
        self._late.append(item)

    def take_overflow(self) -> list[Item]:
        """Take away the older half of the superseded samples where they are more than `MOST_LATE`; they are the caller's to keep.

        Those of a channel stay that are newer than a sample in flight, which would come behind them if the connection broke.
        """
        late = self._late
        if len(late) <= MOST_LATE:
            return []
        newest = self._taken
        if len(late) <= 2 * MOST_LATE:  # else the broker has acknowledged nothing for long
            newest = min((i.order for i in self._in_flight.values() if i.kind is Kind.STATE), default=newest)
        overflow = []
        while len(late) > MOST_LATE // 2 and late[0].order < newest:
            overflow.append(late.popleft())
        return overflow

    def put_retained(self, items: Iterable[Item], now: float) -> None:
        """Queue retained messages, behind the states that wait."""
        for item in items:
            item.made = now
            self._live.add(item)

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

        Where the states do not fit, or are more than `FEW`, a response goes ahead of those that it does not tell of. No sort of
        message keeps another from being sent: see `IN_A_ROW`. The backlog comes last.
        """
        self._live.thin(now)
        room = self._room_for_states(now)
        if len(self._live) <= min(room, FEW):
            for _ in range(len(self._live)):
                self._send(publish, self._live.take(), now)
            for queue in (self._responses, self._messages):
                while queue and self._room > 0:
                    self._send(publish, queue.popleft(), now)
        else:
            self._send_in_turns(publish, now, room)
        if self._aside and self._room > 0:
            self._send_suspect(publish, now)
        if backlog and (self._backlog or self._late) and not self._live:
            self._send_backlog(publish, now)

    def _send_in_turns(self, publish: Publish, now: float, room_for_states: int) -> None:
        while self._room > 0:
            states = bool(self._live) and room_for_states > 0
            if self._responses and not (states and self._responses_in_a_row >= IN_A_ROW):
                self._send_response(publish, now)
            elif self._messages and not (states and self._states_in_a_row < IN_A_ROW):
                self._send(publish, self._messages.popleft(), now)
                self._states_in_a_row = 0
            elif states:
                self._send(publish, self._live.take(), now)
                room_for_states -= 1
                self._states_in_a_row += 1
                self._responses_in_a_row = 0
            else:
                return

    @property
    def _room(self) -> int:
        return self.window - len(self._in_flight)

    def _room_for_states(self, now: float) -> int:
        """The messages that the window has room for, and that the link passes on in time."""
        return min(self.window - len(self._in_flight), self._pace.room(self._in_flight, now))

    def send_responses(self, publish: Publish, now: float) -> None:
        """Publish responses, each behind the states of its own channels and ahead of all others, as far as the window has room.

        Does nothing where more than `FEW` states wait.
        """
        while self._responses and self._room > 0 and len(self._live) <= FEW:
            self._send_response(publish, now)

    def send_last(self, publish: Publish, item: Item, now: float) -> None:
        """Publish a message ahead of all that wait, and beyond the window, as the last one of the connection."""
        self._send(publish, item, now)

    def _send_response(self, publish: Publish, now: float) -> None:
        """Send the next of the states that a response is to come behind, or the response if none of them waits."""
        response = self._responses[0]
        state = self._live.take_one_on(response.behind, response.order) if response.behind else None
        if state is None:
            self._send(publish, self._responses.popleft(), now)
            self._responses_in_a_row += 1
            return
        if state.order > response.order:  # it took the place of one that goes before; more of them may come for ever
            response.behind = tuple(topic for topic in response.behind if topic != state.topic)
        self._send(publish, state, now)

    def _send_backlog(self, publish: Publish, now: float) -> None:
        room = self.room_for_backlog(now)
        # An unused part of the rate is not made up for.
        self._paid_until = max(self._paid_until, now - MOST_BACKLOG_IN_FLIGHT / BACKLOG_RATE)
        while room > 0 and self._backlog:
            self.backlog_in_flight += 1
            self.rows_in_flight += 1
            self._send(publish, self._backlog.popleft(), now)
            self._paid_until += 1 / BACKLOG_RATE
            room -= 1
        while room > 0 and self._late and not self.store_goes_first:
            self.backlog_in_flight += 1
            self._send(publish, self._late.popleft(), now)
            self._paid_until += 1 / BACKLOG_RATE
            room -= 1

    def _send(self, publish: Publish, item: Item, now: float) -> None:
        if self._suspects.exist and self._is_held_back(item, now):
            return
        mid = publish(item)
        if mid:
            item.sent = now
            self._in_flight[mid] = item
            if item.kind is Kind.STATE and not item.is_backlog and now - item.made > self.state_age:
                self.state_age = now - item.made
        else:
            self._reject(item)

    def _reject(self, item: Item) -> None:
        self._rejected.append(item)
        if item.is_backlog:
            self._backlog_landed(item)

    def _is_held_back(self, item: Item, now: float) -> bool:
        if self._suspects.is_given_up(item):
            self._reject(item)
        elif self._suspects.wait(item, now - self._begun) is not None or (self._aside and self._waits_behind(item)):
            self._aside.append(item)
        else:
            return False
        return True

    def _waits_behind(self, item: Item) -> bool:
        """True if a message comes after the suspects: one of them would never be alone under load, or come after a newer one."""
        caution = self._suspects.caution
        if not is_own(item):
            return is_candidate(item)
        return caution.is_on or (caution.exists and any(one.topic == item.topic for one in self._aside))

    def _send_suspect(self, publish: Publish, now: float) -> None:
        """Send the first suspect that is due, if nothing else is in flight that the broker may close the connection for."""
        if any(is_candidate(item) for item in self._in_flight.values()):
            return
        is_blocked = False
        for item in list(self._aside):
            if self._suspects.is_given_up(item):
                self._aside.remove(item)
                self._reject(item)
            elif self._suspects.wait(item, now - self._begun):
                is_blocked = is_blocked or is_own(item)
            elif not (is_blocked and is_own(item)):  # or another too large one would cost the connection first
                self._aside.remove(item)
                mid = publish(item)
                if mid:
                    item.sent = now
                    self._in_flight[mid] = item
                    return
                self._reject(item)

    # Acknowledgements.

    def acknowledged(self, mid: int, now: float) -> Item | None:
        """Take the message of a PUBACK out of those in flight; None where there is none."""
        item = self._in_flight.pop(mid, None)
        if item is None:
            return None
        self._pace.acknowledged(item, len(self._in_flight) + 1, now)
        if self._suspects.exist:
            self._suspects.acquit(item)
        if item.is_backlog:
            self._backlog_landed(item)
        return item

    def _backlog_landed(self, item: Item) -> None:
        self.backlog_in_flight -= 1
        self.rows_in_flight -= bool(item.row)

    def pause_backlog(self, until: float) -> None:
        """Send no samples of the backlog until then, and forget those that wait here and that the store has."""
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
        """True if samples wait here that the store has, too."""
        return bool(self._backlog)

    @property
    def late_count(self) -> int:
        """How many superseded samples wait here, which the store does not have."""
        return len(self._late)

    @property
    def is_late(self) -> bool:
        """True while states have waited for so long that only the newest of each topic is sent."""
        return self._live.is_late

    def room_for_backlog(self, now: float) -> int:
        """How many samples of the backlog may be sent now: by the window, by their part of it, and by their rate.

        None while states wait.
        """
        if now < self._paused_until or self._live:
            return 0
        share = min(self._pace.share, max(1, self.window // 2))
        room = min(self._room_for_states(now), share - self.backlog_in_flight)
        return max(0, min(room, int((now - self._paid_until) * BACKLOG_RATE)))

    def room_for_values(self, now: float) -> int:
        """How many plain values may be in flight now. None while states wait."""
        return 0 if self._live else min(self._room_for_states(now), max(1, self.window // 4))

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
            *self._late,
            *self._live,
        ]
        self._in_flight.clear()
        self._rejected.clear()
        for queue in (self._aside, self._responses, self._messages, self._late, self._live, self._backlog):
            queue.clear()
        self.backlog_in_flight = self.rows_in_flight = 0
        items = [item for item in items if not item.row and not item.number]
        # A sample that waited may be older than one in flight.
        states = sorted((item for item in items if item.kind is Kind.STATE), key=lambda item: item.order)
        return [*states, *(item for item in items if item.kind is not Kind.STATE)]

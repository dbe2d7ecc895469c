"""The traffic on the present connection: messages are sent, acknowledged, and kept when the connection ends."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence

from agent.mqtt.connection import Connection, ConnectionLost
from agent.mqtt.inbox import MessageQueue
from agent.mqtt.item import Item, Kind, Serializable
from agent.mqtt.outbox import MOST_IN_FLIGHT, Outbox
from agent.mqtt.presence import SILENCE, Presence
from agent.mqtt.queues.values import ValueQueue
from agent.mqtt.responses.receipts import Receipts
from agent.mqtt.responses.refusals import Refusals
from agent.mqtt.responses.suspects import Suspects
from agent.mqtt.spooling import Spooling
from agent.mqtt.subscriptions import Subscriptions
from agent.mqtt.turn import Turn
from agent.protocol.topics import Topics
from agent.store.backlog import Backlog
from agent.store.commands import OpenCommands
from agent.timing import system_clock

log = logging.getLogger(__name__)

#: s. A broker that acknowledges nothing for a keep-alive, and for this long at least, counts as gone.
LEAST_PATIENCE = 5.0
#: Responses that may wait to be sent. With more the agent keeps back its acknowledgements, so that the broker sends no more
#: commands until it has taken some. With those in flight they fit in the backlog, if the connection breaks.
MOST_RESPONSES = 5000
#: States that may wait before units that are polled without a pause are slowed down.
_CONGESTED = 300
#: s between two publications of the same status and info on a broker that keeps no retained messages.
REPETITION = 60.0
#: s between connections while a message is searched for that the broker ends them for.
_SEARCHING_PAUSE = 1.0
#: s that the broker has to acknowledge the last messages at the end.
_GOODBYE = 0.5


class Exchange:
    """The inbox, the outbox, the backlog and the connection. For the thread that has the turn."""

    def __init__(
        self,
        inbox: MessageQueue,
        subscriptions: Subscriptions,
        backlog: Backlog,
        commands: OpenCommands,
        turn: Turn,
        presence: Presence,
        topics: Topics,
    ) -> None:
        """Begin without a connection."""
        #: True once the session is to end: no more of the backlog is sent.
        self.is_ending = False
        #: True while nothing but responses is published.
        self.is_silent = False
        #: Gets the topic of each retained message that the broker has acknowledged.
        self.kept: Callable[[str], None] | None = None
        self.values = ValueQueue()
        self._suspects = Suspects()
        self.outbox = Outbox(self._suspects)
        self.receipts = Receipts(commands, self._put_kept, turn.wake)
        self._inbox = inbox
        self._subscriptions = subscriptions
        self._spooling = Spooling(backlog, turn.wake)
        self._turn = turn
        self._presence = presence
        self._connection: Connection | None = None
        self._has_more = False  # packets that have been read from the socket and not handled
        self._acknowledged = self._refused = 0
        self._progress = (0, 0)  # what had been answered at the last look
        self._answered_at = time.monotonic()
        self._asked = system_clock()  # no later than the PINGREQ whose answer comes next
        self._status = ""  # the topic of the agent's status
        self._announced_at = self._asked  # no later than the status of this connection is sent
        self._is_announced = False  # the broker has acknowledged that
        self._is_holding = False
        self._prefix = f"{topics.base}/"
        self._repeated_at = -math.inf
        self._refusals = Refusals(
            self._suspects,
            self.receipts,
            topics,
            instead=self._send_instead,
            later=self._try_later,
            forget=self._spooling.acknowledged,
        )

    @property
    def undeliverable(self) -> int:
        """The number of messages that the broker did not take where they were to go."""
        return self._refusals.count

    @property
    def published(self) -> int:
        """Messages that the broker has acknowledged and taken."""
        return self._acknowledged - self._refused

    @property
    def is_congested(self) -> bool:
        """True while states come faster than they are sent. From any thread."""
        return self.outbox.is_late or len(self._inbox.items) + self.outbox.live_count > _CONGESTED

    def take_lateness(self) -> tuple[float, int]:
        """The largest age (s) of a state when it was sent, since the last call, 0 where none was; the late samples in memory.

        From any thread.
        """
        outbox = self.outbox
        age, outbox.state_age = outbox.state_age, 0.0
        return age, outbox.late_count

    @property
    def connection(self) -> Connection:
        """The present connection.

        :raises ConnectionLost: there is none
        """
        if self._connection is None:
            raise ConnectionLost("the connection is closed")
        return self._connection

    # The life of a connection.

    def begin(self, connection: Connection) -> None:
        """Open a new connection and go on with it.

        :raises ConnectionLost: it can't be made
        """
        self._keep_undelivered()
        self.receipts.begin(connection.acknowledge)
        self._connection = connection
        self._has_more = self._is_holding = self._is_announced = False
        self._asked = system_clock()
        connection.open()
        self._answered_at = time.monotonic()

    def ask(self, topic: str, message: Serializable) -> None:
        """Publish a message that is not retained before anything else is published on this connection."""
        self.connection.publish(Item(Kind.PASSING, topic, message))

    def tell_retained(self, status: str) -> None:
        """Queue everything that is retained, for a broker that has confirmed the subscriptions.

        :param status: the topic of the agent's status, which goes ahead of all others
        """
        self._status, self._announced_at = status, system_clock()
        self._refusals.begin()
        # States that came while the connection was made are backlog: behind those that are published now they would go back.
        older, retained = self._inbox.begin_connection(status)
        self._spooling.keep(older)
        self.receipts.spooled(older)
        self.receipts.recover()
        self.outbox.put_messages(self.receipts.undelivered())
        retained = self._suspects.caution.begin([] if self.is_silent else retained)
        self.outbox.put_retained(retained, time.monotonic())
        self.values.begin_connection()
        self._set_window()

    @property
    def longest_pause(self) -> float:
        """s until the next connection at most: a message that costs connections is to be found soon."""
        return _SEARCHING_PAUSE if self._suspects.caution.is_searching else math.inf

    def _set_window(self) -> None:
        widest = min(MOST_IN_FLIGHT, self.connection.abilities.receive_maximum)
        self.outbox.window = 1 if self._suspects.caution.is_on else widest

    def end(self) -> None:
        """Close the connection without DISCONNECT, and keep the messages that it has not delivered."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.was_closed:
                self._refusals.connection_ended(self.outbox.in_flight, with_reason=connection.was_refused_message)
            connection.close()
        self._keep_undelivered()

    def _keep_undelivered(self) -> None:
        self._spooling.settle()
        # A message that is not acknowledged may have arrived or not, so it is kept and sent again.
        undelivered = self.outbox.undelivered()
        age = self.outbox.state_age
        self.outbox = Outbox(self._suspects, time.monotonic())
        self.outbox.state_age = age
        self._spooling.restart()
        self._spooling.keep(undelivered)
        self.keep_inbox()

    def keep_inbox(self) -> None:
        """Keep the messages in the inbox for a later connection. From any thread."""
        self._spooling.keep(self._inbox.take_all())

    def _send_instead(self, item: Item) -> None:
        self.outbox.put_first(item)

    def _try_later(self, item: Item) -> None:
        self._spooling.refused(item, self.outbox, time.monotonic())

    def _put_kept(self, items: Sequence[Item]) -> None:
        """Take responses that the disk has. From any thread."""
        self._inbox.put(items)
        self._inbox.is_urgent = True
        self._turn.wake()

    def say_goodbye(self, topic: str) -> None:
        """Publish ``offline`` on the topic of the agent's status, await the acknowledgements, send DISCONNECT.

        :raises ConnectionLost: the connection is broken
        """
        connection = self.connection
        self.outbox.send_last(connection.publish, Item(Kind.KEEP, topic, b"offline"), time.monotonic())
        deadline = time.monotonic() + _GOODBYE
        while self.outbox.in_flight_count and time.monotonic() < deadline:
            self.wait(0.1)
        connection.disconnect()

    # Sending and receiving.

    def take_inbox(self) -> bool:
        """Sort the messages that other threads put there.

        :return: true if there were states and nothing else, as in the flow of many polls
        """
        inbox = self._inbox
        only_states = bool(inbox.items) and not inbox.is_urgent
        inbox.is_urgent = False
        self.outbox.take(inbox.items, time.monotonic())
        return only_states

    def send(self, now: float) -> None:
        """Give the connection as many messages as the window has room for. `wait` puts them on the wire."""
        self.receipts.tick(now)
        if not self.is_silent:
            self._spooling.feed(self.outbox, now)
        if self.values.waits:
            self.outbox.send(self.connection.publish, now, backlog=False)
            self.outbox.put_retained(self.values.take(0 if self.is_silent else self.outbox.room_for_values(now)), now)
        self.outbox.send(self.connection.publish, now, backlog=not self.is_ending)
        self._spooling.keep_overflow(self.outbox)
        waiting = self.outbox.response_count
        if waiting > MOST_RESPONSES or (self._is_holding and waiting < MOST_RESPONSES // 2):
            self._is_holding = waiting > MOST_RESPONSES
            self.connection.hold_acknowledgements(self._is_holding)
        while self.outbox.has_rejected:
            rejected = self.outbox.take_rejected()
            for item in rejected:
                self.values.ended(item, was_taken=False)
            self._refusals.take_rejected(rejected, self.connection.abilities.largest_packet or 0)
            self.outbox.send(self.connection.publish, now, backlog=False)

    def send_here(self) -> bool:
        """Send the messages that wait in the calling thread, if the session's thread sleeps.

        The backlog, and subscriptions that go first, are left to the session's thread.

        :return: true if all went
        """
        if self._spooling.has_kept or not self._turn.try_to_take():
            return False
        try:
            connection = self._connection
            if connection is None or not self._presence.connected or self.is_ending:
                return False
            self.take_inbox()
            if self._subscriptions.has_changed:
                return False
            now = time.monotonic()
            with contextlib.suppress(ConnectionLost):  # the session's thread meets the error again
                self.outbox.send_responses(connection.publish, now)
                connection.flush()
                self.outbox.send(connection.publish, now, backlog=False)
                connection.flush()
            return not connection.wants_to_write and not self.outbox.has_rejected
        finally:
            self._turn.give_back()

    def wait(self, timeout: float) -> None:
        """Flush the connection, sleep up to the timeout (s) until something happens, read some of the packets that came.

        :raises ConnectionLost: the connection is gone
        """
        connection = self.connection
        if connection.wants_to_write:
            connection.flush()
        if self._has_more:
            timeout = 0.0
        readable = self._turn.sleep(timeout, self._has_work, connection.socket_number, connection.wants_to_write)
        if readable or self._has_more:
            self._has_more = connection.read()
        connection.check()
        self._spooling.settle()

    def nap(self, seconds: float) -> None:
        """Let states gather for some time (s), and read what comes in meanwhile: a command does not wait for the end.

        Ends early for a message that is urgent.

        :raises ConnectionLost: the connection is gone
        """
        inbox, connection = self._inbox, self.connection
        end = time.monotonic() + seconds
        while not self._has_more and (left := end - time.monotonic()) > 0:
            number = connection.socket_number
            if number is None or not self._turn.nap(left, lambda: inbox.is_urgent, number):
                return
            self._has_more = connection.read()
            connection.check()

    def patience(self, now: float, longest: float) -> float:
        """How long (s) to `wait` at most."""
        if self._inbox.items:
            return 0
        return self._spooling.patience(self.outbox, now, self.receipts.patience(longest))

    def _has_work(self) -> bool:
        if not self._presence.connected:  # messages that came meanwhile wait for the subscriptions
            return self.is_ending
        has_messages = self._inbox.items or self.values.has_news
        return bool(has_messages or self._subscriptions.has_changed or self._spooling.has_delivered)

    @property
    def is_idle(self) -> bool:
        """True if all but the backlog has been sent and acknowledged."""
        waits = self._inbox.items or (self.values.waits and not self.is_silent)
        return not waits and self.outbox.is_idle and self.receipts.is_idle

    def repeat_retained(self, now: float) -> None:
        """Publish again what is said of units and of this agent, once in `REPETITION` s, where the broker retains nothing.

        To be called every second or so.
        """
        retains = self.connection.abilities.retains
        if not retains and not self.is_silent and now - self._repeated_at >= REPETITION:
            self._repeated_at = now
            self._inbox.put(self._inbox.to_repeat(self._prefix))
            self.values.repeat()

    def check_link(self, now: float, keepalive: float) -> None:
        """Ask the broker for a sign of life where it is time to, and see since when it has given none. TCP alone does not tell.

        To be called every `freshness.INTERVAL` s. A sign is the answer to something that was sent: a link that works in one
        direction is of no use.

        :raises ConnectionLost: it has answered nothing for a whole keep-alive (s)
        """
        connection = self.connection
        if connection.answers != self._progress[1] and self._is_announced:
            self._presence.heard = self._asked
        if connection.asked_at is None:
            self._asked = system_clock()
        connection.keep_alive()
        connection.ask_again(now)
        progress = (self._acknowledged, connection.answers)
        if progress != self._progress:
            self._progress, self._answered_at = progress, now
        waits = [moment for moment in (self.outbox.oldest_sent, connection.asked_at) if moment is not None]
        silence = now - self._answered_at if waits and now - min(waits) > SILENCE else 0.0
        if silence > SILENCE and connection.has_unread:  # the answer may be among what has come
            return
        self._presence.watch(now, silence, connection.last_heard)
        patience = max(LEAST_PATIENCE, keepalive)
        if silence > patience:
            raise ConnectionLost(f"it has answered nothing for {patience:g} s")

    def on_acknowledged(self, mid: int, code: int) -> None:
        """Take a PUBACK: its packet identifier and its reason code."""
        now = time.monotonic()
        item = self.outbox.acknowledged(mid, now)
        if item is None:
            return
        self._acknowledged += 1
        if self._presence.is_silent:
            # Not with the next look: what comes behind it may be a setting for a unit that has come meanwhile.
            self._presence.watch(now, 0.0, now)
        if not self._is_announced and (item.topic == self._status or self.is_silent):
            # Only now do others hear that this agent is there. Until then the time runs after which they take its units over.
            self._is_announced, self._presence.heard = True, self._announced_at
        if self._suspects.caution.is_beginning:
            if code < 0x80:
                self._suspects.caution.taken(item)
            self._set_window()
        self.values.ended(item, was_taken=code < 0x80)
        if code >= 0x80:
            self._refused += 1
            self._refusals.refused(item, code)
            return
        if item.ticket is not None or item.number:
            self.receipts.delivered(item)
        if item.kind is Kind.KEEP and item.content == b"":
            self._inbox.confirmed(item)
        elif item.kind is Kind.KEEP and self.kept is not None:
            self.kept(item.topic)
        if item.row:
            self._spooling.acknowledged(item)

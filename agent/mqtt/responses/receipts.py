"""When the broker is told that a command is taken, so that a kill at any moment leaves none that was taken without its response.

A command is *safe* once the broker has acknowledged its response, or the file knows it. Only then its message is acknowledged.
Nearly all commands have their response within `HOLD`, and cost the disk nothing. A response to a command that the file knows goes
into the file first and to the broker then, or the next start would give another one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from agent.mqtt.incoming import Incoming
from agent.mqtt.item import Item, Kind
from agent.protocol.messages import Response, ResponseError, utc_now
from agent.protocol.report import Stage, Ticket
from agent.protocol.words import counted
from agent.store.commands import OpenCommand, OpenCommands

log = logging.getLogger(__name__)

#: s until a command without a response is kept in the file. A broker sends only so many commands before the first of them is
#: acknowledged (Mosquitto 20 by itself), so this and the disk's time are what an off may wait behind them.
HOLD = 0.005
#: s that a disk may take. What takes longer is acknowledged, or sent, without it, as is all else until the disk has caught up.
PATIENCE = 0.1


class _Delivery:
    """One message with QoS 1 that is not acknowledged."""

    __slots__ = ("is_kept", "mid", "received", "tickets")

    def __init__(self, incoming: Incoming, now: float) -> None:
        self.mid = incoming.mid
        self.tickets = incoming.tickets
        self.received = now
        self.is_kept = False  # it was given to the store


class Receipts:
    """The commands that are not safe, and the responses that wait for the disk. `answer` is for any thread."""

    def __init__(
        self,
        commands: OpenCommands,
        put: Callable[[Sequence[Item]], None],
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param put: takes the messages that can be sent, in any thread
        :param wake: ends the sleep of the session's thread
        :param clock: that of `tick`
        """
        self._commands = commands
        self._put = put
        self._wake = wake
        self._clock = clock
        self._acknowledge: Callable[[int], None] = _ignore
        self._deliveries: deque[_Delivery] = deque()  # MQTT 5, 4.6: acknowledged in the order in which they came
        self._kept: dict[int, tuple[float, Item]] = {}  # number → until when its response waits for the disk
        self._answers: dict[Ticket, Item] = {}  # the responses of the present connection that are not kept
        # Of the stages of tickets and of what waits. The store's lock is taken under it, and the inbox's.
        self._lock = threading.Lock()
        self._is_slow = False  # the disk is

    # In any thread.

    def answer(self, items: list[Item]) -> list[Item]:
        """Take a report's messages, of which the last may be a response.

        :return: those that can be sent at once; the response comes later where it has to be kept first
        """
        response = items[-1] if items else None
        if response is None or response.ticket is None:
            return items
        ticket = response.ticket
        with self._lock:
            if ticket.stage is not Stage.KEPT:
                ticket.stage = Stage.ANSWERED
                self._answers[ticket] = response
                return items
            ticket.stage = Stage.KEPT_ANSWERED
            response.number = ticket.number
            self._keep_response(response)
            if self._is_slow:
                self._kept.pop(response.number)
                return items
        return items[:-1]

    def recover(self) -> int:
        """The number of commands that an earlier run left without a response, which are answered now; it may be called again.

        The file may be opened late, where the disk did not answer at the start.
        """
        left = self._commands.take_unanswered()
        if left:
            log.warning(
                "the agent ended before it had answered %s; the senders are told `uncertain`",
                counted(len(left), "command"),
            )
        for command in left:
            response = Response(
                id=command.command_id,
                ok=False,
                time=utc_now(),
                psu=command.unit,
                index=command.channel,
                error=ResponseError(
                    code="uncertain",
                    message="the agent ended before this was finished; it may or may not have happened: look at the state",
                ),
            )
            item = Item(Kind.RESPONSE, command.topic, response, command.correlation, number=command.number)
            with self._lock:
                self._keep_response(item)
        return len(left)

    def _keep_response(self, item: Item) -> None:
        """Have a response sent once it is kept. With the lock held."""
        number = item.number
        self._kept[number] = (self._clock() + PATIENCE, item)
        self._commands.answer(number, item.payload, lambda: self._response_is_kept(number))

    def _response_is_kept(self, number: int) -> None:
        with self._lock:
            self._is_slow = False
            self._release(number)

    def _release(self, number: int) -> None:
        _, item = self._kept.pop(number, (0.0, None))
        if item is not None:
            self._put((item,))

    # In the thread that has the session's turn.

    def begin(self, acknowledge: Callable[[int], None]) -> None:
        """Begin a connection: the broker awaits no acknowledgement of what came on an older one.

        :param acknowledge: sends one, for a packet identifier
        """
        with self._lock:
            self._answers.clear()
        self._deliveries.clear()
        self._acknowledge = acknowledge

    def take(self, incoming: Incoming) -> None:
        """Acknowledge a message that has been handled, now or when its commands are safe."""
        if incoming.mid:
            self._deliveries.append(_Delivery(incoming, self._clock()))
            if not incoming.tickets:
                self._acknowledge_safe()

    def undelivered(self) -> list[Item]:
        """The responses that were kept and not delivered, but for those that still wait for the disk. For a new connection."""
        with self._lock:
            return [
                Item.from_command(command) for command in self._commands.answered() if command.number not in self._kept
            ]

    def delivered(self, item: Item) -> None:
        """Take note that a response needs no more care: the broker has it, or will never take it."""
        self.spooled((item,))
        if item.number:
            self._commands.close(item.number)

    def spooled(self, items: Iterable[Item]) -> None:
        """Take note that the responses among these messages are kept with the backlog. From any thread."""
        for item in items:
            ticket = item.ticket
            if ticket is not None:
                ticket.is_safe = True
                with self._lock:
                    self._answers.pop(ticket, None)

    def tick(self, now: float) -> None:
        """Keep what has waited for `HOLD`, give up waiting for a slow disk, acknowledge what is safe."""
        if not self._deliveries and not self._kept:
            return
        for delivery in self._deliveries:
            if now - delivery.received < HOLD:
                break
            if not delivery.is_kept:
                delivery.is_kept = True
                for ticket in delivery.tickets:
                    if not ticket.is_safe:
                        self._keep(ticket)
            if self._is_slow or now - delivery.received > HOLD + PATIENCE:
                self._is_slow = self._is_slow or not all(ticket.is_safe for ticket in delivery.tickets)
                delivery.tickets = []
        if self._kept:
            with self._lock:
                late = [number for number, (deadline, _) in self._kept.items() if now > deadline]
                self._is_slow = self._is_slow or bool(late)
                for number in late:
                    self._release(number)
        self._acknowledge_safe()

    def _keep(self, ticket: Ticket) -> None:
        command = OpenCommand(0, ticket.topic, ticket.correlation, ticket.unit, ticket.channel, ticket.command_id)
        with self._lock:
            answer = self._answers.pop(ticket, None)
            if answer is not None:
                command.topic, command.correlation, command.payload = answer.topic, answer.correlation, answer.payload
            ticket.number = self._commands.open(command, lambda: self._is_kept(ticket))
            if not ticket.number:
                ticket.is_safe = True  # of so many, one more is not worth the memory
                return
            ticket.stage = Stage.KEPT if answer is None else Stage.KEPT_ANSWERED
            if answer is not None:
                answer.number = ticket.number

    def _is_kept(self, ticket: Ticket) -> None:
        self._is_slow = False
        ticket.is_safe = True
        self._wake()

    def _acknowledge_safe(self) -> None:
        deliveries = self._deliveries
        while deliveries and all(ticket.is_safe for ticket in deliveries[0].tickets):
            self._acknowledge(deliveries.popleft().mid)

    def patience(self, longest: float) -> float:
        """How long (s) the session's thread may sleep while nothing happens."""
        if self._deliveries:
            return HOLD if not self._deliveries[-1].is_kept else PATIENCE / 2
        return PATIENCE / 2 if self._kept else longest

    @property
    def is_idle(self) -> bool:
        """True if nothing waits for the disk or for an acknowledgement of this agent's."""
        return not self._deliveries and not self._kept


def _ignore(mid: int) -> None:
    del mid

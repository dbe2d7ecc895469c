"""Dispatch: a message on a command topic becomes a job for a unit, or a refusal with its reason; one on a topic for leases
asks for a lease. Each gets one response."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping

from agent.mqtt.incoming import Incoming
from agent.protocol.commands import Command, Scope, parse_command, parse_field
from agent.protocol.errors import Refusal
from agent.protocol.leases import LeaseRequest, parse_lease
from agent.protocol.messages import Response, ResponseError, utc_now
from agent.protocol.report import Outlet, ReplyTo, Report, Ticket
from agent.protocol.topics import LONGEST_LEVEL, Request, Topics
from agent.service.leases.leases import Leases
from agent.store.seen import SeenCommands
from agent.unit.job import Job
from agent.unit.limits.channel import Channel
from agent.unit.supply import Supply

log = logging.getLogger(__name__)

#: s. Copies of one message for several filters come right after each other.
COPY_WINDOW = 0.2
_STALE = "the agent or its link to the broker was held up, so nobody knows how old it is; send it again"
#: Characters that have a meaning in topics and filters, or that MQTT does not allow there.
_OUT_OF_LEVELS = frozenset("/+#\0")


class Dispatcher:
    """Gives messages on command topics to units, or refuses them. In the MQTT thread.

    :param supplies: gives the units that are served now, by name
    """

    def __init__(
        self,
        topics: Topics,
        supplies: Callable[[], Mapping[str, Supply]],
        seen: SeenCommands,
        outlet: Outlet,
        leases: Leases,
    ) -> None:
        self._topics = topics
        self._supplies = supplies
        self._seen = seen
        self._leases = leases
        self._outlet = outlet
        # The last message on a topic that several filters match, how often it was delivered, and when it was first.
        self._copied: tuple[Incoming | None, int, float] = (None, 0, 0.0)

    def handle(self, incoming: Incoming) -> None:
        """Take one message. No content of it raises an exception."""
        request = self._topics.parse(incoming.topic)
        if request is None or (request.copies > 1 and self._is_copy(incoming, request)):
            return
        supplies = self._supplies()
        if request.unit is not None:
            supplies = {request.unit: supplies[request.unit]} if request.unit in supplies else {}
        for supply in supplies.values():
            if request.verb == "get":
                supply.poll_now()
                continue
            try:
                self._answer(incoming, request, supply)
            except Exception:  # or an off for all would end at the first unit with a fault in it
                log.exception(
                    "%s: a command was not handled, by an error inside psu-agent; please report it", supply.name
                )

    def _is_copy(self, incoming: Incoming, request: Request) -> bool:
        """True if the broker has just delivered the same message for another filter: it gets no second response."""
        last, number, moment = self._copied
        now = time.monotonic()
        if incoming == last and number < request.copies and now - moment < COPY_WINDOW:
            self._copied = (last, number + 1, moment)
            return True
        self._copied = (incoming, 1, now)
        return False

    def _answer(self, incoming: Incoming, request: Request, supply: Supply) -> None:
        """Take a command, or a request for a lease, for one unit. It gets one response, at once or by the unit."""
        supply.counters.commands += 1
        channels = supply.channels
        index: int | None = None
        unknown: Refusal | None = None
        if request.channel is not None:
            try:
                if request.unit is None:
                    takes = f"no channel; publish to {self._topics.set('all')}"
                    if request.channel == "lease":
                        takes = f"no lease; publish to {self._topics.lease_set(supply.name)}"
                    raise Refusal("bad_payload", f"all units together take {takes}")
                channels = (supply.channel(request.channel),)
                index = channels[0].index
            except Refusal as refusal:
                unknown = refusal
        ticket = self._ticket(incoming, supply.name, index if unknown is None else _level(request), index)
        reply_to = ReplyTo(ticket.topic, incoming.correlation, ticket)
        try:
            if unknown is not None:
                ticket.command_id = _id_of(incoming, request)
                raise unknown
            if incoming.retain:
                ticket.command_id = _id_of(incoming, request)
                why = "it was published with the retain flag; send it again without"
                if not incoming.payload:
                    why = "it is empty and was published with the retain flag, which removes a retained message and does no more"
                raise Refusal("retained", why)
            if request.verb == "lease":
                self._lease(incoming, request, ticket, reply_to)
            else:
                self._command(incoming, request, supply, channels, index, reply_to)
        except Refusal as refusal:
            supply.counters.refusals += 1
            log.warning("%s: refused on %s (%s): %s", supply.name, ascii(incoming.topic), refusal.code, refusal.message)
            response = Response(
                id=refusal.command_id or ticket.command_id,
                ok=False,
                time=utc_now(),
                psu=supply.name,
                index=index,
                error=ResponseError(code=refusal.code, message=refusal.message),
            )
            self._outlet.report(Report(response=response, reply_to=reply_to))

    def _command(
        self,
        incoming: Incoming,
        request: Request,
        supply: Supply,
        channels: tuple[Channel, ...],
        index: int | None,
        reply_to: ReplyTo,
    ) -> None:
        """:raises Refusal: it is not carried out"""
        command = _parse(incoming, request)
        if reply_to.ticket is not None:
            reply_to.ticket.command_id = command.id
        command = self._not_outdated(incoming, command, supply.name, index)
        supply.submit(
            Job(
                command,
                channels,
                whole_unit=request.channel is None,
                reply_to=reply_to,
                expires=None if incoming.expiry is None else time.monotonic() + incoming.expiry,
                received=incoming.came,
            )
        )

    def _lease(self, incoming: Incoming, request: Request, ticket: Ticket, reply_to: ReplyTo) -> None:
        """:raises Refusal: nothing changed"""
        wanted = _parse_lease(incoming, request)
        ticket.command_id = wanted.id
        unit, index = ticket.unit, ticket.channel
        if incoming.stale:
            raise Refusal("expired", _STALE)
        repetition = self._repetition(incoming, wanted.id, unit, ("lease", index))
        if repetition is not None:
            raise repetition
        state = self._leases.request(unit, index, wanted, incoming.came)
        response = Response(id=wanted.id, ok=True, time=state.time, psu=unit, index=index, result=state)
        self._outlet.report(Report(response=response, reply_to=reply_to))

    def _not_outdated(self, incoming: Incoming, command: Command, unit: str, index: int | None) -> Command:
        """The command; of an off that came late or before nothing but the off.

        Its id and its Correlation Data are seen from now on, also if it is an off.

        :raises Refusal: ``expired`` or ``duplicate``
        """
        if command.expires_at is not None and utc_now() > command.expires_at:
            raise Refusal("expired", f"its expires_at, {command.expires_at.isoformat()}, is past by the agent's clock")
        if incoming.stale:
            command = _refused(command, Refusal("expired", _STALE))
        repetition = self._repetition(incoming, command.id, unit, index)
        return command if repetition is None else _refused(command, repetition)

    def _repetition(self, incoming: Incoming, command_id: str | None, unit: str, target: object) -> Refusal | None:
        """The refusal of a command whose id or Correlation Data came before, for the same target; None of any other.

        An id is remembered for its target, as one and the same goes to several units through ``all``.
        """
        found: Refusal | None = None
        if incoming.dup:
            found = Refusal(
                "duplicate", "the broker delivered it for a second time; the first may have been carried out"
            )
        for kind, value in (("id", command_id), ("correlation", incoming.correlation)):
            if value is None:
                continue
            raw = value.encode() if isinstance(value, str) else bytes(value)
            key = hashlib.blake2b(repr((kind, unit, target, raw)).encode(), digest_size=16).digest()
            if self._seen.is_duplicate(key) and found is None:
                what = "id" if kind == "id" else "Correlation Data"
                found = Refusal(
                    "duplicate", f"a command with this {what} came within the last 10 minutes; it was heard"
                )
        return found

    def _ticket(self, incoming: Incoming, unit: str, channel: int | str | None, index: int | None) -> Ticket:
        """MQTT 5's Response Topic where the sender gave one that a response may go to, else the unit's or the channel's own."""
        topic = self._topics.response(unit, channel)
        wanted = incoming.response_topic
        if wanted is not None:
            if self._topics.takes_responses(wanted):
                topic = wanted
            else:
                log.warning(
                    "%s: the Response Topic %s can take no response; it went to %s; give %s",
                    unit,
                    ascii(wanted)[:120],
                    topic,
                    self._topics.response_topics,
                )
        ticket = Ticket(unit, index, topic, incoming.correlation)
        incoming.tickets.append(ticket)
        return ticket


def _refused(command: Command, refusal: Refusal) -> Command:
    """An off without what rides on it, for this reason; a plain off is not touched by it.

    :raises Refusal: it is no off
    """
    if command.state is not False:
        raise refusal
    return command if command.turns_off else command.only_off(refusal)


def _parse(incoming: Incoming, request: Request) -> Command:
    payload = bytes(incoming.payload)
    scope: Scope = "all" if request.unit is None else "unit" if request.channel is None else "channel"
    field = request.field
    command = parse_command(payload, scope) if field is None else parse_field(field, payload, scope)
    if request.has_slash:
        fault = Refusal("bad_payload", "its topic ends with a slash; take that off", command.id)
        if command.state is not False:
            raise fault
        command = command.only_off(fault)
    return command


def _parse_lease(incoming: Incoming, request: Request) -> LeaseRequest:
    wanted = parse_lease(bytes(incoming.payload))
    if request.field is not None or request.has_slash:
        raise Refusal("bad_payload", "its topic goes on behind lease/set; take that off, all of it is JSON", wanted.id)
    return wanted


def _level(request: Request) -> str | None:
    """The channel of a topic, if its response can have it as a level: else that goes to the unit's own topic."""
    channel = request.channel
    if request.unit is None or not channel or len(channel) > LONGEST_LEVEL or not _OUT_OF_LEVELS.isdisjoint(channel):
        return None
    return channel


def _id_of(incoming: Incoming, request: Request) -> str | None:
    """The id of a command that is refused without being looked at any further."""
    try:
        return (_parse_lease if request.verb == "lease" else _parse)(incoming, request).id
    except Refusal as refusal:
        return refusal.command_id

"""Dispatch: a message on a command topic becomes a job for a unit, or a refusal with its reason. Each gets one response."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Literal

from agent.mqtt.incoming import Incoming
from agent.protocol.commands import Command, parse_command, parse_field
from agent.protocol.errors import Refusal
from agent.protocol.messages import Response, ResponseError, utc_now
from agent.protocol.report import Outlet, ReplyTo, Report, Ticket
from agent.protocol.topics import Request, Topics
from agent.store.seen import SeenCommands
from agent.unit.job import Job
from agent.unit.supply import Supply

log = logging.getLogger(__name__)


class Dispatcher:
    """Gives messages on command topics to units, or refuses them. In the MQTT thread.

    :param supplies: gives the units that are served now, by name
    """

    def __init__(
        self, topics: Topics, supplies: Callable[[], Mapping[str, Supply]], seen: SeenCommands, outlet: Outlet
    ) -> None:
        self._topics = topics
        self._supplies = supplies
        self._seen = seen
        self._outlet = outlet

    def handle(self, incoming: Incoming) -> None:
        """Take one message. No content of it raises an exception."""
        request = self._topics.parse(incoming.topic)
        if request is None or (incoming.retain and not incoming.payload):  # the removal of a retained message
            return
        supplies = self._supplies()
        if request.unit is not None:
            supplies = {request.unit: supplies[request.unit]} if request.unit in supplies else {}
        for supply in supplies.values():
            if request.verb == "get":
                supply.poll_now()
                continue
            try:
                self._command(incoming, request, supply)
            except Exception:  # or an off for all would end at the first unit with a fault in it
                log.exception(
                    "%s: a command was not handled, by an error inside psu-agent; please report it", supply.name
                )

    def _command(self, incoming: Incoming, request: Request, supply: Supply) -> None:
        supply.counters.commands += 1
        channels = supply.channels
        index: int | None = None
        unknown: Refusal | None = None
        if request.channel is not None:
            try:
                channels = (supply.channel(request.channel),)
                index = channels[0].index
            except Refusal as refusal:
                unknown = refusal
        reply_to = self._reply_to(incoming, supply.name, request.channel if index is None else index, index)
        command_id: str | None = None
        try:
            if unknown is not None:
                command_id = _id_of(incoming, request)
                raise unknown
            if incoming.retain:
                why = "it was published with the retain flag; send it again without"
                raise Refusal("retained", why, _id_of(incoming, request))
            command = self._parse(incoming, request)
            command_id = command.id
            if reply_to.ticket is not None:
                reply_to.ticket.command_id = command_id
            self._check_age(incoming, command)
            self._check_repetition(incoming, command, supply.name, index)
            supply.submit(
                Job(
                    command,
                    channels,
                    whole_unit=request.channel is None,
                    reply_to=reply_to,
                    expires=None if incoming.expiry is None else time.monotonic() + incoming.expiry,
                )
            )
        except Refusal as refusal:
            supply.counters.refusals += 1
            log.warning("%s: refused on %s (%s): %s", supply.name, ascii(incoming.topic), refusal.code, refusal.message)
            response = Response(
                id=refusal.command_id or command_id,
                ok=False,
                time=utc_now(),
                psu=supply.name,
                index=index,
                error=ResponseError(code=refusal.code, message=refusal.message),
            )
            self._outlet.report(Report(response=response, reply_to=reply_to))

    def _parse(self, incoming: Incoming, request: Request) -> Command:
        payload = bytes(incoming.payload)
        if request.field is not None:
            return parse_field(request.field, payload, "unit" if request.channel is None else "channel")
        return parse_command(payload, _scope(request))

    def _check_age(self, incoming: Incoming, command: Command) -> None:
        if incoming.stale:
            raise Refusal("expired", "it came in while the agent was held up, nobody knows when; send it again")
        if command.expires_at is not None and utc_now() > command.expires_at:
            raise Refusal("expired", f"its expires_at, {command.expires_at.isoformat()}, is past by the agent's clock")

    def _check_repetition(self, incoming: Incoming, command: Command, unit: str, index: int | None) -> None:
        """Refuse a command whose id or Correlation Data came before, for the same target.

        An id is remembered for its target, as one and the same goes to several units through ``all``.

        :raises Refusal: ``duplicate``
        """
        if incoming.dup:
            raise Refusal("duplicate", "the broker delivered it for a second time; the first may have been carried out")
        for kind, value in (("id", command.id), ("correlation", incoming.correlation)):
            if value is None:
                continue
            raw = value.encode() if isinstance(value, str) else bytes(value)
            key = hashlib.blake2b(repr((kind, unit, index, raw)).encode(), digest_size=16).digest()
            if self._seen.is_duplicate(key):
                what = "id" if kind == "id" else "Correlation Data"
                raise Refusal("duplicate", f"a command with this {what} came within the last 10 minutes; it was heard")

    def _reply_to(self, incoming: Incoming, unit: str, channel: int | str | None, index: int | None) -> ReplyTo:
        """MQTT 5's Response Topic where the sender gave one that a response may go to, else the unit's or the channel's own."""
        topic = self._topics.response(unit, channel)
        wanted = incoming.response_topic
        if wanted is not None:
            if self._topics.takes_responses(wanted):
                topic = wanted
            else:
                log.warning("%s: no response goes to the topic %s; it went to %s", unit, ascii(wanted)[:120], topic)
        ticket = Ticket(unit, index, topic, incoming.correlation)
        incoming.tickets.append(ticket)
        return ReplyTo(topic, incoming.correlation, ticket)


def _scope(request: Request) -> Literal["channel", "unit", "all"]:
    if request.unit is None:
        return "all"
    return "unit" if request.channel is None else "channel"


def _id_of(incoming: Incoming, request: Request) -> str | None:
    """The id of a command that is refused without being looked at any further."""
    try:
        return None if request.field is not None else parse_command(bytes(incoming.payload), _scope(request)).id
    except Refusal as refusal:
        return refusal.command_id

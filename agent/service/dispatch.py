"""From a message as the broker delivered it to a job for a unit, or to the reason why it is none: one answer each."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from agent.mqtt.broker import Incoming
from agent.protocol.commands import Command, parse_command, parse_field
from agent.protocol.errors import Refusal
from agent.protocol.messages import Response, ResponseError, utc_now
from agent.protocol.report import Outlet, Report
from agent.protocol.report import ReplyTo as Reply
from agent.protocol.topics import Request, Topics
from agent.store.spool import Spool
from agent.unit.job import Job
from agent.unit.supply import Supply

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Target:
    """One unit that a command is for, and where on it."""

    supply: Supply
    channel: str | None  # as it stood in the topic


class Dispatcher:
    """Decides, for each message on a topic that the agent listens to, whether it is carried out."""

    def __init__(self, topics: Topics, supplies: Mapping[str, Supply], spool: Spool, outlet: Outlet) -> None:
        self._topics = topics
        self._supplies = supplies
        self._spool = spool
        self._outlet = outlet

    def serve(self, supplies: Mapping[str, Supply]) -> None:
        """From now on these."""
        self._supplies = supplies

    def handle(self, incoming: Incoming) -> None:
        """Take one message. Never raises for what stands in it."""
        request = self._topics.parse(incoming.topic)
        if request is None or (incoming.retain and not incoming.payload):  # that is how a retained message is removed
            return
        if request.verb == "get":
            supply = self._supplies.get(request.unit or "")
            if supply is not None:
                supply.poll_now()
            return
        if request.unit is None:
            for supply in self._supplies.values():
                self._command(incoming, request, _Target(supply, None))
            self._spool.save_seen()
        elif request.unit in self._supplies:
            self._command(incoming, request, _Target(self._supplies[request.unit], request.channel))
            self._spool.save_seen()  # while the unit is at it; no response goes before this message is done with

    def _command(self, incoming: Incoming, request: Request, target: _Target) -> None:
        supply = target.supply
        supply.counters.commands += 1
        reply = self._reply(incoming, target)
        command_id: str | None = None
        index: int | None = None
        try:
            channels = supply.channels if target.channel is None else (supply.channel(target.channel),)
            if target.channel is not None:
                index = channels[0].index
                reply = self._reply(incoming, _Target(supply, str(index)))
            if incoming.retain:
                why = "it was published with the retain flag; send it again without"
                raise Refusal("retained", why, _id_of(incoming, request))
            command = self._parse(incoming, request)
            command_id = command.id
            self._check_age(incoming, command)
            self._check_repetition(incoming, command, supply.name, index)
            supply.submit(
                Job(
                    command,
                    channels,
                    whole_unit=target.channel is None,
                    reply_to=reply,
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
            self._outlet.report(Report(response=response, reply_to=reply))

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
        """Whoever was told nothing may send again; whoever was told something has been heard.

        An id is remembered for its target, as one and the same goes to several units through ``all``.
        """
        if incoming.dup:
            raise Refusal("duplicate", "the broker delivered it for a second time; the first may have been carried out")
        for kind, value in (("id", command.id), ("correlation", incoming.correlation)):
            if value is None:
                continue
            raw = value.encode() if isinstance(value, str) else bytes(value)
            key = hashlib.blake2b(repr((kind, unit, index, raw)).encode(), digest_size=16).digest()
            if self._spool.is_duplicate(key):
                what = "id" if kind == "id" else "Correlation Data"
                raise Refusal("duplicate", f"a command with this {what} came within the last 10 minutes; it was heard")

    def _reply(self, incoming: Incoming, target: _Target) -> Reply:
        """MQTT 5's Response Topic where the sender gave one that a response may go to, else the unit's or the channel's own."""
        own = self._topics.response(target.supply.name, target.channel)
        wanted = incoming.response_topic
        if wanted is None:
            return Reply(own, incoming.correlation)
        if not self._topics.takes_responses(wanted):
            log.warning(
                "%s: no response goes to the topic %s; it went to %s", target.supply.name, ascii(wanted)[:120], own
            )
            return Reply(own, incoming.correlation)
        return Reply(wanted, incoming.correlation)


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

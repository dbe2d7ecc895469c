"""Sending a command and waiting for its response."""

from __future__ import annotations

import contextlib
import json
import queue
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import ValidationError

from agent.client.connection import QUIET, Client, LinkChange, Message
from agent.client.errors import BrokerError, NotReadableError
from agent.client.fleet import Fleet
from agent.client.shared import Borrowed
from agent.protocol import names
from agent.protocol.commands import parse_command
from agent.protocol.errors import Refusal
from agent.protocol.messages import Response, UnitInfo, format_time, utc_now
from agent.protocol.offs import is_off

#: s for a command that takes no time of its own.
PATIENCE = 10.0
#: s to wait for the response of another agent behind one that another agent serves the unit.
ANOTHER_WAIT = 1.0
#: V that a ramp may have to go: from the highest voltage of any supported supply, or to the target if that is higher still. A
#: ramp whose command expires stands still halfway.
_WIDEST_RAMP = 600.0
#: The fields of a command that turns off and does nothing else.
OF_A_PLAIN_OFF = frozenset(("state", "id", "lease", "expires_at"))


@dataclass(frozen=True, slots=True)
class Target:
    """``UNIT``, ``UNIT/CH`` (a number or a name), or ``all``."""

    unit: str
    channel: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The target that a text means.

        :raises ValueError: it names none; the text says what would be right
        """
        unit, slash, channel = text.partition("/")
        try:
            if unit != "all":
                names.check_unit_name(unit)
        except ValueError:
            raise ValueError(f"{text!r} names no unit; give UNIT or UNIT/CH, such as psu1/2 or psu1/VDD") from None
        if slash and (
            not channel or any(c in channel for c in "/+#") or not channel.isprintable() or len(channel) > 64
        ):
            raise ValueError(f"{text!r} names no channel; give UNIT/CH, such as psu1/2 or psu1/VDD")
        if unit == "all" and slash:
            raise ValueError("`all` has no channels; give `all` alone")
        return cls(unit, channel or None)

    def __str__(self) -> str:
        return self.unit if self.channel is None else f"{self.unit}/{self.channel}"


@dataclass(slots=True)
class CommandOutcome:
    """The responses to a command. For ``all`` also the units that did not answer, and those whose agent is offline."""

    responses: list[Response] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)
    unattended: set[str] = field(default_factory=set)

    @property
    def exit_code(self) -> int:
        """The exit code of a command line. 0: carried out; 1: refused; 2: nobody answered, or not every unit."""
        if self.silent or not self.responses:
            return 2
        return 0 if all(response.ok for response in self.responses) else 1


def command(
    target: Target,
    fields: dict[str, Any],
    *,
    command_id: str,
    expires_in: float | None = None,
    lease: str | None = None,
) -> dict[str, Any]:
    """A command's payload, checked as the agent will check it.

    :param fields: by their names in `agent.protocol.quantities`; those that are None are left out
    :param expires_in: s after which it is not to be carried out
    :param lease: the holder in whose name it is sent, where somebody has reserved the channel or the unit
    :raises ValueError: the agent would refuse it; the text says why
    """
    payload = compose(fields, command_id=command_id, expires_in=expires_in, lease=lease)
    check(target, payload)
    return payload


def compose(
    fields: Mapping[str, Any], *, command_id: str, expires_in: float | None = None, lease: str | None = None
) -> dict[str, Any]:
    """A command's payload, as `command` makes it, but without a check."""
    payload: dict[str, Any] = {"id": command_id} | {name: value for name, value in fields.items() if value is not None}
    if expires_in is not None:
        payload["expires_at"] = format_time(utc_now() + timedelta(seconds=expires_in))
    if lease is not None:
        payload["lease"] = lease
    return payload


def check(target: Target, payload: dict[str, Any]) -> None:
    """Check a command's payload as the agent will.

    :raises ValueError: the agent would refuse it; the text says why
    """
    scope: Literal["all", "unit", "channel"] = "unit" if target.channel is None else "channel"
    try:
        fault = parse_command(json.dumps(payload).encode(), "all" if target.unit == "all" else scope).fault
        if fault is not None:
            raise fault
    except Refusal as refusal:
        raise ValueError(f"{target}: {refusal.message}") from None


def patience(payload: dict[str, Any]) -> float:
    """The time to wait for a command's response, in s: a cycle or a ramp is answered when it has been carried out."""
    distance = max(_WIDEST_RAMP, abs(payload.get("voltage_limit", 0.0)))
    ramp = distance / payload["ramp"] if "ramp" in payload else 0.0
    return float(PATIENCE + payload.get("cycle", 0.0) + ramp)


def send(
    client: Client | Borrowed, target: Target, fields: dict[str, Any], *, expiry: float, patience: float
) -> CommandOutcome:
    """Send one command to a unit, a channel or ``all``, and wait up to `patience` s for the responses.

    :param fields: the command with its ``id``
    :param expiry: s after which the broker does not deliver it any more (MQTT 5)
    :raises NobodyAnsweredError: the broker says that no agent listens
    :raises BrokerError: see `Client`
    """
    if target.unit == "all":
        return _send_to_all(client, fields, expiry=expiry, deadline=time.monotonic() + patience)
    topic = client.topics.set(target.unit, target.channel)
    payload, request_id = json.dumps(fields).encode(), str(fields["id"])
    may_be_late = is_plain_off(fields)
    return ask(client, target, topic, payload, request_id, expiry=expiry, patience=patience, may_be_late=may_be_late)


def is_plain_off(fields: Mapping[str, Any]) -> bool:
    """True for a command that turns off and does nothing else, in any form that an agent takes for an off."""
    return is_off(fields.get("state")) and fields.keys() <= OF_A_PLAIN_OFF


def ask(
    client: Client | Borrowed,
    target: Target,
    topic: str,
    payload: bytes,
    request_id: str,
    *,
    expiry: float,
    patience: float,
    may_be_late: bool = False,
) -> CommandOutcome:
    """Send one request to a unit or a channel, and wait up to `patience` s for its response.

    :param request_id: the ``id`` in the payload
    :param expiry: s after which the broker does not deliver it any more (MQTT 5)
    :param may_be_late: see `Client.publish`
    :raises NobodyAnsweredError: the broker says that no agent listens
    :raises BrokerError: see `Client`
    """
    deadline = time.monotonic() + patience
    topics = client.topics
    unreadable = _subscribe(
        client, [topics.response(target.unit), topics.response(target.unit, "+")], may_be_late=may_be_late
    )
    # Without a response topic the agent responds below the channel's number, where other programs read, and not below its name.
    by_name = target.channel is not None and not target.channel.isdigit()
    if time.monotonic() >= deadline and not may_be_late:
        raise BrokerError(f"{client.address} took more than {patience:g} s to answer; the command was not sent")
    client.publish(
        topic,
        payload,
        expiry=expiry if may_be_late else min(expiry, deadline - time.monotonic()),
        response_topic=None if by_name else topics.response(target.unit, target.channel),
        correlation=request_id.encode(),
        may_be_late=may_be_late,
    )
    _check_readable(unreadable)
    response = _await_response(client, request_id, deadline)
    return CommandOutcome() if response is None else CommandOutcome([response])


def _subscribe(client: Client | Borrowed, responses: list[str], *, may_be_late: bool) -> NotReadableError | None:
    """Subscribe to responses. An off is sent also where this user may not read them: then the error is returned."""
    try:
        client.subscribe(responses, qos=1)
    except NotReadableError as error:
        if not may_be_late:
            raise
        return error
    return None


def _check_readable(error: NotReadableError | None) -> None:
    if error is not None:
        raise BrokerError(f"no response can be read, so it is not known if it was carried out: {error}")


def _send_to_all(
    client: Client | Borrowed, fields: dict[str, Any], *, expiry: float, deadline: float
) -> CommandOutcome:
    """Send the command first, so that nothing delays it; then read which units are to answer."""
    topics = client.topics
    fleet = Fleet(topics)
    command_id = str(fields["id"])
    answered: dict[str, list[Response]] = {}
    unreadable = _subscribe(client, [topics.response("+")], may_be_late=True)
    payload, correlation = json.dumps(fields).encode(), command_id.encode()
    client.publish(topics.set("all"), payload, expiry=expiry, correlation=correlation, may_be_late=True)
    _check_readable(unreadable)
    client.subscribe([topics.agent_status("+"), topics.agent_info("+")])
    quiet_since = time.monotonic()
    while (now := time.monotonic()) < deadline:
        settled = now - quiet_since >= QUIET
        if (
            settled
            and answered
            and all(len(answered.get(unit, ())) >= count for unit, count in fleet.served_by("online").items())
        ):
            break
        with contextlib.suppress(queue.Empty):
            item = client.inbox.get(timeout=min(QUIET / 2, deadline - now))
            if isinstance(item, LinkChange):
                raise BrokerError(f"{client.address} closed the connection; which units are off is not known")
            response = _response_to(command_id, item)
            if response is not None:
                answered.setdefault(response.psu, []).append(response)
            elif not item.topic.endswith("/response"):
                fleet.update(item.topic, item.payload)
                if item.retain:
                    quiet_since = time.monotonic()
    unattended = fleet.served_by("offline").keys() - answered.keys()
    served = fleet.served_by("online")
    silent = {unit for unit, count in served.items() if len(answered.get(unit, ())) < count}
    return CommandOutcome([response for unit in sorted(answered) for response in answered[unit]], silent, unattended)


def take_over(client: Client, unit: str, agent: str | None, *, patience: float) -> Response | None:
    """Ask an agent to serve a unit that another agent served: this one, or None for every agent that has the unit.

    Its response; None if nobody answered within `patience` s.

    :raises NobodyAnsweredError: the broker says that no agent listens
    :raises BrokerError: see `Client`
    """
    topics = client.topics
    client.subscribe([topics.response(unit)], qos=1)
    request_id = uuid.uuid4().hex
    client.publish(
        topics.takeover(unit),
        (agent or "").encode(),
        expiry=patience,
        response_topic=topics.response(unit),
        correlation=request_id.encode(),
    )
    # It has no id, which MQTT 3.1.1 could tell it by.
    return _await_response(client, request_id if client.protocol == "5" else None, time.monotonic() + patience)


def info_of(client: Client, unit: str) -> UnitInfo | None:
    """The info of a unit, of the agent that serves it where two have one of this name, as the broker has it; None without one.

    :raises BrokerError: see `Client`
    """
    fleet = Fleet(client.topics)
    for message in client.retained([client.topics.info(unit)]):
        fleet.update(message.topic, message.payload)
    return None if unit not in fleet.units else fleet.units[unit].info


def _await_response(client: Client | Borrowed, command_id: str | None, deadline: float) -> Response | None:
    """The response of the agent that serves the unit, or the one that there is.

    Two agents may have a unit of one name, and both respond; one of them that it is not the one to serve it.
    """
    conflict: Response | None = None
    while (left := deadline - time.monotonic()) > 0:
        try:
            item = client.inbox.get(timeout=left)
        except queue.Empty:
            break
        if isinstance(item, Message):
            response = _response_to(command_id, item)
            if response is not None and not _is_conflict(response):
                return response
            if response is not None and conflict is None:
                conflict, deadline = response, min(deadline, time.monotonic() + ANOTHER_WAIT)
        elif item.reason is not None and conflict is not None:
            break
        elif item.reason is not None:
            why = f"the connection to {client.address} was lost: {item.reason}"
            raise BrokerError(f"{why}; whether the command was carried out is not known")
    return conflict


def _is_conflict(response: Response) -> bool:
    return response.error is not None and response.error.code == "conflict"


def _response_to(command_id: str | None, message: Message) -> Response | None:
    if not message.topic.endswith("/response"):
        return None
    try:
        response = Response.model_validate_json(message.payload)
    except ValidationError:
        return None  # another program's message on these topics
    if command_id is not None and message.correlation == command_id.encode():
        return response
    return response if response.id == command_id else None

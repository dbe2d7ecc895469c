"""Reserving a unit or a channel: take a lease, renew it, give it back."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import uuid

from agent.client.connection import Client
from agent.client.request import CommandOutcome, Target, ask
from agent.client.shared import Borrowed
from agent.protocol.errors import Refusal
from agent.protocol.leases import LeaseRequest, parse_lease
from agent.protocol.payloads import LONGEST_HOLDER

#: The variable that names the holder for all commands of a script.
HOLDER_VARIABLE = "PSU_AGENT_HOLDER"
#: s to wait for the response.
PATIENCE = 10.0

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([smhd]?)", re.ASCII)
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def default_holder() -> str:
    """The name of a holder who gives none: that of `HOLDER_VARIABLE`, else ``user@host``."""
    if named := os.environ.get(HOLDER_VARIABLE):
        return named
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        user = f"uid-{os.getuid()}"
    text = "".join(character for character in f"{user}@{socket.gethostname()}" if character.isprintable())
    return text.strip()[:LONGEST_HOLDER].strip()


def duration(text: str) -> float:
    """The seconds that a text means: ``90``, ``90s``, ``15m``, ``2h``, ``1d``.

    :raises ValueError: it means none; the text says what would be right
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None and re.fullmatch(r"\d{1,9},\d{1,3} ?[smhd]?", text.strip().lower(), re.ASCII):
        raise ValueError(f"{text!r} has a decimal comma; write {text.strip().replace(',', '.')}")
    if found is None:
        raise ValueError(f"{text!r} is no time; give s, or a number with s, m, h or d, such as 90, 15m or 2h")
    return float(found[1]) * _SECONDS[found[2]]


def request(target: Target, holder: str, *, ttl: float | None = None, force: bool = False) -> LeaseRequest:
    """A request for the lease on a unit or a channel: to take or renew it for ``ttl`` s from now on, or to give it back (None).

    :param force: also where another one holds it
    :raises ValueError: the agent would refuse it; the text says why
    """
    if target.unit == "all":
        raise ValueError("a lease is for a unit or a channel; give UNIT or UNIT/CH")
    asked: dict[str, object] = {"id": uuid.uuid4().hex, "holder": holder, "force": force}
    asked |= {"release": True} if ttl is None else {"ttl": ttl}
    try:
        return parse_lease(json.dumps(asked).encode())
    except Refusal as refusal:
        raise ValueError(f"{target}: {refusal.message}") from None


def send(client: Client | Borrowed, target: Target, wanted: LeaseRequest) -> CommandOutcome:
    """Send such a request, and wait up to `PATIENCE` s for its response.

    :raises NobodyAnsweredError: the broker says that no agent listens
    :raises BrokerError: see `Client`
    """
    topic = client.topics.lease_set(target.unit, target.channel)
    payload = wanted.model_dump_json(exclude_none=True).encode()
    return ask(client, target, topic, payload, str(wanted.id), expiry=PATIENCE, patience=PATIENCE)

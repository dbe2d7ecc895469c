"""Claims: an info, read as what its agent claims, and how two claims meet."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.instruments.claims import tells_no_serial
from agent.instruments.driver import Identity
from agent.instruments.resource import ResourceNameError, parse, same_instrument_key
from agent.protocol.messages import Conflict, UnitInfo
from agent.protocol.topics import LONGEST_LEVEL

#: One thing that two agents can't both have: a unit's name, a supply by its serial number, or a supply by its address.
Key = tuple[str, ...]
#: s. The longest time that another agent can ask for, as `settings_for`.
LONGEST_SETTINGS = 7200.0
#: Characters of another agent's texts, which stand in sentences for people.
_LONGEST_TEXT = 80


class _Conflict(BaseModel):
    instance: str | None = None


class _Info(BaseModel):
    """The part of a `UnitInfo` that is read here. The infos of a whole fleet come in at once, so its channels are not."""

    model_config = ConfigDict(extra="ignore")

    agent: str
    psu: str
    online: bool
    uri: str
    model: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    instance: str | None = None
    host: str | None = None
    serves: bool = True
    since: datetime | None = None
    conflict: _Conflict | None = None
    settings_for: float | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim of one agent with the info of one unit.

    ``supply``: maker, model and serial number, where that tells the supply from others. ``kind``: maker and model.
    ``address``: equal for two agents that mean the same place; None where nobody can tell. ``is_known``: the unit has said who it
    is. ``rival``: the instance of the other agent that its author knows to claim the same. ``settings_for`` in s.
    """

    agent: str
    instance: str | None
    host: str | None
    unit: str
    serves: bool
    since: datetime | None
    supply: Key | None
    kind: Key | None
    address: Key | None
    is_known: bool
    settings_for: float | None
    rival: str | None

    @property
    def keys(self) -> Iterator[Key]:
        """All that is claimed. A supply only once it has said who it is: until then nobody can send anything to it."""
        yield ("name", self.unit)
        if self.supply is not None:
            yield self.supply
        if self.is_known and self.address is not None:
            yield self.address

    @property
    def order(self) -> tuple[float, str, str]:
        """The smaller one of two that contradict each other keeps what both claim."""
        # An agent that does not tell since when knows nothing of claims, and never gives way.
        moment = -math.inf if self.since is None else milliseconds(self.since)
        return (moment, self.agent, self.instance or "")

    def meets(self, other: Claim) -> Iterator[tuple[Literal["name", "supply"], Key]]:
        """The things that both claim, whoever may have them."""
        if self.unit == other.unit:
            yield "name", ("name", self.unit)
        if not (self.is_known and other.is_known):
            return
        if self.supply is not None and other.supply is not None:
            # Private networks use the same addresses for other supplies: serial numbers tell.
            if self.supply == other.supply:
                yield "supply", self.supply
        elif self.address is not None and self.address == other.address and not self._is_other_kind(other):
            yield "supply", self.address

    def _is_other_kind(self, other: Claim) -> bool:
        return self.kind is not None and other.kind is not None and self.kind != other.kind

    def follows(self, before: Claim) -> Claim:
        """This claim, with the supply of an earlier one of the same run where the unit has not said anew who it is."""
        if self.is_known or not before.is_known or before.instance != self.instance:
            return self
        return replace(self, supply=before.supply, kind=before.kind, address=before.address, is_known=True)

    def conflict(self, why: Literal["name", "supply", "agent"]) -> Conflict:
        """Its author, as an info or a response names it to others."""
        host = None if self.host is None else printable(self.host)
        return Conflict(agent=printable(self.agent), instance=self.instance, host=host, unit=self.unit, why=why)


def read_claim(unit: str, payload: bytes) -> Claim | None:
    """The claim of an info that came in for a unit; None where it is none, or of another unit."""
    try:
        info = _Info.model_validate_json(payload)
    except ValidationError:
        return None
    texts = (info.agent, info.instance or "", info.host or "", info.uri, info.serial or "")
    if info.psu != unit or any(len(text) > LONGEST_LEVEL for text in texts):
        return None
    return _claim(info, None if info.conflict is None else info.conflict.instance)


def own_claim(info: UnitInfo, instance: str, host: str, since: datetime) -> Claim:
    """The claim that an agent makes with an info of its own unit, before that is published."""
    claim = _claim(info, None)
    return replace(
        claim, instance=instance, host=host, serves=True, since=since, address=address_key(info.uri, host), rival=None
    )


def _claim(info: _Info | UnitInfo, rival: str | None) -> Claim:
    supply = kind = None
    if info.manufacturer is not None and info.model is not None:
        kind = (info.manufacturer.casefold(), info.model.casefold())
        if not tells_no_serial(Identity(info.manufacturer, info.model, info.serial or "", "")):
            supply = ("supply", *kind, (info.serial or "").casefold())
    seconds = info.settings_for
    return Claim(
        agent=info.agent,
        instance=info.instance,
        host=info.host,
        unit=info.psu,
        serves=info.serves,
        since=info.since,
        supply=supply,
        kind=kind,
        address=address_key(info.uri, info.host),
        is_known=info.online or info.manufacturer is not None,
        settings_for=min(seconds, LONGEST_SETTINGS) if seconds is not None and seconds >= 0 else None,
        rival=rival,
    )


def address_key(address: str, host: str | None) -> Key | None:
    """Equal for two addresses that mean the same place.

    :param address: of a driver: a VISA resource name, with the address on a line behind it, or anything else
    :param host: of the agent; addresses that mean another thing on each host are the same only on one. None where it is unknown
    """
    name, _, place = address.partition(" (address ")
    try:
        key = same_instrument_key(name)
        is_local = _is_local(name)
    except ResourceNameError:
        key, is_local = (address,), True
    if not is_local:
        return ("address", "", *key, place)
    return None if host is None else ("address", host.casefold(), *key, place)


def _is_local(name: str) -> bool:
    parsed = parse(name)
    if parsed.interface_type not in ("TCPIP", "VICP"):
        return True
    host = getattr(parsed, "host_address", "").partition(",")[0].strip("[]").casefold()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local


def milliseconds(moment: datetime) -> float:
    """A moment as it is told to others, in whole ms since 1970, so that both compare the same numbers.

    One without a zone is no agent's: it may say anything.
    """
    return math.floor(moment.replace(tzinfo=moment.tzinfo or UTC, microsecond=0).timestamp()) * 1000.0 + (
        moment.microsecond // 1000
    )


def printable(text: str) -> str:
    """A text of another agent, for a sentence or a log: one line, not long, and nothing that a terminal obeys."""
    short = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
    return short if short.isprintable() else ascii(short)[1:-1]

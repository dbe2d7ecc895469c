"""Instruments that may be there, each once, with the names that it can be opened by."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from pyvisa import rname

from agent.instruments import resource

#: Equal for all spellings of one address.
_Key = tuple[str, ...]


@dataclass(slots=True)
class Candidate:
    """One instrument that may be there: the names that it can be opened by, in the order in which they are tried.

    ``announced``: manufacturer, model and serial number, or the service's name, by mDNS. ``server``: its host name there.
    """

    names: list[str]
    announced: str | None = None
    server: str = ""


def is_serial(name: str) -> bool:
    """True for the resource name of a serial port."""
    return name.upper().startswith("ASRL")


def merged(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Each instrument once: several names for one address are one, and so are several ports of one network host.

    Those that announce themselves by names of their own are different ones, also at one address: simulators and gateways. So
    are the ports of this host itself.
    """
    result: list[Candidate] = []
    by_address: dict[_Key, Candidate] = {}
    by_host: dict[str, Candidate] = {}
    by_server: dict[tuple[str, str], Candidate] = {}
    held: set[tuple[int, _Key]] = set()
    for candidate in candidates:
        for name in candidate.names:
            try:
                address = resource.same_instrument_key(name)
            except resource.ResourceNameError:
                continue
            host = _host(name)
            if host is not None and candidate.server:
                known = by_server.get((host, candidate.server))
            else:
                known = by_address.get(address)
                if known is None and host is not None and not is_loopback(host):
                    known = by_host.get(host)
            if known is None:
                known = Candidate([], candidate.announced, candidate.server)
                result.append(known)
            by_address.setdefault(address, known)
            if host is not None:
                by_host.setdefault(host, known)
                by_server.setdefault((host, candidate.server), known)
            if (id(known), address) not in held:
                held.add((id(known), address))
                known.names.append(name)
    return result


def _host(name: str) -> str | None:
    parsed = resource.parse(name)
    if isinstance(parsed, rname.TCPIPInstr | rname.TCPIPSocket):
        return parsed.host_address.partition(",")[0].casefold()
    return None


def is_loopback(host: str) -> bool:
    """True for an address of this host itself."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False

"""Instruments that may be there, each once, with the names that it can be opened by."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from pyvisa import rname

from agent.instruments import resource


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
    result: dict[tuple[str, ...], Candidate] = {}
    first_of_host: dict[str, Candidate] = {}
    for candidate in candidates:
        for name in candidate.names:
            try:
                same = resource.same_instrument_key(name)
            except resource.ResourceNameError:
                continue
            host = _host(name)
            key = same if host is None else ("TCPIP", host, candidate.server)
            known = result.get(key)
            if known is None and not candidate.server:
                known = next((one for one in result.values() if same in _keys(one)), None)
                if known is None and host is not None and not _is_loopback(host):
                    known = first_of_host.get(host)
                elif host is not None and _is_loopback(host):
                    key = same
            if known is None:
                known = result.setdefault(key, Candidate([], candidate.announced, candidate.server))
            if host is not None:
                first_of_host.setdefault(host, known)
            if same not in _keys(known):
                known.names.append(name)
    return list(result.values())


def _keys(candidate: Candidate) -> list[tuple[str, ...]]:
    return [resource.same_instrument_key(name) for name in candidate.names]


def _host(name: str) -> str | None:
    parsed = resource.parse(name)
    if isinstance(parsed, rname.TCPIPInstr | rname.TCPIPSocket):
        return parsed.host_address.partition(",")[0].casefold()
    return None


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False

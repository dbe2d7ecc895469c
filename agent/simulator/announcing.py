"""Announcing a simulated supply by mDNS, as an instrument with LXI does (LXI Device Specification, 10; RFC 6762, RFC 6763)."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import ifaddr
from zeroconf import Error as ZeroconfError
from zeroconf import ServiceInfo, Zeroconf

from agent.simulator.simulator import NetworkInstrument

#: s that the goodbye may take at the end.
_GOODBYE = 3.0
#: bytes that a label of a name may have (RFC 1035, 2.3.4).
_LONGEST_LABEL = 63


@dataclass(frozen=True, slots=True)
class _Place:
    """An address of this host at which the supply can be reached, and the network card that it belongs to."""

    card: str
    address: str


class Announcement:
    """A simulated supply that is announced while it runs. A supply without a network transport is not announced.

    A supply that listens on one address is announced on the network of that address alone: on loopback no other host hears of it.

    :param supply: it must have been started
    :param identity: Manufacturer, Model, SerialNumber and FirmwareVersion, as the TXT record has them
    :param failed: called, from another thread, with the reason where it can't be announced
    """

    def __init__(
        self, supply: NetworkInstrument, identity: Mapping[str, str], failed: Callable[[str], None] = lambda _: None
    ) -> None:
        self._services = _services(supply)
        self._host = supply.host
        self._identity = identity
        self._failed = failed
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._announce, name="announcement", daemon=True)

    def start(self) -> None:
        """Begin to announce it. It does not wait: the names are looked for in the network first, which takes a second."""
        if self._services:
            self._thread.start()

    def stop(self) -> None:
        """Say goodbye, so that nobody shows it any more, and end."""
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join(_GOODBYE)

    def _announce(self) -> None:
        with contextlib.ExitStack() as stack:
            try:
                pending: list[tuple[Zeroconf, ServiceInfo]] = []
                for place in _places(self._host):
                    responder = stack.enter_context(contextlib.closing(Zeroconf(interfaces=[place.address])))
                    _confine(responder, place.card)
                    stack.callback(responder.unregister_all_services)
                    pending += [(responder, info) for info in self._infos(place.address)]
                # All at once: each takes a second, in which the network is asked if the name is free.
                with ThreadPoolExecutor(len(pending)) as pool:
                    list(pool.map(lambda one: one[0].register_service(one[1], allow_name_change=True), pending))
            except (OSError, ZeroconfError, RuntimeError) as error:
                self._failed(_reason(error))
                return
            self._done.wait()

    def _infos(self, address: str) -> list[ServiceInfo]:
        who = [self._identity.get(key, "") for key in ("Manufacturer", "Model", "SerialNumber")]
        instance = _label(" ".join(part for part in who if part))
        server = re.sub(r"[^A-Za-z0-9]+", "-", f"{who[1]}-{who[2]}").strip("-")[:_LONGEST_LABEL] or "supply"
        text = {"txtvers": "1", **self._identity}
        return [
            ServiceInfo(
                f"{kind}.local.",
                f"{instance}.{kind}.local.",
                port,
                addresses=[socket.inet_aton(address)],
                server=f"{server}.local.",
                properties=dict(text),
            )
            for kind, port in self._services
        ]


def _services(supply: NetworkInstrument) -> list[tuple[str, int]]:
    """The services that it has, with their ports; `_lxi._tcp` with port 0, as there is no web page (RFC 6763, 8)."""
    served = [
        ("_hislip._tcp", supply.hislip_port),
        ("_vxi-11._tcp", supply.vxi11_port),
        ("_scpi-raw._tcp", supply.socket_port),
    ]
    found = [(kind, port) for kind, port in served if port]
    return [("_lxi._tcp", 0), *found] if found else []


def _places(host: str) -> list[_Place]:
    """The addresses at which a server on that host name or address is reached.

    :raises OSError: the name is not known, or no network card has the address
    """
    address = ipaddress.ip_address(socket.getaddrinfo(host, None, socket.AF_INET)[0][4][0])
    places = [
        _Place(adapter.name, str(ip.ip))
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if ip.is_IPv4 and (address.is_unspecified or ipaddress.ip_address(str(ip.ip)) == address)
    ]
    if not places and address.is_loopback:  # all of 127.0.0.0/8 is
        return [_Place("lo", str(address))]
    if not places:
        raise OSError(f"no network card of this host has the address {address}")
    return places


def _confine(responder: Zeroconf, card: str) -> None:
    """Have it hear one network card alone: else it answers other hosts, which ask on another one, with an address of this one.

    :raises OSError: the kernel does not allow it (before Linux 5.7 to root alone)
    """
    if not responder.engine.readers:
        raise OSError("it has no socket to hear questions on")
    for reader in responder.engine.readers:
        found = reader.transport.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, card.partition(":")[0].encode())


def _label(text: str) -> str:
    """The text as one label of a name: without the characters that end one, and not too long."""
    cleaned = " ".join(re.sub(r"[.\\\x00-\x1f\x7f]", " ", text).split()) or "supply"
    return cleaned.encode()[:_LONGEST_LABEL].decode(errors="ignore")


def _reason(error: Exception) -> str:
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
    return f"not announced by mDNS, so `psu-agent scan` does not find it: {text}"

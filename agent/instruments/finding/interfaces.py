"""The network interfaces of this host, and those among them that can be searched."""

from __future__ import annotations

import fcntl
import ipaddress
import itertools
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import ifaddr

_SIOCGIFFLAGS = 0x8913  # linux/sockios.h
_UP, _BROADCAST, _LOOPBACK = 0x1, 0x2, 0x8  # net/if.h


class NoSuchInterfaceError(ValueError):
    """This host has no such interface, or it can't be searched; the text says which it has."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One IPv4 address of a network interface. ``broadcast``: the address of all hosts of its network, None without one."""

    name: str
    address: str
    network: ipaddress.IPv4Network
    is_loopback: bool
    broadcast: str | None

    @property
    def card(self) -> str:
        """The network card, without the label that an address may have (``eth0:1``)."""
        return _card(self.name)

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


def interfaces() -> tuple[list[Interface], dict[str, str]]:
    """The addresses that can be searched, loopback last; and the names of interfaces that can't be, with the reason."""
    usable: list[Interface] = []
    left_out: dict[str, str] = {}
    for adapter in ifaddr.get_adapters(include_unconfigured=True):
        name = adapter.name
        flags = _flags(name)
        if not flags & _UP:
            left_out[name] = "it is down"
            continue
        found = [ip for ip in adapter.ips if ip.is_IPv4]
        if not found:
            left_out[name] = "it has no IPv4 address"
        for ip in found:
            network = ipaddress.IPv4Network(f"{ip.ip}/{ip.network_prefix}", strict=False)
            has_broadcast = bool(flags & _BROADCAST) and network.prefixlen < 31
            usable.append(
                Interface(
                    name,
                    str(ip.ip),
                    network,
                    bool(flags & _LOOPBACK),
                    str(network.broadcast_address) if has_broadcast else None,
                )
            )
    return sorted(usable, key=lambda one: one.is_loopback), left_out


def chosen(wanted: Iterable[str]) -> tuple[list[Interface], list[str]]:
    """The addresses to be searched, and a sentence on what is left out.

    :param wanted: names or addresses of interfaces; none for all
    :raises NoSuchInterfaceError: this host has no such one
    """
    usable, left_out = interfaces()
    names = list(wanted)
    if not names:
        told = ", ".join(f"{name} ({why})" for name, why in left_out.items())
        return usable, [f"left out: {told}"] if told else []
    for name in names:
        if not any(name in (one.name, one.address) for one in usable):
            if name in left_out:
                raise NoSuchInterfaceError(f"the interface {name} can't be searched: {left_out[name]}")
            there = ", ".join(map(str, usable)) or "none with an IPv4 address"
            raise NoSuchInterfaceError(f"this host has no interface {name!r}; it has {there}")
    return [one for one in usable if one.name in names or one.address in names], []


def overlaps(searched: Sequence[Interface]) -> list[str]:
    """A sentence for each two interfaces that have one network: what is behind the second is found, and not reached."""
    return [
        f"{one} and {other} are in one network ({one.network}): what is connected to one of them may be found and not be "
        "reached; give one of them another network"
        for one, other in itertools.combinations(searched, 2)
        if one.name != other.name and not one.is_loopback and not other.is_loopback and one.network == other.network
    ]


def obstacle(error: OSError) -> str:
    """Why something can't be sent into a network, in the user's words."""
    if isinstance(error, PermissionError):
        return "the firewall of this host forbids it"
    return (error.strerror or str(error) or type(error).__name__).lower()


def _card(name: str) -> str:
    return name.partition(":")[0]


def _flags(name: str) -> int:
    """Of `SIOCGIFFLAGS`; 0 where the interface has gone meanwhile."""
    request = struct.pack("16sH22x", _card(name).encode()[:15], 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket.fileno(), _SIOCGIFFLAGS, request)
        except OSError:
            return 0
    return int(struct.unpack_from("16sH", answer)[1])

"""Instruments that announce themselves on the network by mDNS (LXI Device Specification, 10)."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from zeroconf import Error as ZeroconfError
from zeroconf import EventLoopBlocked, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from agent.instruments.catalogue import all_series
from agent.instruments.finding.candidates import Candidate, is_loopback
from agent.instruments.finding.interfaces import Interface, obstacle

#: The resource names of announced services, in the order in which they are tried: those that say how they are reached first.
_SERVICES: dict[str, Callable[[str, int], list[str]]] = {
    "_hislip._tcp.local.": lambda host, port: [
        f"TCPIP::{host}::hislip0{'' if port in (0, 4880) else f',{port}'}::INSTR"
    ],
    "_vxi-11._tcp.local.": lambda host, port: [
        # At another port than the portmapper's it is VXI-11 itself.
        *([] if port in (0, 111) else [f"TCPIP::{host},{port}::inst0::INSTR"]),
        f"TCPIP::{host}::inst0::INSTR",
    ],
    "_scpi-raw._tcp.local.": lambda host, port: [f"TCPIP::{host}::{port or 5025}::SOCKET"],
    "_lxi._tcp.local.": lambda host, _: [f"TCPIP::{host}::inst0::INSTR"],
}
#: Services that are asked at a time, s for which each of them is waited for, and s between two looks at what was announced.
_AT_A_TIME, _PATIENCE, _PAUSE = 32, 0.5, 0.05
_GROUP, _PORT = "224.0.0.251", 5353
_IP_MULTICAST_ALL = 49  # linux/in.h
#: Networks that one socket listens to: Linux lets a socket join 20 groups (igmp_max_memberships).
_MOST_TOGETHER = 16
#: A question for `_lxi._tcp.local.` (RFC 6762), to see if anything can be sent into a network.
_QUESTION = bytes.fromhex("0000 0000 0001 0000 0000 0000 045f6c7869 045f746370 056c6f63616c 00 000c 0001")


def search(
    interfaces: Sequence[Interface], seconds: float, remarks: list[str]
) -> tuple[list[Candidate], Sequence[Interface]]:
    """Instruments that announce themselves, and the interfaces that were asked on.

    One host may announce several services: it is one candidate with several names.

    :param seconds: to listen
    :param remarks: takes a sentence for each interface on which that can't be asked
    """
    usable: dict[str, Interface] = {}
    for interface in interfaces:
        if interface.name in usable:
            continue  # a further address of the same network card
        reason = _obstacle(interface)
        if reason is None:
            usable[interface.name] = interface
        else:
            remarks.append(f"{interface} was not searched by mDNS: {reason}")
    services: dict[tuple[str, str], Zeroconf] = {}

    def on_change(*, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is not ServiceStateChange.Removed:
            services.setdefault((service_type, _as_zeroconf_has_it(service_type, name)), zeroconf)

    with contextlib.ExitStack() as stack:
        stack.enter_context(_silence())
        asked: list[Interface] = []
        for together in _batches(list(usable.values())):
            try:
                browser = Zeroconf(interfaces=[one.address for one in together])
            except OSError as error:
                remarks.append(f"{', '.join(map(str, together))} not searched by mDNS: {_in_words(error)}")
                continue
            stack.enter_context(contextlib.closing(browser))
            _confine(browser)
            ServiceBrowser(browser, list(_SERVICES), handlers=[on_change])
            asked += together
        found = _candidates(_resolved(services, seconds, remarks)) if asked else []
        # A further address of a network card is searched with the first one.
        names = {one.name for one in asked}
        return found, [one for one in interfaces if one.name in names]


def _resolved(
    services: dict[tuple[str, str], Zeroconf], seconds: float, remarks: list[str]
) -> dict[tuple[str, str], tuple[str, int, str, str]]:
    """Address, port, description and host name of each service that answers.

    Many are asked at a time, those first that were asked least: anybody in the network can send names of which nobody knows
    anything, and each of them is waited for.
    """
    deadline = time.monotonic() + seconds
    resolved: dict[tuple[str, str], tuple[str, int, str, str]] = {}
    without: dict[str, None] = {}
    nameless: dict[tuple[str, str], None] = {}
    asked: Counter[tuple[str, str]] = Counter()
    asking: dict[Future[ServiceInfo | None], tuple[str, str]] = {}
    with ThreadPoolExecutor(_AT_A_TIME, "mdns") as pool:
        while (left := deadline - time.monotonic()) > 0:
            ended = {*resolved, *nameless, *asking.values()}
            for key in sorted((key for key in list(services) if key not in ended), key=asked.__getitem__):
                if len(asking) >= _AT_A_TIME:
                    break
                asked[key] += 1
                patience = round(1000 * min(_PATIENCE, left))
                asking[pool.submit(services[key].get_service_info, *key, timeout=patience)] = key
            time.sleep(min(_PAUSE, left))
            for future in [future for future in asking if future.done()]:
                key = asking.pop(future)
                try:
                    info = future.result()
                except EventLoopBlocked:  # this machine was held up: the name may be a good one, and is asked again
                    continue
                except ZeroconfError:
                    nameless.setdefault(key)
                    continue
                if info is None:
                    continue
                addresses = info.parsed_scoped_addresses()
                description = _description(info.decoded_properties, key[1])
                if (address := _best_address(addresses)) is not None:
                    resolved[key] = (address, info.port or 0, description, info.server or "")
                    without.pop(description, None)
                elif addresses:
                    without.setdefault(description)
    remarks += [f"{one} announces itself with an IPv6 address alone, and was not asked" for one in without]
    remarks += [
        f"{name[:80]!a} is announced as an instrument, is no name of one, and was not asked" for _, name in nameless
    ]
    return resolved


def _candidates(resolved: dict[tuple[str, str], tuple[str, int, str, str]]) -> list[Candidate]:
    by_host: dict[tuple[str, str], Candidate] = {}
    for kind, to_names in _SERVICES.items():
        for (service_type, _), (address, port, description, server) in sorted(resolved.items()):
            if service_type == kind:
                candidate = by_host.setdefault((address, server), Candidate([], description, server))
                candidate.names += [name for name in to_names(address, port) if name not in candidate.names]
    ports = sorted({series.link.lan.port for series in all_series() if series.link.lan and series.link.lan.port})
    hosts = [host for host, _ in by_host]
    for (host, _), candidate in by_host.items():
        if is_loopback(host) or hosts.count(host) > 1:
            continue  # simulators and gateways, each at a port of its own
        # Some announce their web page or VXI-11 alone, and answer on a raw socket only.
        candidate.names += [name for port in ports if (name := f"TCPIP::{host}::{port}::SOCKET") not in candidate.names]
    return list(by_host.values())


def _as_zeroconf_has_it(kind: str, name: str) -> str:
    """The name with its kind in small letters: to the network capitals are the same (RFC 6762, 16)."""
    return name[: -len(kind)] + kind if name.casefold().endswith(f".{kind}") else name


def _best_address(addresses: Iterable[str]) -> str | None:
    """IPv4 if there is one: VISA's names are full of colons already."""
    return next((address for address in addresses if ":" not in address), None)


def _description(properties: dict[str, str | None], name: str) -> str:
    """Manufacturer, model and serial number from the TXT record, else the service's name."""
    told = [properties.get(key) or "" for key in ("Manufacturer", "Model", "SerialNumber")]
    return " ".join(part for part in told if part) or name.partition(".")[0]


def _obstacle(interface: Interface) -> str | None:
    """Why nothing can be asked by mDNS on an interface; None if it can be."""
    own = socket.inet_aton(interface.address)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
            channel.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(_GROUP) + own)
            channel.sendto(_QUESTION, (_GROUP, _PORT))
    except OSError as error:
        return _in_words(error)
    return None


def _in_words(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"another program keeps port {_PORT} for itself (of avahi-daemon: disallow-other-stacks=no allows others)"
        )
    return obstacle(error)


def _confine(browser: Zeroconf) -> None:
    """Have it hear the networks that it has joined alone. Linux gives it those that any program of the host has joined."""
    for reader in browser.engine.readers:
        with contextlib.suppress(OSError):
            reader.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)


def _batches(interfaces: Sequence[Interface]) -> Iterator[Sequence[Interface]]:
    for first in range(0, len(interfaces), _MOST_TOGETHER):
        yield interfaces[first : first + _MOST_TOGETHER]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """zeroconf logs what a network refuses, with tracebacks, to stderr where no log is set up."""
    logger = logging.getLogger("zeroconf")
    nowhere = logging.NullHandler()
    before = logger.propagate
    logger.addHandler(nowhere)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(nowhere)
        logger.propagate = before

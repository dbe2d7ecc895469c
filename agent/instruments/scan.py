"""Finding instruments: at the ports of this host, and on its networks, by mDNS and VXI-11."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.instruments.catalogue import AmbiguousModelError, Model, candidates
from agent.instruments.claims import tells_no_serial
from agent.instruments.driver import DriverError, Identity
from agent.instruments.finding import announced, portmap, ports
from agent.instruments.finding.candidates import Candidate, is_serial, merged
from agent.instruments.finding.interfaces import Interface, chosen, overlaps
from agent.instruments.recognizing import modbus_missing, recognize, recognize_serial

log = logging.getLogger(__name__)

#: ms for opening, and for the answer to *IDN?.
_OPEN_TIMEOUT, _ASK_TIMEOUT = 2000, 2000
_MOST_AT_ONCE = 32
#: s that the questions of all languages at all speeds take on a serial line where nobody answers, at most.
_SERIAL_SEARCH = 90


@dataclass(slots=True)
class Found:
    """One instrument of a scan: the name that it answered by, its identity, its model if supported; or the problem.

    ``address``: on a line that it may share with others. ``baud``: of a serial line, where it is not the model's usual speed.
    """

    uri: str | None
    names: list[str]
    identification: Identity | None = None
    model: Model | None = None
    problem: str | None = None
    announced: str | None = None
    address: int | None = None
    baud: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        who = self.identification
        return {
            "uri": self.uri,
            "names": self.names,
            "announced": self.announced,
            "idn": None if who is None else [who.manufacturer, who.model, who.serial, who.firmware],
            "model": None if self.model is None else self.model.name,
            "address": self.address,
            "baud": self.baud,
            "problem": self.problem,
        }


@dataclass
class Scan:
    """The result of a scan: instruments, the places that were searched, and a sentence on each that could not be."""

    found: list[Found] = field(default_factory=list)
    searched: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def has_found(self) -> bool:
        """True if there is an instrument. A serial port that was not asked is none."""
        return any(item.uri is not None or not all(map(is_serial, item.names)) for item in self.found)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "found": [item.as_dict() for item in self.found],
            "units": unit_entries(self.found),
            "searched": self.searched,
            "remarks": self.remarks,
        }


def scan(*, timeout: float = 3.0, interfaces: Iterable[str] = (), serial: bool = False) -> Scan:
    """Search every network of this host and its ports, then ask each instrument that was found for its ``*IDN?``.

    :param timeout: s to listen for announcements and answers; asking takes up to some 5 s more
    :param interfaces: names or IPv4 addresses of network interfaces: search their networks alone, besides USB and GPIB
    :param serial: ask on serial ports too, in each known language at each known speed, which takes up to a minute a port
    :raises NoSuchInterfaceError: this host has no such interface
    """
    networks, remarks = chosen(interfaces)

    def by_mdns(told: list[str]) -> _Search:
        return _Search(*announced.search(networks, timeout, told))

    def by_vxi11(told: list[str]) -> _Search:
        hosts, asked = portmap.search(networks, min(timeout, 2.0), told)
        return _Search([Candidate([f"TCPIP::{host}::inst0::INSTR"]) for host in hosts], asked)

    def at_ports(told: list[str]) -> _Search:
        names, kinds = ports.search(told)
        return _Search([Candidate([name]) for name in names], kinds=kinds)

    result = Scan(remarks=remarks + overlaps(networks))
    if not networks:
        result.remarks.append(
            "no network was searched: this host has no network interface that is up and has an IPv4 address"
        )
    mdns, vxi11, others = _search_all([by_mdns, by_vxi11, at_ports], timeout, result.remarks)
    candidates = merged([*mdns.found, *vxi11.found, *others.found])
    result.searched = [*_on_networks({"mDNS": mdns.asked, "VXI-11": vxi11.asked}), *others.kinds]
    if serial and any(is_serial(name) for one in candidates for name in one.names) and (reason := modbus_missing()):
        result.remarks.append(reason)
    result.found = _ask_all(candidates, serial)
    return result


@dataclass(frozen=True, slots=True)
class _Search:
    """The result of one way to search: by mDNS and VXI-11 on which interfaces, at this host's ports of which kinds."""

    found: Sequence[Candidate] = ()
    asked: Sequence[Interface] = ()
    kinds: Sequence[str] = ()


def _search_all(
    searches: Sequence[Callable[[list[str]], _Search]], timeout: float, remarks: list[str]
) -> list[_Search]:
    """All at the same time; what they remark in their order. One that does not end in time, or fails, has found nothing."""
    results: list[tuple[_Search, list[str]] | None] = [None] * len(searches)

    def work(number: int) -> None:
        told: list[str] = []
        try:
            results[number] = (searches[number](told), told)
        except OSError as error:
            results[number] = (_Search(), [*told, f"a search failed: {error.strerror or error}"])
        except Exception:  # the thread ends here
            log.debug("a search failed", exc_info=True)
            results[number] = (_Search(), [*told, "a search failed, and nobody foresaw why; please report it"])

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(searches))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout + 5
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = (_Search(), ["a search did not end in time; its instruments are left out"])
    ended = [late if result is None else result for result in results]
    for _, told in ended:
        remarks += told
    return [search for search, _ in ended]


def _on_networks(methods: Mapping[str, Sequence[Interface]]) -> list[str]:
    """Which interfaces were searched by which methods."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for interface in dict.fromkeys(one for asked in methods.values() for one in asked):
        by = tuple(method for method, asked in methods.items() if interface in asked)
        groups.setdefault(by, []).append(str(interface))
    return [f"{', '.join(names)} by {' and '.join(by)}" for by, names in groups.items()]


def unit_entries(found: Iterable[Found], taken: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Entries for `units:`, for the instruments whose model is known, each instrument once.

    One whose serial number does not tell it from others of its kind has an entry for each of its addresses, without `serial`.
    """
    names = set(taken)
    entries: list[dict[str, Any]] = []
    serials: set[tuple[str, str]] = set()
    number = 0
    for item in found:
        if item.model is None or item.identification is None or item.uri is None:
            continue
        who = item.identification
        pinned = None if tells_no_serial(who) else who.serial
        if pinned is not None:
            key = (item.model.name, pinned)
            if key in serials:
                continue
            serials.add(key)
        number += 1
        while f"psu{number}" in names:
            number += 1
        entries.append(unit_entry(f"psu{number}", item.model, item.uri, pinned, item.address, item.baud))
    return entries


def unit_entry(
    name: str, model: Model, uri: str, serial: str | None = None, address: int | None = None, baud: int | None = None
) -> dict[str, Any]:
    """One entry for `units:`.

    :param address: of the unit on its line, where it wants one
    :param baud: the speed of a serial line, where it is not the one that units are delivered with
    """
    known = f"{model.manufacturer},{model.name}"
    try:
        candidates(known)
    except AmbiguousModelError:
        known = f"{model.series.name},{model.name}"
    entry: dict[str, Any] = {"name": name, "model": known, "uri": uri}
    if address is not None:
        entry["address"] = address
    if baud is not None:
        entry["pyvisa_args"] = {"baud_rate": baud}
    if serial:
        entry["serial"] = serial
    return entry


def _ask_all(candidates: Sequence[Candidate], serial: bool) -> list[Found]:
    """Ask all instruments at the same time, each by one name after the other: some allow no more than two sessions."""
    results: list[list[Found] | None] = [None] * len(candidates)
    slots = threading.BoundedSemaphore(_MOST_AT_ONCE)

    def work(number: int) -> None:
        with slots:
            results[number] = _ask(candidates[number], serial)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(candidates))]
    for thread in threads:
        thread.start()
    longest = max((len(candidate.names) for candidate in candidates), default=0)
    rounds = -(-len(candidates) // _MOST_AT_ONCE)
    deadline = time.monotonic() + rounds * longest * (_OPEN_TIMEOUT + 2 * _ASK_TIMEOUT) / 1000 + 2
    if serial:
        deadline += _SERIAL_SEARCH
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    found: list[Found] = []
    for result, candidate in zip(results, candidates, strict=True):
        late = Found(None, candidate.names, problem="did not answer in time", announced=candidate.announced)
        found += [late] if result is None else result
    return found


def _ask(candidate: Candidate, serial: bool) -> list[Found]:
    problem = None
    for name in candidate.names:
        if is_serial(name) and not serial:
            problem = (
                "a serial port, not asked: what is connected may take the question for something else; --serial asks it"
            )
            continue
        try:
            if is_serial(name):
                found = recognize_serial(name)
            else:
                found = [recognize(name, open_timeout=_OPEN_TIMEOUT, timeout=_ASK_TIMEOUT)]
        except DriverError as error:
            problem = str(error)
            continue
        return [
            Found(
                name,
                candidate.names,
                one.identity,
                one.model,
                announced=candidate.announced,
                address=one.address,
                baud=one.baud,
            )
            for one in found
        ]
    return [Found(None, candidate.names, problem=problem, announced=candidate.announced)]

"""Finding instruments: those that VISA lists, and those that announce themselves on the network by mDNS (LXI Device
Specification, 10)."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pyvisa import rname
from pyvisa_py.sessions import Session as PyVisaSession
from zeroconf import InterfaceChoice, ServiceBrowser, ServiceStateChange, Zeroconf

from agent.instruments import resource
from agent.instruments.catalogue import AmbiguousModelError, Model, all_series, candidates
from agent.instruments.claims import tells_no_serial
from agent.instruments.driver import DriverError, Identity
from agent.instruments.recognizing import modbus_missing, recognize, recognize_serial

#: The resource names of announced services, in the order in which they are tried: each asks less of the network than the next.
_SERVICES: dict[str, Callable[[str, int], str]] = {
    "_hislip._tcp.local.": lambda host, port: f"TCPIP::{host}::hislip0{'' if port == 4880 else f',{port}'}::INSTR",
    "_vxi-11._tcp.local.": lambda host, _: f"TCPIP::{host}::inst0::INSTR",
    "_lxi._tcp.local.": lambda host, _: f"TCPIP::{host}::inst0::INSTR",
    "_scpi-raw._tcp.local.": lambda host, port: f"TCPIP::{host}::{port}::SOCKET",
}
#: ms for opening, and for the answer to *IDN?.
_OPEN_TIMEOUT, _ASK_TIMEOUT = 2000, 2000
_MOST_AT_ONCE = 32
#: s that the questions of all languages at all speeds take on a serial line where nobody answers, at most.
_SERIAL_SEARCH = 90


@dataclass(slots=True)
class Candidate:
    """One instrument that may be there: the names that it can be opened by, in the order in which they are tried.

    ``announced``: manufacturer, model and serial number, or the service's name, by mDNS.
    """

    names: list[str]
    announced: str | None = None


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
    """The result of a scan: instruments, and a sentence on each search that was not possible."""

    found: list[Found] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def scan(*, timeout: float = 3.0, interface: str | None = None, serial: bool = False) -> Scan:
    """Search, then ask every instrument that was found for its ``*IDN?``.

    :param timeout: s to listen for announcements; asking takes up to some 5 s more
    :param interface: an IP address of this host: search its network alone, by mDNS only, besides USB and GPIB
    :param serial: ask on serial ports too, in each known language at each known speed, which takes up to a minute a port
    """
    result = Scan()
    listed: list[str] = []
    announced: list[Candidate] = []
    searches = [
        threading.Thread(target=lambda: listed.extend(_listed(interface is None, result.remarks)), daemon=True),
        threading.Thread(target=lambda: announced.extend(_announced(timeout, interface, result.remarks)), daemon=True),
    ]
    for search in searches:
        search.start()
    deadline = time.monotonic() + timeout + 5
    for search in searches:
        search.join(max(0.0, deadline - time.monotonic()))
    if any(search.is_alive() for search in searches):
        result.remarks.append("a search did not end in time; its instruments are left out")
    candidates = _merged([*announced, *(Candidate([name]) for name in listed)])
    if serial and any(_is_serial(name) for one in candidates for name in one.names) and (reason := modbus_missing()):
        result.remarks.append(reason)
    result.found = _ask_all(candidates, serial)
    return result


def _is_serial(name: str) -> bool:
    return name.upper().startswith("ASRL")


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


def as_yaml(entries: Sequence[dict[str, Any]]) -> str:
    """`units:` with these entries, ready to paste."""
    # `${` stands for a variable of the environment in a configuration; two dollar signs before a brace are one.
    escaped = [
        {
            key: re.sub(r"\$+(?=\{)", lambda match: match[0] * 2, value) if isinstance(value, str) else value
            for key, value in entry.items()
        }
        for entry in entries
    ]
    return yaml.safe_dump({"units": escaped}, sort_keys=False, allow_unicode=True, width=1000)


def _listed(network: bool, remarks: list[str]) -> list[str]:
    """VISA's own list (pyvisa-py): USB, GPIB, serial, and VXI-11 by broadcast."""
    names: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for (interface, _), kind in PyVisaSession.iter_valid_session_classes():
            title = interface.name
            if title in ("tcpip", "vicp", "prlgx_tcpip") and not (network and title == "tcpip"):
                continue
            try:
                names += kind.list_resources()
            except (OSError, ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                remark = f"{title.upper()} was not searched: {reason}"
                if remark not in remarks:
                    remarks.append(remark)
    return names


def _announced(timeout: float, interface: str | None, remarks: list[str]) -> list[Candidate]:
    """Instruments by mDNS. One host may announce several services: it is one candidate with several names."""
    services: dict[tuple[str, str], None] = {}

    def on_change(*, service_type: str, name: str, state_change: ServiceStateChange, **_: object) -> None:
        if state_change is not ServiceStateChange.Removed:
            services.setdefault((service_type, name))

    interfaces: Any = InterfaceChoice.Default if interface is None else [interface]
    try:
        browser = Zeroconf(interfaces=interfaces)
    except OSError as error:
        remarks.append(f"the network was not searched by mDNS: {error.strerror or error}")
        return []
    with contextlib.closing(browser):
        ServiceBrowser(browser, list(_SERVICES), handlers=[on_change])
        deadline = time.monotonic() + timeout
        resolved: dict[tuple[str, str], tuple[str, int, str]] = {}
        while time.monotonic() < deadline:
            for key in [key for key in services if key not in resolved]:
                info = browser.get_service_info(*key, timeout=500)
                address = _best_address(info.parsed_scoped_addresses()) if info is not None else None
                if info is not None and address is not None:
                    resolved[key] = (address, info.port or 0, _description(info.decoded_properties, key[1]))
            time.sleep(0.05)
    by_host: dict[str, Candidate] = {}
    for kind, to_name in _SERVICES.items():
        for (service_type, _), (address, port, description) in sorted(resolved.items()):
            if service_type == kind:
                candidate = by_host.setdefault(address, Candidate([], description))
                if (name := to_name(address, port)) not in candidate.names:
                    candidate.names.append(name)
    ports = sorted({series.link.lan.port for series in all_series() if series.link.lan and series.link.lan.port})
    for host, candidate in by_host.items():
        if ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            continue  # simulators and gateways, each at a port of its own
        # Some announce their web page or VXI-11 alone, and answer on a raw socket only.
        candidate.names += [name for port in ports if (name := f"TCPIP::{host}::{port}::SOCKET") not in candidate.names]
    return list(by_host.values())


def _best_address(addresses: list[str]) -> str | None:
    """IPv4 if there is one: VISA's names are full of colons already."""
    return next((address for address in addresses if ":" not in address), None)


def _description(properties: dict[str, str | None], name: str) -> str:
    """Manufacturer, model and serial number from the TXT record, else the service's name."""
    told = [properties.get(key) or "" for key in ("Manufacturer", "Model", "SerialNumber")]
    return " ".join(part for part in told if part) or name.partition(".")[0]


def _merged(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Each instrument once: several names for one address are one, and so are several ports of one network host.

    The ports of this host itself, where simulators and gateways are, are different instruments.
    """
    merged: dict[tuple[str, ...], Candidate] = {}
    for candidate in candidates:
        for name in candidate.names:
            try:
                key = _instrument_key(name)
            except resource.ResourceNameError:
                continue
            known = merged.setdefault(key, Candidate([], candidate.announced))
            keys = [resource.same_instrument_key(other) for other in known.names]
            if resource.same_instrument_key(name) not in keys:
                known.names.append(name)
    return list(merged.values())


def _instrument_key(name: str) -> tuple[str, ...]:
    parsed = resource.parse(name)
    if isinstance(parsed, rname.TCPIPInstr | rname.TCPIPSocket):
        host = parsed.host_address.partition(",")[0].casefold()
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(host).is_loopback:
                return resource.same_instrument_key(name)
        return ("TCPIP", host)
    return resource.same_instrument_key(name)


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
        if _is_serial(name) and not serial:
            problem = (
                "a serial port, not asked: what is connected may take the question for something else; --serial asks it"
            )
            continue
        try:
            if _is_serial(name):
                found = recognize_serial(name)
            else:
                found = [recognize(name, open_timeout=_OPEN_TIMEOUT, timeout=_ASK_TIMEOUT)]
        except DriverError as error:
            problem = str(error)
            if "Permission denied" in problem and _is_serial(name):
                problem += "; add your user to the group of the port (dialout on most systems), and log in again"
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

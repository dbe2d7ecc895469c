"""Finding instruments: real mDNS and real sockets, on loopback."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from zeroconf import EventLoopBlocked, ServiceInfo, Zeroconf

from agent import config
from agent.cli.printing import print_scan
from agent.config.source import as_yaml
from agent.instruments import scan
from agent.instruments.catalogue import candidates
from agent.instruments.driver import Identity
from agent.instruments.finding.candidates import Candidate, merged
from agent.instruments.scan import Found
from agent.simulator import Simulator
from tests.commandline import invoke


@pytest.fixture
def zeroconf() -> Iterator[Zeroconf]:
    service = Zeroconf(interfaces=["127.0.0.1"])
    yield service
    service.close()


#: Whatever else is announced on this host's loopback has other names: other tests, other simulators.
OWN = f"A{os.getpid()}"


def announce(zeroconf: Zeroconf, kind: str, port: int, address: str = "127.0.0.1", **properties: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    info = ServiceInfo(
        f"{kind}.local.",
        f"{OWN}.{kind}.local.",
        port,
        addresses=[socket.inet_pton(family, address)],
        server=f"{OWN}.local.",
        properties=properties,
    )
    zeroconf.register_service(info)


def test_an_announced_supply_is_found_and_its_entry_works(zeroconf: Zeroconf, tmp_path: Path) -> None:
    with Simulator("E36312A", OWN) as supply:
        assert supply.socket_port is not None
        announce(zeroconf, "_scpi-raw._tcp", supply.socket_port, Manufacturer="Keysight", Model="E36312A")
        result = invoke("scan", "--interface", "127.0.0.1", "--timeout", "2")
        assert result.exit_code == 0
        assert (
            f"# TCPIP::127.0.0.1::{supply.socket_port}::SOCKET: Keysight Technologies,E36312A,{OWN}," in result.stdout
        )
        read = config.parse(result.stdout.encode(), tmp_path / "psu-agent.yaml")
        (unit,) = [one for one in read.units if one.serial == OWN]
        assert unit.uri == supply.resource
        assert unit.name.startswith("psu")
        assert [model.name for model in unit.candidates] == ["E36312A"]

        found = json.loads(invoke("scan", "--interface", "127.0.0.1", "--timeout", "2", "--json").stdout)
        assert OWN in [one["idn"][2] for one in found["found"] if one["idn"]]
        (entry,) = [one for one in found["units"] if one.get("serial") == OWN]
        assert entry["uri"] == supply.resource


def test_one_that_is_announced_and_does_not_answer_is_told(zeroconf: Zeroconf) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        announce(zeroconf, "_scpi-raw._tcp", port, Manufacturer="Siglent", Model="SPD\x1b3303", SerialNumber="1")
        result = invoke("scan", "--interface", "127.0.0.1", "--timeout", "2")
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if f"::{port}::" in line]
    assert "(announced as Siglent SPD�3303 1): no answer: Timeout: nothing came from 127.0.0.1" in line
    assert f"::{port}::" not in result.stdout.partition("units:")[2]


@pytest.mark.parametrize(
    ("identity", "told"),
    [
        (None, "psu-agent: none answered: no entry for `units:` was written"),
        (Identity("Somebody", "X1", "1", "1"), "psu-agent: none that answered is supported (`psu-agent models`"),
    ],
)
def test_without_an_entry_it_is_said_that_this_is_no_configuration(
    capsys: pytest.CaptureFixture[str], identity: Identity | None, told: str
) -> None:
    uri = "TCPIP::192.0.2.1::inst0::INSTR"
    print_scan(scan.Scan([Found(None if identity is None else uri, [uri], identity)]))
    printed = capsys.readouterr()
    assert told in printed.err
    assert yaml.safe_load(printed.out) is None


def listing(kind: str, name: str) -> bytes:
    """A message that lists a service under its kind (RFC 6762; RFC 6763, 4)."""

    def encoded(text: str) -> bytes:
        labels = [label.encode() for label in text.removesuffix(".").split(".")]
        return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"

    target = encoded(name)
    return (
        struct.pack(">6H", 0, 0x8400, 0, 1, 0, 0)
        + encoded(kind)
        + struct.pack(">HHIH", 12, 1, 120, len(target))
        + target
    )


def test_one_that_was_asked_while_this_machine_was_held_up_is_asked_again(
    zeroconf: Zeroconf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, held_up = Zeroconf.get_service_info, threading.Event()

    def get_service_info(browser: Zeroconf, kind: str, name: str, timeout: int) -> ServiceInfo | None:
        if name.startswith(OWN) and not held_up.is_set():
            held_up.set()
            raise EventLoopBlocked
        return ask(browser, kind, name, timeout)

    monkeypatch.setattr(Zeroconf, "get_service_info", get_service_info)
    with Simulator("E36312A", OWN) as supply:
        assert supply.socket_port is not None
        announce(zeroconf, "_scpi-raw._tcp", supply.socket_port)
        result = invoke("scan", "--interface", "127.0.0.1", "--timeout", "4")
    assert held_up.is_set()
    assert f"Keysight Technologies,E36312A,{OWN}," in result.stdout
    assert "is no name of one" not in result.stderr


def test_strange_names_hide_no_other_instrument(zeroconf: Zeroconf) -> None:
    """Anybody in the network can send them."""
    strange = [
        f"{OWN}\x1b[2J._scpi-raw._tcp.local.",  # a control character
        f"{OWN}2._SCPI-RAW._TCP.local.",
        f"{OWN}3._http._tcp.local.",  # of another kind than it is listed under
        "_tcp.local.",
        *(f"{OWN}-{number}._scpi-raw._tcp.local." for number in range(20)),  # names of nobody: each is waited for
    ]
    ended = threading.Event()

    def repeat() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            while not ended.wait(0.1):
                for name in strange:
                    channel.sendto(listing("_scpi-raw._tcp.local.", name), ("224.0.0.251", 5353))

    sender = threading.Thread(target=repeat)
    with Simulator("E36312A", OWN) as supply:
        assert supply.socket_port is not None
        announce(zeroconf, "_scpi-raw._tcp", supply.socket_port)
        sender.start()
        try:
            result = invoke("scan", "--interface", "127.0.0.1", "--timeout", "5")
        finally:
            ended.set()
            sender.join()
    assert f"Keysight Technologies,E36312A,{OWN}," in result.stdout
    assert f"'{OWN}\\x1b[2J._scpi-raw._tcp.local.' is announced as an instrument, is no name of one" in result.stderr
    assert f"{OWN}2" not in result.stderr  # capitals are the same: it is a name, of which nothing more is known
    assert "\x1b" not in result.stderr


def test_a_search_that_fails_ends_no_other_one() -> None:
    def fail(told: list[str]) -> scan._Search:
        told.append("before")
        raise RuntimeError("VI_ERROR")

    def find(told: list[str]) -> scan._Search:
        return scan._Search([Candidate(["TCPIP::a::INSTR"])])

    remarks: list[str] = []
    failed, found = scan._search_all([fail, find], 1, remarks)
    assert remarks == ["before", "a search failed, and nobody foresaw why; please report it"]
    assert not failed.found
    assert found.found


def test_one_with_an_ipv6_address_alone_is_told(zeroconf: Zeroconf) -> None:
    announce(zeroconf, "_lxi._tcp", 80, "fe80::1", Model=OWN)
    result = invoke("scan", "--interface", "127.0.0.1", "--timeout", "2")
    assert f"{OWN} announces itself with an IPv6 address alone, and was not asked" in result.stderr


def test_an_interface_that_is_none() -> None:
    result = invoke("scan", "--interface", "192.0.2.7", "--timeout", "0.2")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "this host has no interface '192.0.2.7'; it has " in result.stderr


def test_one_host_is_one_instrument_with_several_names() -> None:
    found = merged(
        [
            Candidate(["TCPIP::10.0.0.1::hislip0::INSTR", "TCPIP::10.0.0.1::inst0::INSTR"], "Keysight"),
            Candidate(["TCPIP0::10.0.0.1::inst0::INSTR"]),
            Candidate(["TCPIP::10.0.0.2::5025::SOCKET"]),
            Candidate(["USB0::0x2a8d::0x1202::MY1::0::INSTR"]),
            Candidate(["USB::10893::4610::my1::INSTR"]),
            Candidate(["TCPIP::127.0.0.1::1::SOCKET"]),
            Candidate(["TCPIP::127.0.0.1::2::SOCKET"]),
            Candidate(["no name at all"]),
        ]
    )
    assert [candidate.names for candidate in found] == [
        ["TCPIP::10.0.0.1::hislip0::INSTR", "TCPIP::10.0.0.1::inst0::INSTR"],
        ["TCPIP::10.0.0.2::5025::SOCKET"],
        ["USB0::0x2a8d::0x1202::MY1::0::INSTR"],
        ["TCPIP::127.0.0.1::1::SOCKET"],
        ["TCPIP::127.0.0.1::2::SOCKET"],
    ]


def test_the_names_of_one_instrument_are_tried_one_after_the_other() -> None:
    """Some instruments allow two sessions in all; and the first name that answers is enough."""
    with socket.create_server(("127.0.0.1", 0)) as dead, Simulator("E36313A", "MY1") as supply:
        dead_name = f"TCPIP::127.0.0.1::{dead.getsockname()[1]}::SOCKET"
        opened: list[float] = []

        def refuse() -> None:
            connection, _ = dead.accept()
            with connection:
                connection.recv(100)
                opened.append(time.monotonic())

        thread = threading.Thread(target=refuse)
        thread.start()
        (found,) = scan._ask_all([Candidate([dead_name, supply.resource])], serial=False)
        thread.join()
    assert found.uri == supply.resource
    assert found.identification is not None
    assert found.identification.serial == "MY1"
    assert len(opened) == 1


def test_serial_ports_are_asked_only_if_wanted() -> None:
    with Simulator("E36313A", "MY1", pty=True, socket_port=None) as supply:
        (found,) = scan._ask_all([Candidate([supply.resource])], serial=False)
        assert found.uri is None
        assert "--serial asks it" in str(found.problem)
        assert supply.instrument.log == type(supply.instrument.log)()
        (found,) = scan._ask_all([Candidate([supply.resource])], serial=True)
        assert found.model is not None
        assert found.model.name == "E36313A"


def test_entries() -> None:
    (model,) = candidates("E36313A")

    def found(serial: str, uri: str = "TCPIP::a::INSTR", known: bool = True) -> Found:
        who = Identity("Keysight Technologies", "E36313A", serial, "1.0")
        return Found(uri, [uri], who, model if known else None)

    entries = scan.unit_entries(
        [
            found("MY1"),
            found("MY1", "TCPIP::b::INSTR"),
            found("0"),
            found("0", "TCPIP::c::INSTR"),  # another one: every unit of its kind says so
            found("MY$3"),
            found("MY4", known=False),
        ],
        taken=["psu2"],
    )
    assert [(entry["name"], entry.get("serial")) for entry in entries] == [
        ("psu1", "MY1"),
        ("psu3", None),
        ("psu4", None),
        ("psu5", "MY$3"),
    ]
    assert yaml.safe_load(as_yaml({"units": entries[3:]}))["units"][0]["serial"] == "MY$3"

"""`scan` and `simulate` on a host with two network cards, an instrument behind each (network namespaces)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent import config
from tests.commandline import COMMAND, environment
from tests.support.namespaces import Host, Network, missing
from tests.support.processes import Process
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

#: An instrument with VXI-11 and a portmapper, which announces nothing. It listens everywhere: broadcasts come to no address.
SILENT = """
import signal
from agent.simulator import NetworkInstrument, make_supply
with NetworkInstrument(make_supply("E36312A", serial="MY2"), host="0.0.0.0", socket_port=None, portmapper=True):
    print("ready", flush=True)
    signal.pause()
"""


def cable(host: Host, card: str, address: str, other: Host, its_card: str, its_address: str) -> None:
    """Connect two hosts, as by a cable with a network of its own."""
    host.call(*("ip", "link", "add", card, "type", "veth", "peer", "name", its_card, "netns", str(other.pid)))
    for one, name, own in ((host, card, address), (other, its_card, its_address)):
        one.call("ip", "address", "add", f"{own}/24", "broadcast", "+", "dev", name)
        one.call("ip", "link", "set", name, "up")


def scan(host: Host, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*host.way, *COMMAND, "scan", *arguments], capture_output=True, text=True, env=environment(), timeout=60
    )


class Bench:
    """A PC with two network cards. An instrument behind the first announces itself, one behind the second does not."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.pc, self.first, self.second = (network.host(name) for name in ("pc", "first", "second"))
        cable(self.pc, "lan1", "10.1.0.1", self.first, "eth0", "10.1.0.2")
        cable(self.pc, "lan2", "10.2.0.1", self.second, "eth0", "10.2.0.2")
        self.folder = folder
        self._running: list[Process] = []

    def start(self, host: Host, name: str, *command: str, ready: str) -> Process:
        process = Process([*host.way, *command], self.folder / name, environment=environment()).start()
        self._running.append(process)
        wait_until(lambda: ready in process.text(), f"{name}: {process.text()}")
        return process

    def simulate(self, host: Host, address: str, name: str, *more: str) -> Process:
        """A simulator of that serial number."""
        arguments = ["simulate", "--host", address, "--port", "5025", "--serial-number", name, *more]
        return self.start(host, name, *COMMAND, *arguments, ready="units:")

    def end(self) -> None:
        for process in self._running:
            process.kill()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Network() as network:
        bench = Bench(network, tmp_path_factory.mktemp("bench"))
        try:
            bench.simulate(bench.first, "10.1.0.2", "MY1")
            # Of the PC itself: one for the first network, and one for itself alone.
            bench.simulate(bench.pc, "10.1.0.1", "MY3")
            bench.simulate(bench.pc, "127.0.0.1", "MY4")
            bench.start(bench.second, "MY2", sys.executable, "-c", SILENT, ready="ready")
            yield bench
        finally:
            bench.end()


def test_every_network_is_searched_and_the_output_is_a_configuration(bench: Bench, tmp_path: Path) -> None:
    done = scan(bench.pc, "--timeout", "2")
    assert done.returncode == 0
    units = yaml.safe_load(done.stdout)["units"]
    assert {unit["serial"]: unit["uri"] for unit in units} == {
        "MY1": "TCPIP::10.1.0.2::5025::SOCKET",
        "MY2": "TCPIP::10.2.0.2::inst0::INSTR",
        "MY3": "TCPIP::10.1.0.1::5025::SOCKET",
        "MY4": "TCPIP::127.0.0.1::5025::SOCKET",
    }
    assert len(config.parse(done.stdout.encode(), tmp_path / "psu-agent.yaml").units) == 4
    for card in ("lan1 (10.1.0.1)", "lan2 (10.2.0.1)", "lo (127.0.0.1)"):
        assert card in next(line for line in done.stderr.splitlines() if "by mDNS and VXI-11" in line)


@pytest.mark.parametrize(
    ("arguments", "serials"),
    [(["--interface", "lan2"], {"MY2"}), (["--interface", "10.2.0.1", "--interface", "lo"], {"MY2", "MY4"})],
)
def test_chosen_networks_alone(bench: Bench, arguments: list[str], serials: set[str]) -> None:
    found = json.loads(scan(bench.pc, "--timeout", "2", "--json", *arguments).stdout)
    assert {unit["serial"] for unit in found["units"]} == serials
    assert "lan1" not in str(found["searched"])


def test_a_simulator_on_loopback_is_announced_to_no_other_host(bench: Bench) -> None:
    """Another program of the PC has joined the group on that network, so that questions from there reach the PC."""
    found = json.loads(scan(bench.first, "--timeout", "2", "--json").stdout)
    assert {unit["serial"] for unit in found["units"]} == {"MY1", "MY3"}
    assert "MY4" not in json.dumps(found)
    # A question to the PC's own address, too.
    ask = """
import socket
question = bytes.fromhex("0000 0000 0001 0000 0000 0000 045f6c7869 045f746370 056c6f63616c 00 000c 8001")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
    channel.settimeout(1.5)
    channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.1.0.2"))
    for address in ("10.1.0.1", "224.0.0.251"):
        channel.sendto(question, (address, 5353))
    try:
        while True:
            print(channel.recv(9000))
    except TimeoutError:
        pass
"""
    answers = bench.first.call(sys.executable, "-c", ask)
    assert "MY3" in answers
    assert "MY4" not in answers


def test_the_goodbye(bench: Bench) -> None:
    short = bench.simulate(bench.second, "127.0.0.1", "MY5")
    seen = """
import threading
from zeroconf import ServiceBrowser, Zeroconf
def on_change(*, name, state_change, **_):
    if "MY5" in name:
        print(state_change.name, flush=True)
browser = ServiceBrowser(Zeroconf(interfaces=["127.0.0.1"]), "_scpi-raw._tcp.local.", handlers=[on_change])
threading.Event().wait()
"""
    listener = bench.start(bench.second, "listener", sys.executable, "-c", seen, ready="Added")
    assert short.stop() == 0
    wait_until(lambda: "Removed" in listener.text(), "the goodbye")
    listener.kill()


def test_no_announcement(bench: Bench) -> None:
    quiet = bench.simulate(bench.second, "10.2.0.2", "MY6", "--no-announce")
    found = json.loads(scan(bench.pc, "--timeout", "1.5", "--interface", "lan2", "--json").stdout)
    assert {unit["serial"] for unit in found["units"]} == {"MY2"}
    quiet.kill()


@pytest.fixture(scope="module")
def lonely() -> Iterator[Host]:
    with Network() as network:
        yield network.host("lonely")


def test_a_host_that_finds_nothing(lonely: Host, tmp_path: Path) -> None:
    done = scan(lonely, "--timeout", "0.2")
    assert done.returncode == 1
    assert "no instrument was found" in done.stderr
    assert "lo (127.0.0.1) by mDNS and VXI-11" in done.stderr
    assert yaml.safe_load(done.stdout) is None
    assert "this is no configuration yet" in done.stdout
    assert "Traceback" not in done.stderr
    with pytest.raises(config.ConfigError):
        config.parse(done.stdout.encode(), tmp_path / "psu-agent.yaml")


def test_a_host_without_any_network(lonely: Host) -> None:
    lonely.call("ip", "link", "set", "lo", "down")
    try:
        done = scan(lonely, "--timeout", "0.2")
        chosen = scan(lonely, "--interface", "lo")
        simulator = subprocess.run(
            [*lonely.way, *COMMAND, "simulate", "--port", "0", "--host", "192.0.2.9"],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=60,
        )
    finally:
        lonely.call("ip", "link", "set", "lo", "up")
    assert done.returncode == 1
    assert "no network was searched: this host has no network interface that is up" in done.stderr
    assert "left out: lo (it is down)" in done.stderr
    assert chosen.returncode == 2
    assert "the interface lo can't be searched: it is down" in chosen.stderr
    assert (simulator.returncode, len(simulator.stderr.splitlines())) == (2, 1)


def test_networks_that_can_not_be_asked(lonely: Host) -> None:
    """No address, no broadcast, two cards in one network: each is told by its name."""
    for name, other, addresses in (
        ("bare", "point", ["10.9.0.1/32"]),
        ("twin1", "twin2", ["10.8.0.2/24", "10.8.0.1/24"]),
    ):
        lonely.call("ip", "link", "add", name, "type", "veth", "peer", "name", other)
        for card, address in zip((other, name), addresses, strict=False):
            lonely.call("ip", "address", "add", address, "dev", card)
        for card in (other, name):
            lonely.call("ip", "link", "set", card, "up")
    done = scan(lonely, "--timeout", "0.2")
    assert "bare (it has no IPv4 address)" in done.stderr
    assert "point (10.9.0.1) was not searched for VXI-11: its network has no broadcast" in done.stderr
    assert re.search(r"twin\d \(10.8.0.\d\) and twin\d \(10.8.0.\d\) are in one network \(10.8.0.0/24\)", done.stderr)
    assert "Traceback" not in done.stderr


def test_more_networks_than_a_socket_can_join(lonely: Host) -> None:
    for number in range(0, 24, 2):
        lonely.call("ip", "link", "add", f"many{number}", "type", "veth", "peer", "name", f"many{number + 1}")
    for number in range(24):
        lonely.call("ip", "address", "add", f"10.7.{number}.1/24", "broadcast", "+", "dev", f"many{number}")
        lonely.call("ip", "link", "set", f"many{number}", "up")
    done = scan(lonely, "--timeout", "0.5")
    (line,) = [line for line in done.stderr.splitlines() if "by mDNS and VXI-11" in line]
    assert all(re.search(rf"\bmany{number} ", line) for number in range(24)), line
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("psu-agent: no instrument was found")

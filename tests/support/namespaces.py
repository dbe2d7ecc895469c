"""Hosts in network namespaces, and links between them that can be cut and healed one by one (Linux, root or user namespaces).

Nothing has a name outside the test: a namespace ends with the process that holds it, also where the test run is killed.
"""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from agent.local import children

Direction = Literal["both", "out", "in"]
"""Of the packets that a cut drops, as seen from the first host of the link: those that it sends, that it gets, or both."""

_FOLDERS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
#: Gives the host its name, tells that it is there, and holds its namespaces until its input ends.
_HOLDER = 'hostname "$1" && ip link set lo up && echo ready && exec cat'


class NoNamespacesError(RuntimeError):
    """There can be none here, and why."""


class Host:
    """A host of its own: name, network, addresses. Files and process numbers are those of this host.

    :param addresses: IPv4; what it sends comes from the first one
    """

    def __init__(self, name: str, addresses: Sequence[str], *, owner: Host | None, log: Path) -> None:
        self.name = name
        self.addresses = tuple(addresses)
        #: It is in a user namespace, as the user is not root.
        self.is_of_user: bool = os.geteuid() != 0
        way: list[str] = ["unshare", "--net", "--uts"]
        if owner is not None and owner.is_of_user:
            way = [*owner.user_way, *way]
        elif self.is_of_user:
            way = [*way, "--user", "--map-root-user"]
        with log.open("ab") as stderr:
            self._holder = children.start(
                [*way, "sh", "-c", _HOLDER, "sh", name],
                stderr,
                pipe=True,
                pipe_in=True,
                environment={"PATH": _FOLDERS},
            )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != b"ready":
            self.close()
            said = log.read_text(errors="replace").strip() or "they said nothing"
            raise NoNamespacesError(f"no network namespace can be made here (`unshare --net`, `ip`): {said}")
        for address in addresses:
            self.call("ip", "address", "add", f"{address}/32", "dev", "lo")

    @property
    def pid(self) -> int:
        """The process that holds it."""
        return self._holder.pid

    @property
    def address(self) -> str:
        """The first of its addresses."""
        return self.addresses[0]

    @property
    def user_way(self) -> list[str]:
        """What stands before a command that runs in its user namespace; it is killed with the thread that starts it."""
        if not self.is_of_user:
            return []
        # The change of the user namespace makes the kernel forget with whom the process is to end.
        die_too = ["setpriv", "--pdeathsig", "KILL"]
        return ["nsenter", f"--user=/proc/{self.pid}/ns/user", "--preserve-credentials", *die_too]

    @property
    def way(self) -> list[str]:
        """What stands before a command that runs on this host. The process is the command's own."""
        return [*self.user_way, "nsenter", f"--net=/proc/{self.pid}/ns/net", f"--uts=/proc/{self.pid}/ns/uts"]

    def call(self, *command: str | Path) -> str:
        """Run a command on this host to its end. Its output.

        :raises subprocess.CalledProcessError: it failed
        """
        done = subprocess.run(
            [*self.way, *command], check=True, capture_output=True, text=True, env={**os.environ, "PATH": _FOLDERS}
        )
        return done.stdout

    def close(self) -> None:
        """End it, with its links. Its programs must have ended."""
        children.kill(self._holder)


class Link:
    """A cable between two hosts. A cut drops packets silently: no program is told."""

    def __init__(self, first: Host, second: Host) -> None:
        self._ends = ((first, f"to-{second.name}"[:15]), (second, f"to-{first.name}"[:15]))
        (_, one), (_, other) = self._ends
        macs = (f"02:00:{number >> 8 & 255:02x}:{number & 255:02x}:00:01" for number in (first.pid, second.pid))
        one_mac, other_mac = macs
        first.call(
            *("ip", "link", "add", one, "address", one_mac, "type", "veth"),
            *("peer", "name", other, "address", other_mac, "netns", str(second.pid)),
        )
        for host, name, peer, mac in ((first, one, second, other_mac), (second, other, first, one_mac)):
            host.call("ip", "link", "set", name, "up")
            for address in peer.addresses:
                # Without these a cut would be told within seconds, as no answer to ARP comes either.
                host.call("ip", "neighbour", "add", address, "lladdr", mac, "dev", name, "nud", "permanent")
                host.call("ip", "route", "add", f"{address}/32", "dev", name, "src", host.address)

    def cut(self, direction: Direction = "both") -> None:
        """Drop every packet of that direction from now on."""
        if direction != "in":
            self._tc(0, "replace", "blackhole")
        if direction != "out":
            self._tc(1, "replace", "blackhole")

    def heal(self) -> None:
        """Let all packets pass again. May be called in any state."""
        for end in range(2):
            self._tc(end, "replace", "pfifo", "limit", "1000")

    def reset(self) -> None:
        """End each TCP connection over it by a reset, which both ends are told while the link is not cut."""
        for end, (host, _) in enumerate(self._ends):
            for address in self._ends[1 - end][0].addresses:
                host.call("ss", "--kill", "--no-header", "--tcp", "dst", address)

    def _tc(self, end: int, *order: str) -> None:
        host, name = self._ends[end]
        what, *kind = order
        host.call("tc", "qdisc", what, "dev", name, "root", *kind)


class Network:
    """Hosts and their links, as a context manager.

    :raises NoNamespacesError: there can be none here
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="psu-agent-hosts-"))
        self._log = Path(folder) / "hosts.log"
        self._owner: Host | None = None

    def host(self, name: str, *addresses: str) -> Host:
        """A new host with these addresses."""
        host = Host(name, addresses, owner=self._owner, log=self._log)
        self._stack.callback(host.close)
        self._owner = self._owner or host
        return host

    def link(self, first: Host, second: Host) -> Link:
        """A link between two hosts, which have none yet."""
        return Link(first, second)

    def close(self) -> None:
        """End it all."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


@functools.cache
def missing() -> str | None:
    """Why there can be no network here; None where there can be one that is cut and healed."""
    try:
        with Network() as network:
            link = network.link(network.host("one", "192.0.2.1"), network.host("two", "192.0.2.2"))
            link.cut()
            link.heal()
    except NoNamespacesError as error:
        return str(error)
    except FileNotFoundError as error:
        return f"{error.filename} is not installed (Debian, Ubuntu: apt install util-linux iproute2)"
    except subprocess.CalledProcessError as error:
        return f"`{' '.join(map(str, error.cmd[-8:]))}` failed: {error.stderr.strip()}"
    return None

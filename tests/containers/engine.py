"""Podman in namespaces of its own: networks, mounts and processes that end with it, and a graph root in a folder.

Its host's network is loopback alone, so that the ports that a test publishes meet nobody's, and no packet leaves it.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from agent.local import children
from tests.support.processes import ROOT, Process
from tests.support.relay import connected
from tests.support.waiting import wait_until

#: The images, kept from one run to the next. Every engine reads them, the one that makes them excepted.
IMAGES = ROOT / ".cache" / "containers"
_PROGRAMS = ("podman", "runc", "conmon", "iptables", "unshare", "nsenter", "ip")
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
#: Where no systemd runs, Podman has to be told to manage control groups itself and to keep its events in a file.
_CONTAINERS_CONF = """\
[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_config_dir = "{networks}"
"""
#: runc, with limits that this process may give. Podman asks for a million open files and four million processes, which is
#: refused to a root that has no CAP_SYS_RESOURCE, as within many virtual machines and containers.
_RUNTIME = """\
#!/bin/sh
case " $* " in *" create "* | *" exec "*) python3 "{lower}" "$@" ;; esac
exec runc "$@"
"""
_LOWER = """\
import json, pathlib, resource, sys
words = sys.argv[1:]
values = dict(zip(words, words[1:]))
bundle, process = values.get("--bundle"), values.get("--process") or values.get("-p")
path = pathlib.Path(process) if process else pathlib.Path(bundle or ".", "config.json")
if path.exists():
    given = json.loads(path.read_text())
    for limit in given.get("process", given).get("rlimits") or []:
        most = resource.getrlimit(getattr(resource, limit["type"]))[1]
        if most != resource.RLIM_INFINITY:
            limit["hard"], limit["soft"] = min(limit["hard"], most), min(limit["soft"], most)
    path.write_text(json.dumps(given))
"""
_STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "{graph}"
runroot = "{run}"
[storage.options]
additionalimagestores = [{more}]
"""
#: Holds the namespaces until its input ends: then the kernel kills what runs in them, and their mounts and networks go.
#: It is their process 1, and reaps the processes that the container monitors leave behind.
_HOLDER = """\
import signal, subprocess, sys, threading
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
sys.stdin.read()
"""


@functools.cache
def missing() -> str | None:
    """Why no container can be run here; None if one can."""
    if os.geteuid() != 0:
        return "containers are tried as root, as networks and graph roots of rootless Podman depend on the host"
    if lacking := [name for name in _PROGRAMS if not shutil.which(name, path=_PATH)]:
        return f"{', '.join(lacking)} not installed: run .ci/containers-tools"
    if not (ROOT / ".cache" / "debian.ready").exists():
        return "no bare Debian tree to make images of: run .ci/stack-tools"
    spaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    if subprocess.run(spaces, capture_output=True, env={"PATH": _PATH}).returncode != 0:
        return "no namespaces can be made here (unshare --net --mount --pid)"
    return None


class Engine:
    """One Podman with its containers, images and volumes.

    :param folder: for everything of it that lasts until `close`; its path has to be short, as sockets lie in it
    :param isolated: with namespaces of its own; else on this host, for builds, which fetch packages
    """

    def __init__(self, folder: Path, *, isolated: bool = True, graph: Path | None = None) -> None:
        self.folder = folder
        self.graph = graph or folder / "graph"
        self.socket = folder / "podman.sock"
        for each in (folder, self.graph, folder / "run", folder / "networks", folder / "tmp"):
            each.mkdir(parents=True, exist_ok=True)
        runtime, lower = folder / "runc", folder / "lower.py"
        lower.write_text(_LOWER)
        runtime.write_text(_RUNTIME.format(lower=lower))
        runtime.chmod(0o755)
        (folder / "containers.conf").write_text(_CONTAINERS_CONF.format(runtime=runtime, networks=folder / "networks"))
        more = "" if graph else f'"{IMAGES / "graph"}"'
        (folder / "storage.conf").write_text(_STORAGE_CONF.format(graph=self.graph, run=folder / "run", more=more))
        self.environment = {
            "PATH": _PATH,
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "DOCKER_HOST": f"unix://{self.socket}",
        }
        self._holder: subprocess.Popen[bytes] | None = None
        self._service: Process | None = None
        if isolated:
            self._hold()

    def _hold(self) -> None:
        # Networks get names in /run/netns, and aardvark-dns its files in /run: those of this host are not touched.
        script = 'mount -t tmpfs tmpfs /run && ip link set lo up && exec python3 -c "$1"'
        spaces = ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"]
        with (self.folder / "holder.log").open("ab") as log:
            self._holder = children.start(
                [*spaces, "sh", "-c", script, "sh", _HOLDER], log, pipe=True, pipe_in=True, environment={"PATH": _PATH}
            )
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline().strip()
        assert said == b"ready", (self.folder / "holder.log").read_text()

    @property
    def way(self) -> list[str]:
        """The words before a command that runs in the engine's namespaces."""
        if self._holder is None:
            return []
        # unshare forks: its child is process 1 of the namespaces.
        (first,) = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        return ["nsenter", "--target", first, "--net", "--mount", "--pid", "--ipc", "--uts", "--"]

    def run(
        self, *command: str | Path, fails: bool = False, timeout: float = 300, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespaces to its end. Unless it ``fails``, its failure fails the test."""
        done = subprocess.run(
            [*self.way, *command],
            env=self.environment | (environment or {}),
            text=True,
            capture_output=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        if not fails:
            assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        """Run a command in the namespaces, and return at once."""
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(
            [*self.way, *command], env=self.environment, stdin=nowhere, stdout=nowhere, stderr=nowhere
        )

    def podman(self, *command: str | Path, fails: bool = False, timeout: float = 300) -> str:
        """Run a podman command to its end. Its output."""
        return self.run("podman", *command, fails=fails, timeout=timeout).stdout

    def serve(self) -> Self:
        """Offer the API that `docker compose` speaks to, on `socket`."""
        command = [*self.way, "podman", "system", "service", "--time=0", f"unix://{self.socket}"]
        self._service = Process(command, self.folder / "service.log", environment=self.environment).start()
        wait_until(self._listens, "podman's service listens")
        return self

    def _listens(self) -> bool:
        """The socket's file is there a moment before anybody listens."""
        try:
            connected(self.socket).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """End every container and remove all that there is of the engine, a graph root of somebody else's excepted."""
        if self._service is not None:
            self._service.stop()
        if self._holder is not None:
            assert self._holder.stdin is not None
            groups = self._control_groups()
            assert self._holder.stdout is not None
            self._holder.stdin.close()
            self._holder.wait(30)
            self._holder.stdout.close()
            for group in sorted(groups, key=lambda path: -len(path.parts)):
                _forget(group)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _control_groups(self) -> list[Path]:
        """The containers' control groups, which no namespace's end removes: by the containers' own numbers."""
        ids = set(self.podman("ps", "--all", "--quiet", "--no-trunc", fails=True).split())
        return [
            path
            for parent in Path("/sys/fs/cgroup").glob("**/libpod_parent")
            for path in parent.iterdir()
            if path.is_dir() and path.name.removeprefix("libpod-").removeprefix("conmon-") in ids | {"conmon"}
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _forget(group: Path) -> None:
    """Remove a control group that has no process any more; one that has stays."""
    for each in [*group.glob("*/"), group]:
        try:
            each.rmdir()
        except OSError:
            continue


def needed() -> None:
    """Skip the test where no container can be run."""
    if (why := missing()) is not None:
        pytest.skip(why)

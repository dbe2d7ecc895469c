"""The Debian package in a clean Debian tree: installed, run as its service does, removed and purged.

`make package-test` runs it, in a minute or two. It takes root, the tree that .ci/stack-tools makes, and package registries.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.lab import Observer, settings, unit
from tests.support import trees
from tests.support.processes import ROOT, Process
from tests.support.scripts import load
from tests.support.waiting import wait_until

BASE = ROOT / ".cache" / "debian"
OF_THIS_HOST = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt")

pytestmark = [
    pytest.mark.skipif("PSU_AGENT_PACKAGES" not in os.environ, reason="left to `make package-test`"),
    pytest.mark.skipif(os.getuid() != 0, reason="chroot takes root"),
    pytest.mark.skipif(not BASE.with_suffix(".ready").exists(), reason="no bare Debian tree: run .ci/stack-tools"),
    pytest.mark.timeout(900),
]


class Tree:
    """A Debian tree with what the package depends on, and the package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self, *command: str, mounts: str = "") -> list[str]:
        inside = shlex.join(["chroot", str(self.folder), *command])
        script = f"{mounts}{trees.mounts(self.folder)}; exec {inside}"
        return ["unshare", "--mount", "sh", "-ec", script]

    def run(self, *command: str) -> str:
        done = subprocess.run(
            self.command("env", "DEBIAN_FRONTEND=noninteractive", *command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def path(self, name: str) -> Path:
        return self.folder / name.lstrip("/")

    def numbers(self) -> tuple[int, int, list[int]]:
        """Of the service's user: its own, its group's, and those of all of its groups."""
        users = [line.split(":") for line in self.path("/etc/passwd").read_text().splitlines()]
        groups = [line.split(":") for line in self.path("/etc/group").read_text().splitlines()]
        user = pwd.struct_passwd(next(line for line in users if line[0] == "psu-agent"))
        members = [grp.struct_group(line) for line in groups if "psu-agent" in line[3].split(",")]
        return int(user.pw_uid), int(user.pw_gid), [int(user.pw_gid), *(int(group.gr_gid) for group in members)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    if (reason := trees.missing()) is not None:
        pytest.skip(reason)
    builder = load(ROOT / "package" / "debian" / "build.py")
    folder = tmp_path_factory.mktemp("debian")
    package: Path = builder.build(folder, builder.host_architecture(), None, "gzip")
    tree = Tree(folder / "tree")
    subprocess.run(["cp", "-a", "--reflink=auto", BASE, tree.folder], check=True)
    for name in OF_THIS_HOST:
        if Path(name).exists():
            tree.path(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, tree.path(name))
    shutil.copy(package, tree.path("/psu-agent.deb"))
    tree.run("apt-get", "update", "-qq")
    # The bare tree has no service manager, which every host has.
    tree.run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "systemd", "/psu-agent.deb")
    yield tree
    subprocess.run(["rm", "-rf", "--one-file-system", tree.folder], check=True)


def test_the_program_is_there_and_its_modules_are_compiled(tree: Tree) -> None:
    assert tree.run("psu-agent", "--version").startswith("psu-agent, version ")
    assert "E36313A" in tree.run("psu-agent", "models")
    # libyaml, without which a configuration is read ten times as slowly; drivers for USB, serial lines and Modbus.
    program = "import yaml; yaml.CSafeLoader; import usb, serial, pymodbus, zeroconf; print('all')"
    assert "all" in tree.run("/usr/lib/psu-agent/bin/python3", "-c", program)
    assert list(tree.path("/usr/lib/psu-agent").rglob("__pycache__"))


def test_nothing_is_enabled_and_systemd_finds_no_fault(tree: Tree) -> None:
    assert not list(tree.path("/etc/systemd").rglob("psu-agent*"))
    assert "psu-agent" not in tree.run("systemd-analyze", "--no-pager", "verify", "--man=no", "psu-agent.service")


def test_its_user_owns_the_state_and_reads_the_configuration(tree: Tree) -> None:
    user, group, groups = tree.numbers()
    dialout = tree.run("getent", "group", "dialout").split(":")[2]
    assert int(dialout) in groups
    state, folder = tree.path("/var/lib/psu-agent").stat(), tree.path("/etc/psu-agent").stat()
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (user, group, 0o700)
    assert (folder.st_uid, folder.st_gid, folder.st_mode & 0o777) == (0, group, 0o750)


def test_the_service_does_what_its_unit_says(tree: Tree, broker: LocalBroker, tmp_path: Path) -> None:
    """Its commands, as its user, with a file system that can't be written to but for its state."""
    lines = tree.path("/usr/lib/systemd/system/psu-agent.service").read_text().splitlines()
    start = next(line.partition("=")[2] for line in lines if line.startswith("ExecStart="))
    reload = next(line.partition("=")[2] for line in lines if line.startswith("ExecReload="))
    simulator, observer = Simulator().start(), Observer(broker.port)
    data = settings(broker.port, [unit("psu1", simulator)], tmp_path)
    del data["settings"]["state_dir"]
    configuration = tree.path("/etc/psu-agent/psu-agent.yaml")
    configuration.write_text(yaml.safe_dump(data))
    user, group, groups = tree.numbers()
    identity = ["setpriv", f"--reuid={user}", f"--regid={group}", f"--groups={','.join(map(str, groups))}"]
    state = tree.path("/var/lib/psu-agent")
    mounts = (
        f"mount --bind {tree.folder} {tree.folder}; mount -o remount,bind,ro {tree.folder}; "
        f"mount --bind {state} {state}; mount -o remount,bind,rw {state}; "
    )
    command = [*identity, "env", "STATE_DIRECTORY=/var/lib/psu-agent", *shlex.split(start)]
    try:
        with Process(tree.command(*command, mounts=mounts), tmp_path / "service.log") as process:
            observer.wait_online("psu1")
            assert observer.ask("psu/psu1/1/set", {"voltage_limit": 1})["ok"]
            assert subprocess.run(tree.command(*identity, *shlex.split(reload))).returncode == 0
            wait_until(lambda: process.stop(signal.SIGTERM) == 0, "a clean end")
    finally:
        observer.close()
        simulator.stop()
    kept = list(state.iterdir())
    assert kept
    assert {path.stat().st_uid for path in kept} == {user}


def test_a_second_installation_keeps_configuration_and_state(tree: Tree) -> None:
    before = sorted(path.name for path in tree.path("/var/lib/psu-agent").iterdir())
    tree.run("dpkg", "-i", "/psu-agent.deb")
    assert sorted(path.name for path in tree.path("/var/lib/psu-agent").iterdir()) == before
    assert tree.path("/etc/psu-agent/psu-agent.yaml").exists()


def test_removal_leaves_the_state_and_a_purge_the_configuration_alone(tree: Tree) -> None:
    tree.run("apt-get", "remove", "-y", "-qq", "psu-agent")
    assert not tree.path("/usr/lib/psu-agent").exists()
    assert not tree.path("/usr/bin/psu-agent").is_symlink()
    assert list(tree.path("/var/lib/psu-agent").iterdir())
    tree.run("apt-get", "purge", "-y", "-qq", "psu-agent")
    assert not tree.path("/var/lib/psu-agent").exists()
    assert [path.name for path in tree.path("/etc/psu-agent").iterdir()] == ["psu-agent.yaml"]
    assert list(tree.path("/usr").rglob("*psu-agent*")) == []

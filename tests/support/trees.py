"""What a Debian tree needs to be run in by chroot: a /proc, and a /dev of its own, of which nothing is this host's."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

#: The character devices that every Linux has, with their numbers (devices.txt of the kernel).
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def missing() -> str | None:
    """Why mounts can't be kept apart from this host's; None if they can."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        # Within a plain chroot, whose root is no mount, that can't be had.
        return "mounts can't be kept apart here (`unshare --mount`)"
    return None


def mounts(tree: Path) -> str:
    """Shell commands that mount /proc and /dev in a tree, for a mount namespace of its own: they end with it.

    The devices are made anew: an installation in the tree may change, add and remove what it finds in /dev.
    """
    dev = shlex.quote(str(tree / "dev"))
    return "; ".join(
        [
            f"mount -t proc proc {shlex.quote(str(tree / 'proc'))}",
            f"mount -t tmpfs -o mode=755,nosuid tmpfs {dev}",
            *(f"mknod -m 666 {dev}/{name} c {major} {minor}" for name, (major, minor) in _DEVICES.items()),
            f"mkdir -m 1777 {dev}/shm; mkdir {dev}/pts",
            f"mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts {dev}/pts",
            *(f"ln -s {target} {dev}/{name}" for name, target in _LINKS.items()),
        ]
    )

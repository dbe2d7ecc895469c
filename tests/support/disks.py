"""Disks that hang, are full or read-only: real ones, for tests that run as root on Linux; `frozen` has the one that freezes.

They are mounted over folders of the test's own, and seen by all processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_MNT_DETACH = 2


def _mount(source: str, target: Path, kind: str, options: str = "", flags: int = 0) -> None:
    """Mount, or skip the test where this user or this system does not allow it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), str(target).encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()) != 0:
        pytest.skip(f"{kind} can't be mounted here: {os.strerror(ctypes.get_errno())}")


def _unmount(target: Path) -> None:
    ctypes.CDLL(None).umount2(str(target).encode(), _MNT_DETACH)


@contextlib.contextmanager
def hanging(folder: Path) -> Iterator[None]:
    """A disk over ``folder`` that never answers: whoever looks into it waits until the context ends.

    It is a file system in user space without a program behind it.
    """
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"/dev/fuse can't be opened here: {error.strerror}")
    try:
        _mount("hanging", folder, "fuse", f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other")
    except BaseException:
        os.close(device)
        raise
    try:
        yield
    finally:
        os.close(device)  # those who wait get an error
        _unmount(folder)


@contextlib.contextmanager
def small(folder: Path, size: int = 64 * 1024) -> Iterator[None]:
    """A disk of so many bytes over ``folder``."""
    _mount("small", folder, "tmpfs", f"size={size}")
    try:
        yield
    finally:
        _unmount(folder)


_MS_RDONLY, _MS_REMOUNT, _MS_BIND = 1, 32, 4096


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """``folder`` as it is, on a disk that takes no writes, not even root's."""
    _mount(str(folder), folder, "none", flags=_MS_BIND)
    try:
        _mount("none", folder, "none", flags=_MS_REMOUNT | _MS_BIND | _MS_RDONLY)
        yield
    finally:
        _unmount(folder)

"""Notifications for systemd of a service with ``Type=notify`` (sd_notify(3)); nothing is sent where there is no systemd."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable

#: s that a manager may take to read a message.
PATIENCE = 0.2


def notify(message: str) -> bool:
    """Send a state such as ``READY=1`` to the service manager, if there is one. False if it did not take it.

    A manager that reads nothing is waited for up to `PATIENCE` s: a datagram waits for room in the reader's queue.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return True
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        link.settimeout(PATIENCE)
        link.sendto(message.encode(), address)
        return True
    return False


def reloading() -> None:
    """Tell systemd that a reload begins; ``READY=1`` ends it (systemd asks for the moment, in µs, from 253 on)."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval() -> float | None:
    """s between two signs of life: half of the service manager's timeout. None where it has none."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2_000_000


class Watchdog:
    """Tells the service manager at an interval (s) that the agent's threads are alive; it restarts the agent where that stops."""

    def __init__(self, interval: float, is_alive: Callable[[], bool]) -> None:
        self._interval = interval
        self._is_alive = is_alive
        self._due = -float("inf")

    def feed(self, now: float) -> None:
        """Tell it, if that is due at this moment (`time.monotonic`) and true. A thread that recovers is told of at once."""
        if now >= self._due and self._is_alive() and notify("WATCHDOG=1"):
            self._due = now + self._interval

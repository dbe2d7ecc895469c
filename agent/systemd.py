"""What systemd wants to know of a service with ``Type=notify`` (sd_notify(3)); nothing where there is no systemd."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(message: str) -> None:
    """Send a state such as ``READY=1`` to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        link.sendto(message.encode(), address)


def watchdog_interval() -> float | None:
    """Seconds between two signs of life: half of what the service manager waits for. None where it does not wait."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2_000_000

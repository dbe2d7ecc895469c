"""TCP ports of this host: a free one, and which are taken."""

from __future__ import annotations

import random
import socket
from collections import deque

# Below the range from which systems take the ports of outgoing connections (Linux: from 32768, others: from 49152): one of those
# would take the port before the server that it was looked up for.
_FIRST, _LAST = 10_000, 32_000
_TRIES = 100
#: Ports that were looked up last: their servers may not listen yet.
_given: deque[int] = deque(maxlen=500)
# Not seeded: two processes that look at the same time would find the same one.
_random = random.SystemRandom()


def free_port() -> int:
    """A TCP port of this host that nobody listens on; another one each time."""
    for _ in range(_TRIES):
        port = _random.randint(_FIRST, _LAST)
        if port not in _given and is_free(port):
            _given.append(port)
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """True if nobody listens on `port` of this host, by IPv4 or IPv6: ``localhost`` may mean either."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError:
            if family == socket.AF_INET or accepts(port, host):
                return False
    return True


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """True if a connection to the port is accepted within a second."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False

"""A reserve of file descriptors that no unit's link takes, so that the connection to the broker always gets one."""

from __future__ import annotations

import contextlib
import errno
import os
import resource

from agent.instruments.driver import LinkError

#: Descriptors that are left to the broker's connection, looking up its name, the store's file and programs of external units.
RESERVE = 16


def check_room() -> None:
    """Return if a unit may open another link.

    The system gives out the lowest free number. So a unit that opens nothing while that number lies in the reserve, the highest
    numbers of the limit, leaves the reserve as it is.

    :raises LinkError: only the reserve is left, or nothing
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return
    if _lowest_free() >= limit - min(RESERVE, limit // 3):
        raise LinkError(
            f"no file descriptor is left for it, as this process may have {limit} open; raise the limit (`ulimit -n`, "
            "systemd: LimitNOFILE=)"
        )


def _lowest_free() -> float:
    try:
        number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return float("inf")
        raise
    with contextlib.suppress(OSError):
        os.close(number)
    return number

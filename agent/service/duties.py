"""Duties of the main thread. None may end the daemon or keep another from its turn."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

#: s between two tracebacks of the same duty.
_TRACEBACK_INTERVAL = 60.0


class Duty:
    """One thing that the main thread does again and again.

    :param name: for the log, a noun: ``metrics``
    :param act: is called with the moment (`time.monotonic`); if it returns False it could not be done yet, and stays due
    :param interval: s between two calls, 0 for every turn of the main loop
    """

    def __init__(self, name: str, act: Callable[[float], object], interval: float = 0.0) -> None:
        self._name = name
        self._act = act
        self._interval = interval
        self._due = -float("inf")
        self._told = -float("inf")
        #: Calls that raised an exception.
        self.failures = 0

    def run(self, now: float) -> None:
        """Call it if it is due. An exception is logged with its traceback, at most once a minute, and goes no further."""
        if now < self._due:
            return
        self._due = now + self._interval
        try:
            if self._act(now) is False:
                self._due = now
        except Exception:
            self.failures += 1
            if now - self._told >= _TRACEBACK_INTERVAL:
                self._told = now
                log.exception(
                    "%s failed, by an error inside psu-agent; please report it. It is tried again", self._name
                )


def in_order(steps: list[tuple[str, Callable[[], object]]]) -> None:
    """Call all of these, one after the other. An exception is logged with its traceback, and the next one is called."""
    for name, act in steps:
        began = time.monotonic()
        try:
            act()
        except Exception:
            log.exception("%s failed, by an error inside psu-agent; please report it", name)
        log.debug("%s took %.3f s", name, time.monotonic() - began)

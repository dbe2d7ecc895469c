"""Waiting for a condition instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: s. A condition that takes longer than this, even on a busy machine, counts as never coming true.
PATIENCE = 25.0


class WaitedInVainError(AssertionError):
    """A condition did not come true in time."""


def wait_until(condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """The first true value of a condition.

    :param what: names the condition in the message
    :raises WaitedInVainError: it was not true within the timeout (s)
    """
    begun = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - begun
        if waited > timeout:
            raise WaitedInVainError(f"waited {timeout:g} s in vain for {what}; at last it was {value!r}")
        # After a second it asks less often, and leaves the processor to the processes that it waits for.
        time.sleep(0.005 if waited < 1 else 0.05)
    return value

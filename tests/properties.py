"""How many examples a property is tried with: a hundred or so, or 20,000 and more with ``PSU_AGENT_FUZZ`` set to a number."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

FUZZ = int(os.environ.get("PSU_AGENT_FUZZ", "0"))


def examples(number: int = 100, *, are_fixed: bool = False) -> Callable[[Any], Any]:
    """Decorates a property. ``are_fixed``: each run takes the same examples, but for `make fuzz`."""
    return settings(
        max_examples=FUZZ or number,
        derandomize=are_fixed and not FUZZ,
        deadline=None,  # the machine is shared
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        database=None,
    )

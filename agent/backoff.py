"""How long to wait before the next try at a link: longer each time up to a limit, and never all units at once."""

from __future__ import annotations

import tenacity
from tenacity.wait import wait_base


def backoff(first: float, longest: float, jitter: float) -> wait_base:
    """From ``first`` s, doubled with each try up to ``longest``, and up to ``jitter`` s more by chance."""
    return tenacity.wait_exponential(multiplier=first, max=longest) + tenacity.wait_random(0, jitter)

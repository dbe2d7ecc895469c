"""The limit of open files: raised as far as the system allows, as every unit takes a descriptor or two."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger(__name__)

#: Descriptors of one unit at the most (HiSLIP has two connections), and of the agent itself.
_PER_UNIT, _OWN = 2, 64


def raise_limit(units: int) -> None:
    """Raise the soft limit of open files to the hard one, and warn where that is not enough for so many units."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in (soft, resource.RLIM_INFINITY) or (hard == resource.RLIM_INFINITY and soft < _enough(units)):
        wanted = hard if hard != resource.RLIM_INFINITY else _enough(units)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (ValueError, OSError) as error:  # macOS has a lower one that it does not tell
            log.debug("the limit of open files stays at %d: %s", soft, error)
    if soft != resource.RLIM_INFINITY and soft < units + _OWN:
        log.warning(
            "the limit of %d open files may not be enough for %d units; raise it (`ulimit -n`, systemd: LimitNOFILE=%d)",
            soft,
            units,
            _enough(units),
        )


def _enough(units: int) -> int:
    return units * _PER_UNIT + _OWN

"""The limit of open files: raised as far as the system allows, as every unit takes a descriptor or two."""

from __future__ import annotations

import logging
import resource

from agent.protocol.words import counted

log = logging.getLogger(__name__)

#: Descriptors of one unit at the most (HiSLIP has two connections), and of the agent itself.
_PER_UNIT, _OWN = 2, 64


def raise_limit(units: int) -> None:
    """Raise the soft limit of open files to the hard one, and warn where that is not enough for so many units."""
    unlimited = resource.RLIM_INFINITY
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = units * _PER_UNIT + _OWN
    if soft == unlimited:
        return
    wanted = max(soft, enough) if hard == unlimited else hard
    if wanted != soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (ValueError, OSError) as error:  # macOS has a lower limit that it does not tell
            log.debug("the limit of open files stays at %d: %s", soft, error)
    if soft < units + _OWN:
        log.warning(
            "the limit of %d open files may not be enough for %s; raise it (`ulimit -n`, systemd: LimitNOFILE=%d)",
            soft,
            counted(units, "unit"),
            enough,
        )

"""Plain values: each quantity of a channel's state as a payload of its own, for tools that read no JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping

from agent.protocol.messages import ChannelState
from agent.protocol.quantities import BY_NAME, REPORTED

#: The last level of the topic of each plain value, by the field of the state. `state` is the topic of the JSON, so the output's
#: own state has another name.
LEVELS: dict[str, str] = {"name": "name", "online": "online", **{name: name for name in REPORTED}, "state": "output"}
#: The payload of a value that is not known: an empty one removes what the broker retains.
UNKNOWN = b""
#: Decimal places of what has no resolution of its own: W, Wh and Ah.
_DIGITS = {"W": 4, "Wh": 5, "Ah": 5}
#: Decimal places at most.
_MOST_DIGITS = 6


def decimals(resolution: float) -> int:
    """Decimal places for values of a channel with this resolution (V, A): one more, as units measure finer than they set."""
    if not 0 < resolution < math.inf:
        return _MOST_DIGITS
    return min(_MOST_DIGITS, len(f"{resolution:.{_MOST_DIGITS}f}".rstrip("0").partition(".")[2]) + 1)


def plain(state: ChannelState, name: str, places: Mapping[str, int]) -> bytes:
    """The payload of one plain value: ``ON``, ``OFF``, a number as JSON has it, a word or a name; else `UNKNOWN`.

    Of ``online`` it is ``online`` or ``offline``, as a status has it; of ``tripped`` ``none`` where nothing has tripped.

    :param name: the field, one of `LEVELS`
    :param places: decimal places by unit symbol, for V and A
    """
    value = getattr(state, name)
    if name == "online":
        return b"online" if value else b"offline"
    if isinstance(value, bool):
        return b"ON" if value else b"OFF"
    if isinstance(value, str):
        return value.encode()
    if value is None:
        return b"none" if name == "tripped" and state.online else UNKNOWN
    if not math.isfinite(value):
        return UNKNOWN
    symbol = BY_NAME[name].unit
    digits = places.get(symbol, _DIGITS.get(symbol, _MOST_DIGITS))
    # + 0.0: no -0.000, which a chart takes for a number below zero.
    return f"{round(value, digits) + 0.0:.{digits}f}".encode()

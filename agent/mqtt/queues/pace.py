"""How many messages a link is given at a time, so that none of them waits long on the way.

A broker without a Receive Maximum lets 1,000 messages be in flight. On a link of 100 kbit/s the last of these arrives after half
a minute. So states wait here, where a newer one takes their place, while the link holds messages longer than it needs for one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from agent.mqtt.item import Item

#: Messages that a link is given whatever it does, so that it never stands still.
ALWAYS = 20
#: s beyond two of the fastest round trips that a message may be in flight before the link is given no more states.
SLACK = 0.25
#: s. A message without a PUBACK for longer than this says nothing of the link: some brokers never acknowledge what they drop.
GIVEN_UP = 10.0
#: Samples of the backlog that a new connection is given at a time.
FIRST_SHARE = 10


class Pace:
    """Measures the round trips of one connection, without a clock. Times are in s (`time.monotonic`)."""

    __slots__ = ("_fastest", "_most", "_overtaken", "share")

    def __init__(self, most: int) -> None:
        """``most``: samples of the backlog that may be in flight."""
        #: How many samples of the backlog may be in flight: more as long as they come through in time.
        self.share = min(FIRST_SHARE, most)
        self._most = most
        self._fastest = math.inf
        self._overtaken = -math.inf  # messages that were sent before have no PUBACK, and later ones have

    @property
    def patience(self) -> float:
        """s that a message may be in flight on a link that does not hold it up."""
        return 2 * self._fastest + SLACK

    def acknowledged(self, item: Item, now: float) -> None:
        """Take note of a PUBACK."""
        took = now - item.sent
        if took < self._fastest:
            self._fastest = took
        if item.sent > self._overtaken:
            self._overtaken = item.sent
        if item.is_backlog:
            self.share = min(self._most, self.share + 1) if took <= self.patience else max(1, self.share // 2)

    def is_behind(self, in_flight: Iterable[Item], now: float) -> bool:
        """True while the link holds a message for too long.

        :param in_flight: what has no PUBACK, in the order in which it was sent, of which there are at least `ALWAYS`
        """
        for item in in_flight:
            if item.sent >= self._overtaken:
                break
        else:
            return False
        lag = now - item.sent
        if lag > GIVEN_UP:
            self._overtaken = now
            return False
        return lag > self.patience

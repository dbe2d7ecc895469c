"""How many messages a link is given at a time, so that none of them waits long on the way.

A broker without a Receive Maximum lets 1,000 messages be in flight. On a link of 100 kbit/s the last of these arrives after half
a minute. So states wait here, where a newer one takes their place, while the link has as many as it passes on in time. How many
that are is found as TCP finds it: one more with each that comes through in time, half as many where one does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from agent.mqtt.item import Item

#: Messages that a link is given whatever it does, so that it never stands still.
ALWAYS = 20
#: s beyond two of the fastest round trips that a message may take to come through in time: hosts are busy.
SLACK = 1.0
#: s. A message without a PUBACK for longer than this says nothing of the link: some brokers never acknowledge what they drop.
GIVEN_UP = 10.0
#: Samples of the backlog that a new connection is given at a time.
FIRST_SHARE = 10


class Pace:
    """Measures the round trips of one connection, without a clock. Times are in s (`time.monotonic`)."""

    __slots__ = ("_fastest", "_most", "_most_backlog", "_overtaken", "_shrunk", "share", "width")

    def __init__(self, most: int, most_backlog: int) -> None:
        """
        :param most: messages that may be in flight
        :param most_backlog: samples of the backlog among them
        """
        #: How many messages the link passes on in time, as far as is known.
        self.width = min(ALWAYS, most)
        #: How many samples of the backlog may be in flight.
        self.share = min(FIRST_SHARE, most_backlog)
        self._most, self._most_backlog = most, most_backlog
        self._fastest = math.inf
        self._overtaken = -math.inf  # messages that were sent before have no PUBACK, and later ones have
        self._shrunk = -math.inf

    def acknowledged(self, item: Item, in_flight: int, now: float) -> None:
        """Take note of a PUBACK. So many messages were in flight with this one."""
        took, sent = now - item.sent, item.sent
        if took < self._fastest:
            self._fastest = took
        if sent > self._overtaken:
            self._overtaken = sent
        if took > 2 * self._fastest + SLACK:
            if sent >= self._shrunk:  # once for all that were on the way then
                self._shrunk = now
                self.width = max(ALWAYS, self.width // 2)
            if item.is_backlog:
                self.share = max(1, self.share // 2)
        else:
            # Where it is not used, nothing shows that the link takes more.
            if 2 * in_flight >= self.width < self._most:
                self.width += 1
            if item.is_backlog and self.share < self._most_backlog:
                self.share += 1

    def room(self, in_flight: Mapping[int, Item], now: float) -> int:
        """How many more messages the link can be given; none, or fewer, while it has enough.

        :param in_flight: what has no PUBACK, in the order in which it was sent
        """
        room = self.width - len(in_flight)
        if room > 0:
            return room
        for item in in_flight.values():
            if item.sent >= self._overtaken:
                if now - item.sent <= GIVEN_UP:
                    return room
                self._overtaken = now
            room += 1
        return room

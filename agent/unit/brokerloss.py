"""``on_broker_loss``: the outputs to turn off because the broker has been gone for too long, once for each loss."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping

from agent.unit.limits.channel import ChannelSettings

#: s between two tries at outputs that did not go off: from the first to the second, doubled each time.
FIRST_RETRY, LAST_RETRY = 1.0, 10.0


class BrokerLoss:
    """The policy of one unit. Moments are of `time.monotonic` (s). Any thread may call `tell`; the rest is for the worker.

    An output that `due` returned is not due again within the loss, unless it was not turned off, or a command has turned it on
    since.
    """

    __slots__ = ("_after", "_done", "_known", "_moments", "_pause", "_said", "_told")

    def __init__(self, settings: Mapping[int, ChannelSettings]) -> None:
        """:param settings: of the channels, by their numbers: which of them to turn off, and after how long"""
        self._after = {
            index: channel.broker_loss_after for index, channel in settings.items() if channel.on_broker_loss == "off"
        }
        # The number of the loss and its moment, in one object: another thread replaces it while the worker reads.
        self._told: tuple[int, float | None] = (0, None)
        self._known = 0  # the number of the loss that the following are about
        self._done: set[int] = set()
        self._moments: dict[int, float] = {}  # when they are due, of channels for which that is not the loss's time
        self._pause = FIRST_RETRY
        self._said: set[str] = set()

    def tell(self, gone_since: float | None) -> bool:
        """Note since when there is no broker, None while there is one. True if that is new.

        The moment may be corrected within one loss, which only None ends.
        """
        number, before = self._told
        if gone_since == before:
            return False
        self._told = (number + 1 if gone_since is None else number, gone_since)
        return True

    def gone_for(self, now: float) -> float:
        """For how long there has been no broker (s)."""
        gone_since = self._told[1]
        return 0.0 if gone_since is None else now - gone_since

    def is_due(self) -> bool:
        """True if `due` would return a channel now. Asked between any two messages of a unit, so it costs next to nothing."""
        if not self._after or self._told[1] is None:
            return False
        return time.monotonic() >= self.next_due()

    def is_due_for(self, indices: Collection[int]) -> bool:
        """True if `due` would return one of these channels now."""
        now = time.monotonic()
        return any(index in indices and now >= moment for index, moment in self._left())

    def due(self, now: float) -> list[int]:
        """The channels to turn off now."""
        if not self._after or self._told[1] is None:
            return []
        due = [index for index, moment in self._left() if now >= moment]
        self._done.update(due)
        return due

    def interrupted(self, indices: Collection[int]) -> None:
        """Make channels due again at once: they could not be turned off, as the link to the unit broke."""
        self._done.difference_update(indices)

    def failed(self, indices: Collection[int], now: float) -> float:
        """Make channels due again after a pause, which grows: they did not go off. The pause (s)."""
        pause, self._pause = self._pause, min(LAST_RETRY, 2 * self._pause)
        self._again(indices, now + pause)
        return pause

    def turned_on(self, indices: Collection[int], now: float) -> None:
        """Note that a command turns channels on. If the broker is gone still they are due again after their time.

        A connection that never lasts long enough to end the loss may bring one.
        """
        if not self._after or self._told[1] is None:
            return
        self._left()  # or what is done may have been so in an earlier loss
        for index in self._done.intersection(indices):
            self._again((index,), now + self._after[index])

    def is_news(self, reason: str) -> bool:
        """True the first time within a loss that a reason is given why outputs did not go off."""
        if reason in self._said:
            return False
        self._said.add(reason)
        return True

    def next_due(self) -> float:
        """The moment from which `due` returns a channel; infinite if there is none."""
        return min((moment for _, moment in self._left()), default=math.inf)

    def _again(self, indices: Collection[int], moment: float) -> None:
        self._done.difference_update(indices)
        self._moments.update((index, moment) for index in indices if index in self._after)

    def _left(self) -> list[tuple[int, float]]:
        """The channels that are still to be turned off in this loss, and when."""
        number, gone_since = self._told
        if gone_since is None:
            return []
        if number != self._known:
            self._known = number
            self._done.clear()
            self._moments.clear()
            self._said.clear()
            self._pause = FIRST_RETRY
        return [
            (index, self._moments.get(index, gone_since + after))
            for index, after in self._after.items()
            if index not in self._done
        ]

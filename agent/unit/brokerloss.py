"""``on_broker_loss``: the outputs to turn off because the broker has been gone for too long, once for each loss."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from agent.unit.limits import ChannelSettings


class BrokerLoss:
    """The policy of one unit. Moments are of `time.monotonic` (s). Any thread may call `tell`; the rest is for the worker."""

    __slots__ = ("_after", "_done", "_done_in", "_told")

    def __init__(self, settings: Mapping[int, ChannelSettings]) -> None:
        """:param settings: of the channels, by their numbers: which of them to turn off, and after how long"""
        self._after = {
            index: channel.broker_loss_after for index, channel in settings.items() if channel.on_broker_loss == "off"
        }
        # The number of the loss and its moment, in one object: another thread replaces it while the worker reads.
        self._told: tuple[int, float | None] = (0, None)
        self._done: set[int] = set()
        self._done_in = 0  # the number of the loss that ``_done`` is about

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

    def due(self, now: float) -> list[int]:
        """The channels to turn off now. Each is returned once within a loss, unless `failed` is called for it."""
        if not self._after:
            return []
        due = [index for index, moment in self._left() if now >= moment]
        self._done.update(due)
        return due

    def failed(self, indices: Collection[int]) -> None:
        """Make channels due again: they could not be turned off, as the link to the unit broke."""
        self._done.difference_update(indices)

    def next_due(self) -> float:
        """The moment from which `due` returns a channel; infinite if there is none."""
        return min((moment for _, moment in self._left()), default=math.inf)

    def _left(self) -> list[tuple[int, float]]:
        """The channels that are still to be turned off in this loss, and when."""
        number, gone_since = self._told
        if gone_since is None:
            return []
        if number != self._done_in:
            self._done_in = number
            self._done.clear()
        return [(index, gone_since + after) for index, after in self._after.items() if index not in self._done]

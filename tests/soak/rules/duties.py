"""Rules 10 and 11: `on_broker_loss` is kept, and a unit that is well is polled, whatever else goes wrong."""

from __future__ import annotations

from tests.soak.commands import LOSS_AFTER, LOSS_CHANNEL
from tests.soak.rules.books import Books

#: s. A stall is noticed by a message that is not acknowledged, and what is under way at the unit comes first.
LATEST_NOTICE = 8.0
#: s between two polls of a unit; the interval is half a second.
LONGEST_GAP = 5.0
#: s that an agent has for its start.
_START = 15.0


class Duties:
    """What the agent has to do by itself. Call its methods with the lock of the books held."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._told: dict[str, float] = {}  # units whose outage has been complained of
        self._gap_told: dict[str, float] = {}

    def sweep(self, now: float) -> None:
        """Look for what should have been done by now. To be called about every second."""
        if now - self._books.running_since < _START:
            return
        for unit in self._books.units:
            self._check_loss(unit, now)
            self._check_polls(unit, now)

    def _check_loss(self, unit: str, now: float) -> None:
        gone_since = self._books.gone_since
        if gone_since is None or now - gone_since < LOSS_AFTER + LATEST_NOTICE:
            return
        if self._books.well_for(unit, now) < 0 or self._told.get(unit) == gone_since:
            return
        self._books.counts["outages that outputs were watched in"] += 1
        channel = self._books.channel(unit, LOSS_CHANNEL)
        if channel.seen_off < gone_since:
            self._told[unit] = gone_since
            self._books.violated(
                10,
                unit,
                f"channel {LOSS_CHANNEL} was not turned off, {now - gone_since:.1f} s after the broker was lost",
            )

    def _check_polls(self, unit: str, now: float) -> None:
        book = self._books.units[unit]
        gap = now - max(book.polled, self._books.running_since, book.recovered)
        if (
            gap > LONGEST_GAP
            and self._books.well_for(unit, now) > LONGEST_GAP
            and self._gap_told.get(unit) != book.polled
        ):
            self._gap_told[unit] = book.polled
            self._books.violated(11, unit, f"it is well, and has not been polled for {now - book.polled:.1f} s")

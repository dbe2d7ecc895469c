"""The samples of one channel that came from one run of its agent: which of them came, which are missing, which wait."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from agent.protocol.messages import ChannelState

#: Pieces of a run. Of more than that the two oldest become one, so that a lossy link does not fill the memory.
_MOST_SPANS = 1000


@dataclass(slots=True)
class Sample:
    """One sample. ``time``: ms since 1970. ``state`` is None while it waits; ``payload`` has it all."""

    agent: str
    seq: int
    time: int
    payload: bytes
    state: ChannelState | None = None
    is_outside: bool = False  # of the recorded period: it counts as come, and is not written


@dataclass(slots=True)
class Span:
    """Samples that follow each other without a gap, by ``seq``; their earliest and latest time (ms)."""

    first: int
    last: int
    earliest: int
    latest: int


@dataclass(frozen=True, slots=True)
class Missing:
    """Samples that did not come, by their first and last ``seq``; the times (ms) of the samples around them, where known."""

    first: int
    last: int
    after: int | None
    before: int | None

    @property
    def count(self) -> int:
        """How many."""
        return self.last - self.first + 1


@dataclass(eq=False, slots=True)
class Run:
    """One count of ``seq`` of a channel, from 1 on. Two runs of an agent are two of these.

    ``floor``: lower numbers belong to another run. ``next``: the number that is written next; None before the first.
    ``expected_from``: from here on a number that did not come is missing. ``period_from``: the lowest that was recorded.
    ``time``: that of the first sample that came (ms), ``since``: when it came (s, of a clock that nobody sets).
    ``is_closed``: a later run is being written. ``is_resumed``: nobody waits for what lies between the file and the next sample.
    ``pending``: samples that wait for those before them, since ``waiting_since``.
    """

    agent: str
    time: int
    since: float = 0.0
    floor: int = 0
    next: int | None = None
    expected_from: int | None = None
    period_from: int | None = None
    is_closed: bool = False
    is_resumed: bool = False
    pending: dict[int, Sample] = field(default_factory=dict)
    waiting_since: float | None = None
    spans: list[Span] = field(default_factory=list)
    folded: list[Missing] = field(default_factory=list)  # gaps between spans that became one

    @property
    def newest(self) -> int:
        """The highest number that came."""
        return self.spans[-1].last

    def _index(self, seq: int) -> int:
        """The place of the last span that begins at ``seq`` or before; -1 where there is none."""
        spans = self.spans
        if spans and seq >= spans[-1].first:  # nearly always
            return len(spans) - 1
        return bisect_right(spans, seq, key=lambda span: span.first) - 1

    def has(self, seq: int) -> bool:
        """True if it came already."""
        index = self._index(seq)
        return index >= 0 and seq <= self.spans[index].last

    def fits(self, seq: int, time: int) -> bool:
        """True if a sample of this number and time (ms) can belong here: both rise together."""
        if seq < self.floor:
            return False
        spans, index = self.spans, self._index(seq)
        if index >= 0 and seq <= spans[index].last:
            return spans[index].earliest <= time <= spans[index].latest
        if index >= 0 and time < spans[index].latest:
            return False
        return index + 1 >= len(spans) or time <= spans[index + 1].earliest

    def lacks(self, seq: int, time: int) -> bool:
        """True if a number is missing between two others, and its time (ms) is not outside of theirs.

        For an agent's clock that was set back, so that number and time do not rise together.
        """
        spans, index = self.spans, self._index(seq)
        if not 0 <= index < len(spans) - 1 or seq <= spans[index].last:
            return False
        return spans[index].earliest <= time <= spans[index + 1].latest

    def insert(self, seq: int, time: int) -> None:
        """Note that a sample came that had not come yet."""
        spans, index = self.spans, self._index(seq)
        before = spans[index] if index >= 0 else None
        after = spans[index + 1] if index + 1 < len(spans) else None
        if before is not None and before.last == seq - 1:
            before.last = seq
            before.earliest, before.latest = min(before.earliest, time), max(before.latest, time)
            if after is not None and after.first == seq + 1:
                before.last = after.last
                before.earliest = min(before.earliest, after.earliest)
                before.latest = max(before.latest, after.latest)
                del spans[index + 1]
        elif after is not None and after.first == seq + 1:
            after.first = seq
            after.earliest, after.latest = min(after.earliest, time), max(after.latest, time)
        else:
            spans.insert(index + 1, Span(seq, seq, time, time))
            if len(spans) > _MOST_SPANS:
                self._fold()

    def _fold(self) -> None:
        first, second = self.spans[:2]
        gap = Missing(first.last + 1, second.first - 1, first.latest, second.earliest)
        if self.folded:
            gap = Missing(self.folded[0].first, gap.last, self.folded[0].after, gap.before)
        self.folded = [gap]
        self.spans[:2] = [
            Span(
                first.first,
                second.last,
                min(first.earliest, second.earliest),
                max(first.latest, second.latest),
            )
        ]

    def missing(self) -> list[Missing]:
        """The gaps behind `expected_from`."""
        if self.expected_from is None or not self.spans:
            return []
        found = list(self.folded)
        if self.expected_from < self.spans[0].first:
            found.append(Missing(self.expected_from, self.spans[0].first - 1, None, self.spans[0].earliest))
        for left, right in zip(self.spans, self.spans[1:], strict=False):
            if right.first > self.expected_from:
                found.append(
                    Missing(max(left.last + 1, self.expected_from), right.first - 1, left.latest, right.earliest)
                )
        return found

"""Puts the samples of all channels into order: each once, by ``seq``, whichever way and however often they come.

A state that comes live goes on at once. Where a number is missing before it, it waits for the missing ones, which come as
backlog: until they are there, or until nothing of the backlog has come from that agent for `WAIT` s. A sample that comes later
still is written then, and marked as late. No clock and no socket: the caller gives the time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto

from agent.client.fleet import natural
from agent.client.recording.runs import Missing, Run, Sample
from agent.protocol.messages import AgentInfo

#: s without a sample of an agent's backlog after which a gap stays one.
WAIT = 5.0
#: Samples that wait, of all channels together. Of more than that the channel goes on that waits for longest.
MOST_HELD = 100_000
#: ms. A retained state that old at the start is the sample right before the recording.
_JUST_BEFORE = 5_000
#: The agent of samples that stand in a file without a column for it.
_ANY = ""
#: Runs that are kept of a channel, for samples that come late.
_MOST_RUNS = 50

Emit = Callable[[Sample, Run, bool], None]
"""Takes the next sample of a channel, its run, and if it is late."""


class Source(Enum):
    """The way in which a sample came."""

    LIVE = auto()  # as a state
    RETAINED = auto()  # as the state that the broker had kept
    BACKLOG = auto()
    KEPT = auto()  # it was taken, but not written, before the recording broke off


class Merger:
    """The channels of all agents. ``began``: the start of the recorded period, in ms since 1970.

    ``duplicates``: samples that came more than once.
    """

    def __init__(self, began: int) -> None:
        self.began = began
        self.duplicates = 0
        self._waiting: dict[ChannelMerger, None] = {}  # in the order in which they began to
        self._channels: dict[tuple[str, int], ChannelMerger] = {}
        self._starts: dict[str, list[int]] = {}  # ms, of each agent's runs that are known, in their order
        self._known: dict[str, int] = {}  # how many of them had begun before the recording
        self._backlog_at: dict[str, float] = {}
        self._linked_at = 0.0
        self._is_linked = True

    def channel(self, psu: str, index: int, emit: Emit) -> ChannelMerger:
        """The merger of a channel, which hands its samples to ``emit``: that of the first call."""
        found = self._channels.get((psu, index))
        if found is None:
            found = self._channels[psu, index] = ChannelMerger(self.began, emit, self._starts, self._known)
        return found

    @property
    def held(self) -> int:
        """The samples that wait for others."""
        return sum(channel.held for channel in self._waiting)

    def pending(self) -> Iterator[Sample]:
        """The samples that wait for others."""
        for channel in self._waiting:
            for run in channel.runs:
                yield from run.pending.values()

    def agent(self, info: AgentInfo, *, retained: bool) -> bool:
        """Take note of an agent's start: its channels count anew from then on. False if it was known."""
        if info.asks or info.answers is not None:
            return False
        start = round(info.start_time.timestamp() * 1000)
        starts = self._starts.setdefault(info.agent, [])
        self._known.setdefault(info.agent, int(retained or start < self.began))
        if start in starts:
            return False
        starts.append(start)
        starts.sort()
        return True

    def link(self, is_there: bool, now: float) -> None:
        """Take note that the connection to the broker was lost, or is there again. Without one nothing is given up."""
        self._is_linked, self._linked_at = is_there, now

    def add(self, channel: ChannelMerger, sample: Sample, source: Source, now: float) -> None:
        """Take one sample. ``now`` in s, of a clock that nobody sets."""
        if source is Source.BACKLOG:
            self._backlog_at[sample.agent] = now
        if not channel.add(sample, source, now):
            self.duplicates += 1
        if channel.is_waiting:
            self._waiting[channel] = None

    def tick(self, now: float) -> None:
        """Go on where a gap stays one. To be called several times a second."""
        if not self._is_linked:
            return
        for channel in list(self._waiting):
            channel.tick(now, self._linked_at, self._backlog_at)
            if not channel.is_waiting:
                del self._waiting[channel]
        held = self.held
        if held > MOST_HELD:
            for channel in sorted(self._waiting, key=lambda channel: channel.waits_since):
                held -= channel.held
                channel.flush()
                if held <= MOST_HELD // 2:
                    break

    def flush(self) -> None:
        """Hand on everything that waits, in its order."""
        for channel in self._waiting:
            channel.flush()
        self._waiting.clear()

    def missing(self) -> dict[tuple[str, int], list[Missing]]:
        """The samples that did not come, by unit and channel; channels without a gap are left out."""
        found = {key: self._channels[key].missing() for key in sorted(self._channels, key=by_name)}
        return {key: gaps for key, gaps in found.items() if gaps}


def by_name(channel: tuple[str, int]) -> tuple[object, int]:
    """A sort key for units and channels: psu2 before psu10."""
    return natural(channel[0]), channel[1]


class ChannelMerger:
    """The runs of one channel, oldest first. ``held``: the samples that wait."""

    __slots__ = ("_at", "_began", "_dropped", "_emit", "_known", "_starts", "held", "runs")

    def __init__(self, began: int, emit: Emit, starts: Mapping[str, list[int]], known: Mapping[str, int]) -> None:
        self.runs: list[Run] = []
        self.held = 0
        self._began = began
        self._emit = emit
        self._starts = starts
        self._known = known
        self._at = 0  # the place of the run that is being written
        self._dropped: list[Missing] = []

    @property
    def is_waiting(self) -> bool:
        """True while samples wait, or the next run does."""
        return self.held > 0 or self._at < len(self.runs) - 1

    @property
    def waits_since(self) -> float:
        """The moment (s) since when its samples wait; infinity if none does."""
        since = [run.waiting_since for run in self.runs[self._at :] if run.waiting_since is not None]
        return min(since, default=float("inf"))

    def adopt(self, agent: str, seq: int, time: int, *, goes_on: bool) -> None:
        """Take note of a sample that stands in the file already.

        :param goes_on: the recording was not ended but broke off, so that what is missing since then is missing
        """
        run = self._find(agent, seq, time)
        if run is None:
            run = Run(agent, time)
            self._insert(run, None)
        if not run.spans or not run.has(seq):
            run.insert(seq, time)
        run.next, run.is_resumed = max(run.next or 0, seq + 1), not goes_on
        run.expected_from = run.period_from = run.newest + 1 if goes_on else None
        self._at = len(self.runs) - 1
        for older in self.runs[:-1]:
            older.is_closed = True

    def add(self, sample: Sample, source: Source, now: float) -> bool:
        """Take one sample. False if it came before."""
        run = self._run_of(sample, source, now)
        seq = sample.seq
        if run.spans and run.has(seq):
            return False
        is_outside = (
            source in (Source.RETAINED, Source.BACKLOG)
            and sample.time < self._began
            and (run.period_from is None or seq < run.period_from)
        )
        run.insert(seq, sample.time)
        if is_outside:
            self._pass_over(run, sample, source)
        else:
            self._take(run, sample, now)
        self._go_on(now)
        return True

    def _take(self, run: Run, sample: Sample, now: float) -> None:
        seq = sample.seq
        if run.next is None or (run.is_resumed and seq >= run.next):
            run.next, run.is_resumed = seq, False
        if not run.is_resumed:
            run.expected_from = seq if run.expected_from is None else min(seq, run.expected_from)
            run.period_from = seq if run.period_from is None else min(seq, run.period_from)
        if run.is_closed or seq < run.next:
            self._emit(sample, run, True)
        elif seq == run.next and run is self.runs[self._at]:
            run.next += 1
            self._emit(sample, run, False)
        else:
            if run.waiting_since is None:
                run.waiting_since = now
            self._hold(run, sample)

    def _hold(self, run: Run, sample: Sample) -> None:
        sample.state = None  # the payload takes a fifth of its memory
        run.pending[sample.seq] = sample
        self.held += 1

    def _pass_over(self, run: Run, sample: Sample, source: Source) -> None:
        """Take note of a sample from before the recording."""
        seq = sample.seq
        if source is Source.RETAINED and (run.next is None or (run.is_resumed and seq >= run.next)):
            # The recording that is gone on with was ended, so nothing is missing before this one, and it waits for nothing.
            run.next, run.is_resumed = seq + 1, False
            if sample.time >= self._began - _JUST_BEFORE:
                run.expected_from = seq + 1
        elif run.next is not None and seq >= run.next and not run.is_closed:
            sample.is_outside = True
            self._hold(run, sample)

    def _run_of(self, sample: Sample, source: Source, now: float) -> Run:
        """The run that a sample belongs to, which may be a new one."""
        agent, seq = sample.agent, sample.seq
        last = self.runs[-1] if self.runs else None
        own = last if last is not None and last.agent == agent else self._newest_of(agent)
        if own is not None and source is Source.LIVE and self._goes_on(own, sample):
            if not own.is_closed:
                own.agent = agent
                return own
            # It was away while another agent served the unit.
            at = own.newest + 1
            run = Run(agent, sample.time, now, floor=at, next=at, expected_from=at, period_from=at)
            self._insert(run, None)
            return run
        found = self._find(agent, seq, sample.time)
        if found is not None:
            found.agent = agent
            return found
        if own is not None and own.lacks(seq, sample.time):
            return own
        began_here = self._slot(agent, sample.time) > self._known.get(agent, 0)
        restarted = any(
            run.agent == agent and run.period_from is not None and (source is Source.LIVE or run.time <= sample.time)
            for run in self.runs
        )
        first = 1 if began_here or restarted else None
        run = Run(agent, sample.time, now, next=first, expected_from=first, period_from=first)
        self._insert(run, None if source is Source.LIVE else sample.time)
        return run

    def _goes_on(self, run: Run, sample: Sample) -> bool:
        """True if a live state is a later one of an agent's newest run, also if a clock was set back meanwhile."""
        agent, seq, time = sample.agent, sample.seq, sample.time
        starts = self._starts.get(agent)
        if seq <= run.newest or (starts and run.time < starts[-1]):
            return False
        if not starts or time >= starts[-1]:
            return True
        older = self._find(agent, seq, time)  # the broker may send a state of an older run again
        return older is None or not older.has(seq)

    def _newest_of(self, agent: str) -> Run | None:
        return next((run for run in reversed(self.runs) if run.agent in (agent, _ANY)), None)

    def _find(self, agent: str, seq: int, time: int) -> Run | None:
        slot = self._slot(agent, time)
        for run in reversed(self.runs):
            if run.agent in (agent, _ANY) and run.fits(seq, time) and self._slot(agent, run.time) == slot:
                return run
        return None

    def _slot(self, agent: str, time: int) -> int:
        """How many starts of the agent that are known lie before a time: samples between two starts are of one run mostly."""
        return bisect_right(self._starts.get(agent, ()), time)

    def _insert(self, run: Run, time: int | None) -> None:
        """Put a run in its place by the time (ms) of its first sample; at the end without one."""
        place = len(self.runs)
        if time is not None:
            place = next((i for i, other in enumerate(self.runs) if other.time > time), place)
        self.runs.insert(place, run)
        is_last = place == len(self.runs) - 1
        if not is_last and (place < self._at or (place == self._at and self._has_written(self.runs[place + 1]))):
            run.is_closed = True
            self._at += 1
        self._forget_oldest()

    @staticmethod
    def _has_written(run: Run) -> bool:
        return run.next is not None and any(span.first < run.next for span in run.spans)

    def _forget_oldest(self) -> None:
        while len(self.runs) > _MOST_RUNS and self._at > 0:
            self._dropped += self.runs.pop(0).missing()
            self._at -= 1

    def _go_on(self, now: float) -> None:
        """Hand on what can be: the numbers that follow each other in the run that is being written."""
        if not self.held:
            return
        run = self.runs[self._at]
        while run.next is not None and (sample := run.pending.pop(run.next, None)) is not None:
            run.next += 1
            self.held -= 1
            if not sample.is_outside:
                self._emit(sample, run, False)
        run.waiting_since = (run.waiting_since or now) if run.pending else None

    def tick(self, now: float, linked_at: float, backlog_at: Mapping[str, float]) -> None:
        """Go on behind a gap, or with the next run, if nothing came for long enough."""
        while self.is_waiting:
            run = self.runs[self._at]
            since = run.waiting_since if run.pending else self.runs[self._at + 1].since
            if now - max(since or 0.0, linked_at, backlog_at.get(run.agent, 0.0)) < WAIT:
                return
            self._give_up(now)

    def _give_up(self, now: float) -> None:
        run = self.runs[self._at]
        if run.pending:
            run.next = min(run.pending)
        else:
            run.is_closed = True
            self._at += 1
        self._go_on(now)

    def flush(self) -> None:
        """Hand on everything that waits, in its order."""
        while self.is_waiting:
            self._give_up(0.0)

    def missing(self) -> list[Missing]:
        """The samples that did not come."""
        return self._dropped + [gap for run in self.runs for gap in run.missing()]

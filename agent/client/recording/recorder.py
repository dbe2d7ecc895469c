"""The recording itself: takes what the broker delivers, has it put in order, writes it, and then acknowledges it."""

from __future__ import annotations

import contextlib
import itertools
import queue
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import ValidationError

from agent.client.recording.events import EventFile
from agent.client.recording.merging import ChannelMerger, Merger, Source, by_name
from agent.client.recording.outputs import Output
from agent.client.recording.rows import Format
from agent.client.recording.runs import Run, Sample
from agent.client.recording.selection import Selection
from agent.client.recording.session import Delivery, Link, RecordingSession
from agent.client.recording.statistics import LONGEST_GAP, Statistics
from agent.client.recording.thinning import Thinner
from agent.protocol.messages import AgentInfo, ChannelState, Event, UnitInfo
from agent.protocol.topics import AgentTopic, ChannelTopic, Published, Topics, UnitTopic

#: s between two looks at what waits.
_TICK = 0.2
#: s. So long after its end a recording waits for late samples though there is no broker.
_LAST_WAIT = 10.0
#: Messages that are written, and then acknowledged, together.
_BATCH = 500
#: Starts of agents that are kept with the samples that wait.
_MOST_STARTS = 1000
#: Topics whose meaning is remembered.
_MOST_TOPICS = 10_000


@dataclass(slots=True)
class Counts:
    """What was recorded so far, for people who wait."""

    samples: int = 0
    late: int = 0
    channels: int = 0
    held: int = 0
    lost: str | None = None  # why there is no connection now


@dataclass(eq=False, slots=True)
class _Channel:
    merger: ChannelMerger
    statistics: Statistics
    thinner: Thinner | None


@dataclass(slots=True)
class _Batch:
    lines: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    waiting: list[bytes] = field(default_factory=list)


class UnreadableError(Exception):
    """The broker does not let this user read the states. One sentence that says so."""


class Recorder:
    """One recording. ``tell``: called with each change of the connection.

    ``began``: the start of the period in ms since 1970. ``rate``: ms of an interval, None for every sample.
    """

    def __init__(
        self,
        topics: Topics,
        selection: Selection,
        output: Output,
        events: EventFile | None,
        *,
        columns: tuple[str, ...],
        began: int,
        rate: int | None = None,
        tell: Callable[[Link], None] = lambda _: None,
    ) -> None:
        self.counts = Counts()
        newest = max((key.time for key in output.written), default=began)
        self.merger = Merger(min(began, newest) if output.goes_on else began)
        self._topics = topics
        self._selection = selection
        self._output = output
        self._events = events
        self._format = Format(columns)
        self._rate = rate
        self._tell = tell
        self._is_ending = False
        self._channels: dict[tuple[str, int], _Channel] = {}
        self._units: dict[str, UnitInfo] = {}
        self._meanings: dict[str, Published | None] = {}
        self._batch = _Batch()
        self._starts: deque[bytes] = deque(maxlen=_MOST_STARTS)  # of agents, as JSON

    @property
    def statistics(self) -> dict[tuple[str, int], Statistics]:
        """The figures of each channel of which something was recorded, by unit and channel."""
        return {
            key: self._channels[key].statistics
            for key in sorted(self._channels, key=by_name)
            if self._channels[key].statistics.samples
        }

    def agent(self, info: AgentInfo, *, retained: bool = True) -> None:
        """Take note of an agent's start, of one that ran before the recording began if ``retained``."""
        if self.merger.agent(info, retained=retained):
            payload = info.to_json()
            self._starts.append(payload)
            if self.counts.held:
                self._batch.waiting.append(payload)

    def unit(self, info: UnitInfo) -> None:
        """Take note of how often a unit tells its state."""
        self._units[info.psu] = info
        for (psu, _), channel in self._channels.items():
            if psu == info.psu:
                self._pace(channel.statistics, info)

    def run(self, session: RecordingSession, is_over: Callable[[], bool], progress: Callable[[Counts], None]) -> None:
        """Record until ``is_over``.

        :raises UnreadableError: the broker does not let this user read
        :raises FileError: a file can't be written
        """
        self._adopt()
        self._take_kept()
        while not is_over():
            self._turn(session)
            progress(self.counts)

    def wait_for_late(
        self, session: RecordingSession, is_over: Callable[[], bool], progress: Callable[[Counts], None]
    ) -> None:
        """Take what comes of the samples that are missing before others, and nothing new. It ends when none waits any more.

        :raises UnreadableError: the broker does not let this user read
        :raises FileError: a file can't be written
        """
        self._is_ending = True
        began = time.monotonic()
        while self.merger.held and not is_over():
            if self.counts.lost is not None and time.monotonic() - began > _LAST_WAIT:
                return
            self._turn(session)
            progress(self.counts)

    def finish(self) -> None:
        """Write what waits, and complete the files.

        :raises FileError: a file can't be written
        """
        self.merger.flush()
        for channel in self._channels.values():
            if channel.thinner is not None:
                channel.thinner.flush()
        self._write()
        if self._events is not None:
            self._events.close()
        self._output.finish()

    def abandon(self) -> None:
        """Close the files after a fault, or where nothing is to be completed."""
        self._output.abandon()
        if self._events is not None:
            self._events.abandon()

    def _adopt(self) -> None:
        """Take note of the samples that the file has, once the starts of the agents are known, by which runs are told apart."""
        for payload in self._output.held:
            with contextlib.suppress(ValidationError):
                self.agent(AgentInfo.model_validate_json(payload))
        # With a rate the samples that have no row are not known any more: nobody can tell which are missing.
        goes_on = self._output.goes_on and self._rate is None
        for key in self._output.written:
            channel = self._channel(key.psu, key.index)
            channel.merger.adopt(key.agent, key.seq, key.time, goes_on=goes_on)
            if channel.thinner is not None:
                channel.thinner.adopt(key.time)

    def _take_kept(self) -> None:
        """Take the samples that waited when the recording broke off."""
        now = time.monotonic()
        for payload in self._output.held:
            state = _state(payload)
            if state is not None and self._selection.has(state.psu, state.index, state.name):
                self._add(state, payload, Source.KEPT, now)
        self._write()

    def _turn(self, session: RecordingSession) -> None:
        """Wait for messages for a moment, and have those that came written and acknowledged."""
        deliveries: list[Delivery] = []
        inbox = session.inbox
        try:
            item = inbox.get(timeout=_TICK)
            while True:
                if isinstance(item, Link):
                    self._link(item)
                else:
                    deliveries.append(item)
                    self._take(item)
                if len(deliveries) >= _BATCH:
                    break
                item = inbox.get_nowait()
        except queue.Empty:
            pass
        self.merger.tick(time.monotonic())
        self._write()
        session.acknowledge(deliveries)

    def _link(self, link: Link) -> None:
        if self.counts.lost != link.reason or link.refused:
            self._tell(link)
        if any(self._is_state(topic) for topic in link.refused):
            raise UnreadableError(f"the broker does not let this user read {', '.join(link.refused)}")
        self.counts.lost = link.reason
        self.merger.link(link.reason is None, time.monotonic())

    def _is_state(self, topic: str) -> bool:
        match self._topics.parse_published(topic):
            case ChannelTopic(_, _, "state"):
                return True
        return False

    def _take(self, delivery: Delivery) -> None:
        topic = delivery.topic
        meaning = self._meanings.get(topic)
        if meaning is None:
            if len(self._meanings) > _MOST_TOPICS:
                self._meanings.clear()
            meaning = self._meanings[topic] = self._topics.parse_published(topic)
        try:
            match meaning:
                case ChannelTopic(unit, channel, "state" | "backlog" as kind) if delivery.payload:
                    state = _state(delivery.payload)
                    if state is None or state.psu != unit or str(state.index) != channel:
                        return
                    if self._selection.has(unit, state.index, state.name):
                        self._add_from(state, delivery, kind)
                case ChannelTopic(unit, channel, "event"):
                    event = Event.model_validate_json(delivery.payload)
                    if event.psu == unit and self._selection.has(unit, event.index, event.name):
                        self._batch.events.append(event)
                case UnitTopic(unit, "info") if delivery.payload:
                    info = UnitInfo.model_validate_json(delivery.payload)
                    if info.psu == unit and info.serves:
                        self.unit(info)
                case AgentTopic(agent, "info") if delivery.payload:
                    about = AgentInfo.model_validate_json(delivery.payload)
                    if about.agent == agent:
                        self.agent(about, retained=delivery.retain)
        except ValidationError:
            return  # another program's message on these topics

    def _add_from(self, state: ChannelState, delivery: Delivery, kind: str) -> None:
        source = Source.BACKLOG if kind == "backlog" else Source.RETAINED if delivery.retain else Source.LIVE
        if self._is_ending and source is not Source.BACKLOG:
            return
        self._add(state, delivery.payload, source, time.monotonic())

    def _add(self, state: ChannelState, payload: bytes, source: Source, now: float) -> None:
        channel = self._channel(state.psu, state.index)
        if b"\n" in payload:  # in JSON only between two values; a line is kept for each sample
            payload = payload.replace(b"\n", b" ")
        sample = Sample(state.agent, state.seq, round(state.time.timestamp() * 1000), payload, state)
        self.merger.add(channel.merger, sample, source, now)
        if sample.state is None and not sample.is_outside:  # it waits
            self._batch.waiting.append(payload)

    def _channel(self, psu: str, index: int) -> _Channel:
        found = self._channels.get((psu, index))
        if found is not None:
            return found
        statistics = Statistics()
        thinner = None if self._rate is None else Thinner(self._rate, self._row)
        if (info := self._units.get(psu)) is not None:
            self._pace(statistics, info)

        def emit(sample: Sample, run: Run, late: bool) -> None:
            state = sample.state or ChannelState.model_validate_json(sample.payload)
            statistics.add(state, sample.time, run, late=late)
            self.counts.samples += 1
            self.counts.channels += statistics.samples == 1
            self.counts.late += late
            if thinner is None:
                self._row(state, late)
            else:
                thinner.add(state, sample.time, late=late)

        channel = _Channel(self.merger.channel(psu, index, emit), statistics, thinner)
        self._channels[psu, index] = channel
        return channel

    @staticmethod
    def _pace(statistics: Statistics, info: UnitInfo) -> None:
        heartbeat = info.heartbeat or 0.0
        statistics.longest_gap = max(LONGEST_GAP, 3 * info.poll_interval, 2 * heartbeat)
        statistics.is_step = bool(heartbeat)

    def _row(self, state: ChannelState, late: bool) -> None:
        self._batch.lines.append(self._format.line(state, late=late))

    def _write(self) -> None:
        batch, self._batch = self._batch, _Batch()
        if batch.waiting and not self.counts.held:
            self._output.hold(self._starts)  # without them the runs of what waits could not be told apart
        self._output.hold(batch.waiting)
        self._output.write(batch.lines)
        if self._events is not None:
            self._events.write(batch.events)
        self.counts.held = self.merger.held if batch.waiting or self.counts.held else 0
        payloads = (sample.payload for sample in self.merger.pending() if not sample.is_outside)
        self._output.settle(self.counts.held, itertools.chain(self._starts, payloads))


def _state(payload: bytes) -> ChannelState | None:
    try:
        return ChannelState.model_validate_json(payload)
    except ValidationError:
        return None  # another program's message

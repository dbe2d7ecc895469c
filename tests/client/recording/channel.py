"""One recorded channel, without a clock, a broker or a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from agent.client.recording.merging import WAIT, Merger, Source
from agent.client.recording.runs import Run, Sample
from agent.protocol.messages import AgentInfo

BEGAN = 1_000_000
LIVE, RETAINED, BACKLOG = Source.LIVE, Source.RETAINED, Source.BACKLOG


def info(start: int, agent: str = "a") -> AgentInfo:
    moment = datetime.fromtimestamp(start / 1000, UTC)
    return AgentInfo(
        time=moment,
        agent=agent,
        version="1",
        host="h",
        start_time=moment,
        units=[],
        base_topic="psu",
        instance=str(start),
    )


@dataclass
class Recording:
    """One channel, and all that was written of it: (agent, seq, time), and of those that were late."""

    merger: Merger = field(default_factory=lambda: Merger(BEGAN))
    written: list[tuple[str, int, int]] = field(default_factory=list)
    late: list[tuple[str, int, int]] = field(default_factory=list)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.channel = self.merger.channel("psu1", 1, self._emit)

    def _emit(self, sample: Sample, run: Run, late: bool) -> None:
        row = (sample.agent, sample.seq, sample.time)
        self.written.append(row)
        if late:
            self.late.append(row)

    def take(self, seq: int, source: Source = LIVE, time: int | None = None, agent: str = "a") -> None:
        time = BEGAN + seq * 100 if time is None else time
        self.merger.add(self.channel, Sample(agent, seq, time, b""), source, self.now)
        self.merger.tick(self.now)

    def wait(self, seconds: float = WAIT + 0.1) -> None:
        self.now += seconds
        self.merger.tick(self.now)

    @property
    def seqs(self) -> list[int]:
        return [seq for _, seq, _ in self.written]

    @property
    def missing(self) -> list[tuple[int, int]]:
        return [(gap.first, gap.last) for gaps in self.merger.missing().values() for gap in gaps]

"""The messages that wait for a broker: samples, and events and responses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agent.store.part import Shared
from agent.store.rows import Deliver, Rows

#: Events and responses kept while the broker is away.
MOST_MESSAGES = 10_000


class Backlog:
    """Samples and messages that wait for a broker, oldest first. Every method returns at once, even if the disk hangs.

    Messages that a disk does not take stay in memory, up to `rows.MOST_QUEUED`, and are delivered from there.
    """

    def __init__(self, shared: Shared, capacity: int) -> None:
        """``capacity`` is the most samples that are kept; beyond it the oldest are dropped and counted."""
        self.samples = Rows(shared, "samples", ("id", "topic", "payload"), capacity)
        self.messages = Rows(shared, "messages", ("id", "topic", "payload", "correlation"), MOST_MESSAGES)

    @property
    def capacity(self) -> int:
        """The most samples that are kept. A lower one takes effect with the next sample that is added."""
        return self.samples.capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        self.samples.capacity = capacity

    @property
    def dropped(self) -> int:
        """The number of samples that were dropped since the start."""
        return self.samples.dropped

    @property
    def dropped_messages(self) -> int:
        """The number of events and responses that were dropped since the start."""
        return self.messages.dropped

    @property
    def sample_count(self) -> int:
        """The number of samples that are kept, in the file and in memory."""
        return len(self.samples)

    @property
    def message_count(self) -> int:
        """The number of events and responses that are kept, in the file and in memory."""
        return len(self.messages)

    def add_samples(self, samples: Sequence[tuple[str, bytes]]) -> None:
        """Keep samples (topic, payload), oldest first."""
        if samples:
            self.samples.add((topic, payload, None) for topic, payload in samples)

    def add_messages(self, messages: Sequence[tuple[str, bytes, bytes | None]]) -> None:
        """Keep messages (topic, payload, correlation data), oldest first."""
        if messages:
            self.messages.add(messages)

    def remove_samples(self, ids: Iterable[int]) -> None:
        """Forget samples that the broker has acknowledged."""
        self.samples.remove(ids)

    def remove_messages(self, ids: Iterable[int]) -> None:
        """Forget messages that the broker has acknowledged."""
        self.messages.remove(ids)

    def request_samples(self, after: int, limit: int, deliver: Deliver) -> None:
        """Have the oldest samples with ids above ``after`` delivered: see `Rows.request`."""
        self.samples.request(after, limit, deliver)

    def request_messages(self, after: int, limit: int, deliver: Deliver) -> None:
        """Have the oldest messages with ids above ``after`` delivered: see `Rows.request`."""
        self.messages.request(after, limit, deliver)

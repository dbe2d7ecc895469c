"""The events of the recorded channels, each once, as rows of a CSV file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from agent.client.recording.files import Existing, RowFile
from agent.client.recording.rows import EVENT_COLUMNS, event_key, event_line, split
from agent.protocol.messages import Event

#: The last events of which is known that they are written: brokers and agents send an event at least once.
_REMEMBERED = 20_000


class EventFile:
    """A CSV file with the columns `EVENT_COLUMNS`. ``count``: the events that were written to it by this process."""

    def __init__(self, path: Path, existing: Existing) -> None:
        """Open it.

        :raises FileError: see `RowFile`
        """
        self.path = path
        self.count = 0
        self._rows = RowFile(path, ",".join(EVENT_COLUMNS), existing)
        self._seen: OrderedDict[tuple[str, ...], None] = OrderedDict()
        if not self._rows.is_new:
            for line in self._rows.tail()[-_REMEMBERED:]:
                self._seen[event_key(split(line))] = None

    def write(self, events: Sequence[Event]) -> None:
        """Append those that are new.

        :raises FileError: the disk is full, or gone
        """
        lines = []
        for event in events:
            line = event_line(event)
            key = event_key(split(line))
            if key in self._seen:
                continue
            self._seen[key] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            lines.append(line)
        self._rows.write(lines)
        self.count += len(lines)

    def close(self) -> None:
        """Close it.

        :raises FileError: the disk did not take it
        """
        self._rows.close()

    def abandon(self) -> None:
        """Close it after a fault."""
        self._rows.abandon()

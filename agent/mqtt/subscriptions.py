"""The topic filters that the agent listens to, and their changes while it runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from agent.mqtt.connection import Connection


class Subscriptions:
    """The filters of the session. `change` is for any thread, the rest for the session's."""

    def __init__(self, filters: Iterable[str]) -> None:
        """``filters`` are subscribed to on every connection."""
        self.filters = list(filters)
        self._changes: deque[tuple[list[str], list[str]]] = deque()

    def change(self, add: Iterable[str], remove: Iterable[str]) -> None:
        """Queue a change for the next `take_over`."""
        self._changes.append((list(add), list(remove)))

    @property
    def has_changed(self) -> bool:
        """True if a change waits for `take_over`."""
        return bool(self._changes)

    def take_over(self, connection: Connection | None) -> None:
        """Make the changes that wait, also on a connection that has subscribed to the filters already, if there is one."""
        while self._changes:
            add, remove = self._changes.popleft()
            new = [name for name in add if name not in self.filters]
            old = [name for name in remove if name in self.filters]
            self.filters = [name for name in self.filters if name not in old] + new
            if connection is not None:
                connection.subscribe(new)
                connection.unsubscribe(old)

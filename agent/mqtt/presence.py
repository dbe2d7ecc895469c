"""The broker's presence: since when it has been gone, and the listeners that are told of it."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

#: s. Without a PUBACK for this long the broker counts as gone for `on_broker_loss`, even if TCP is up.
SILENCE = 2.0

Listener = Callable[[float | None], None]
"""Called with the moment (`time.monotonic`) since when the broker has been gone, None once it is there."""


class Presence:
    """Tells if the broker is there. The session's thread changes it, any thread may read it."""

    def __init__(self, now: float) -> None:
        """The broker is gone until a connection is made."""
        self._gone_since: float | None = now
        self._silent_since: float | None = None
        self._listeners: list[Listener] = []
        self._told: float | None = None

    @property
    def connected(self) -> bool:
        """True while there is a connection, with its subscriptions."""
        return self._gone_since is None

    @property
    def gone_since(self) -> float | None:
        """The moment (`time.monotonic`) since when nothing was heard of the broker; None while it is there."""
        gone_since = self._gone_since
        return self._silent_since if gone_since is None else gone_since

    def listen(self, listener: Listener) -> None:
        """Have a listener called with each change of `gone_since`. To be called before the session's thread starts."""
        self._listeners.append(listener)

    # In the session's thread.

    def found(self) -> None:
        """Note that there is a connection."""
        self._gone_since = self._silent_since = None
        self.tell()

    def lost(self, now: float, last_heard: float) -> None:
        """Note that the connection is gone. Nothing has been heard on it since ``last_heard``."""
        self._gone_since = min(last_heard, now)
        self._silent_since = None
        self.tell()

    def watch(self, now: float, oldest_sent: float | None, last_heard: float) -> None:
        """Count a connected broker as gone if it has been silent for longer than `SILENCE` with a PUBACK due."""
        silent = oldest_sent is not None and now - oldest_sent > SILENCE and now - last_heard > SILENCE
        self._silent_since = last_heard if silent else None
        if self.gone_since != self._told:
            self.tell()

    def tell(self) -> None:
        """Call every listener."""
        self._told = gone_since = self.gone_since
        for listener in self._listeners:
            try:
                listener(gone_since)
            except Exception:  # a listener's error must not end the connection
                log.exception("broker: a listener failed when it was told since when the broker has been gone")

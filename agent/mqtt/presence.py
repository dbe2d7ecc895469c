"""The broker's presence: since when it has been gone, and the listeners that are told of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

log = logging.getLogger(__name__)

#: s. A broker that answers nothing for this long counts as gone for `on_broker_loss`, even if TCP is up.
SILENCE = 2.0

Listener = Callable[[float | None], None]
"""Called with the moment (`time.monotonic`) since when the broker has been gone, None once it is there."""


class Presence:
    """Tells if the broker is there. The session's thread changes it, any thread may read it.

    A broker that answers again ends a loss for good once it has done so for a while. Until then the loss only pauses: nobody is
    told that the broker is gone, but if it goes again, it has been gone since the first moment. Otherwise an agent whose
    connections never last would never apply `on_broker_loss`.
    """

    def __init__(self, now: float) -> None:
        """The broker is gone until a connection is made."""
        #: A moment of `agent.timing.system_clock` (s): the broker has answered something that was sent later than that.
        self.heard = -math.inf
        self._is_connected = False
        self._is_silent = False
        self._lost_at: float | None = now  # the first moment of a loss that has not ended for good
        self._enough = 0.0
        self._lasts_at = 0.0  # the loss ends for good then, if the broker has answered until then
        self._gone_since: float | None = now
        self._listeners: list[Listener] = []
        self._told: float | None = None

    @property
    def connected(self) -> bool:
        """True while there is a connection, with its subscriptions."""
        return self._is_connected

    @property
    def is_silent(self) -> bool:
        """True while there is a connection on which the broker answers nothing."""
        return self._is_connected and self._is_silent

    @property
    def gone_since(self) -> float | None:
        """The moment (`time.monotonic`) since when the broker has been gone; None while it is there."""
        return self._gone_since

    def listen(self, listener: Listener) -> None:
        """Have a listener called with each change of `gone_since`. To be called before the session's thread starts."""
        self._listeners.append(listener)

    # In the session's thread.

    def found(self, now: float, enough: float) -> None:
        """Note that there is a connection. It ends a loss for good once it has worked for so long (s)."""
        self._is_connected = True
        self._is_silent = False
        self._enough = enough
        self._lasts_at = now + enough
        self._update(now)

    def lost(self, now: float, last_heard: float) -> None:
        """Note that the connection is gone. Nothing has been heard on it since ``last_heard``."""
        self._update(now)
        self._is_connected = False
        self._begin_loss(min(last_heard, now))
        self._update(now)

    def watch(self, now: float, silence: float, last_heard: float) -> None:
        """Count a connected broker as gone if it has answered nothing for longer than `SILENCE`. To be called every second or so.

        :param silence: s since its last answer, with another one due; 0 where none is due
        :param last_heard: when anything came from it
        """
        if silence > SILENCE:
            if not self._is_silent:
                self._update(now - silence)
            self._is_silent = True
            self._begin_loss(last_heard if now - last_heard > SILENCE else now - silence)
        elif self._is_silent:
            self._is_silent = False
            self._lasts_at = now + self._enough
        self._update(now)

    def _begin_loss(self, since: float) -> None:
        if self._lost_at is None:
            self._lost_at = since

    def _update(self, now: float) -> None:
        is_there = self._is_connected and not self._is_silent
        if is_there and now >= self._lasts_at:
            self._lost_at = None
        self._gone_since = None if is_there else self._lost_at
        if self._gone_since != self._told:
            self.tell()

    def tell(self) -> None:
        """Call every listener."""
        self._told = gone_since = self._gone_since
        for listener in self._listeners:
            try:
                listener(gone_since)
            except Exception:  # a listener's error must not end the connection
                log.exception("broker: a listener failed when it was told since when the broker has been gone")

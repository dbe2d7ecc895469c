"""The subscriptions of one connection: which are confirmed, which the broker refused, and when those are asked for again."""

from __future__ import annotations

import fcntl
import termios
from collections.abc import Callable, Sequence

from paho.mqtt.reasoncodes import ReasonCode

from agent.protocol.words import counted

#: s after which a filter that was refused is asked for again: at first, and at most. Not every refusal is for good: a node of
#: NATS refuses a filter that its cluster does not confirm within 5 s, as it happens while another node is gone. Otherwise an off
#: on it would not arrive until the next connection. One is asked for at a time: that node answers nothing else meanwhile.
FIRST_AGAIN, LAST_AGAIN = 5.0, 600.0


class Subscribing:
    """For the thread that has the session's turn; nothing waits."""

    def __init__(self, complain: Callable[[str], None], user: str) -> None:
        """Know of no filter.

        :param complain: gets a sentence on filters that were refused
        :param user: who was refused, for that sentence
        """
        self._complain = complain
        self._user = user
        self._asked: dict[int, Sequence[str]] = {}  # packet identifier → filters
        self._refused: dict[str, None] = {}
        self._pause = FIRST_AGAIN
        self._again_at: float | None = None

    @property
    def open_count(self) -> int:
        """The number of SUBSCRIBEs without their SUBACK."""
        return len(self._asked)

    def asked(self, mid: int, filters: Sequence[str]) -> None:
        """Take note of a SUBSCRIBE: its packet identifier and its filters."""
        self._asked[mid] = filters

    def answered(self, mid: int, reasons: Sequence[ReasonCode], now: float) -> None:
        """Take a SUBACK (``now``: s, `time.monotonic`)."""
        filters = self._asked.pop(mid, ())
        refused = []
        for name, reason in zip(filters, reasons, strict=False):
            if reason.is_failure:
                refused.append((name, reason))
                self._refused.pop(name, None)
                self._refused[name] = None  # behind the others
            else:
                self._refused.pop(name, None)
        if refused:
            names = ", ".join(name for name, _ in refused[:5]) + (" …" if len(refused) > 5 else "")
            told = f"{len(refused)} of {counted(len(filters), 'subscription')} ({refused[0][1]}): {names}"
            self._complain(f"it refused {told}; commands on them do not arrive, so let {self._user} read these topics")
        if self._refused and self._again_at is None:
            self._again_at = now + (self._pause if refused else 0.0)
            self._pause = min(self._pause * 2, LAST_AGAIN) if refused else FIRST_AGAIN

    def dropped(self, filters: Sequence[str]) -> None:
        """Take note of an UNSUBSCRIBE."""
        for name in filters:
            self._refused.pop(name, None)

    def due(self, now: float) -> list[str]:
        """The filter to ask for again now (s, `time.monotonic`); mostly none. It counts as asked for."""
        if self._again_at is None or now < self._again_at or self._asked:
            return []
        self._again_at = None
        return list(self._refused)[:1]


def is_delivered(descriptor: int | None) -> bool:
    """True if the other end's system has confirmed all that was sent on a TCP socket; false also where that can't be told."""
    try:
        return descriptor is not None and fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)) == bytes(4)
    except OSError:
        return False

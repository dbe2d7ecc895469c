"""Complaints about a broker: each is logged once, not at each connection."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

_WITHOUT_5 = (
    "it does not take MQTT 5, so 3.1.1 is spoken: a command that is published with the retain flag while the agent is connected "
    "can't be told from another and is carried out; commands have no message expiry; responses go to .../response alone, without "
    "Response Topic and Correlation Data; and the broker tells neither its limits nor why it refuses a message"
)
_WITHOUT_RETAINED = (
    "it keeps no retained messages: a client that connects later learns of a state with the next poll, and of a unit or an "
    "agent within a minute; Home Assistant learns of new devices only while it runs; that an agent is gone is told once; and "
    "agents learn of each other only while they are connected"
)
#: Different complaints that are logged, each once until a connection has lasted.
_MOST = 100


class Complaints:
    """Remembers what was told.

    Strangers can cause some complaints as often as they like, and a broker that has one fault has it at each connection.
    """

    def __init__(self) -> None:
        """Nothing was told."""
        self._told: set[str] = set()  # since a connection that lasted
        self._for_good: set[str] = set()

    def tell(self, text: str) -> None:
        """Log a complaint that is news."""
        if self.is_news(text):
            log.error("broker: %s", text)

    def is_news(self, complaint: str) -> bool:
        """True the first time since `forget`; then it counts as told."""
        if complaint in self._told or len(self._told) >= _MOST:
            return False
        self._told.add(complaint)
        return True

    def tell_losses(self, address: str, *, has_fallen_back: bool, retains: bool) -> None:
        """Say what this broker's clients have to do without, once in a run.

        :param has_fallen_back: MQTT 3.1.1 is spoken, as it refuses 5
        :param retains: it keeps retained messages
        """
        if has_fallen_back and self._is_first(_WITHOUT_5):
            log.warning("broker %s: %s", address, _WITHOUT_5)
        if not retains and self._is_first(_WITHOUT_RETAINED):
            log.warning("broker %s: %s", address, _WITHOUT_RETAINED)

    def _is_first(self, text: str) -> bool:
        is_first = text not in self._for_good
        self._for_good.add(text)
        return is_first

    def forget(self) -> None:
        """Tell all of it again: a connection has lasted, so what comes now is another fault."""
        self._told.clear()

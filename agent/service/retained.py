"""The agent's own retained messages: those of units that it does not serve any more are removed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from pydantic import ValidationError

from agent.mqtt.incoming import Incoming
from agent.mqtt.session import Session
from agent.protocol.messages import UnitInfo
from agent.protocol.topics import Topics

log = logging.getLogger(__name__)

#: s before the messages of a unit that is not served any more are removed. Home Assistant learns in that time that the unit is
#: gone or has another name; it would log an error for an empty message on a topic that it still listens to.
LINGERING = 5.0


class OwnInfos:
    """Handles the messages on ``{unit}/info``, in the MQTT thread, and removes in the main thread what is left over.

    :param is_served: returns true if the agent serves a unit of this name now
    """

    def __init__(self, agent: str, topics: Topics, session: Session, is_served: Callable[[str], bool]) -> None:
        self._agent = agent
        self._topics = topics
        self._session = session
        self._is_served = is_served
        self._hides_retain = False
        self._lock = threading.Lock()
        self._left_over: dict[str, tuple[float, tuple[int, ...]]] = {}  # unit → when it is removed, and its channels

    def handle(self, unit: str, incoming: Incoming) -> None:
        """Take the info of a unit: one of this agent's own that it does not serve is removed from the broker."""
        if self._is_served(unit):
            self._check_retain_flag(incoming)
        elif incoming.retain and incoming.payload:
            self._remove_if_own(unit, incoming.payload)

    def _check_retain_flag(self, incoming: Incoming) -> None:
        """This agent's own info was published with the retain flag, and asked for as published (MQTT 5, 3.8.3.1)."""
        if incoming.retain or self._session.protocol != "5" or not self._session.retains:
            return
        if not self._hides_retain:
            log.warning(
                "the broker hides the retain flag of messages that are published live, so a command that is published with it "
                "can't be told from another and is carried out; its replays are refused"
            )
        self._hides_retain = True

    def _remove_if_own(self, unit: str, payload: bytes) -> None:
        try:
            info = UnitInfo.model_validate_json(payload)
        except ValidationError:
            return
        if info.agent == self._agent:
            log.info("%s: not served any more; its retained messages are removed", ascii(unit))
            self.retire(unit, [channel.index for channel in info.channels])

    def retire(self, unit: str, channels: Iterable[int]) -> None:
        """Have the retained messages of a unit removed from the broker, which would keep its last state for ever.

        `tick` does it in `LINGERING` s, unless a unit of that name is served again by then. From any thread.
        """
        with self._lock:
            self._left_over.setdefault(unit, (time.monotonic() + LINGERING, tuple(channels)))

    def tick(self, now: float) -> None:
        """Remove what is due at a moment of `time.monotonic`. To be called several times a second."""
        with self._lock:
            due = [(unit, channels) for unit, (moment, channels) in self._left_over.items() if moment <= now]
            for unit, _ in due:
                del self._left_over[unit]
        for unit, channels in due:
            if not self._is_served(unit):
                self._remove(unit, channels)

    def _remove(self, unit: str, channels: Iterable[int]) -> None:
        for index in channels:
            self._session.keep(self._topics.state(unit, index), b"")
        self._session.keep(self._topics.status(unit), b"")
        self._session.keep(self._topics.info(unit), b"")

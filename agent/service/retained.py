"""The agent's own retained messages: those of units that it does not serve any more are removed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from pydantic import ValidationError

from agent.mqtt.incoming import Incoming
from agent.mqtt.session import Session
from agent.protocol.messages import UnitInfo
from agent.protocol.topics import Topics

log = logging.getLogger(__name__)


class OwnInfos:
    """Handles the messages on ``{unit}/info``, in the MQTT thread.

    :param is_served: returns true if the agent serves a unit of this name now
    :param protocol: the MQTT version of the connection
    """

    def __init__(
        self, agent: str, topics: Topics, session: Session, is_served: Callable[[str], bool], protocol: str
    ) -> None:
        self._agent = agent
        self._topics = topics
        self._session = session
        self._is_served = is_served
        self._is_v5 = protocol == "5"
        self._hides_retain = False

    def handle(self, unit: str, incoming: Incoming) -> None:
        """Take the info of a unit: one of this agent's own that it does not serve is removed from the broker."""
        if self._is_served(unit):
            self._check_retain_flag(incoming)
        elif incoming.retain and incoming.payload:
            self._remove_if_own(unit, incoming.payload)

    def _check_retain_flag(self, incoming: Incoming) -> None:
        """This agent's own info was published with the retain flag, and asked for as published (MQTT 5, 3.8.3.1)."""
        if incoming.retain or not self._is_v5:
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
            self.remove(unit, [channel.index for channel in info.channels])

    def remove(self, unit: str, channels: Iterable[int]) -> None:
        """Remove the retained messages of a unit from the broker, which would keep its last state for ever."""
        for index in channels:
            self._session.keep(self._topics.state(unit, index), b"")
        self._session.keep(self._topics.status(unit), b"")
        self._session.keep(self._topics.info(unit), b"")

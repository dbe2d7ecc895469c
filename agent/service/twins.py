"""Another running agent of this name is told of, and this agent's status corrected where the end of an older one changed it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pydantic import ValidationError

from agent.mqtt.incoming import Incoming
from agent.mqtt.session import Session
from agent.protocol.messages import AgentInfo
from agent.protocol.topics import AgentTopic, Topics

log = logging.getLogger(__name__)

#: Other agents that are told of; with more of them the first warnings have said enough.
_MOST = 20


class Twins:
    """Looks at this agent's own topics for what it did not publish itself. In the MQTT thread.

    Each has a client identifier that the other does not know, so the broker does not end the connection of one of them.
    """

    def __init__(
        self, agent: str, instance: str, topics: Topics, session: Session, publish_info: Callable[[], None]
    ) -> None:
        """``instance``: stands in this agent's info. ``publish_info``: publishes that again."""
        self._agent = agent
        self._instance = instance
        self._status, self._info = topics.agent_status(agent), topics.agent_info(agent)
        self._session = session
        self._publish_info = publish_info
        self._others: set[str] = set()
        # What is retained comes first, and may be years old. What comes after this agent's own message was published just now.
        self._heard_status = self._heard_info = False

    @property
    def subscriptions(self) -> tuple[str, str]:
        """The topics to listen to."""
        return self._status, self._info

    def broker_gone(self, since: float | None) -> None:
        """Note that the broker is gone (not None), and what it retains is told again by the next connection."""
        if since is not None:
            self._heard_status = self._heard_info = False

    def handle(self, topic: AgentTopic, incoming: Incoming) -> None:
        """Take a message on a topic of agents."""
        if topic.agent != self._agent:
            return
        if topic.kind == "status":
            self._check_status(incoming.payload)
        elif topic.kind == "info":
            self._check_info(incoming.payload)

    def _check_status(self, payload: bytes) -> None:
        if payload == b"online":
            self._heard_status = True
        elif self._heard_status and not self._session.is_ending:
            # The last will of a connection that an earlier run left half open, or the end of a twin.
            log.warning(
                "broker: somebody published %s as the status of this agent; it is corrected", ascii(payload)[:40]
            )
            self._session.keep(self._status, b"online")

    def _check_info(self, payload: bytes) -> None:
        try:
            info = AgentInfo.model_validate_json(payload)
        except ValidationError:
            return
        if info.instance == self._instance:
            self._heard_info = True
            return
        other = info.instance or f"{info.host} {info.start_time}"
        if not self._heard_info or other in self._others or len(self._others) >= _MOST:
            return
        self._others.add(other)
        log.warning(
            "is a second agent called %r running? One on %s publishes under this name, too: give one of them another "
            "settings.agent",
            self._agent,
            ascii(info.host)[:80],
        )
        self._publish_info()  # so that the other one knows of this one

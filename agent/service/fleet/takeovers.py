"""Requests of people that this agent serve a unit which another agent served: ``psu-agent takeover UNIT``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from agent.mqtt.incoming import Incoming
from agent.protocol import names
from agent.protocol.errors import Refusal
from agent.protocol.messages import Response, ResponseError, utc_now
from agent.protocol.report import Outlet, ReplyTo, Report
from agent.protocol.topics import Topics
from agent.unit.supply import Supply

log = logging.getLogger(__name__)


class Takeovers:
    """Answers requests on ``{unit}/takeover``. In the MQTT thread.

    The payload is the name of the agent that is meant, or empty for every agent that has the unit. Each of those answers with
    one response on the request's Response Topic, or on ``{unit}/response``; the others keep silent.
    """

    def __init__(
        self,
        topics: Topics,
        agent: str,
        supplies: Callable[[], Mapping[str, Supply]],
        take_over: Callable[[str], None],
        outlet: Outlet,
    ) -> None:
        """
        :param supplies: gives the units of this agent, by name
        :param take_over: has this agent serve a unit, or raises `Refusal`; nothing happens where it serves it already
        :param outlet: where responses go
        """
        self._topics = topics
        self._agent = agent
        self._supplies = supplies
        self._take_over = take_over
        self._outlet = outlet

    def handle(self, incoming: Incoming) -> bool:
        """Take a message; False for one that is no such request. No content of it raises an exception."""
        unit = self._topics.parse_takeover(incoming.topic)
        if unit is None:
            return False
        if unit not in self._supplies():
            return True
        refusal: Refusal | None = None
        try:
            wanted = _agent_in(incoming)
            if wanted not in ("", self._agent):
                return True
            self._take_over(unit)
            log.info("%s: somebody asked that this agent serve it", unit)
        except Refusal as error:
            refusal = error
            log.warning("%s: refused on %s (%s): %s", unit, ascii(incoming.topic), error.code, error.message)
        response = Response(
            id=None,
            ok=refusal is None,
            time=utc_now(),
            psu=unit,
            index=None,
            error=None if refusal is None else ResponseError(code=refusal.code, message=refusal.message),
        )
        topic = self._topics.response(unit)
        asked = incoming.response_topic
        if asked is not None and self._topics.takes_responses(asked):
            topic = asked
        elif asked is not None:
            log.warning(
                "%s: the Response Topic %s can take no response; it went to %s; give %s",
                unit,
                ascii(asked)[:120],
                topic,
                self._topics.response_topics,
            )
        self._outlet.report(Report(response=response, reply_to=ReplyTo(topic, incoming.correlation)))
        return True


def _agent_in(incoming: Incoming) -> str:
    """The agent that a request means; empty for every one.

    :raises Refusal: ``retained``, ``expired`` or ``bad_payload``
    """
    if incoming.retain:
        raise Refusal("retained", "it was published with the retain flag; send it again without")
    if incoming.stale:
        raise Refusal(
            "expired",
            "the agent or its link to the broker was held up, so nobody knows how old it is; send it again",
        )
    try:
        text = bytes(incoming.payload).decode().strip()
        return names.check_agent_name(text) if text else ""
    except ValueError:
        raise Refusal("bad_payload", "its payload is no agent name; send the agent's name, or nothing") from None

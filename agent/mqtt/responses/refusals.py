"""Messages that the broker does not take: a response goes to this agent's own topic instead, all else is dropped, and counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from pydantic import ValidationError

from agent.mqtt import faults
from agent.mqtt.item import Item, Kind
from agent.mqtt.responses.caution import is_own
from agent.mqtt.responses.receipts import Receipts
from agent.mqtt.responses.suspects import SUSPICIOUS_SIZE, Suspects
from agent.protocol.messages import Response
from agent.protocol.topics import Topics

log = logging.getLogger(__name__)

#: Reason codes (MQTT 5, 2.4).
_NOT_AUTHORIZED, _TOO_LARGE = 0x87, 0x95
#: Refusals that are logged on one connection, and of what is retained in one run.
_MOST_TOLD = 20


class Refusals:
    """What becomes of messages that the broker refuses, or may not be given. For the thread that has the session's turn."""

    def __init__(
        self,
        suspects: Suspects,
        receipts: Receipts,
        topics: Topics,
        *,
        instead: Callable[[Item], None],
        later: Callable[[Item], None],
        forget: Callable[[Item], None],
    ) -> None:
        """Begin without a connection.

        :param instead: sends a response that has another topic now
        :param later: keeps a sample of the backlog, which is tried again later
        :param forget: removes a message from the backlog
        """
        #: Messages that the broker did not take where they were to go.
        self.count = 0
        self._suspects = suspects
        self._instead, self._later, self._forget = instead, later, forget
        self._receipts = receipts
        self._topics = topics
        self._told: set[str] = set()  # of the present connection
        self._told_for_good: set[str] = set()  # of what is retained, as each connection sends it again

    def begin(self) -> None:
        """Begin a connection: what was logged on an older one is logged again."""
        self._told.clear()

    def connection_ended(self, in_flight: Iterable[Item], *, with_reason: bool) -> None:
        """Take note of what was in flight, oldest first, on a connection that the broker closed: see `Suspects`."""
        given_up = self._suspects.connection_ended(in_flight, with_reason=with_reason)
        if given_up is not None and len(given_up.payload) < SUSPICIOUS_SIZE and self._own_topic(given_up):
            self._suspects.avoid(given_up.topic)

    def refused(self, item: Item, code: int) -> None:
        """Take a message whose acknowledgement says, by this reason code, that it was refused."""
        why = faults.reason(code)
        if code == _NOT_AUTHORIZED:
            why += "; let this user publish there"
        if code == _TOO_LARGE and is_own(item):
            self._leave_out(item, f"it refuses a message of that size ({why.lower()})")
        elif item.is_backlog:
            self._keep_for_later(item, why)
        else:
            self._divert(item, why, None if code == _TOO_LARGE else item.correlation)

    def take_rejected(self, rejected: Iterable[Item], largest_packet: int) -> None:
        """Take messages that can't be sent.

        :param largest_packet: bytes, what the broker takes
        """
        for item in rejected:
            correlation, again = None, ""
            if self._suspects.is_given_up(item):
                why = "it closes the connection each time, maybe for the topic or the size"
                again = ", then restart psu-agent"
                if item.correlation is not None and len(item.correlation) < SUSPICIOUS_SIZE:
                    correlation = item.correlation
            else:
                why = f"it takes no packet of more than {largest_packet} bytes"
            if is_own(item):
                self._leave_out(item, why, again)
            elif item.is_backlog and not self._suspects.is_given_up(item):
                self._keep_for_later(item, why)
            else:
                self._divert(item, why, correlation)

    def _leave_out(self, item: Item, why: str, again: str = "") -> None:
        self.count += 1
        self._suspects.caution.left_out(item)
        if self._is_news(self._told_for_good, item.topic):
            log.warning(
                "broker: a message of %d bytes on %s is left out: %s; who reads it does not get it, so let the broker take "
                "larger packets%s",
                len(item.payload),
                ascii(item.topic)[:160],
                why,
                again,
            )

    def _keep_for_later(self, item: Item, why: str) -> None:
        self.count += 1
        self._tell(item, why, "it is kept, and tried again later")
        self._later(item)

    def _divert(self, item: Item, why: str, correlation: bytes | None) -> None:
        """Send a response to this agent's own topic instead, once. Drop it if that was of no use, and every other message."""
        self.count += 1
        topic = None if item.is_diverted else self._own_topic(item)
        if topic is None and not item.is_diverted and item.correlation != correlation:
            topic = item.topic  # without its Correlation Data it is smaller
        if topic is None:
            self._tell(item, why, "it is dropped")
            self._receipts.delivered(item)
            if item.row:
                self._forget(item)
            return
        self._tell(item, why, f"it went to {topic} instead")
        # The same item, which the store may be about to keep.
        item.kind, item.topic, item.correlation, item.is_diverted = Kind.RESPONSE, topic, correlation, True
        self._instead(item)

    def _own_topic(self, item: Item) -> str | None:
        """The topic of this agent's for a response that goes elsewhere; None for every other message."""
        if item.kind not in (Kind.RESPONSE, Kind.MESSAGE):
            return None
        try:
            response = Response.model_validate_json(item.payload)
        except ValidationError:
            return None  # an event
        own = self._topics.response(response.psu, response.index)
        return None if item.topic == own else own

    def _tell(self, item: Item, why: str, consequence: str) -> None:
        """Log it, once a connection for each kind of topic."""
        # Strangers choose the topics of responses: one line for all of them.
        kind = "response elsewhere" if "instead" in consequence else item.topic.rpartition("/")[2]
        is_value = item.kind is Kind.VALUE
        if is_value:  # one line for all of them, not one for each field
            kind = "plain value"
        if self._is_news(self._told_for_good if is_value or is_own(item) else self._told, f"{kind}: {why}"):
            log.error("broker: it refused a message on %s: %s; %s", ascii(item.topic)[:120], why, consequence)

    @staticmethod
    def _is_news(told: set[str], text: str) -> bool:
        if text in told or len(told) >= _MOST_TOLD:
            return False
        told.add(text)
        return True

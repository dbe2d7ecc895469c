"""The findings about a broker, and a sentence for each thing that the agent has to do without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from agent.mqtt.broker.attempts import Version
from agent.mqtt.broker.filters import MOST_FILTERS
from agent.protocol.words import counted

#: bytes. The largest message of an agent's is Home Assistant's discovery of a unit: 33 KB for an E36313A with its three channels.
#: All others are far smaller: the info of that unit has 2 KB, a state 0.4.
DISCOVERY_SIZE = 64 * 1024
_LARGE = "such as Home Assistant's discovery of a unit (some 11 KB a channel)"
#: Messages in flight below which a busy agent waits for acknowledgements.
_SMALL_WINDOW = 20


@dataclass(slots=True)
class BrokerFindings:
    """The abilities of a broker. True, false or a number is measured; None could not be told."""

    #: The sentence on why nothing could be measured; None: there was a connection.
    problem: str | None = None
    #: MQTT 5, MQTT 3.1.1 is taken, and the one that all the rest was measured with.
    mqtt_5: bool | None = None
    mqtt_3_1_1: bool | None = None
    version: Version | None = None
    #: This user may publish, and read, below the agent's own topic.
    may_publish: bool | None = None
    may_read: bool | None = None
    #: The filters of the agent's that the broker refuses to this user.
    refused_filters: tuple[str, ...] = ()
    #: A message is acknowledged, and delivered with QoS 1.
    qos_1: bool | None = None
    #: A message is retained, and delivered with the retain flag to a client that subscribes later.
    retained: bool | None = None
    #: A connection that is cut has its will published.
    will: bool | None = None
    #: MQTT 5: a live message keeps its retain flag where that is asked for.
    retain_as_published: bool | None = None
    #: MQTT 5: the expiry of a message is passed on; and a retained message is gone after it.
    expiry_passed_on: bool | None = None
    expiry_obeyed: bool | None = None
    #: MQTT 5: Response Topic and Correlation Data are passed on.
    response_topic: bool | None = None
    #: bytes. The largest packet that the broker says that it takes (MQTT 5; None: it told no limit).
    told_largest_packet: int | None = None
    #: bytes. The largest message of those tried that was passed on, and the smallest that was not.
    largest_passed: int | None = None
    smallest_failed: int | None = None
    #: The fate of the smallest that failed: ``closed``, ``refused`` (MQTT 5) or ``dropped`` without a word.
    failed_how: str | None = None
    #: Messages that the broker takes at a time (MQTT 5; 65,535 where it tells no limit).
    receive_maximum: int | None = None
    #: Filters in one SUBSCRIBE: the most of those tried that were confirmed, and the fewest that were not.
    filters_taken: int | None = None
    filters_failed: int | None = None
    #: ms from a PUBLISH to its acknowledgement.
    acknowledged_ms: float | None = None
    #: s that the measurement took; and true if it had to end before everything was measured.
    seconds: float = field(default=0.0)
    is_incomplete: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The findings for JSON."""
        return asdict(self)

    @property
    def is_usable(self) -> bool:
        """True if an agent can work with this broker."""
        return self.problem is None and self.qos_1 is not False

    def missing(self, scratch: str) -> Iterator[str]:
        """A sentence for each thing that is missing: what it is, what is lost, what to do.

        :param scratch: the topic that was measured below
        """
        if self.problem is not None:
            return
        yield from self._access(scratch)
        if self.mqtt_5 is False:
            yield (
                "it does not take MQTT 5: commands have no message expiry, responses go to .../response alone, a retained "
                "command that is published live is carried out, and limits and refusals are not told"
            )
        elif self.version == "3.1.1":
            yield "it takes MQTT 5, and settings.mqtt.protocol asks for 3.1.1: auto would take 5"
        if self.qos_1 is False:
            yield "it does not take QoS 1, which this agent publishes with: another broker is needed"
        if self.retained is False:
            yield (
                "it keeps no retained messages: a client that connects later sees a state only with the next poll, and a unit or "
                "an agent within a minute"
            )
        if self.will is False:
            yield "it publishes no will: nobody is told when the agent's connection breaks; states that end are the only sign"
        if self.retain_as_published is False:
            yield (
                "it hides the retain flag of live messages, though MQTT 5 has an option for it: a command that is published with "
                "the flag can't be told from another and is carried out; its replays are refused"
            )
        if self.expiry_passed_on is False or self.expiry_obeyed is False:
            yield (
                "it does not keep to message expiry: give commands that must not come late expires_at in their payload, which "
                "the agent itself looks at"
            )
        if self.response_topic is False:
            yield (
                "it does not pass on Response Topic and Correlation Data: the response to a command goes to .../response alone, "
                "so give commands an id"
            )
        yield from self._sizes()
        if self.is_incomplete:
            yield f"it answers so slowly that not all was measured within {self.seconds:.0f} s"

    def _access(self, scratch: str) -> Iterator[str]:
        if self.may_read is False:
            yield f"this user may not read {scratch}/#, so little could be measured: let it read and publish there"
        elif self.may_publish is False:
            yield (
                f"a message that this user publishes on {scratch}/# does not come back, so little could be measured: let it "
                "read and publish there"
            )
        if self.refused_filters:
            names = ", ".join(self.refused_filters[:5]) + (" …" if len(self.refused_filters) > 5 else "")
            yield f"it does not let this user read {names}: messages there do not reach the agent"

    def _sizes(self) -> Iterator[str]:
        limit = self.smallest_failed
        if self.told_largest_packet is not None and self.told_largest_packet < DISCOVERY_SIZE:
            yield (
                f"it takes no packet of more than {self.told_largest_packet} bytes: larger messages, {_LARGE}, are left out"
            )
        elif limit is not None and limit <= DISCOVERY_SIZE:
            how = {
                "closed": f"closes the connection for a message of {limit} bytes",
                "refused": f"refuses a message of {limit} bytes",
                "dropped": f"drops a message of {limit} bytes without a word",
            }[self.failed_how or "dropped"]
            yield (f"it {how}, and took one of {self.largest_passed or 0}: larger messages, {_LARGE}, do not arrive")
        if self.receive_maximum is not None and self.receive_maximum < _SMALL_WINDOW:
            few = counted(self.receive_maximum, "message")
            yield f"it takes {few} at a time: over a slow link states are thinned out; raise its limit for messages in flight"
        if self.filters_failed is not None and self.filters_failed <= MOST_FILTERS:
            yield f"it takes no {self.filters_failed} filters in a SUBSCRIBE: the agent sends up to {MOST_FILTERS} and can't work"

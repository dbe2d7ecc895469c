"""The age of the messages on one connection: how old one can be at most, by the broker's answers to PINGREQ.

TCP keeps the order. So a message that comes after the answer to a PINGREQ left the broker after that PINGREQ was sent: its age is
bounded, whatever was held up in between, the link, the host or this process. Nothing else tells: a link that stalls delivers
a command many seconds late, on the same connection, with the same bytes.

A broker holds messages back until those before are acknowledged (Mosquitto after 20), so messages that leave it after a stall
may be old, too. Therefore an answer then counts only if it is *clean*: fewer messages were on their way than the broker sends at
a time, so it held none back. Acknowledgements that follow the PINGREQ release nothing before its answer. On a link that works,
a flood that comes faster than it is handled waits in the broker unnoticed; MQTT 5's message expiry counts that time.
"""

from __future__ import annotations

from agent.timing import LONGEST_ABSENCE

#: s between two PINGREQs. Much less than `LONGEST_ABSENCE`, so that a busy host is not taken for a stalled link; 4 bytes each.
INTERVAL = 0.5
#: s. An answer within it tells of a link that works, also in a flood, in which a broker's answers take their time.
PROMPT = 1.0
#: Messages that usual brokers send at a time, or more. After a stall no such guess is made.
USUAL_WINDOW = 10
#: Clean answers in a row that end a doubt. Not every broker sends answers and messages in their order: rumqttd sends the
#: messages that an acknowledgement released behind the answer that came with it.
ENOUGH = 2


class Freshness:
    """Tells if a message that comes in now is known to be young. All moments are of `agent.timing.system_clock` (s)."""

    __slots__ = ("_clean", "_last_asked", "_most", "_on_the_way", "_waits", "in_doubt", "proven")

    def __init__(self, now: float) -> None:
        """:param now: the moment of the subscriptions, or an earlier one; no message that comes is older"""
        #: A message that comes now left the broker later than this.
        self.proven = now
        #: True after a stall, until clean answers have come.
        self.in_doubt = False
        self._waits = False  # a PINGREQ has no answer yet
        self._last_asked = 0.0
        self._on_the_way = 0  # messages that had not been acknowledged when it was sent, and those that came since
        self._most = 1  # of them, so far: the broker sends so many at a time, or more
        self._clean = 0  # answers in a row

    def wants_to_ask(self, now: float, unacknowledged: int) -> bool:
        """True if a PINGREQ is due.

        :param unacknowledged: messages that came and whose acknowledgement is not on its way yet
        """
        if self._waits:
            return False
        return now - self._last_asked >= INTERVAL or (self.in_doubt and unacknowledged == 0)

    def asks(self, now: float, unacknowledged: int) -> None:
        """Note that a PINGREQ is sent."""
        self._waits = True
        self._last_asked = now
        self._on_the_way = unacknowledged

    def came(self, now: float, *, is_numbered: bool) -> bool:
        """Note that a message came in. True if it is known to be younger than `LONGEST_ABSENCE`.

        :param is_numbered: it is one of those that the broker counts until they are acknowledged (QoS 1)
        """
        self._on_the_way += is_numbered
        self._check(now)
        return not self.in_doubt

    def answered(self, now: float) -> None:
        """Note a PINGRESP."""
        if not self._waits:
            return
        self._waits = False
        self._check(now)
        is_clean = self._on_the_way < (self._most if self.in_doubt else max(self._most, USUAL_WINDOW))
        self._clean = self._clean + 1 if is_clean else 0
        if is_clean or (not self.in_doubt and now - self._last_asked <= PROMPT):
            self.proven = self._last_asked
        self.in_doubt = self.in_doubt and self._clean < ENOUGH
        self._most = max(self._most, self._on_the_way)

    def _check(self, now: float) -> None:
        if now - self.proven > LONGEST_ABSENCE and not self.in_doubt:
            self.in_doubt, self._clean = True, 0

"""How the next connection is tried: by which version of MQTT, with which kind of will, and how long its answers may take.

There is no socket and no clock. The agent's session and the command line use it alike: they say what became of each try.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Literal

Version = Literal["5", "3.1.1"]
Wanted = Literal["auto", "5", "3.1.1"]

#: s; reconnection backs off from the first to the second, each time by a random part more.
FIRST_RETRY, LAST_RETRY, RETRY_JITTER = 0.2, 10.0, 0.5
#: s. A connection that did not last that long is not made again at once, and does not end the broker's loss.
SHORT_LIVED = 5.0
#: s that each of the broker's answers may take at first, and at most. A broker behind a slow link, or one that starts with many
#: clients at once, takes longer than the first; with one limit it would be refused for ever.
FIRST_LIMIT, LAST_LIMIT = 5.0, 60.0
#: s that the TCP connection may take at most. After a cut in the network the system asks again after 1, 3, 7 and 15 s only, so
#: that a longer try would find the broker later than a new one does.
LONGEST_OPENING = 15.0
#: Tries in a row that the broker has to end without a word, until MQTT 3.1.1 is tried: a broker that restarts closes some.
ENOUGH = 2


class Outcome(Enum):
    """The outcome of a try."""

    REFUSED_VERSION = auto()  # the broker says that it does not know the version, or answers in the form of another one
    CLOSED = auto()  # it took the TCP connection and closed it without an answer to CONNECT
    NO_RETAINED_WILL = auto()  # it refuses the connection, as it keeps no retained messages (reason code 0x9A)
    REFUSED = auto()  # it refuses the connection for another reason
    SILENT = auto()  # it took the TCP connection and did not answer CONNECT in time
    SLOW = auto()  # it accepted the connection, and did not confirm the subscriptions in time
    UNANSWERED = auto()  # it did not even take the TCP connection in time
    TRIED = auto()  # it accepted a connection that was only to tell if it does: see `Attempts.is_trial`
    OTHER = auto()  # it can't be reached, or something else went wrong


_WORDLESS = (Outcome.CLOSED, Outcome.SILENT)
#: What a broker may say to 3.1.1 that has told that it does not know 5.
_OF_THE_SAME = (Outcome.REFUSED, Outcome.SILENT, Outcome.SLOW, Outcome.NO_RETAINED_WILL)


class Attempts:
    """The state over all tries of one run. With ``auto`` MQTT 5 is tried first, and 3.1.1 where the broker refuses 5.

    A broker that closes the connection without a word, or never answers, may be one that does not know MQTT 5 (aMQTT with
    passwords does not answer), or one that restarts, or a proxy in front of one. So once 3.1.1 is taken (`is_trial`), 5 is tried
    once more: 3.1.1 is spoken only if 5 fails again in the same way right then.
    """

    def __init__(self, wanted: Wanted = "auto") -> None:
        """Begin with MQTT 5, unless 3.1.1 is wanted."""
        #: The version of the next connection, or of the present one.
        self.protocol: Version = "3.1.1" if wanted == "3.1.1" else "5"
        #: True if the will is to be retained, as it is unless the broker can't do that.
        self.retains_will = True
        #: s that CONNACK, and SUBACK, may take.
        self.limit = FIRST_LIMIT
        #: s that the TCP connection may take.
        self.opening_limit = FIRST_LIMIT
        #: Connections in a row that did not last for `SHORT_LIVED`.
        self.short_lived = 0
        self._is_auto = wanted == "auto"
        self._wordless = 0  # tries of MQTT 5 in a row that ended in the same way, by one of `_WORDLESS`
        self._way = Outcome.OTHER  # the last of them
        self._is_certain = False  # that 5 is refused
        self._is_comparing = False  # 3.1.1 was taken a moment ago, where 5 was closed

    @property
    def pause(self) -> float:
        """s before the next try: two agents of one name take the connection from each other, without it all the time."""
        return min(LAST_RETRY, FIRST_RETRY * 2 ** min(self.short_lived, 10)) if self.short_lived else 0.0

    @property
    def has_fallen_back(self) -> bool:
        """True if 3.1.1 is spoken because the broker refuses 5."""
        return self._is_auto and self.protocol == "3.1.1"

    @property
    def is_trial(self) -> bool:
        """True if a connection that the broker accepts now only tells that it takes 3.1.1 (`Outcome.TRIED`)."""
        return self.has_fallen_back and not self._is_certain

    def failed(self, outcome: Outcome) -> bool:
        """Take note of a try that failed.

        :return: true if people are to be told; false where it only led to trying in another way, which is the next to do
        """
        if outcome in (Outcome.SILENT, Outcome.SLOW):
            self.limit = min(self.limit * 2, LAST_LIMIT)
        elif outcome is Outcome.UNANSWERED:
            self.opening_limit = min(self.opening_limit * 2, LONGEST_OPENING)
        elif outcome is Outcome.TRIED:
            self.protocol, self._is_comparing = "5", True
            return False
        if outcome is Outcome.NO_RETAINED_WILL and self.retains_will:
            self.retains_will = False
            return False
        self.retains_will = True
        if not self._is_auto:
            return True
        return self._failed_5(outcome) if self.protocol == "5" else self._failed_311(outcome)

    def _failed_5(self, outcome: Outcome) -> bool:
        is_comparing, self._is_comparing = self._is_comparing, False
        is_same, self._way = outcome is self._way, outcome
        if outcome is Outcome.REFUSED_VERSION or (is_comparing and is_same):
            self.protocol, self._is_certain, self._wordless = "3.1.1", True, 0
            return False
        if outcome not in _WORDLESS:
            self._wordless = 0
        else:
            self._wordless = self._wordless + 1 if is_same else 1
        if self._wordless >= ENOUGH:
            self.protocol, self._wordless = "3.1.1", 0
        return outcome is not Outcome.CLOSED

    def _failed_311(self, outcome: Outcome) -> bool:
        # A broker that has told that it does not know 5 may say other things to 3.1.1, or take its time. One that is gone may be
        # another one when it comes back.
        if not (self._is_certain and outcome in _OF_THE_SAME):
            self.protocol, self._is_certain = "5", False
        return True

    def accepted(self) -> None:
        """Take note of a connection that is in use."""
        self.limit = self.opening_limit = FIRST_LIMIT
        self._wordless = 0
        self._way = Outcome.OTHER
        self._is_comparing = False

    def ended(self, lived: float) -> None:
        """Take note that a connection that was in use has ended after so long (s).

        The next one asks again if the broker retains messages.
        """
        self.retains_will = True
        self.short_lived = self.short_lived + 1 if lived < SHORT_LIVED else 0

"""The agent's own retained messages: those of units that it does not serve any more are removed.

Only those that its own state directory says it published: an info that names this agent may be another one's of the same name.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from agent.mqtt.incoming import Incoming
from agent.protocol.report import Report
from agent.protocol.topics import Topics
from agent.service.fleet.claims import read_claim
from agent.store.published import PublishedUnits

log = logging.getLogger(__name__)

#: s before the messages of a unit that is not served any more are removed. Home Assistant learns in that time that the unit is
#: gone or has another name; it would log an error for an empty message on a topic that it still listens to.
LINGERING = 5.0
#: Units of others under this agent's name that are told of, each once.
_MOST = 20


class RetainingSession(Protocol):
    """The part of the MQTT session that `OwnInfos` needs."""

    @property
    def protocol(self) -> str:
        """The version of MQTT that is spoken."""

    @property
    def retains(self) -> bool:
        """False if the broker keeps no retained messages."""

    @property
    def speaks(self) -> bool:
        """True once the broker has told what it keeps, unless another agent of this name was found there."""

    def keep(self, topic: str, payload: bytes) -> None:
        """Publish retained; an empty payload removes what is there."""


class Values(Protocol):
    """The part of the plain values that `OwnInfos` needs."""

    def remove(self, name: str) -> None:
        """Remove a unit's from the broker, if this agent published any."""

    def disown(self, name: str) -> None:
        """Take note that another agent publishes on the unit's topics from now on."""


class OwnInfos:
    """Handles the messages on ``{unit}/info``, in the MQTT thread, and removes in the main thread what is left over.

    It is an `Outlet`, ahead of the session: a unit is in the records before anything of it is published.

    :param instance: of this run of the agent
    :param is_served: returns true if the agent has a unit of this name now
    """

    #: Nothing waits here.
    congested = False

    def __init__(
        self,
        agent: str,
        instance: str,
        topics: Topics,
        session: RetainingSession,
        records: PublishedUnits,
        is_served: Callable[[str], bool],
        values: Values,
    ) -> None:
        self._agent = agent
        self._instance = instance
        self._topics = topics
        self._session = session
        self._records = records
        self._is_served = is_served
        self._values = values
        self._hides_retain = False
        self._strange: set[str] = set()
        self._untold: deque[str] = deque()  # of these, until it is known that they are no twin's
        self._lock = threading.Lock()
        self._left_over: dict[str, tuple[float, tuple[int, ...]]] = {}  # unit → when it is removed, and its channels

    def report(self, report: Report) -> None:
        """Take note of what is about to be published. From any thread."""
        if report.info is not None:
            self._records.remember(report.info.psu, [channel.index for channel in report.info.channels])

    def disown(self, unit: str) -> None:
        """Take note that another agent publishes on the unit's topics from now on: nothing there is removed by this one."""
        self._records.forget(unit)
        self._values.disown(unit)
        with self._lock:
            self._left_over.pop(unit, None)

    def handle(self, unit: str, incoming: Incoming) -> None:
        """Take the info of a unit: one of this agent's own that it does not serve is removed from the broker."""
        claim = read_claim(unit, incoming.payload) if incoming.payload else None
        if claim is None:
            return
        if self._is_served(unit):
            if claim.agent == self._agent and claim.instance == self._instance and claim.serves:
                self._check_retain_flag(incoming)
        elif claim.agent != self._agent:
            self.disown(unit)
        elif incoming.retain:
            self._remove_if_own(unit)

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

    def _remove_if_own(self, unit: str) -> None:
        if self._records.channels(unit) is not None:
            log.info("%s: not served any more; its retained messages are removed", ascii(unit))
            self.retire(unit)
        elif unit not in self._strange and len(self._strange) < _MOST:
            self._strange.add(unit)
            self._untold.append(unit)

    def _tell_of_strange(self) -> None:
        while self._untold and self._session.speaks:
            unit = self._untold.popleft()
            if self._is_served(unit):
                continue
            log.warning(
                "%s: an info on the broker names this agent, which did not publish it by its state directory; it is left there. "
                "If nobody serves the unit any more, remove it: publish nothing, retained, on %s",
                ascii(unit),
                ascii(self._topics.info(unit)),
            )

    def retire(self, unit: str) -> None:
        """Have the retained messages of a unit removed from the broker, which would keep its last state for ever.

        Only if this agent published them, and no other one since.

        `tick` does it in `LINGERING` s, unless a unit of that name is served again by then. From any thread.
        """
        channels = self._records.channels(unit)
        if channels is None:
            return
        with self._lock:
            self._left_over.setdefault(unit, (time.monotonic() + LINGERING, channels))

    def tick(self, now: float) -> None:
        """Remove, and tell of, what is due at a moment of `time.monotonic`. To be called several times a second."""
        self._tell_of_strange()
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
        self._values.remove(unit)
        self._records.forget(unit)

"""Home Assistant is told only of units that this agent serves: the device of a supply has one place there, whoever serves it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from agent.protocol.messages import UnitInfo
from agent.protocol.report import Outlet, Report
from agent.protocol.topics import ChannelTopic, Topics
from agent.unit.standing import Part, Standing


class ServedOutlet:
    """Hands on the reports of units that this agent serves. An info of any other unit waits until it does. For any thread.

    :param leave: is called with a unit that another agent serves from now on, and with true if that is another supply
    """

    #: Nothing waits here.
    congested = False

    def __init__(self, outlet: Outlet, leave: Callable[[str, bool], None]) -> None:
        self._outlet = outlet
        self._leave = leave
        self._lock = threading.Lock()
        self._parts: dict[str, Part] = {}
        self._known: set[str] = set()  # units whose infos went through
        self._held: dict[str, UnitInfo] = {}

    def report(self, report: Report) -> None:
        """Hand on what is to be handed on of a report."""
        info = report.info
        unit = info.psu if info is not None else report.states[0].psu if report.states else None
        if unit is None:
            return
        with self._lock:
            serves = self._parts.get(unit) is Part.SERVES
            if info is not None and serves:
                self._known.add(unit)
                self._held.pop(unit, None)
            elif info is not None:
                self._held[unit] = info
            is_known = unit in self._known
        if info is not None and not serves:
            report = Report(states=report.states)
        if is_known:
            self._outlet.report(report)

    def stand(self, unit: str, standing: Standing) -> None:
        """Take note of a unit's standing."""
        with self._lock:
            self._parts[unit] = standing.part
            held = self._held.pop(unit, None) if standing.part is Part.SERVES else None
            if held is not None:
                self._known.add(unit)
            is_left = standing.yields and unit in self._known
            if is_left:
                self._known.discard(unit)
        if held is not None:
            self._outlet.report(Report(info=held))
        if is_left:
            self._leave(unit, standing.part is Part.YIELDS_NAME)

    def drop(self, unit: str) -> None:
        """Forget a unit that this agent has no more."""
        with self._lock:
            self._known.discard(unit)
            self._parts.pop(unit, None)
            self._held.pop(unit, None)


class _Session(Protocol):
    @property
    def gone_since(self) -> float | None: ...

    def keep(self, topic: str, payload: bytes) -> None: ...

    def is_pending(self, topic: str) -> bool: ...

    def forget(self, topic: str) -> None: ...


class CarefulPublisher:
    """The session, for Home Assistant: nothing is published on, or removed from, topics that are another agent's."""

    def __init__(self, session: _Session, topics: Topics, is_muted: Callable[[str], bool]) -> None:
        """:param is_muted: returns true if the topics of a unit are another agent's"""
        self._session = session
        self._topics = topics
        self._is_muted = is_muted

    @property
    def gone_since(self) -> float | None:
        """See `Session.gone_since`."""
        return self._session.gone_since

    def keep(self, topic: str, payload: bytes) -> None:
        """See `Session.keep`."""
        published = self._topics.parse_published(topic)
        if not (isinstance(published, ChannelTopic) and self._is_muted(published.unit)):
            self._session.keep(topic, payload)

    def is_pending(self, topic: str) -> bool:
        """See `Session.is_pending`."""
        return self._session.is_pending(topic)

    def forget(self, topic: str) -> None:
        """See `Session.forget`."""
        self._session.forget(topic)

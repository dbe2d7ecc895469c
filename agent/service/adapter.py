"""Until unit/ hands over reports: what an outlet was, on top of the session."""

from __future__ import annotations

import threading

from agent.mqtt.session import Session
from agent.protocol.messages import ChannelState, Event, Response, UnitInfo
from agent.protocol.report import ReplyTo, Report
from agent.unit.supply import Reply


class OldOutlet:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._states: list[ChannelState] = []
        self._events: list[Event] = []

    @property
    def gone_since(self) -> float | None:
        return self._session.gone_since

    @property
    def congested(self) -> bool:
        return self._session.congested

    def keep(self, topic: str, payload: bytes) -> None:
        self._session.keep(topic, payload)

    def owes(self, topic: str) -> bool:
        return self._session.is_pending(topic)

    def states(self, states: list[ChannelState]) -> None:
        with self._lock:
            self._states += states

    def event(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)

    def _taken(self) -> tuple[list[ChannelState], list[Event]]:
        states, self._states = self._states, []
        events, self._events = self._events, []
        return states, events

    def flush(self) -> None:
        with self._lock:
            states, events = self._taken()
            if states or events:
                self._session.report(Report(states=states, events=events))

    def response(self, response: Response, reply: Reply) -> None:
        with self._lock:
            states, events = self._taken()
            self._session.report(
                Report(
                    states=states, events=events, response=response, reply_to=ReplyTo(reply.topic, reply.correlation)
                )
            )

    def unit(self, info: UnitInfo) -> None:
        self.flush()
        self._session.report(Report(info=info))

"""This agent among others: it hears them, and gives its units their standings. See docs/decisions/0016-who-serves.md."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from pydantic import ValidationError

from agent.mqtt.broker.joining import Publish
from agent.mqtt.incoming import Incoming
from agent.mqtt.item import Serializable
from agent.protocol.messages import AgentInfo, Conflict, UnitInfo
from agent.protocol.topics import AgentTopic, Topics, UnitTopic
from agent.service.fleet import sentences
from agent.service.fleet.claims import own_claim, read_claim
from agent.service.fleet.deciding import REPEAT, Decisions
from agent.service.fleet.twins import Twins
from agent.timing import system_clock
from agent.unit.standing import Standing

log = logging.getLogger(__name__)

#: s between two tries of the agent that came later to go on, after the other one of its name has gone.
_REJOIN = 5.0


class CoordinatorSession(Protocol):
    """The part of the MQTT session that the coordinator needs."""

    @property
    def heard(self) -> float:
        """When the broker was heard last, see `Session.heard`."""

    @property
    def is_ending(self) -> bool:
        """True once the agent ends."""

    @property
    def retains(self) -> bool:
        """False if the broker keeps no retained messages."""

    def keep(self, topic: str, payload: bytes) -> None:
        """Publish retained."""

    def passing(self, topic: str, message: Serializable) -> None:
        """Publish, not retained."""

    def be_silent(self) -> None:
        """Publish nothing but responses until the next joining."""

    def rejoin(self) -> None:
        """End the connection and make another one."""


class ClaimedUnit(Protocol):
    """The part of a unit's configuration that the coordinator needs."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def takeover(self) -> str:
        """``auto`` or ``manual``."""

    @property
    def serial(self) -> str | None:
        """The only serial number that it may have, if the configuration says so."""


class Coordinator:
    """Hears other agents, and decides with `Decisions` and `Twins` what this one may do. For any thread; nothing waits.

    It is the session's `Joining`: it hears all that the broker keeps before anything of this agent is published.
    """

    def __init__(
        self,
        *,
        topics: Topics,
        info: Callable[[], AgentInfo],
        session: CoordinatorSession,
        stand: Callable[[str, Standing, datetime], None],
        tell: Callable[[str], None],
        has_told: Callable[[str, bytes], bool],
        is_first: Callable[[str], None],
        takeover_after: float,
        settings_for: float,
        clock: Callable[[], float] = system_clock,
    ) -> None:
        """
        :param info: makes this agent's own info
        :param stand: gives a unit its standing, and since when this agent has claimed it
        :param tell: publishes a unit's info again
        :param has_told: returns true if this agent has published this info of a unit
        :param is_first: gets a sentence if another agent of this name was there before this one could begin
        :param takeover_after: s, see `Decisions`
        :param settings_for: s, see `Decisions`
        """
        me = info()
        self._agent = me.agent
        self._instance = me.instance or ""
        self._host = me.host
        self._topics = topics
        self._make_info = info
        self._session = session
        self._stand = stand
        self._tell = tell
        self._has_told = has_told
        self._is_first = is_first
        self._takeover_after = takeover_after
        self._clock = clock
        # Held while units take their standings over, so that they come in the order in which they were decided.
        self._lock = threading.Lock()
        self._decisions = Decisions(me.agent, self._instance, takeover_after, settings_for)
        self._twins = Twins(me.agent, self._instance, me.start_time)
        self._is_joining = False
        self._publish: Publish | None = None  # while it has asked, and waits for answers
        self._retry_at = 0.0
        self._is_to_repair = False
        self._repaired = -REPEAT

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """The filters of the messages that `handle` is to get."""
        topics = self._topics
        return (topics.agent_status("+"), topics.agent_info("+"), topics.every_info)

    def serve(self, units: Iterable[ClaimedUnit], dropped: Iterable[str] = ()) -> None:
        """Have these units from now on, beside those that there were, and others not any more."""
        with self._lock:
            for name in dropped:
                self._decisions.drop(name)
            for unit in units:
                self._decisions.serve(unit.name, is_manual=unit.takeover == "manual", serial=unit.serial)
            self._apply()

    def standing(self, unit: str) -> Standing:
        """The newest standing of a unit."""
        return self._decisions.standing(unit)

    def reports(self, unit: str, info: UnitInfo) -> None:
        """Take a unit's info before it is published; the unit has its standing when this returns. In the unit's thread."""
        with self._lock:
            if self._decisions.has(unit):
                claim = own_claim(info, self._instance, self._host, self._decisions.since(unit))
                self._decisions.reports(unit, claim, self._clock())
                self._apply()

    def takeover(self, unit: str) -> None:
        """Take a unit over from an agent that is gone, as soon as that can send no settings any more.

        :raises Refusal: ``conflict``: the other agent is there
        """
        with self._lock:
            self._decisions.takeover(unit, self._clock())
            self._apply()

    # As the session's `Joining`, in its thread.

    def listen(self) -> None:
        """Have the broker tell what it keeps, from now on."""
        with self._lock:
            self._is_joining = True
            self._decisions.begin()
            self._twins.listen()

    def begin(self, publish: Publish) -> None:
        """Ask if another agent of this name is there, behind all that the broker keeps."""
        with self._lock:
            self._twins.begin(self._clock())
            self._publish = publish
        publish(self._topics.agent_info(self._agent), self._make_info().model_copy(update={"asks": True}))

    def is_over(self) -> bool:
        """True once the broker has told what it keeps, and another agent of this name would have answered."""
        return self._twins.is_over(self._clock())

    def end(self) -> bool:
        """Give units their standings by what was heard. False: another agent of this name was there first."""
        with self._lock:
            self._is_joining, self._publish = False, None
            first = self._twins.end()
            now = self._clock()
            session = self._session
            self._decisions.complete(now, now - session.heard, are_statuses_lost=not session.retains)
            self._decisions.yield_to_twin(first, now)
            self._apply()
        if first is not None:
            self._give_way(first)
        return first is None

    def kept(self, topic: str) -> None:
        """Take note that the broker has acknowledged a retained message."""
        published = self._topics.parse_published(topic)
        if isinstance(published, UnitTopic) and published.kind == "info":
            with self._lock:
                self._decisions.kept(published.unit, self._clock())
                self._apply()

    def broker_gone(self, since: float | None) -> None:
        """Take note that the broker is gone (not None), or there: it may be told of units on topics of other agents only now."""
        with self._lock:
            if since is not None:
                self._decisions.lost()
                return
            self._decisions.back(self._clock())
            self._apply()
            for unit in self._decisions.muted:
                self._tell(unit)

    # Messages, in the session's thread.

    def handle(self, topic: UnitTopic | AgentTopic, incoming: Incoming) -> None:
        """Take a unit's info, or a message on a topic of agents."""
        now = self._clock()
        self._twins.hears_anything(now)
        if isinstance(topic, UnitTopic):
            self._hears_unit(topic.unit, incoming.payload, now)
        elif topic.kind == "status":
            self._hears_status(topic.agent, incoming.payload, now)
        elif topic.kind == "info":
            self._hears_agent(topic.agent, incoming, now)

    def _hears_unit(self, unit: str, payload: bytes, now: float) -> None:
        claim = read_claim(unit, payload) if payload else None
        is_genuine = claim is None or claim.instance != self._instance or self._has_told(unit, payload)
        with self._lock:
            if claim is not None:
                self._decisions.hears(claim, now, is_genuine=is_genuine)
            else:
                self._decisions.hears_other(unit, now, is_removal=not payload)
            self._apply()

    def _hears_status(self, agent: str, payload: bytes, now: float) -> None:
        is_online = payload == b"online"
        if agent != self._agent:
            with self._lock:
                self._decisions.hears_status(agent, is_online, now)
                self._apply()
            return
        self._twins.hears_status(is_online, now)
        if not self._is_joining and self._twins.first is None and not is_online and not self._session.is_ending:
            if payload == b"offline":
                # A broker that stops publishes the wills first; so does one that gives up what an earlier run left half open.
                log.info(
                    "broker: the status of this agent has become offline, by its last will or by somebody else; it is corrected"
                )
            else:
                log.warning(
                    "broker: somebody %s the status of this agent; it is corrected",
                    f"published {ascii(payload.decode(errors='replace'))[:40]} as" if payload else "removed",
                )
            self._session.keep(self._topics.agent_status(self._agent), b"online")

    def _hears_agent(self, agent: str, incoming: Incoming, now: float) -> None:
        try:
            info = AgentInfo.model_validate_json(incoming.payload)
        except ValidationError:
            if not incoming.payload and agent == self._agent:
                self._repair()
            return
        if info.agent != agent:
            return
        if agent != self._agent:
            with self._lock:
                self._decisions.hears_units(agent, info.units, now)
                self._apply()
            return
        before = self._twins.first
        answers = self._twins.hears(info, is_retained=incoming.retain, now=now)
        if answers is not None:
            self._answer(answers)
        if self._is_joining:
            return
        if info.instance == self._instance:
            if not self._is_genuine(info):
                self._repair()
            return
        first = self._twins.first
        if first is None:
            if self._twins.is_news(info):
                log.warning(sentences.SECOND, agent, ascii(info.host)[:80])
            if not info.asks:
                self._repair()
        elif first != before:
            with self._lock:
                self._decisions.yield_to_twin(first, now)
                self._apply()
            self._session.be_silent()
            self._give_way(first)

    def _answer(self, instance: str) -> None:
        answer = self._make_info().model_copy(update={"answers": instance})
        publish = self._publish or self._session.passing
        publish(self._topics.agent_info(self._agent), answer)

    def _is_genuine(self, info: AgentInfo) -> bool:
        """True if an info in the name of this run says what this agent says."""
        mine = self._make_info()
        return info.to_json() == mine.model_copy(update=info.model_dump(include={"time", "asks", "answers"})).to_json()

    def _repair(self) -> None:
        """Publish this agent's info again, as something else was published on its topic."""
        if self._is_joining or self._twins.first is not None or self._session.is_ending:
            return
        now = self._clock()
        self._is_to_repair = now < self._repaired + REPEAT
        if not self._is_to_repair:
            self._repaired = now
            self._session.keep(self._topics.agent_info(self._agent), self._make_info().to_json())

    def _give_way(self, first: Conflict) -> None:
        if self._twins.has_joined:
            log.error(
                "%s; until it is gone this agent publishes nothing, and turns outputs off alone", sentences.twin(first)
            )
        else:
            self._is_first(sentences.twin(first))

    # Duties, in the main thread.

    def tick(self, now: float) -> None:
        """Decide what time alone decides. To be called several times a second."""
        del now  # of another clock
        now = self._clock()
        with self._lock:
            self._decisions.tick(now)
            self._apply()
        if self._is_to_repair:
            self._repair()
        gone_at = self._twins.gone_at
        if gone_at is not None and now >= max(gone_at + self._takeover_after, self._retry_at):
            self._retry_at = now + _REJOIN
            log.info("the other agent of this name is gone; this one goes on")
            self._session.rejoin()

    def _apply(self) -> None:
        """Give units their new standings. With the lock held: two threads must not do so in another order than they decided."""
        decisions = self._decisions
        news, decisions.news = decisions.news, []
        for line in news:
            log.warning("%s", line)
        while decisions.changes:
            unit, standing = decisions.changes.popitem()
            self._stand(unit, standing, decisions.since(unit))
        repeats, decisions.repeats = decisions.repeats, []
        if repeats and not self._is_joining and self._twins.first is None and not self._session.is_ending:
            # An agent that came later has not heard it where the broker keeps nothing, or hides it from filters with wildcards.
            self._session.keep(self._topics.agent_status(self._agent), b"online")
        for unit in repeats:
            self._tell(unit)

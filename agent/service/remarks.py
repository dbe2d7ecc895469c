"""The agent's warnings and errors on their way to `agents/{agent}/log`: without secrets, few at a time, and nobody waits."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

from agent.instruments.external.secrets import Secrets
from agent.mqtt.item import Serializable
from agent.protocol.messages import AgentRemark, utc_now
from agent.service.logs import printable
from agent.timing import system_clock
from agent.unit.supply import STOPPED

#: Remarks of a level that are told at once, and so many more a second. Warnings and errors are counted apart, so that a flood of
#: warnings hides no error.
BURST, RATE = 20, 1.0
#: Remarks that wait for a broker that is away. Of more, the oldest go.
MOST_WAITING = 50
#: Characters of a text. A broker takes it, and a person reads it.
LONGEST = 500
#: s on a new connection until what waits is told: if the broker was started anew, those who read it come back, too.
SETTLING = 5.0
#: s without a further one, and s at most, until those that were left out are counted in a remark of its own.
QUIET, LONGEST_UNTOLD = 1.0, 10.0
#: s from the moment at which a remark is given to the session until it has certainly been sent.
_SENDING = 1.0
_TRACEBACK = " (the traceback is in the agent's own log)"
#: The names of variables of the environment whose values no remark shows.
_SECRET_NAMES = re.compile(r"PASS|PWD|TOKEN|SECRET|KEY|CREDENTIAL|AUTH", re.IGNORECASE)
_WORD = re.compile(r"[^\s'\"]+")
_SCHEME = re.compile(r"\w://")
_ASSIGNED = re.compile(
    r"((?:password|passwd|pwd|token|secret|api[-_]?key)[\"']?\s*(?:=|(?<=[\"'])\s*:)\s*[\"']?)[^\s\"',;&]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}")

Level = Literal["warning", "error", "critical"]


class RemarkSession(Protocol):
    """The part of the MQTT session that `Remarks` needs."""

    #: Connections after the first one.
    reconnects: int

    @property
    def speaks(self) -> bool:
        """True while there is a connection that this agent publishes on."""

    @property
    def heard(self) -> float:
        """A moment of `agent.timing.system_clock` (s): the broker has answered something that was sent later."""

    def passing(self, topic: str, message: Serializable) -> None:
        """Publish a message that is not retained."""


@dataclass(slots=True)
class _Bucket:
    """How many of one level may be told now."""

    tokens: float = BURST
    moment: float = 0.0
    left_out: int = 0
    first: float = 0.0  # of those that were left out, s
    last: float = 0.0

    def takes(self, now: float) -> bool:
        self.tokens = min(float(BURST), self.tokens + (now - self.moment) * RATE)
        self.moment = now
        if self.tokens >= 1:
            self.tokens -= 1
            return True
        if not self.left_out:
            self.first = now
        self.left_out += 1
        self.last = now
        return False

    def take_left_out(self, now: float) -> int:
        """How many were left out, once it is time to tell of them; else 0."""
        if not self.left_out or (now - self.last < QUIET and now - self.first < LONGEST_UNTOLD):
            return 0
        count, self.left_out = self.left_out, 0
        return count


@dataclass(frozen=True, slots=True)
class _Remark:
    time: datetime
    level: Level
    text: str
    thread: str | None
    moment: float = field(default=0.0, compare=False)  # when it was given to the session


class Remarks(logging.Handler):
    """Takes the agent's records from any thread, and publishes them in the main thread. No record waits for anything.

    While there is no broker the newest `MOST_WAITING` wait, and are told with their time when it is back. A remark that was
    told right before a connection broke is told again on the next one.

    :param topic: where they are published
    :param units: gives the names of the units that are served
    :param secrets: texts that no remark shows, beside those of the environment
    """

    def __init__(
        self,
        agent: str,
        topic: str,
        session: RemarkSession,
        units: Callable[[], Collection[str]],
        secrets: Iterable[str] = (),
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(logging.WARNING)
        self._agent = agent
        self._topic = topic
        self._session = session
        self._units = units
        hidden = {name: value for name, value in environment.items() if _SECRET_NAMES.search(name)}
        self._secrets = Secrets(secrets, hidden)
        self._clock = clock
        self._buckets: dict[Level, _Bucket] = {
            "warning": _Bucket(moment=clock()),
            "error": _Bucket(moment=clock()),
        }
        self._waiting: deque[_Remark] = deque()
        self._dropped = 0  # of those that waited
        self._unconfirmed: deque[_Remark] = deque(maxlen=MOST_WAITING)
        self._reconnects = self._told_on = session.reconnects
        self._due = -math.inf

    def begin(self) -> None:
        """Take what the agent logs from now on."""
        logging.getLogger("agent").addHandler(self)

    def end(self) -> None:
        """Take nothing more, and publish what waits, if there is a broker."""
        logging.getLogger("agent").removeHandler(self)
        self._publish()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record for `tick`. From any thread, which may hold any lock: so nothing here calls the session."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001  # the log itself tells what is wrong with it
            text = str(record.msg)
        # The broker refuses it there, and would refuse this one, too; and that a unit goes with its agent is no warning.
        if self._topic in text or text.endswith(f": {STOPPED}"):
            return
        level: Level = (
            "critical"
            if record.levelno >= logging.CRITICAL
            else "error"
            if record.levelno >= logging.ERROR
            else "warning"
        )
        if not self._buckets["warning" if level == "warning" else "error"].takes(self._clock()):
            return
        if record.exc_info:
            text += _TRACEBACK
        self._keep(_Remark(datetime.fromtimestamp(record.created, UTC), level, text, record.threadName))

    def _keep(self, remark: _Remark) -> None:
        """With the handler's lock held."""
        self._waiting.append(remark)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self._dropped += 1

    # In the main thread.

    def tick(self, _: float = 0.0) -> None:
        """Publish what waits, if there is a broker. To be called several times a second."""
        session = self._session
        if not session.speaks:
            return
        now = self._clock()
        if session.reconnects != self._reconnects:
            self._reconnects = session.reconnects
            self._due = now + SETTLING
        if now >= self._due:
            self._publish()

    def _publish(self) -> None:
        session, now = self._session, self._clock()
        if not session.speaks:
            return
        self.acquire()
        try:
            if session.reconnects != self._told_on:
                self._told_on = session.reconnects
                self._waiting.extendleft(reversed(self._unconfirmed))
                self._unconfirmed.clear()
            for level, bucket in self._buckets.items():
                if count := bucket.take_left_out(now):
                    self._keep(_left_out(count, level))
            waiting, self._waiting = self._waiting, deque()
            dropped, self._dropped = self._dropped, 0
        finally:
            self.release()
        if dropped:
            waiting.appendleft(_forgotten(dropped))
        while self._unconfirmed and self._unconfirmed[0].moment + _SENDING < session.heard:
            self._unconfirmed.popleft()
        for remark in waiting:
            session.passing(self._topic, self._message(remark))
            self._unconfirmed.append(
                _Remark(remark.time, remark.level, remark.text, remark.thread, moment=system_clock())
            )

    def _message(self, remark: _Remark) -> AgentRemark:
        unit, text = self._unit_of(remark)
        return AgentRemark(time=remark.time, agent=self._agent, level=remark.level, unit=unit, text=self._shown(text))

    def _unit_of(self, remark: _Remark) -> tuple[str | None, str]:
        """The unit that a remark is about, and its text without the name; None where it is about none that is served."""
        units = self._units()
        name, separator, rest = remark.text.partition(": ")
        name = name.strip("'")
        if separator and name in units:
            return name, rest
        thread = (remark.thread or "").removeprefix("supply-")
        return (thread if thread in units else None), remark.text

    def _shown(self, text: str) -> str:
        text = self._secrets.conceal(text)
        text = _BEARER.sub(r"\1 ***", _ASSIGNED.sub(r"\1***", _WORD.sub(_without_login, text)))
        text = printable(" ".join(text.split()))
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _without_login(word: re.Match[str]) -> str:
    """A word without the user and the password of a URL in it."""
    # Not by one expression: for a long text with many schemes and no @ it would take seconds of the main thread.
    text = word[0]
    scheme, at = _SCHEME.search(text), text.rfind("@")
    return text if scheme is None or at < scheme.end() else f"{text[: scheme.end()]}***{text[at:]}"


def _left_out(count: int, level: Level) -> _Remark:
    more = f"{count} more {level}s were" if count > 1 else f"1 more {level} was"
    text = f"{more} left out here: {BURST} are told at once, and then one a second; the agent's own log has them all"
    return _Remark(utc_now(), level, text, None)


def _forgotten(count: int) -> _Remark:
    older = f"{count} older warnings or errors are" if count > 1 else "1 older warning or error is"
    text = f"{older} not told: only the newest {MOST_WAITING} wait for a broker that is away; the agent's own log has them all"
    return _Remark(utc_now(), "warning", text, None)

"""One unit and its worker thread: connect, poll on a fixed schedule, carry commands out, report what the unit says."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol

import tenacity

from agent.config import ChannelSettings
from agent.instruments.catalogue import (
    Batching,
    Guard,
    Identification,
    IdentityError,
    Inspection,
    MalformedAnswerError,
    Model,
    PollPlan,
    Reading,
    candidates,
    identify,
    parse_identification,
)
from agent.instruments.scpi.dialect import parse_error
from agent.instruments.visa.session import LinkError
from agent.protocol.commands import Command
from agent.protocol.errors import ErrorCode, Refusal
from agent.protocol.messages import ChannelInfo, ChannelState, Event, Response, ResponseError, UnitInfo, utc_now
from agent.timing import LONGEST_ABSENCE, backoff, system_clock
from agent.unit import commands
from agent.unit.commands import Channel, Look, Pause, Plan, Settle, Write
from agent.unit.meters import Meter

log = logging.getLogger(__name__)

#: Commands that may wait for one unit. More than that is a flood, and its senders are told.
MOST_WAITING = 100
#: s. A command that could not be begun by then is not wanted any more.
LONGEST_WAIT = 10.0
#: s
CONGESTION_PAUSE = 0.002
#: s; reconnection backs off from the first to the second, each time by a random part more.
FIRST_RETRY, LAST_RETRY, RETRY_JITTER = 0.25, 10.0, 0.5
#: s. A link that did not last that long is not opened again at once.
SHORT_LIVED = 1.0

STOPPED = "the agent has stopped"

By = Literal["command", "panel", "agent"]


@dataclass(frozen=True, slots=True)
class Reply:
    """Where the sender of a command wants its response: MQTT 5's Response Topic and Correlation Data, if any."""

    topic: str | None = None
    correlation: bytes | None = None


@dataclass(slots=True, eq=False)
class Job:
    """A checked command on its way to a unit."""

    command: Command
    channels: tuple[Channel, ...]
    whole_unit: bool = False
    reply: Reply = field(default_factory=Reply)
    by: By = "command"
    expires: float | None = None  # of time.monotonic, from MQTT's message expiry
    retried: bool = False
    received: float = field(default_factory=system_clock)

    @property
    def indices(self) -> frozenset[int]:
        return frozenset(channel.index for channel in self.channels)

    @property
    def turns_off(self) -> bool:
        return self.command.state is False

    @property
    def turns_on(self) -> bool:
        return bool(self.command.state) or self.command.cycle is not None

    def has_expired(self) -> bool:
        expires_at = self.command.expires_at
        return (expires_at is not None and utc_now() > expires_at) or (
            self.expires is not None and time.monotonic() > self.expires
        )


class Outlet(Protocol):
    """Where a unit's reports go. Every method returns at once, whatever the broker does."""

    @property
    def congested(self) -> bool: ...
    def states(self, states: list[ChannelState]) -> None: ...
    def event(self, event: Event) -> None: ...
    def flush(self) -> None: ...  # states and events go then, or with a response
    def response(self, response: Response, reply: Reply) -> None: ...
    def unit(self, info: UnitInfo) -> None: ...


class _Nowhere:
    """The outlet of a worker that has been abandoned."""

    congested = False

    def flush(self) -> None: ...
    def states(self, states: list[ChannelState]) -> None: ...
    def event(self, event: Event) -> None: ...
    def response(self, response: Response, reply: Reply) -> None: ...
    def unit(self, info: UnitInfo) -> None: ...


class Link(Protocol):
    """The way to a unit. Any `LinkError` closes it, and only opening it again cures."""

    uri: str

    @property
    def is_open(self) -> bool: ...
    def open(self) -> None: ...
    def ask(self, message: str) -> str: ...
    def tell(self, message: str) -> None: ...
    def ask_ahead(self, message: str) -> bool: ...
    def hear(self) -> str: ...
    def close(self) -> None: ...


class Questions(Protocol):
    """What is asked for a poll, and the reader of the answers."""

    @property
    def messages(self) -> tuple[str, ...]: ...
    def read(self, answers: Sequence[str]) -> dict[int, Reading]: ...


@dataclass(slots=True)
class Counters:
    """Since the agent's start."""

    polls: int = 0
    late_polls: int = 0
    errors: int = 0
    reconnects: int = 0
    commands: int = 0
    refusals: int = 0


@dataclass(slots=True, eq=False)
class _Running:
    """A plan that is being carried out."""

    job: Job
    plan: Plan
    due: float = 0.0
    inspected: bool = False  # the unit was asked what would forbid a setting
    wrote: bool = False
    unchecked: str | None = None  # sent, and its errors not asked for yet
    current: bool = False  # what was published last is newer than what was sent last
    looked: commands.Readings | None = None
    errors: list[str] = field(default_factory=list)

    def next_step(self) -> commands.Step:
        # A generator that has not begun takes nothing but None, one that has ignores what it did not ask for.
        looked, self.looked = self.looked, None
        return self.plan.send(looked)  # type: ignore[arg-type]


class _Stopped(Exception):
    """The worker is to end."""


class Supply:
    """One unit: its link, its schedule, its commands. What touches the link runs in its own thread alone."""

    def __init__(
        self,
        *,
        name: str,
        agent: str,
        model: str,
        session: Link,
        outlet: Outlet,
        serial: str | None = None,
        poll_interval: float = 1.0,
        channels: Mapping[int, ChannelSettings] | None = None,
        meters: Mapping[int, Meter] | None = None,
        phase: float = 0.0,
        predecessor: Supply | None = None,
    ) -> None:
        """``predecessor``: the unit under an older configuration, whose counts go on; it has been stopped."""
        self.name = name
        self.counters: Counters = Counters() if predecessor is None else predecessor.counters
        self._agent = agent
        self._session = session
        self._outlet = outlet
        self._serial = serial
        self._interval = poll_interval
        self._phase = phase
        self._candidates = candidates(model)
        self._settings = dict(channels or {})
        self._meters = dict(meters or {})

        self._lock = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._offs: deque[Job] = deque()
        self._look_now = False
        self._stopping = False
        self._abandoned = False
        self._stopped_why = STOPPED
        self._gone_since: float | None = None
        self._online = False
        self._heartbeat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"supply-{name}", daemon=True)

        self._model = self._candidates[0]
        self._identification: Identification | None = None
        self._reason: str | None = "not connected yet"
        self._channels = self._channels_of(self._model)
        self._door = commands.Door(self._model.series, self._channels)
        self._batching: dict[str, Batching] = {}
        self._guards: tuple[Guard, ...] = ()
        self._unknown_guards: dict[str, set[str]] = {}
        self._inspected_plan: PollPlan | None = None  # whose message may have other questions ahead of it
        self._failed_inspections: dict[str, int] = {}
        self._poll_plan: Questions = PollPlan(self._model, Batching.COMPOUND)
        self._running: list[_Running] = []
        self._due = 0.0
        self._asked = False  # a poll that is under way
        self._last_time = utc_now() - _MILLISECOND
        self._seq: dict[int, int] = dict.fromkeys(self._channels, 0)
        if predecessor is not None:
            self._seq |= predecessor._seq
        self._latest: dict[int, tuple[Reading, float]] = {}
        self._before: dict[int, Reading] = {}
        self._authors: dict[int, dict[str, tuple[By, str | None]]] = {}
        self._states: dict[int, ChannelState] = {}
        self._policy_done: set[int] = set()
        self._connected_before = False
        self._connected_at = -SHORT_LIVED

    # For other threads.

    def start(self) -> None:
        self._thread.start()

    def stop(self, why: str = STOPPED) -> None:
        """Ask the worker to end; `join` waits for it. No output changes. ``why`` is told to whoever wants something of it."""
        with self._lock:
            self._stopping = True
            self._stopped_why = why
            self._lock.notify_all()

    def join(self, timeout: float) -> bool:
        """Whether the worker has ended within the timeout (s). One that a unit holds up ends with the process."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Say in the place of a worker that a unit holds up that nothing is known of the unit any more; it says no more.

        What waits or is being carried out is answered for it, and goes no further when the unit lets go of it.
        """
        with self._lock:
            self._abandoned = True
            running, waiting = list(self._running), [*self._offs, *self._waiting]
            self._offs.clear()
            self._waiting.clear()
        for current in running:
            if current.wrote:
                self._refuse(current.job, "uncertain", f"{self._stopped_why} before the unit confirmed it")
            else:
                self._refuse(current.job, "superseded", f"{self._stopped_why} before it was begun")
        for job in waiting:
            self._refuse(job, "superseded", f"{self._stopped_why} before it was begun")
        self._offline(self._stopped_why)
        self._outlet = _Nowhere()

    @property
    def online(self) -> bool:
        return self._online

    def channel(self, key: str) -> Channel:
        """The channel that a topic names by its number or its name.

        :raises Refusal: ``unknown_channel``
        """
        for channel in self._channels.values():
            if key in (str(channel.index), channel.name):
                return channel
        if not self._channels:
            raise Refusal("offline", self._offline_reason())
        known = ", ".join(
            str(c.index) if c.name == c.model.name else f"{c.index} ({c.name})" for c in self._channels.values()
        )
        raise Refusal("unknown_channel", f"{self.name} has no channel {ascii(key)[:70]}; it has {known}")

    @property
    def channels(self) -> tuple[Channel, ...]:
        return tuple(self._channels.values())

    def submit(self, job: Job) -> None:
        """Check a command and give it to the worker: turning off goes ahead of everything that waits.

        What waits to turn one of the same outputs on is older than the wish that it be off, and is refused.

        :raises Refusal: it is not carried out, and nothing of it was
        """
        if job.has_expired():
            raise Refusal(
                "expired", f"it has expired: expires_at was {job.command.expires_at}, or MQTT's expiry ran out"
            )
        commands.check(job.command, job.channels, self._model.series)
        replaced: list[Job] = []
        with self._lock:
            if not self._online or self._stopping:
                raise Refusal("offline", self._offline_reason())
            if job.turns_off:
                self._offs.append(job)
                replaced = [other for other in self._waiting if other.turns_on and other.indices & job.indices]
                for other in replaced:
                    self._waiting.remove(other)
            elif len(self._waiting) >= MOST_WAITING:
                raise Refusal("busy", f"{MOST_WAITING} commands wait for {self.name} already; send fewer at a time")
            else:
                self._waiting.append(job)
            self._lock.notify_all()
        for other in replaced:
            self._refuse(other, "superseded", "the output was turned off before it was begun")

    def poll_now(self) -> None:
        """Poll and publish as soon as the worker is free, out of its schedule."""
        with self._lock:
            self._look_now = True
            self._lock.notify_all()

    def broker_gone(self, since: float | None) -> None:
        """Tell since when (`time.monotonic`) there is no broker, None while there is one, for ``on_broker_loss``."""
        if since != self._gone_since:
            with self._lock:
                self._gone_since = since
                self._lock.notify_all()

    def alive(self, within: float) -> bool:
        """Whether the thread runs and did something within that time (s)."""
        return self._thread.is_alive() and time.monotonic() - self._heartbeat < within

    def meters(self) -> dict[int, Meter]:
        """A copy of the channels' energy and charge."""
        return {index: meter.copy() for index, meter in self._meters.items()}

    def info(self) -> UnitInfo:
        identification = self._identification
        return UnitInfo(
            time=utc_now(),
            agent=self._agent,
            psu=self.name,
            online=self._online,
            reason=None if self._online else self._reason,
            model=self._model_name(),
            manufacturer=identification.manufacturer if identification else None,
            serial=identification.serial if identification else None,
            firmware=identification.firmware if identification else None,
            uri=self._session.uri,
            poll_interval=self._interval,
            channels=[
                ChannelInfo(
                    index=channel.index,
                    name=channel.name,
                    voltage_rating=channel.model.voltage_rating,
                    current_rating=channel.model.current_rating,
                    voltage_limit_range=channel.allowed("voltage_limit"),
                    current_limit_range=channel.allowed("current_limit"),
                    voltage_protection_range=channel.range("voltage_protection"),
                    voltage_resolution=channel.model.voltage_resolution,
                    current_resolution=channel.model.current_resolution,
                    on_broker_loss=self._channel_settings(channel.index).on_broker_loss,
                    broker_loss_after=self._channel_settings(channel.index).broker_loss_after
                    if self._channel_settings(channel.index).on_broker_loss == "off"
                    else None,
                    fields=commands.supported(channel, self._model.series),
                )
                for channel in self._channels.values()
            ],
        )

    # The worker's loop.

    def _run(self) -> None:
        failure: str | None = None
        self._outlet.unit(self.info())
        while True:
            try:
                if failure is not None:
                    reason, failure = failure, None
                    self._lost(reason)
                if not self._session.is_open:
                    self._connect_until_it_works()
                while True:
                    self._serve_once()
            except _Stopped:
                break
            except (LinkError, MalformedAnswerError) as error:
                failure = str(error)
            except Exception:
                log.exception("%s: unexpected; the link is closed and opened again", self.name)
                failure = "an unexpected error of the agent; see its log"
                time.sleep(FIRST_RETRY)  # whatever it was, it must not spin
        self._end()

    def _serve_once(self) -> None:
        """Do the one thing that is most due, or wait for it."""
        with self._lock:
            self._heartbeat = time.monotonic()
            if self._stopping:
                raise _Stopped
            job = self._offs.popleft() if self._offs else None
            if job is None and not self._due_step() and self._waiting:
                job = self._waiting.popleft()
        if job is not None:
            self._begin(job)
            return
        policy = self._policy()
        if policy is not None:
            self._begin(policy)
            return
        step = self._due_step()
        if step is not None:
            self._advance(step)
            return
        now = time.monotonic()
        if self._look_now or now >= self._due:
            self._scheduled_poll(now)
            return
        with self._lock:
            if not (self._offs or self._waiting or self._look_now or self._stopping):
                self._lock.wait(max(0.0, self._next_due() - time.monotonic()))

    def _due_step(self) -> _Running | None:
        now = system_clock()
        return next((running for running in self._running if running.due <= now), None)

    def _next_due(self) -> float:
        ahead = time.monotonic() - system_clock()
        moments = [self._due, *(running.due + ahead for running in self._running)]
        if self._gone_since is not None:
            moments += [
                self._gone_since + self._channel_settings(index).broker_loss_after
                for index in self._channels
                if self._channel_settings(index).on_broker_loss == "off" and index not in self._policy_done
            ]
        return min(moments)

    # Connecting.

    def _connect_until_it_works(self) -> None:
        if time.monotonic() - self._connected_at < SHORT_LIVED:
            # A unit that takes the connection and then drops it must not be asked a hundred times a second.
            self._wait_offline(FIRST_RETRY)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((LinkError, IdentityError, MalformedAnswerError)),
            wait=backoff(FIRST_RETRY, LAST_RETRY, RETRY_JITTER),
            sleep=self._wait_offline,
        )
        retrying(self._connect)
        self._connected_before = True

    def _wait_offline(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with self._lock:
            while not self._stopping and (left := until - time.monotonic()) > 0:
                self._heartbeat = time.monotonic()
                self._lock.wait(min(left, 5.0))
            if self._stopping:
                raise _Stopped

    def _connect(self) -> None:
        with self._lock:
            self._heartbeat = time.monotonic()
            if self._stopping:
                raise _Stopped
        if self._connected_before:
            self.counters.reconnects += 1
        try:
            self._session.open()
            identification = self._get_acquainted()
            readings = self._poll()
        except (LinkError, IdentityError, MalformedAnswerError) as error:
            self._session.close()
            self.counters.errors += 1
            self._offline(str(error))
            raise
        self._due = self._first_due()
        self._connected_at = time.monotonic()
        with self._lock:
            self._online = True
            self._reason = None
        log.info(
            "%s: %s %s, firmware %s, at %s; %s a poll",
            self.name,
            self._model.name,
            identification.serial,
            identification.firmware,
            self._session.uri,
            "one message" if len(self._poll_plan.messages) == 1 else f"{len(self._poll_plan.messages)} messages",
        )
        self._publish(readings)
        self._outlet.unit(self.info())

    def _get_acquainted(self) -> Identification:
        """Learn who answers on a fresh link, whether it may be served, and how it is polled."""
        identification = parse_identification(self._session.ask("*IDN?"))
        self._adopt(identification, self._expected_model(identification))
        self._tell_old(self._errors())
        self._poll_plan = plan = self._find_batching(identification)
        self._guards = self._find_guards(identification)
        self._inspected_plan = self._find_inspection(identification, plan)
        return identification

    def _expected_model(self, identification: Identification) -> Model:
        model = identify(identification)
        found = f"{identification.manufacturer} {identification.model}"
        if model is None or model not in self._candidates:
            wanted = " or ".join(candidate.name for candidate in self._candidates)
            raise IdentityError(f"at {self._session.uri} is a {found}, not a {wanted}; it gets no commands")
        if self._serial is not None and identification.serial != self._serial:
            raise IdentityError(
                f"at {self._session.uri} is number {identification.serial}, not {self._serial}; it gets no commands"
            )
        return model

    def _adopt(self, identification: Identification, model: Model) -> None:
        if self._identification is not None and identification.serial != self._identification.serial:
            # Another unit of the same model, where the configuration names no serial: what was known does not hold.
            self._before.clear()
            self._authors.clear()
        self._identification = identification
        if model is not self._model:
            self._model = model
            self._channels = self._channels_of(model)
            for index in self._channels:
                self._seq.setdefault(index, 0)
        self._door = commands.Door(model.series, self._channels)

    def _find_batching(self, identification: Identification) -> PollPlan:
        """The fewest messages that this unit answers a poll in; remembered, as a refusal may cost a timeout."""
        for batching in Batching:
            if batching < self._batching.get(identification.serial, Batching.COMPOUND):
                continue
            plan = PollPlan(self._model, batching)
            try:
                plan.read([self._session.ask(message) for message in plan.messages])
            except (LinkError, MalformedAnswerError) as error:
                self._session.open()
                parse_identification(self._session.ask("*IDN?"))
                refused = [number for number, _ in self._errors() if -500 < number <= -100]
                if not refused or batching is Batching.SINGLE:
                    raise
                log.warning("%s: polls in smaller messages, as the unit refused larger ones: %s", self.name, error)
                continue
            self._batching[identification.serial] = batching
            return plan
        raise AssertionError("unreachable")

    def _find_inspection(self, identification: Identification, plan: PollPlan) -> PollPlan | None:
        """The plan, if this unit answers it together with all that is asked around a setting; else they are asked one by one.

        One that fails in it twice, and says nothing of why, is taken at its word, too: it would never be online.
        """
        failures = self._failed_inspections.get(identification.serial, 0)
        if plan.batching is not Batching.COMPOUND or failures > 1:
            return None
        inspection = Inspection(plan, self._model.series.error_query, [guard.ask for guard in self._guards])
        try:
            inspection.read(self._session.ask(inspection.message))
        except (LinkError, MalformedAnswerError):
            self._session.open()
            parse_identification(self._session.ask("*IDN?"))
            failures += 2 if self._errors() else 1
            self._failed_inspections[identification.serial] = failures
            if failures < 2:
                raise
            log.info("%s: a setting takes some messages more, as the unit does not answer them in one", self.name)
            return None
        return plan

    def _tell_old(self, errors: list[tuple[int, str]]) -> None:
        for number, text in errors:
            log.warning("%s: an error stood in the unit's queue: %d, %s", self.name, number, text)

    def _errors(self) -> list[tuple[int, str]]:
        """Empty the unit's error queue."""
        found = []
        for _ in range(self._model.series.error_queue + 5):
            number, text = parse_error(self._session.ask(self._model.series.error_query))
            if number == 0:
                break
            found.append((number, text))
        return found

    def _first_due(self) -> float:
        """Units start spread over the interval, and keep their place in it through reconnections."""
        if self._interval <= 0:
            return time.monotonic()
        now = time.monotonic()
        return now + self._interval - (now - self._phase) % self._interval

    def _lost(self, reason: str) -> None:
        """The link failed: nothing is believed until it has been opened again and the unit has said who it is."""
        self._session.close()
        self._asked = False
        self.counters.errors += 1
        self._offline(reason)
        unsure = [running for running in self._running if running.wrote]
        untouched = [running for running in self._running if not running.wrote]
        self._running = []
        retries: list[Job] = []
        for running in [*unsure, *untouched]:
            if running.job.turns_off and not running.job.retried:
                running.job.retried = True
                retries.append(running.job)
            elif running in unsure:
                self._refuse(
                    running.job,
                    "uncertain",
                    f"the link broke after it was sent; it may or may not have happened: {reason}",
                )
            else:
                self._refuse(running.job, "offline", self._offline_reason())
        with self._lock:
            dropped, self._waiting = self._waiting, deque()
            retries += self._offs
            self._offs = deque()
        for job in dropped:
            self._refuse(job, "offline", self._offline_reason())
        if not retries:
            return
        # Turning off is worth one more try at once. If the link does not come back for it, its sender is told.
        try:
            self._connect()
        except (LinkError, IdentityError, MalformedAnswerError):
            for job in retries:
                if job.retried:
                    self._refuse(job, "uncertain", _UNCERTAIN.format(reason))
                else:
                    self._refuse(job, "offline", self._offline_reason())
            return
        self._connected_before = True
        with self._lock:
            self._offs.extendleft(reversed(retries))

    def _offline(self, reason: str) -> None:
        """Say once that the unit can't be reached, and publish that nothing is known of its channels."""
        with self._lock:
            was_online, changed = self._online, reason != self._reason
            self._online = False
            self._reason = reason
        if was_online or changed:
            log.warning("%s: offline: %s", self.name, reason)
            self._outlet.unit(self.info())
        if was_online or not self._states:
            now = utc_now()
            self._latest.clear()
            for meter in self._meters.values():
                meter.pause()
            self._outlet.states([self._state(channel, now, None) for channel in self._channels.values()])
            self._outlet.flush()

    def _offline_reason(self) -> str:
        if self._stopping:
            return f"{self.name} is not served any more: {self._stopped_why}"
        return f"{self.name} is offline: {self._reason}" if self._reason else f"{self.name} is offline"

    def _end(self) -> None:
        with self._lock:
            left = [*self._offs, *self._waiting, *(running.job for running in self._running)]
            self._offs.clear()
            self._waiting.clear()
            self._running.clear()
        for job in left:
            self._refuse(job, "superseded", f"{self._stopped_why} before it was finished; the output stays as it is")
        if self._asked:
            with contextlib.suppress(LinkError):
                self._session.hear()  # a unit that is left in the middle of an answer remembers it as an error
        self._offline(self._stopped_why)
        self._session.close()

    # Polling.

    def _scheduled_poll(self, now: float) -> None:
        with self._lock:
            self._look_now = False
        if now >= self._due:
            self._due += self._interval
            if self._due <= now:  # late by a whole interval or more: keep the place in the schedule
                if self._interval > 0:
                    self.counters.late_polls += 1
                    missed = (now - self._due) // self._interval + 1
                    self._due += missed * self._interval
                else:
                    # As fast as it answers, but not faster than the broker takes it.
                    self._due = now + (CONGESTION_PAUSE if self._outlet.congested else 0.0)
        readings = self._poll()
        if self._interval <= 0 and len(self._poll_plan.messages) == 1 and not self._outlet.congested:
            # The unit works on its next answer while this one is published.
            self._asked = self._session.ask_ahead(self._poll_plan.messages[0])
        self._publish(readings)
        self._outlet.flush()

    def _hear_what_was_asked(self) -> None:
        """Before anything else is said to the unit."""
        if self._asked:
            self._publish(self._poll())
            self._outlet.flush()

    def _poll(self) -> dict[int, Reading]:
        session = self._session
        if self._asked:
            self._asked = False
            answers = [session.hear()]
        else:
            answers = [session.ask(message) for message in self._poll_plan.messages]
        readings = self._poll_plan.read(answers)
        self._polled(readings)
        return readings

    def _polled(self, readings: dict[int, Reading]) -> None:
        self.counters.polls += 1
        self._door.saw(readings)

    def _publish(self, readings: Mapping[int, Reading]) -> None:
        now, moment = self._time_of_sample(), system_clock()
        states = []
        for index, reading in readings.items():
            self._latest[index] = (reading, moment)
            channel = self._channels[index]
            meter = self._meters.setdefault(index, Meter())
            power = self._power(channel, reading)
            if power is None or reading.current is None or not reading.state:
                meter.pause()
            else:
                meter.add(moment, power, reading.current, longest_gap=max(5.0, 3 * self._interval))
            states.append(self._state(channel, now, reading, power))
        self._outlet.states(states)
        for index, reading in readings.items():
            self._tell_changes(self._channels[index], now, reading)

    def _time_of_sample(self) -> datetime:
        """Now; or a millisecond after the last sample, where a store that knows a sample by its time would take two for one.

        A unit that is polled without a pause may answer more than once a millisecond: its times stay as they are.
        """
        now = utc_now()
        # Commands in a row may put it some ms ahead; by more than that the clock was set back.
        if self._interval > 0 and -_FURTHEST_AHEAD < now - self._last_time < _MILLISECOND:
            now = self._last_time + _MILLISECOND
        self._last_time = now
        return now

    def _state(
        self, channel: Channel, now: datetime, reading: Reading | None, power: float | None = None
    ) -> ChannelState:
        index = channel.index
        self._seq[index] += 1
        meter = self._meters.setdefault(index, Meter())
        if reading is None:
            state = ChannelState(
                time=now,
                seq=self._seq[index],
                agent=self._agent,
                psu=self.name,
                index=index,
                name=channel.name,
                model=self._model_name(),
                online=False,
                energy=meter.energy,
                charge=meter.charge,
            )
        else:
            state = ChannelState(
                time=now,
                seq=self._seq[index],
                agent=self._agent,
                psu=self.name,
                index=index,
                name=channel.name,
                model=self._model.name,
                online=True,
                state=reading.state,
                voltage=reading.voltage,
                current=reading.current,
                power=power,
                voltage_limit=reading.voltage_limit,
                current_limit=reading.current_limit,
                mode=reading.mode,
                tripped=reading.tripped,
                voltage_protection=reading.voltage_protection,
                current_protection=reading.current_protection,
                energy=meter.energy,
                charge=meter.charge,
            )
        self._states[index] = state
        return state

    @staticmethod
    def _power(channel: Channel, reading: Reading) -> float | None:
        """What the output delivers (W), to the microwatt; a negative output delivers it at negative volts."""
        if reading.voltage is None or reading.current is None:
            return None
        negative = channel.model.voltage is not None and channel.model.voltage.max <= 0
        voltage = abs(reading.voltage) if negative else reading.voltage
        return round(voltage * reading.current, 6) + 0.0  # no -0.0

    def _tell_changes(self, channel: Channel, now: datetime, reading: Reading) -> None:
        index = channel.index
        before = self._before.get(index)
        self._before[index] = reading
        authors = self._authors.pop(index, {})
        if before is None or before[2:] == reading[2:]:  # all but what is measured
            return
        for name in _WATCHED:
            old, new = getattr(before, name), getattr(reading, name)
            if old == new:
                continue
            by, command_id = authors.get(name, ("panel", None))
            if name == "voltage_limit" and by == "command" and self._is_on_its_way(index, reading):
                # A ramp is one change, told when it ends.
                self._before[index] = reading._replace(voltage_limit=before.voltage_limit)
                self._authors[index] = {name: (by, command_id)}
                continue
            self._outlet.event(self._event(channel, now, name, old, new, by, command_id))

    def _is_on_its_way(self, index: int, reading: Reading) -> bool:
        return any(
            index in running.job.indices
            and running.job.command.ramp is not None
            and running.job.command.voltage_limit != reading.voltage_limit
            for running in self._running
        )

    def _event(
        self,
        channel: Channel,
        now: datetime,
        name: str,
        old: float | bool | str | None,
        new: float | bool | str | None,
        by: By,
        command_id: str | None,
    ) -> Event:
        author = {
            "command": f"by command {command_id}" if command_id else "by command",
            "panel": "at the unit",
            "agent": "by the agent",
        }[by]
        return Event(
            time=now,
            agent=self._agent,
            psu=self.name,
            index=channel.index,
            name=channel.name,
            model=self._model.name,
            field=name,
            **{"from": old},
            to=new,
            by=by,
            id=command_id,
            text=f"{name} {_shown(name, old)} → {_shown(name, new)} {author}",
        )

    # Commands.

    def _begin(self, job: Job) -> None:
        if job.has_expired() or (not job.turns_off and system_clock() - job.received > LONGEST_WAIT):
            self._refuse(job, "expired", "it expired while it waited for the unit")
            return
        for running in [r for r in self._running if r.job.indices & job.indices]:
            self._running.remove(running)
            running.plan.close()
            self._refuse(
                running.job,
                "superseded",
                "the rest of it was replaced by a newer command"
                if job.by == "command"
                else "the output was turned off",
            )
        plan = (
            commands.off(job.channels)
            if job.command.turns_off
            else commands.apply(job.command, job.channels, self._latest.get)
        )
        running = _Running(job, plan)
        self._running.append(running)
        self._advance(running)

    def _advance(self, running: _Running) -> None:
        """Carry the plan on to its next pause, or to its end."""
        self._hear_what_was_asked()
        try:
            held_up = system_clock() - running.due if running.due else 0.0
            if held_up > LONGEST_ABSENCE:
                raise Refusal("superseded", f"the rest of it was given up: the agent was held up for {held_up:.0f} s")
            while True:
                self._heartbeat = time.monotonic()
                self._yield_to_off(running)
                step = running.next_step()
                match step:
                    case Look():
                        running.looked = self._look(running)
                    case Settle():
                        self._settle(running)
                    case Pause(until=until):
                        running.due = until
                        self._outlet.flush()
                        return
                    case writes:
                        self._write(running, writes)
        except StopIteration:
            self._running.remove(running)
            self._confirm(running.job)
        except Refusal as refusal:
            self._running.remove(running)
            code, message = refusal.code, refusal.message
            if running.errors and code == "readback_mismatch":
                code, message = "instrument_error", f"{message}; the unit says: {'; '.join(running.errors)}"
            self._refuse(running.job, code, message)
            if running.wrote and not running.current and not self._offs:
                self._publish(self._poll())
                self._outlet.flush()

    def _look(self, running: _Running) -> commands.Readings:
        """Poll and publish; and before the first setting see whether anything forbids it, after one whether it was taken.

        What is published is not flushed: it goes with the response. The broker's thread and this one would only hinder each
        other on the way there.

        :raises Refusal: ``unsupported`` or ``instrument_error``
        """
        job, sent = running.job, running.unchecked
        guards: list[Guard] = []
        if not running.inspected and not job.command.turns_off:
            guards = [guard for guard in self._guards if not job.indices.isdisjoint(guard.channels)]
        elif sent is None:
            readings = self._poll()
            self._publish(readings)
            return readings
        errors, answers, readings = self._inspect(guards)
        running.inspected, running.unchecked, running.current = True, None, True
        self._publish(readings)
        self._judge(running, sent, errors)
        for guard, answer in zip(guards, answers, strict=True):
            if answer.strip().strip('"').upper() not in guard.expect:
                done = "; it was turned off" if running.wrote else ""
                raise Refusal(
                    "unsupported",
                    f"{guard.coupling} on {self.name}, so a setting of one is a setting of both; "
                    f"end that at the unit first{done}",
                )
        return readings

    def _inspect(self, guards: Sequence[Guard]) -> tuple[list[tuple[int, str]], list[str], dict[int, Reading]]:
        """What stood in the error queue, the answers to the guards, and a poll: in one message where the unit takes that."""
        session = self._session
        if self._inspected_plan is None:
            return self._errors(), [session.ask(guard.ask) for guard in guards], self._poll()
        inspection = Inspection(self._inspected_plan, self._model.series.error_query, [guard.ask for guard in guards])
        error, answers, readings = inspection.read(session.ask(inspection.message))
        errors: list[tuple[int, str]] = []
        if error[0]:
            errors = [error, *self._errors()]
            # On a slow unit what came with the first error is seconds old when the last one has been read.
            error, answers, readings = inspection.read(session.ask(inspection.message))
            errors += [error] if error[0] else []
        self._polled(readings)
        return errors, answers, readings

    def _settle(self, running: _Running) -> None:
        """Ask whether what was sent last was taken, where no look does.

        :raises Refusal: ``instrument_error``
        """
        sent, running.unchecked = running.unchecked, None
        if sent is not None:
            self._judge(running, sent, self._errors())

    def _judge(self, running: _Running, sent: str | None, errors: list[tuple[int, str]]) -> None:
        if sent is None:
            self._tell_old(errors)
            return
        running.errors += [f'{number},"{text}"' for number, text in errors]
        if errors and not running.job.turns_off:
            raise Refusal("instrument_error", f"{self.name} refused {sent}: {'; '.join(running.errors)}")

    def _find_guards(self, identification: Identification) -> tuple[Guard, ...]:
        """The guards that this unit can be asked about; remembered, as a refusal costs a timeout."""
        unknown = self._unknown_guards.setdefault(identification.serial, set())
        for guard in self._model.series.guards:
            if guard.ask in unknown:
                continue
            try:
                self._session.ask(guard.ask)
            except LinkError:
                self._session.open()
                parse_identification(self._session.ask("*IDN?"))
                if not self._errors():
                    raise
                unknown.add(guard.ask)
                log.warning("%s: it can't tell whether %s; see to it that they do not", self.name, guard.coupling)
        return tuple(guard for guard in self._model.series.guards if guard.ask not in unknown)

    def _yield_to_off(self, running: _Running) -> None:
        if self._abandoned:
            raise _Stopped
        if self._offs and not running.job.turns_off:
            with self._lock:
                stronger = any(job.indices & running.job.indices for job in self._offs)
            if stronger:
                raise Refusal("superseded", "the output was turned off before it was finished")

    def _write(self, running: _Running, writes: tuple[Write, ...]) -> None:
        for message, write in zip(self._door.passes(writes), writes, strict=True):
            self._settle(running)
            self._yield_to_off(running)
            running.wrote, running.current, running.unchecked = True, False, message
            touched = _TOUCHES.get(write.field, (write.field,))
            for index in write.channels:
                self._authors.setdefault(index, {}).update(
                    dict.fromkeys(touched, (running.job.by, running.job.command.id))
                )
            self._session.tell(message)  # if the link breaks in it, it may have happened all the same

    def _confirm(self, job: Job) -> None:
        states = [self._states[channel.index] for channel in job.channels]
        if job.by == "command":
            self._outlet.response(
                Response(
                    id=job.command.id,
                    ok=True,
                    time=utc_now(),
                    psu=self.name,
                    index=None if job.whole_unit else job.channels[0].index,
                    result=states if job.whole_unit else states[0],
                ),
                job.reply,
            )
        log.info("%s: done: %s (%s)", self.name, job.command.fields, job.by)

    def _refuse(self, job: Job, code: ErrorCode, message: str) -> None:
        log.warning("%s: refused: %s (%s): %s", self.name, job.command.fields, code, message)
        if job.by != "command":
            if code in ("uncertain", "offline"):  # what is to be off stays to be off
                self._policy_done -= job.indices
            return
        self.counters.refusals += 1
        self._outlet.response(
            Response(
                id=job.command.id,
                ok=False,
                time=utc_now(),
                psu=self.name,
                index=None if job.whole_unit else job.channels[0].index,
                error=ResponseError(code=code, message=message),
            ),
            job.reply,
        )

    # The loss of the broker.

    def _policy(self) -> Job | None:
        """What is to be turned off because nobody can reach the agent any more: once a loss."""
        gone_since = self._gone_since
        if gone_since is None:
            self._policy_done.clear()
            return None
        gone_for = time.monotonic() - gone_since
        due = []
        for index, channel in self._channels.items():
            settings = self._channel_settings(index)
            if (
                settings.on_broker_loss == "off"
                and gone_for >= settings.broker_loss_after
                and index not in self._policy_done
            ):
                self._policy_done.add(index)
                due.append(channel)
        if not due:
            return None
        log.warning("%s: no broker for %.0f s: turning off %s", self.name, gone_for, ", ".join(map(str, due)))
        return Job(Command(state=False), tuple(due), by="agent")

    # Small things.

    def _channels_of(self, model: Model) -> dict[int, Channel]:
        return {
            channel.index: Channel(
                unit=self.name,
                name=self._channel_settings(channel.index).name or channel.name,
                model=channel,
                voltage_max=self._channel_settings(channel.index).voltage_max,
                current_max=self._channel_settings(channel.index).current_max,
            )
            for channel in model.channels
        }

    def _channel_settings(self, index: int) -> ChannelSettings:
        return self._settings.get(index, _NO_SETTINGS)

    def _model_name(self) -> str | None:
        """The model, where it is known: the unit has told, or the configuration leaves no choice."""
        return self._model.name if self._identification is not None or len(self._candidates) == 1 else None


_MILLISECOND = timedelta(milliseconds=1)
_FURTHEST_AHEAD = timedelta(seconds=1)
_NO_SETTINGS = ChannelSettings()
_UNCERTAIN = "the link broke after it was sent, so it may or may not have happened: {}"
_WATCHED: tuple[str, ...] = (
    "state",
    "tripped",
    "mode",
    "voltage_limit",
    "current_limit",
    "voltage_protection",
    "current_protection",
)
#: What else changes with a setting. A trip is never a command's doing, its end is.
_TOUCHES: dict[str, tuple[str, ...]] = {"state": ("state", "mode"), "clear_protection": ("tripped", "mode")}
_SYMBOLS = {"voltage_limit": " V", "current_limit": " A", "voltage_protection": " V"}


def _shown(name: str, value: float | bool | str | None) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "none"
    return f"{value:g}{_SYMBOLS.get(name, '')}" if isinstance(value, float) else str(value)

"""One MQTT connection, in a thread of its own: will, subscriptions, publishing, and what waits while there is no broker.

The thread drives paho's external loop; what may be in flight, what goes first and what happens to a
message that was not acknowledged is decided here, with a new client for each connection, so that none of paho's own memory
of an old one is ever sent on a new one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import tenacity
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.config import Mqtt
from agent.mqtt import tls
from agent.mqtt.publishing import PublishingClient
from agent.protocol.messages import AgentInfo, ChannelState, Event, Metrics, Response, UnitInfo
from agent.protocol.report import ReplyTo as Reply
from agent.protocol.report import Report
from agent.protocol.topics import Topics
from agent.store.spool import Row, Spool
from agent.timing import LONGEST_ABSENCE, backoff, system_clock

log = logging.getLogger(__name__)

#: s; reconnection backs off from the first to the second, each time by a random part more.
FIRST_RETRY, LAST_RETRY, RETRY_JITTER = 0.2, 10.0, 0.5
#: s. A connection that did not last that long is not made again at once.
SHORT_LIVED = 5.0
#: s for the TCP connection and TLS, and for the broker's CONNACK and SUBACK.
CONNECT_TIMEOUT = 5.0
#: Messages on their way that the broker has not acknowledged, where it does not ask for fewer.
MOST_IN_FLIGHT = 1000
#: Of them, how many may be backlog: a present state never waits behind more.
MOST_BACKLOG_IN_FLIGHT = 100
#: Samples of the backlog a second. Faster, and a broker's queue for a subscriber runs over, silently: Mosquitto's holds 1,000.
BACKLOG_RATE = 1000.0
#: Samples that wait in memory for a broker that is there but slow. Older ones go to the spool.
MOST_LIVE = 6000
#: bytes. A broker that knows MQTT 5 keeps larger messages to itself; the largest command has 16 KiB.
LARGEST_PACKET = 16 * 1024 * 1024
#: s. A broker that has not acknowledged anything for longer counts as gone for those who wait for it, connected or not.
SILENCE = 2.0
_TICK = 1.0
#: s. After an absence: how long to take in what waited, and how long a silence means that there is no more.
_STALE_TIME, _STALE_PAUSE = 2.0, 0.1
#: s. Where states come in faster than this, the thread sends them by the handful: each waking costs more than a message.
_NAP = 0.002
#: States that may wait for the broker before a unit that is polled without a pause is slowed down.
_CONGESTED = 300
#: States that a response may wait for.
_FEW = 60


class Kind(IntEnum):
    STATE = 0  # retained; what finds no broker goes to the backlog
    KEEP = 1  # retained; only the newest counts
    MESSAGE = 2  # an event: goes to the spool
    PASSING = 3  # of no interest later
    RESPONSE = 4  # goes to the spool too, and before everything else


class _Serializable(Protocol):
    def to_json(self) -> bytes: ...


@dataclass(slots=True, eq=False)
class _Item:
    kind: Kind
    topic: str
    content: bytes | _Serializable
    correlation: bytes | None = None
    backlog_topic: str = ""
    behind: tuple[str, ...] = ()  # topics whose states this one follows
    row: int = 0  # of the spool, where it came from there
    sent: float = 0.0

    @property
    def payload(self) -> bytes:
        """As bytes; made by the thread that sends it, so that the one that has a unit to serve goes on."""
        if not isinstance(self.content, bytes):
            self.content = self.content.to_json()
        return self.content

    @property
    def retain(self) -> bool:
        return not self.row and self.kind in (Kind.STATE, Kind.KEEP)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message on one of the topics that the agent listens to, as the broker delivered it."""

    topic: str
    payload: bytes
    retain: bool
    dup: bool
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry: int | None = None  # s that MQTT 5's message expiry leaves
    stale: bool = False  # it came in while the agent was stopped, nobody knows when


class _ConnectionLost(Exception):
    """Says why."""


class _Stopped(Exception):
    """The thread is to end."""


class Broker:
    """The agent's connection to its broker. All methods but `start` and `stop` return at once."""

    def __init__(
        self,
        settings: Mqtt,
        *,
        agent: str,
        topics: Topics,
        spool: Spool,
        subscriptions: Iterable[str],
    ) -> None:
        self._settings = settings
        self._agent = agent
        self._topics = topics
        self._spool = spool
        self._filters = list(subscriptions)
        self._filter_changes: deque[tuple[list[str], list[str]]] = deque()
        self._handle: Callable[[Incoming], None] = _ignore
        self._is_v5 = settings.protocol == "5"

        self.published = 0
        self.reconnects = 0
        self._gone_since: float | None = time.monotonic()
        self._silent_since: float | None = None

        self._inbox: deque[_Item] = deque()
        self._retained: dict[str, _Item] = {}
        self._sleeping = False
        self._napping = False
        self._urgent = False  # something else than states is in the inbox
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        # Whoever has it may touch the client and what waits for it. The thread has it all the time but while it sleeps.
        self._turn = threading.Lock()
        self._stopping: float | None = None
        self._heartbeat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

        self._client: PublishingClient | None = None
        self._reset_connection()
        self._connected_before = False
        self._connected_at = 0.0
        self._short_lived = 0  # connections in a row
        self._last_problem = ""
        self._clock = system_clock()

    def _reset_connection(self) -> None:
        self._connack: ReasonCode | None = None
        self._subacks_due = 0
        self._lost: str | None = None
        self._window = MOST_IN_FLIGHT
        self._in_flight: dict[int, _Item] = {}
        self._backlog_in_flight = 0
        self._responses: deque[_Item] = deque()
        self._messages: deque[_Item] = deque()
        self._live: deque[_Item] = deque()
        self._backlog: deque[_Item] = deque()
        self._last_row = 0
        self._last_message_row = 0
        self._spooled_messages = True
        self._acknowledged: list[int] = []
        self._acknowledged_messages: list[int] = []
        self._backlog_paused_until = 0.0
        self._backlog_paid_until = 0.0
        self._last_heard = self._last_message = time.monotonic()
        self._stale = False

    # For other threads.

    @property
    def gone_since(self) -> float | None:
        """The moment (`time.monotonic`) since when nothing was heard of the broker; None while it is there."""
        gone_since = self._gone_since
        return self._silent_since if gone_since is None else gone_since

    @property
    def connected(self) -> bool:
        return self._gone_since is None

    def listen(self, filters: Iterable[str]) -> None:
        """Subscribe to these, too. To be called before `start`."""
        self._filters += filters

    def start(self, handle: Callable[[Incoming], None]) -> None:
        """Connect, and give every message that comes in to ``handle``, which must return at once."""
        self._handle = handle
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Deliver what can be delivered within the timeout (s), keep the rest, disconnect. Whether the thread has ended."""
        self._stopping = time.monotonic() + timeout * 0.7
        self._wake()
        self._thread.join(timeout)
        if self._thread.is_alive():  # it hangs in connecting: what it has not taken yet is kept for it
            self._spool_inbox()
            return False
        return True

    def resubscribe(self, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Listen to other topics from now on: before anything that is published after this call."""
        self._filter_changes.append((list(add), list(remove)))
        self._urgent = True
        self._wake()

    def alive(self, within: float) -> bool:
        """Whether the thread runs and did something within that time (s)."""
        return self._thread.is_alive() and time.monotonic() - self._heartbeat < within

    def states(self, states: list[ChannelState]) -> None:
        topics = self._topics
        for state in states:
            topic = topics.state(state.psu, state.index)
            item = _Item(Kind.STATE, topic, state, None, topics.backlog(state.psu, state.index))
            self._retained[topic] = item
            self._inbox.append(item)

    def flush(self) -> None:
        """Send the states and events that wait; without it they go with the next response, or within a second."""
        if self._urgent or not self._napping:
            self._wake()

    @property
    def congested(self) -> bool:
        """Whether the broker takes states more slowly than they come."""
        return self._gone_since is None and len(self._inbox) + len(self._live) > _CONGESTED

    def event(self, event: Event) -> None:
        self._inbox.append(_Item(Kind.MESSAGE, self._topics.event(event.psu, event.index), event))
        self._urgent = True

    def response(self, response: Response, reply: Reply) -> None:
        topic = reply.topic or self._topics.response(response.psu, response.index)
        item = _Item(Kind.RESPONSE, topic, response, reply.correlation)
        if response.index is not None:
            item.behind = (self._topics.state(response.psu, response.index),)
        elif isinstance(response.result, list):
            item.behind = tuple(self._topics.state(response.psu, state.index) for state in response.result)
        self._inbox.append(item)
        self._urgent = True
        if not self._send_here():
            self._wake()

    def report(self, report: Report) -> None:
        if report.info is not None:
            self.unit(report.info)
        if report.states:
            self.states(list(report.states))
        for event in report.events:
            self.event(event)
        if report.response is not None:
            self.response(report.response, report.reply_to)
        else:
            self.flush()

    def unit(self, info: UnitInfo) -> None:
        self.keep(self._topics.status(info.psu), b"online" if info.online else b"offline")
        self.keep(self._topics.info(info.psu), info.to_json())

    def agent_info(self, info: AgentInfo) -> None:
        self.keep(self._topics.agent_info(self._agent), info.to_json())

    def metrics(self, metrics: Metrics) -> None:
        if self.connected:
            self._put(_Item(Kind.PASSING, self._topics.agent_metrics(self._agent), metrics))

    def keep(self, topic: str, payload: bytes) -> None:
        """Publish retained, and again whenever the broker may have lost it. An empty payload removes it from the broker."""
        item = _Item(Kind.KEEP, topic, payload)
        self._retained[topic] = item
        self._put(item)

    def owes(self, topic: str) -> bool:
        """Whether a broker that comes back is to be told of this topic again; of a removal until one has confirmed it."""
        return topic in self._retained

    def _put(self, item: _Item) -> None:
        self._inbox.append(item)
        self._urgent = True
        self._wake()

    def _send_here(self) -> bool:
        """Send what waits in the calling thread while the broker's own sleeps: to wake it would take longer. Whether all went.

        What has to do with the disk, or with subscriptions that go first, is left to the broker's thread.
        """
        if self._spool.sample_count or self._spool.message_count or not self._turn.acquire(blocking=False):
            return False
        try:
            client = self._client
            if client is None or self._gone_since is not None or self._stopping is not None:
                return False
            self._take_inbox()
            if self._filter_changes:
                return False
            with contextlib.suppress(OSError):  # the thread meets it again
                if len(self._live) <= _FEW:
                    self._pump_responses(client)
                    client.loop_write()
                self._pump(client)
                client.loop_write()
            return not client.want_write()
        finally:
            self._turn.release()

    def _wake(self) -> None:
        # One byte for each time the thread sleeps, not for each message.
        if self._sleeping:
            self._sleeping = False
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake_write, b"!")

    # The thread.

    def _run(self) -> None:
        with self._turn:
            self._serve_for_ever()
            self._end()

    def _serve_for_ever(self) -> None:
        while True:
            try:
                self._connect_until_it_works()
                self._serve()
            except _Stopped:
                break
            except _ConnectionLost as error:
                self._disconnected(str(error))
            except Exception:
                log.exception("broker: unexpected; the connection is closed and opened again")
                self._disconnected("an unexpected error")
                time.sleep(FIRST_RETRY)  # whatever it was, it must not spin

    def _connect_until_it_works(self) -> None:
        if self._short_lived:
            # Two agents of one name take the connection from each other: not without end in a second.
            self._wait_disconnected(min(LAST_RETRY, FIRST_RETRY * 2 ** min(self._short_lived, 10)))
        tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((_ConnectionLost, OSError, ValueError)),
            wait=backoff(FIRST_RETRY, LAST_RETRY, RETRY_JITTER),
            sleep=self._wait_disconnected,
            after=self._tell_failure,
        )(self._connect)

    def _wait_disconnected(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._sleep(min(left, _TICK), None)
            self._spool_inbox()
            if self._stopping is not None:
                raise _Stopped

    def _tell_failure(self, state: tenacity.RetryCallState) -> None:
        self._close()
        error = state.outcome.exception() if state.outcome else None
        problem = str(error) or type(error).__name__
        if problem != self._last_problem:
            self._last_problem = problem
            log.warning("broker %s: %s; trying again for ever", self._address(), problem)

    def _address(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    def _connect(self) -> None:
        if self._stopping is not None:
            raise _Stopped
        self._spool_inbox()
        self._reset_connection()
        self._heartbeat = time.monotonic()
        client = self._make_client()
        self._client = client
        properties = None
        if self._is_v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = LARGEST_PACKET
        clean_start: dict[str, Any] = {"clean_start": True} if self._is_v5 else {}
        try:
            client.connect(
                self._settings.host,
                self._settings.port,
                keepalive=self._settings.keepalive,
                properties=properties,
                **clean_start,
            )
        except ssl.SSLError as error:
            raise _ConnectionLost(
                f"TLS failed: {getattr(error, 'verify_message', '') or error.reason or error}"
            ) from error
        except OSError as error:
            raise _ConnectionLost(error.strerror or str(error)) from error
        self._await(lambda: self._connack is not None, "it did not answer")
        self._change_filters(None)
        self._subscribe(client, self._filters)
        self._await(lambda: self._subacks_due == 0, "it did not confirm the subscriptions")

        self._last_problem = ""
        if self._connected_before:
            self.reconnects += 1
        self._connected_before = True
        log.info("broker %s: connected, MQTT %s", self._address(), self._settings.protocol)
        # Whoever sees "online" may send commands: so it is told after the subscriptions.
        status = self._topics.agent_status(self._agent)
        self._retained[status] = _Item(Kind.KEEP, status, b"online")
        # What was read while the broker took its time is older than what is told now: it is backlog, or a present state
        # would go back in time. In this order: what a unit reports between the two lines comes after what is told here.
        present = list(self._retained.values())
        self._spool_inbox()
        self._live.extend(_Item(Kind.KEEP, item.topic, item.payload) for item in present)
        self._gone_since = None
        self._connected_at = time.monotonic()

    def _make_client(self) -> PublishingClient:
        settings = self._settings
        client = PublishingClient(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id or f"psu-agent-{self._agent}",
            protocol=MQTTProtocolVersion.MQTTv5 if self._is_v5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if self._is_v5 else True,
        )
        client.connect_timeout = CONNECT_TIMEOUT
        client.will_set(self._topics.agent_status(self._agent), b"offline", qos=1, retain=True)
        if settings.username is not None:
            password = settings.password.get_secret_value() if settings.password is not None else None
            client.username_pw_set(settings.username, password)
        if settings.tls is not None:
            client.tls_set_context(tls.context(settings.tls))
            client.tls_insecure_set(settings.tls.insecure)
        client.on_socket_open = _no_delay
        # With this callback there paho queues what is published, and `loop_write` sends it all.
        client.on_socket_register_write = lambda *_: None
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_acknowledged = self._on_acknowledged
        client.on_message = self._on_message
        return client

    def _change_filters(self, client: PublishingClient | None) -> None:
        """Take over what `resubscribe` was told; no client: there is no connection to tell it to yet."""
        while self._filter_changes:
            add, remove = self._filter_changes.popleft()
            new = [name for name in add if name not in self._filters]
            old = [name for name in remove if name in self._filters]
            self._filters = [name for name in self._filters if name not in old] + new
            if client is not None:
                self._subscribe(client, new)
                for start in range(0, len(old), 100):
                    client.unsubscribe(old[start : start + 100])

    def _subscribe(self, client: PublishingClient, wanted: list[str]) -> None:
        for start in range(0, len(wanted), 100):
            filters = wanted[start : start + 100]
            self._subacks_due += 1
            if self._is_v5:
                # As published: a live message that was sent with the retain flag keeps it, and is refused for it.
                options = SubscribeOptions(qos=1, retainAsPublished=True)
                client.subscribe([(name, options) for name in filters])
            else:
                client.subscribe([(name, 1) for name in filters])

    def _await(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + CONNECT_TIMEOUT
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise _ConnectionLost(f"{otherwise} within {CONNECT_TIMEOUT:g} s")
            if self._stopping is not None:
                raise _Stopped
            self._exchange(min(left, _TICK))

    def _serve(self) -> None:
        client = self._connected_client()
        tick = time.monotonic()
        self._clock = system_clock()
        before = 0.0
        while True:
            if self._inbox and time.monotonic() - before < _NAP:
                self._nap()
            if self._take_inbox():
                before = time.monotonic()
            self._change_filters(client)  # what was just taken may come after them
            self._pump(client)
            self._exchange(self._patience())
            self._settle()
            now = time.monotonic()
            self._heartbeat = now
            if now - tick >= _TICK:
                tick = now
                client.loop_misc()
                self._check_acknowledgements(now)
            if self._stopping is not None and (now >= self._stopping or self._is_idle()):
                raise _Stopped

    def _is_idle(self) -> bool:
        return not (
            self._inbox
            or self._responses
            or self._messages
            or self._live
            or any(not i.row for i in self._in_flight.values())
        )

    def _exchange(self, timeout: float) -> None:
        """Send what paho has to send, sleep until something happens, read what came.

        :raises _ConnectionLost: it is
        """
        client = self._connected_client()
        if client.want_write():
            _send(client)
        readable = self._sleep(timeout, client)
        before, self._clock = self._clock, system_clock()
        if self._clock - before > LONGEST_ABSENCE and self._gone_since is None:
            self._refuse_what_waited(self._clock - before)
        if readable:
            self._read(client)
        if self._connack is not None and self._connack.is_failure:
            raise _ConnectionLost(f"it refused the connection: {self._connack}")
        if self._lost is not None or client.socket() is None:
            raise _ConnectionLost(self._lost or "the connection broke")

    def _read(self, client: PublishingClient) -> None:
        self._last_heard = time.monotonic()
        client.loop_read()
        # More may have come than one call takes; and TLS may have decrypted more than was asked for. No poll shows either.
        while client.socket() is not None and (client.has_received or _has_decrypted(client.socket())):
            client.loop_read()

    def _sleep(self, timeout: float, client: PublishingClient | None) -> bool:
        """Whether the connection can be read. Ends early when another thread has something to send."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        connection = client.socket() if client is not None else None
        number = -1
        if connection is not None and client is not None:
            number = connection.fileno()
            poll.register(number, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
        self._sleeping = True
        if self._inbox or self._filter_changes or (self._stopping is not None and client is None):
            timeout = 0
        events = dict(self._poll(poll, timeout))
        self._sleeping = False
        if self._wake_read in events:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        return bool(events.get(number, 0) & ~select.POLLOUT)

    def _poll(self, poll: select.poll, timeout: float) -> list[tuple[int, int]]:
        """What is ready within the timeout (s); others may send meanwhile."""
        self._turn.release()
        try:
            return poll.poll(timeout * 1000)
        finally:
            self._turn.acquire()

    def _connected_client(self) -> PublishingClient:
        if self._client is None:
            raise _ConnectionLost("the connection is closed")
        return self._client

    # Publishing.

    def _nap(self) -> None:
        """Let states gather for a moment. A response or an event ends it."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        self._napping = self._sleeping = True
        if not self._urgent:
            self._poll(poll, _NAP)
        self._napping = self._sleeping = False

    def _take_inbox(self) -> bool:
        """Sort what other threads put there. Whether it was nothing but states, as in the flow of many polls."""
        inbox = self._inbox
        only_states = bool(inbox) and not self._urgent
        self._urgent = False
        while inbox:
            item = inbox.popleft()
            if item.kind is Kind.RESPONSE:
                self._responses.append(item)
            else:
                (self._messages if item.kind is Kind.MESSAGE else self._live).append(item)
        if len(self._live) > MOST_LIVE:
            older: list[_Item] = []
            while len(self._live) > MOST_LIVE // 2:
                older.append(self._live.popleft())
            self._spool_items(older)
            self._live.extendleft(reversed([item for item in older if item.kind is not Kind.STATE]))
        return only_states

    def _pump(self, client: PublishingClient) -> None:
        """Publish what the window has room for: states, so that who has a response finds them, then responses, then events.

        Where states queue, responses go before them. The backlog comes last.
        """
        room = self._window - len(self._in_flight)
        if room > 0 and self._spooled_messages and not self._messages:
            self._fetch_messages()
        if len(self._live) <= _FEW:
            order = (self._live, self._responses, self._messages)
        else:
            order = (self._responses, self._messages, self._live)
        for queue in order:
            while room > 0 and queue:
                self._publish(client, queue.popleft())
                room -= 1
        room = min(room, max(1, min(MOST_BACKLOG_IN_FLIGHT, self._window // 2)) - self._backlog_in_flight)
        now = time.monotonic()
        room = min(room, int((now - self._backlog_paid_until) * BACKLOG_RATE))
        if room <= 0 or self._stopping is not None or now < self._backlog_paused_until:
            return
        if not self._backlog and self._spool.sample_count > self._backlog_in_flight:
            self._fetch_backlog()
        # What was not used of the rate is not made up for.
        self._backlog_paid_until = max(self._backlog_paid_until, now - MOST_BACKLOG_IN_FLIGHT / BACKLOG_RATE)
        while room > 0 and self._backlog:
            self._backlog_in_flight += 1
            self._publish(client, self._backlog.popleft())
            self._backlog_paid_until += 1 / BACKLOG_RATE
            room -= 1

    def _pump_responses(self, client: PublishingClient) -> None:
        """Publish responses, each behind the states of its own channels; those of others need not be waited for."""
        while self._responses and len(self._in_flight) + len(self._live) < self._window:
            response = self._responses.popleft()
            others = deque[_Item]()
            for item in self._live:
                if item.topic in response.behind:
                    self._publish(client, item)
                else:
                    others.append(item)
            self._live = others
            self._publish(client, response)

    def _patience(self) -> float:
        """How long (s) to sleep at most while nothing happens."""
        if self._inbox:
            return 0
        if self._stopping is not None:
            return 0.05
        if self._spool.sample_count and not self._backlog_in_flight and time.monotonic() >= self._backlog_paused_until:
            return 0.02
        return _TICK

    def _fetch_messages(self) -> None:
        rows = self._spool.messages(self._last_message_row, 100) if self._spool.message_count else []
        self._spooled_messages = bool(rows)
        for row in rows:
            self._last_message_row = row.id
            self._messages.append(_from_row(Kind.MESSAGE, row))

    def _fetch_backlog(self) -> None:
        for row in self._spool.samples(self._last_row, 500):
            self._last_row = row.id
            self._backlog.append(_from_row(Kind.STATE, row))

    def _publish(self, client: PublishingClient, item: _Item) -> None:
        properties = None
        if item.correlation is not None and self._is_v5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = item.correlation
        mid = client.send(item.topic, item.payload, retain=item.retain, properties=properties)
        item.sent = time.monotonic()
        self._in_flight[mid] = item

    def _settle(self) -> None:
        """Take out of the spool what the broker has acknowledged."""
        if self._acknowledged:
            self._spool.remove_samples(self._acknowledged)
            self._acknowledged = []
        if self._acknowledged_messages:
            self._spool.remove_messages(self._acknowledged_messages)
            self._acknowledged_messages = []

    def _check_acknowledgements(self, now: float) -> None:
        """A broker that takes messages and acknowledges none for a whole keep-alive is gone, whatever TCP says."""
        oldest = next(iter(self._in_flight.values()), None)
        patience = max(5.0, float(self._settings.keepalive))
        silent = oldest is not None and now - oldest.sent > SILENCE and now - self._last_heard > SILENCE
        self._silent_since = self._last_heard if silent else None
        if oldest is not None and now - oldest.sent > patience and now - self._last_heard > patience:
            raise _ConnectionLost(f"it has acknowledged nothing for {patience:g} s")

    def _refuse_what_waited(self, seconds: float) -> None:
        """After an absence nobody knows how old the commands are that waited in the socket: all of them are refused."""
        log.warning("broker: this process was away for %.0f s; what came in meanwhile is refused", seconds)
        self._stale = True
        client = self._connected_client()
        self._last_message = now = time.monotonic()
        deadline = now + _STALE_TIME
        # The broker sends the next when it has been told that the last ones came, and keeps what this agent answers.
        while client.socket() is not None and time.monotonic() < deadline:
            self._take_inbox()
            self._pump(client)
            _send(client)
            poll = select.poll()
            poll.register(client.socket(), select.POLLIN)  # type: ignore[arg-type]
            if poll.poll(_STALE_PAUSE * 1000):
                self._read(client)
            under_way = self._responses or any(item.kind is Kind.RESPONSE for item in self._in_flight.values())
            if time.monotonic() - self._last_message > _STALE_PAUSE and not under_way:
                break
        raise _ConnectionLost("a new connection, so that nothing old waits on it")

    # What paho calls, in this thread.

    def _on_connect(
        self, client: Client, _: object, __: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._connack = reason
        most = getattr(properties, "ReceiveMaximum", None) if properties is not None else None
        if isinstance(most, int):
            self._window = max(1, min(MOST_IN_FLIGHT, most))

    def _on_disconnect(
        self, client: Client, _: object, flags: DisconnectFlags, reason: ReasonCode, __: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server and reason.value == 0x8E:
            self._lost = (
                f"another client took over the id of this one: is a second agent called {self._agent!r} running? "
                "Give it another settings.agent"
            )
        elif self._lost is None:
            # paho has no better word for a connection that was just closed.
            self._lost = "the broker closed the connection" if reason.value == 0x80 else str(reason)

    def _on_subscribe(
        self, client: Client, _: object, __: int, reasons: list[ReasonCode], ___: Properties | None
    ) -> None:
        self._subacks_due -= 1
        refused = [reason for reason in reasons if reason.is_failure]
        if refused:
            log.error(
                "broker: it refused %d subscriptions (%s): commands to them are not heard", len(refused), refused[0]
            )

    def _on_acknowledged(self, mid: int, code: int) -> None:
        item = self._in_flight.pop(mid, None)
        if item is None:
            return
        if code >= 0x80:
            self._refused(item, ReasonCode(PacketTypes.PUBACK, identifier=code))
            return
        self.published += 1
        if item.content == b"" and self._retained.get(item.topic) is item:
            self._retained.pop(item.topic, None)  # it is gone: what another agent may put there is none of ours
        if item.row and item.kind is Kind.STATE:
            self._backlog_in_flight -= 1
            self._acknowledged.append(item.row)
        elif item.row:
            self._acknowledged_messages.append(item.row)

    def _refused(self, item: _Item, reason: ReasonCode) -> None:
        problem = f"{item.topic.rsplit('/', 1)[-1]}: {reason}"
        if problem != self._last_problem:
            self._last_problem = problem
            log.error("broker: it refused a message on %s: %s", item.topic, reason)
        if item.row and item.kind is Kind.STATE:
            # It stays in the spool; from the oldest one on it is tried again.
            self._backlog_in_flight -= 1
            self._backlog.clear()
            self._last_row = 0
            self._backlog_paused_until = time.monotonic() + 60.0
        elif item.row:
            self._acknowledged_messages.append(item.row)

    def _on_message(self, client: Client, _: object, message: MQTTMessage) -> None:
        self._last_message = time.monotonic()
        properties = message.properties
        self._handle(
            Incoming(
                topic=message.topic,
                payload=bytes(message.payload),
                retain=bool(message.retain),
                dup=bool(message.dup),
                response_topic=getattr(properties, "ResponseTopic", None),
                correlation=getattr(properties, "CorrelationData", None),
                expiry=getattr(properties, "MessageExpiryInterval", None),
                stale=self._stale,
            )
        )

    # Without a broker.

    def _disconnected(self, reason: str) -> None:
        if self._gone_since is None:
            lasted = time.monotonic() - self._connected_at
            self._short_lived = self._short_lived + 1 if lasted < SHORT_LIVED else 0
            self._gone_since = min(self._last_heard, time.monotonic())
            self._silent_since = None
            # Not every broker says so when another client takes over.
            again = (
                f"; if that goes on, is a second agent called {self._agent!r} running?" if self._short_lived > 2 else ""
            )
            log.warning("broker %s: gone: %s%s", self._address(), reason, again)
        self._close()
        self._settle()
        # In flight and not acknowledged: nobody knows whether it arrived, so it is kept and sent again.
        kept = [item for item in self._in_flight.values() if not item.row]
        kept += [item for item in (*self._responses, *self._messages, *self._live) if not item.row]
        self._reset_connection()
        self._spool_items(kept)
        self._spool_inbox()

    def _spool_inbox(self) -> None:
        items = []
        while self._inbox:
            items.append(self._inbox.popleft())
        self._spool_items(items)

    def _spool_items(self, items: list[_Item]) -> None:
        self._spool.add_samples([(i.backlog_topic, i.payload) for i in items if i.kind is Kind.STATE])
        self._spool.add_messages(
            [(i.topic, i.payload, i.correlation) for i in items if i.kind in (Kind.MESSAGE, Kind.RESPONSE)]
        )

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        client.on_disconnect = None
        connection = client.socket()
        if connection is not None:
            # Closing the socket without DISCONNECT is what makes the broker publish the will.
            with contextlib.suppress(OSError):
                connection.close()

    def _end(self) -> None:
        client = self._client
        if client is not None and client.socket() is not None and self._gone_since is None:
            with contextlib.suppress(_ConnectionLost, OSError, ValueError):
                self._say_goodbye(client)
        kept = [item for item in self._in_flight.values() if not item.row]
        kept += [item for item in (*self._responses, *self._messages, *self._live) if not item.row]
        self._settle()
        self._spool_items(kept)
        self._spool_inbox()
        self._close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _say_goodbye(self, client: PublishingClient) -> None:
        self._live.append(_Item(Kind.KEEP, self._topics.agent_status(self._agent), b"offline"))
        self._window += 1
        self._pump(client)
        deadline = time.monotonic() + 0.5
        while self._in_flight and time.monotonic() < deadline:
            self._exchange(0.1)
        client.disconnect()
        _send(client)


def _send(client: PublishingClient) -> None:
    try:
        client.loop_write()
    except OSError as error:
        raise _ConnectionLost(error.strerror or str(error)) from error


def _ignore(incoming: Incoming) -> None:
    del incoming


def _from_row(kind: Kind, row: Row) -> _Item:
    return _Item(kind, row.topic, row.payload, row.correlation, row=row.id)


def _has_decrypted(connection: Any) -> bool:
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0


def _no_delay(client: Client, _: object, connection: Any) -> None:
    # Nagle's algorithm and delayed acknowledgements together cost 40 ms a message.
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

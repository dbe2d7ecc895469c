"""The agent's session with its broker, in its own thread: it publishes, listens, and keeps messages for an absent broker.

The thread drives paho's external loop. The session, not paho, decides how many messages are in flight, which go first and which
are sent again. Each connection has a client of its own, so that paho sends nothing on it that it kept of an old one.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial

import tenacity

from agent.mqtt.broker import attempts
from agent.mqtt.broker.attempts import Attempts, Outcome, Version
from agent.mqtt.broker.complaints import Complaints
from agent.mqtt.broker.joining import AtOnce, Joining
from agent.mqtt.connection import Connection, ConnectionLost
from agent.mqtt.freshness import INTERVAL
from agent.mqtt.incoming import Incoming
from agent.mqtt.item import Item, Kind
from agent.mqtt.presence import Listener
from agent.mqtt.sending import Sending
from agent.mqtt.settings import BrokerSettings
from agent.mqtt.subscriptions import Subscriptions
from agent.mqtt.turn import NAP
from agent.protocol.topics import Topics
from agent.store.backlog import Backlog
from agent.store.commands import OpenCommands
from agent.timing import backoff

log = logging.getLogger(__name__)

_TICK = INTERVAL
#: s between two looks at the acknowledgements at the end.
_ENDING_TICK = 0.05
#: s that a new connection may be in doubt before it is used. On a link that is slower than the age that a command may have
#: the doubt never ends.
_LONGEST_DOUBT = 1.0


class _Stopped(Exception):
    """The thread is to end."""


class Session(Sending):
    """The `Outlet` for units, and the way for all other messages of the agent. All methods but `stop` return at once."""

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        agent: str,
        client_id: str = "",
        topics: Topics,
        backlog: Backlog,
        commands: OpenCommands,
        subscriptions: Iterable[str],
    ) -> None:
        """Connect nothing yet.

        :param client_id: where the settings have none. The same one over restarts makes the broker end what is left of an older
            connection; who knows it can do so, too. Empty: another one each time
        :param subscriptions: the topic filters to listen to
        """
        #: Connections after the first one.
        self.reconnects = 0
        self._settings = settings
        self._agent = agent
        self._client_id = client_id
        self._status = topics.agent_status(agent)
        self._handle: Callable[[Incoming], None] = _ignore
        self._subscriptions = Subscriptions(subscriptions)
        super().__init__(topics, self._subscriptions, backlog, commands)
        self._connected_before = False
        self._connected_at = 0.0
        self._complaints = Complaints()
        self._attempts = Attempts(settings.protocol)
        self._retains = True
        self._joining: Joining = AtOnce()
        self._is_to_rejoin = False
        self._stop_by: float | None = None
        self._heartbeat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    # For other threads.

    @property
    def protocol(self) -> Version:
        """The version of MQTT that is spoken, or was on the last connection."""
        return self._attempts.protocol

    @property
    def retains(self) -> bool:
        """False if the broker of the present connection keeps no retained messages."""
        return self._retains

    @property
    def is_ending(self) -> bool:
        """True once `stop` was called."""
        return self._exchange.is_ending

    def on_presence(self, listener: Listener) -> None:
        """Have a listener called with every change of `gone_since`, in this session's thread. To be called before `start`.

        The first call comes when the thread starts, with the moment since when there has been no broker. A listener must
        return at once. If it raises, that is logged, and the session goes on.
        """
        self._presence.listen(listener)

    def listen(self, filters: Iterable[str]) -> None:
        """Subscribe to more topic filters. To be called before `start`."""
        self._subscriptions.filters += filters

    def join_by(self, joining: Joining, kept: Callable[[str], None]) -> None:
        """Have each connection begin with this. To be called before `start`.

        :param kept: gets, in this session's thread, the topic of each retained message that the broker has acknowledged
        """
        self._joining, self._exchange.kept = joining, kept

    def start(self, handle: Callable[[Incoming], None]) -> None:
        """Connect, and give every message that comes in to ``handle``, in this session's thread. It must return at once.

        Commands that an earlier run took and did not answer are answered first.
        """
        self._handle = handle
        self._exchange.receipts.recover()
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Deliver what can be delivered within the timeout (s), keep the rest, disconnect.

        :return: true if the thread has ended
        """
        self._stop_by = time.monotonic() + timeout * 0.7
        self._exchange.is_ending = True
        self._turn.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        # A thread that never began, or hangs in connecting, has not taken everything.
        self._exchange.keep_inbox()
        return not self._thread.is_alive()

    def resubscribe(self, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Listen to other topics from now on: before anything that is published after this call."""
        self._subscriptions.change(add, remove)
        self._inbox.is_urgent = True
        self._turn.wake()

    def alive(self, within: float) -> bool:
        """True if the thread runs and did something within that time (s)."""
        return self._thread.is_alive() and time.monotonic() - self._heartbeat < within

    def rejoin(self) -> None:
        """End the connection in order, and make another one."""
        self._is_to_rejoin = True
        self._turn.wake()

    # The thread.

    def _run(self) -> None:
        with self._turn.held():
            self._presence.tell()
            self._serve_for_ever()
            self._end()

    def _serve_for_ever(self) -> None:
        ended: str | None = None
        while True:
            try:
                if ended is not None:
                    reason, ended = ended, None
                    self._disconnected(reason)
                self._connect_until_it_works()
                self._serve()
            except _Stopped:
                break
            except ConnectionLost as error:
                ended = str(error)
            except Exception:
                log.exception("broker: unexpected; the connection is closed and opened again")
                ended = "an unexpected error"
                time.sleep(attempts.FIRST_RETRY)  # an error that comes at once again must not spin

    def _connect_until_it_works(self) -> None:
        self._wait_disconnected(min(self._attempts.pause, self._exchange.longest_pause))
        tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((ConnectionLost, OSError, ValueError)),
            wait=backoff(attempts.FIRST_RETRY, attempts.LAST_RETRY, attempts.RETRY_JITTER),
            sleep=self._wait_disconnected,
            after=self._tell_failure,
        )(self._connect)

    def _wait_disconnected(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._turn.sleep(min(left, _TICK), lambda: bool(self._inbox.items) or self._stop_by is not None)
            self._exchange.keep_inbox()
            if self._stop_by is not None:
                raise _Stopped

    def _tell_failure(self, state: tenacity.RetryCallState) -> None:
        self._heartbeat = time.monotonic()
        self._exchange.end()
        error = state.outcome.exception() if state.outcome else None
        problem = str(error) or type(error).__name__
        is_told = self._attempts.failed(getattr(error, "outcome", Outcome.OTHER))
        if is_told and self._complaints.is_news(problem):
            log.warning("broker %s: %s; trying again for ever", self._address(), problem)

    def _address(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    def _connect(self) -> None:
        if self._stop_by is not None:
            raise _Stopped
        self._heartbeat = time.monotonic()
        connection = Connection(
            self._settings,
            agent=self._agent,
            client_id=self._client_id,
            will=self._status,
            handle=self._take,
            acknowledged=self._exchange.on_acknowledged,
            complain=self._complaints.tell,
            attempts=self._attempts,
        )
        self._heartbeat = math.inf  # looking up the broker's name may take minutes, and is not this thread's work
        self._exchange.begin(connection)
        self._heartbeat = time.monotonic()
        self._await(lambda: connection.is_accepted, "it does not answer CONNECT; is settings.mqtt.port a broker's?")
        self._subscriptions.take_over(None)
        self._joining.listen()
        connection.subscribe(self._subscriptions.filters)
        connection.keep_alive()
        self._await_subscriptions(connection)
        # A client that sees "online" may send commands at once: so it is published after the subscriptions, and after a doubt.
        self._wait_for(lambda: not connection.is_in_doubt, _LONGEST_DOUBT)
        self._retains = connection.abilities.retains
        self._join(connection)
        if self._connected_before:
            self.reconnects += 1
        self._connected_before = True
        level = logging.INFO if self._attempts.short_lived < 3 else logging.DEBUG
        log.log(level, "broker %s: connected, MQTT %s", self._address(), self._attempts.protocol)
        fallen_back = self._attempts.has_fallen_back
        self._complaints.tell_losses(self._address(), has_fallen_back=fallen_back, retains=self._retains)
        self._inbox.retain(Item(Kind.KEEP, self._status, b"online"))
        self._exchange.tell_retained(self._status)
        self._connected_at = time.monotonic()
        self._presence.found(self._connected_at, attempts.SHORT_LIVED)
        self._attempts.accepted()

    def _join(self, connection: Connection) -> None:
        self._is_to_rejoin = False
        self._joining.begin(self._exchange.ask)
        while not self._joining.is_over():
            connection.keep_alive()
            self._wait_for(self._joining.is_over, _TICK)
        self._exchange.is_silent = not self._joining.end()

    def _take(self, incoming: Incoming) -> None:
        try:
            self._handle(incoming)
        finally:
            self._exchange.receipts.take(incoming)

    def _await(self, condition: Callable[[], bool], otherwise: str) -> None:
        if not self._wait_for(condition, self._attempts.limit):
            raise ConnectionLost(otherwise, Outcome.SILENT)

    def _await_subscriptions(self, connection: Connection) -> None:
        """Until each SUBSCRIBE is confirmed. Each has its own time.

        A cluster of NATS that has lost a node elects a leader for each filter, which takes up to 9 s, and begins anew with each
        connection: so a broker that has got all, and is at work on it, is waited for.
        """
        while left := connection.unconfirmed:
            confirms = partial(lambda left: connection.unconfirmed < left, left)
            if not self._wait_for(confirms, self._attempts.limit) and not (
                connection.is_busy and self._wait_for(confirms, attempts.LAST_LIMIT)
            ):
                raise ConnectionLost("it did not confirm the subscriptions", Outcome.SLOW)

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._stop_by is not None:
                raise _Stopped
            self._exchange.receipts.tick(
                time.monotonic()
            )  # aMQTT confirms a filter when what was retained is acknowledged
            self._exchange.wait(self._exchange.receipts.patience(min(left, _TICK)))
            self._heartbeat = time.monotonic()
        return True

    def _serve(self) -> None:
        exchange, inbox = self._exchange, self._inbox
        connection = exchange.connection
        tick = time.monotonic()
        before = 0.0
        while True:
            if inbox.items and time.monotonic() - before < NAP:
                exchange.nap(NAP)
            only_states = exchange.take_inbox()
            now = time.monotonic()
            if only_states:
                before = now
            self._subscriptions.take_over(connection)  # before the messages that were just taken
            exchange.send(now)
            longest = max(0.0, tick + _TICK - now) if self._stop_by is None else _ENDING_TICK
            exchange.wait(exchange.patience(now, longest))
            now = self._heartbeat = time.monotonic()
            if now - tick >= _TICK:
                tick = now
                exchange.check_link(now, self._settings.keepalive)
                exchange.repeat_retained(now)
            if self._stop_by is not None and (now >= self._stop_by or exchange.is_idle):
                raise _Stopped
            if self._is_to_rejoin:
                connection.disconnect()
                raise ConnectionLost("it is made anew, as the other agent of this name has gone")

    def _disconnected(self, reason: str) -> None:
        if self._presence.connected:
            now = time.monotonic()
            self._attempts.ended(now - self._connected_at)
            short_lived = self._attempts.short_lived
            # Not every broker says so when another client takes over.
            again = f"; if that goes on, is a second agent called {self._agent!r} running?" if short_lived > 2 else ""
            if not short_lived:
                self._complaints.forget()
            if self._complaints.is_news(f"gone: {reason}{again}"):
                log.warning("broker %s: gone: %s%s", self._address(), reason, again)
            self._presence.lost(now, self._exchange.connection.last_heard)
        self._exchange.end()

    def _end(self) -> None:
        try:
            if self._exchange.is_silent:  # the status is another agent's, and the will would change it
                self._exchange.connection.disconnect()
            elif self._presence.connected and self._exchange.connection.is_open:
                self._exchange.say_goodbye(self._status)
        except (ConnectionLost, OSError, ValueError):
            pass  # the broker publishes the will
        except Exception:
            log.exception("broker: unexpected; the connection is closed without a goodbye")
        finally:
            self._exchange.end()


def _ignore(incoming: Incoming) -> None:
    del incoming

"""One connection to the broker that several threads of a program use at the same time, each with an inbox of its own.

Its own thread receives what `Client` puts into the inbox and passes it on. When the connection is lost, the thread opens a new
one, with the same subscriptions. It is a new client of MQTT each time: nothing that the old one still had to send is ever sent.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Concatenate, Literal, ParamSpec

from agent.client.address import Address
from agent.client.connection import Client, LinkChange, Message
from agent.client.errors import BrokerError, SilentBrokerError
from agent.protocol.topics import Topics

log = logging.getLogger(__name__)

#: s between two tries to reach the broker again.
RETRY = 1.0

_CLOSED = "it was closed"

_P = ParamSpec("_P")


def _in_turn(publish: Callable[Concatenate[Client, _P], float]) -> Callable[Concatenate[SharedClient, _P], float]:
    """`Client.publish` as a method of `SharedClient`, for one thread after the other."""

    @wraps(publish)
    def published(shared: SharedClient, /, *arguments: _P.args, **options: _P.kwargs) -> float:
        with shared.client_to_send_by() as client:
            return publish(client, *arguments, **options)

    return published


class SharedClient:
    """A connection for several threads.

    :param will: see `Client`
    """

    def __init__(self, address: Address, *, will: tuple[str, bytes] | None = None) -> None:
        self.address = address
        self.topics = Topics(address.base_topic)
        self._will = will
        self._handle: Callable[[Message | LinkChange], None] = _ignore
        self._sending = threading.Lock()  # `Client` has one queue for the broker's answers
        self._lock = threading.Lock()  # for what is below
        self._client: Client | None = None
        self._lost = _CLOSED
        self._filters: dict[str, int] = {}
        self._boxes: set[Borrowed] = set()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, handle: Callable[[Message | LinkChange], None]) -> None:
        """Connect for the first time.

        :param handle: called for each message and each change of the connection, in the connection's own thread, before a
            `Borrowed` has it; it must not wait
        :raises BrokerError: the broker can't be reached, or refuses it
        """
        client = Client(self.address, will=self._will, reconnects=False)
        client.__enter__()
        self._handle = handle
        self._client = client
        self._thread = threading.Thread(target=self._run, args=(client,), name="psu-client", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the connection, and with it everything that waits for an answer."""
        self._closing.set()
        with self._lock:
            client = self._client
        if client is not None:
            client.inbox.put(LinkChange(_CLOSED))
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def protocol(self) -> Literal["5", "3.1.1"]:
        """The version of MQTT that is spoken."""
        return self._connected().protocol

    @property
    def retains(self) -> bool:
        """False if the broker keeps no retained messages."""
        return self._connected().retains

    def check(self) -> None:
        """Nothing, while there is a connection.

        :raises BrokerError: there is none; the text says why, and what is done about it
        """
        self._connected()

    def subscribe(self, filters: Iterable[str], qos: int = 0) -> None:
        """Subscribe, for as long as this lives. What is retained comes anew at each call.

        :raises BrokerError: there is no connection, or the broker refuses it
        """
        wanted = list(filters)
        with self.client_to_send_by() as client:
            client.subscribe(wanted, qos)
            with self._lock:
                self._filters.update(dict.fromkeys(wanted, qos))

    publish = _in_turn(Client.publish)

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[Borrowed]:
        """The connection for one request, with an inbox of its own, as `agent.client.request` needs it."""
        box = Borrowed(self)
        with self._lock:
            self._boxes.add(box)
        try:
            yield box
        finally:
            with self._lock:
                self._boxes.discard(box)

    @contextlib.contextmanager
    def client_to_send_by(self) -> Iterator[Client]:
        """The connection, for this thread alone. If the broker does not answer on it, a new one is opened.

        :raises BrokerError: there is none
        """
        with self._sending:
            client = self._connected()
            try:
                yield client
            except SilentBrokerError:
                client.inbox.put(LinkChange("the broker does not answer"))
                raise

    def _connected(self) -> Client:
        with self._lock:
            client, lost = self._client, self._lost
        if client is not None:
            return client
        hint = "" if self._closing.is_set() else "; it is tried again"
        raise BrokerError(f"there is no connection to {self.address}: {lost}{hint}")

    # In the connection's own thread.

    def _run(self, client: Client) -> None:
        current: Client | None = client
        while current is not None:
            # `close` sets the event first, so either this sees it or the inbox has what ends `_pass_on`.
            reason = _CLOSED if self._closing.is_set() else self._pass_on(current)
            with self._lock:
                self._client, self._lost = None, reason
            self._tell(LinkChange(reason))
            current.__exit__()
            current = None if self._closing.is_set() else self._again()
        with self._lock:
            self._lost = _CLOSED

    def _pass_on(self, client: Client) -> str:
        """Pass on what comes, until the connection is lost. Returns the reason."""
        while True:
            item = client.inbox.get()
            if isinstance(item, Message):
                self._tell(item)
            elif item.reason is not None:
                return item.reason

    def _tell(self, item: Message | LinkChange) -> None:
        try:
            self._handle(item)
        except Exception:
            log.exception("a message from the broker was not handled, by an error inside psu-agent; please report it")
        with self._lock:
            boxes = list(self._boxes)
        for box in boxes:
            box.inbox.put(item)

    def _again(self) -> Client | None:
        """A new connection, as soon as there can be one; None at the end."""
        while not self._closing.wait(RETRY):
            client = Client(self.address, will=self._will, reconnects=False)
            try:
                client.__enter__()
            except BrokerError as error:
                with self._lock:
                    self._lost = str(error)
                continue
            try:
                self._take_over(client)
            except BrokerError as error:
                with self._lock:
                    self._lost = str(error)
                client.__exit__()
                continue
            return client
        return None

    def _take_over(self, client: Client) -> None:
        with self._lock:
            by_qos: dict[int, list[str]] = {}
            for topic, qos in self._filters.items():
                by_qos.setdefault(qos, []).append(topic)
        for qos, filters in by_qos.items():
            client.subscribe(filters, qos)
        self._tell(LinkChange(None))  # before the first message, which this thread passes on later
        with self._lock:
            self._client = client


def _ignore(_: Message | LinkChange) -> None:
    pass


class Borrowed:
    """A `SharedClient` with an ``inbox`` of its own: all that comes from the moment on when it was borrowed."""

    def __init__(self, shared: SharedClient) -> None:
        self.address = shared.address
        self.topics = shared.topics
        self.subscribe = shared.subscribe
        self.publish = shared.publish
        self.inbox: queue.SimpleQueue[Message | LinkChange] = queue.SimpleQueue()
        self._shared = shared

    @property
    def protocol(self) -> Literal["5", "3.1.1"]:
        """The version of MQTT that is spoken."""
        return self._shared.protocol

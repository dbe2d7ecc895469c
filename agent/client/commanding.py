"""Commands and leases on a connection that several threads share."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from agent.client import leases, request
from agent.client.connection import Client
from agent.client.errors import BrokerError, NobodyAnsweredError, RefusedError
from agent.client.live import LiveFleet
from agent.client.request import CommandOutcome, Target
from agent.client.shared import Borrowed, SharedClient
from agent.protocol.messages import LeaseState, Response
from agent.protocol.offs import is_off


class Commander:
    """Sends commands, in the name of the holder of a lease where this program has taken one. For any thread.

    ``holder``: the name in which leases are taken.
    """

    def __init__(self, connection: SharedClient, live: LiveFleet, holder: str) -> None:
        self.connection = connection
        self.live = live
        self.holder = holder
        self._lock = threading.Lock()
        self._held: dict[tuple[str, int | None], str] = {}
        self._indices: dict[tuple[str, str], int] = {}  # by the names under which leases were taken

    def send(
        self,
        target: Target,
        fields: Mapping[str, Any],
        *,
        expires_in: float | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send a command and wait for its response. See `ChannelClient.send`."""
        wanted = {name: _plain(value) for name, value in fields.items() if value is not None}
        command_id = uuid.uuid4().hex
        # An off needs none, and does not wait for the channel's number.
        lease = None if request.is_plain_off(wanted) else self._lease_for(target)
        payload = request.compose(wanted, command_id=command_id, expires_in=expires_in, lease=lease)
        try:
            request.check(target, payload)
            patience = request.patience(payload)
        except ValueError:
            # The agent says what is wrong with it, and does an off all the same.
            patience = request.PATIENCE
        patience = patience if timeout is None else timeout
        expiry = patience if expires_in is None else min(patience, expires_in)
        try:
            with self.connection.borrowed() as client:
                outcome = request.send(client, target, payload, expiry=expiry, patience=patience)
        except BrokerError as error:
            if not is_off(payload.get("state")):
                raise
            # An off does not wait until the connection has come back. What else was asked for may have been sent, or not.
            off = {name: value for name, value in payload.items() if name in request.OF_A_PLAIN_OFF}
            with Client(self.connection.address) as own:
                outcome = request.send(own, target, off, expiry=expiry, patience=patience)
            response = self._answered(outcome, target, patience)
            if response.ok and off != payload:
                text = (
                    f"{target} was turned off on a new connection; of the rest of the command nothing is known: {error}"
                )
                raise BrokerError(text) from None
            return response
        return self._answered(outcome, target, patience)

    def all_off(self, timeout: float) -> CommandOutcome:
        """Turn all off, on a connection of its own, which waits for nothing else. See `Supplies.all_off`."""
        payload = {"id": uuid.uuid4().hex, "state": False}
        with contextlib.ExitStack() as stack:
            client: Client | Borrowed
            try:
                client = stack.enter_context(Client(self.connection.address))
            except BrokerError:  # it may take no more connections
                client = stack.enter_context(self.connection.borrowed())
            return request.send(client, Target("all"), payload, expiry=timeout, patience=timeout)

    def _answered(self, outcome: CommandOutcome, target: Target, patience: float) -> Response:
        if outcome.responses:
            return outcome.responses[0]
        instead = self.live.what_exists(target) or "Is the name right, and is its agent running?"
        raise NobodyAnsweredError(f"nobody answered for {target} within {patience:g} s. {instead}")

    def reserve(self, target: Target, ttl: float, holder: str, *, force: bool = False) -> LeaseState:
        """Take or renew a lease. See `ChannelClient.lease`."""
        return self._ask_for_lease(target, holder, ttl=ttl, force=force)

    def release(self, target: Target, holder: str) -> LeaseState:
        """Give a lease back. From now on commands name no holder any more."""
        key = target.unit, self._index(target)
        with self._lock:
            self._held.pop(key, None)
        return self._ask_for_lease(target, holder)

    def _ask_for_lease(
        self, target: Target, holder: str, *, ttl: float | None = None, force: bool = False
    ) -> LeaseState:
        wanted = leases.request(target, holder, ttl=ttl, force=force)
        with self.connection.borrowed() as client:
            response = checked(self._answered(leases.send(client, target, wanted), target, leases.PATIENCE))
        state = response.result
        if not isinstance(state, LeaseState):
            raise NobodyAnsweredError(f"{target}: the response is not that to a request for a lease")
        if ttl is not None:
            with self._lock:
                self._held[state.psu, state.index] = holder
                if target.channel is not None and state.index is not None:
                    self._indices[state.psu, target.channel] = state.index
        return state

    def _lease_for(self, target: Target) -> str | None:
        with self._lock:
            held = dict(self._held)
        if not any(unit == target.unit for unit, _ in held):
            return None
        return held.get((target.unit, self._index(target))) or held.get((target.unit, None))

    def _index(self, target: Target) -> int | None:
        """The channel's number; None for a whole unit, and where the name is not known."""
        channel = target.channel
        if channel is None:
            return None
        with self._lock:
            found = self._indices.get((target.unit, channel))
        if found is None and channel.isascii() and channel.isdecimal():
            found = int(channel)
        if found is None:
            self.live.follow(target.unit)
            found = self.live.known_index(target.unit, channel)
        return found


def checked(response: Response) -> Response:
    """The response to a command that was carried out.

    :raises RefusedError: it was not, or not wholly
    """
    if response.ok:
        return response
    error = response.error
    if error is None:
        raise RefusedError("uncertain", "the agent gave no reason", response)
    raise RefusedError(error.code, error.message, response)


def _plain(value: Any) -> Any:
    """A value as JSON knows it: a number of NumPy's or a Decimal as a number, any other object as its text."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return float(value)
    as_python = getattr(value, "item", None)
    try:
        found = as_python() if as_python is not None else str(value)
    except (TypeError, ValueError):
        found = str(value)
    return found if isinstance(found, bool | int | float | str) else str(value)

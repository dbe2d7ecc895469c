"""The client library's face: `connect`, and from there the units and their channels."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from agent import config
from agent.client.address import Address, find_address
from agent.client.channels import ChannelClient, UnitClient
from agent.client.commanding import Commander
from agent.client.errors import NobodyAnsweredError, RefusedError, WaitTimeoutError
from agent.client.feeds import Feed
from agent.client.leases import default_holder
from agent.client.live import LiveFleet
from agent.client.request import Target
from agent.client.shared import SharedClient
from agent.protocol.errors import ErrorCode
from agent.protocol.messages import ChannelState, Event, Response
from agent.protocol.topics import Topics

#: The variable that names the broker, for the command line too.
BROKER_VARIABLE = "PSU_AGENT_BROKER"


class Supplies:
    """All supplies of a broker. Made by `connect`; a context manager that ends the connection.

    Every method may be called from several threads at the same time. While the connection is lost, they raise `BrokerError` at
    once. It comes back by itself, and what waits (`ChannelClient.wait`, feeds) goes on then. Nothing is sent later than it was
    asked for.
    """

    def __init__(
        self,
        address: Address,
        *,
        holder: str | None = None,
        off_if_lost: str | None = None,
    ) -> None:
        """See `connect`, which also finds the address."""
        will = None
        if off_if_lost is not None:
            target = Target.parse(off_if_lost)
            will = Topics(address.base_topic).set(target.unit, target.channel), b'{"state": false}'
        connection = SharedClient(address, will=will)
        live = LiveFleet(connection)
        self._commander = Commander(connection, live, holder or default_holder())
        connection.open(live.handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. Outputs stay as they are, and leases end by themselves."""
        self._commander.connection.close()
        self._commander.live.close()

    def __repr__(self) -> str:
        return f"<Supplies of {self._commander.connection.address}>"

    def channel(self, name: str) -> ChannelClient:
        """One channel: ``psu1/VDD`` or ``psu1/2``. Nothing is asked of anybody yet.

        :raises ValueError: the text names no channel
        """
        target = Target.parse(name)
        if target.channel is None:
            raise ValueError(f"{name!r} names no channel; give UNIT/CH, such as psu1/2 or psu1/VDD")
        return ChannelClient(self._commander, target)

    def unit(self, name: str) -> UnitClient:
        """One unit, by its name. Nothing is asked of anybody yet.

        :raises ValueError: the text names no unit
        """
        target = Target.parse(name)
        if target.channel is not None or target.unit == "all":
            raise ValueError(f"{name!r} names no unit; give its name alone, such as psu1")
        return UnitClient(self._commander, target)

    def states(self, target: str | None = None) -> list[ChannelState]:
        """The present state of all channels, or of those of a unit, or of one channel, as `psu-agent get` shows them.

        Each is as old as its unit's poll interval, or where a unit publishes changes alone, as its last change. If a unit can't
        be reached, or its agent is offline, ``online`` is False and all values are None. A channel that nobody knows is left out.

        :raises ValueError: the text names no unit and no channel
        :raises BrokerError: there is no connection, or this user may not read
        """
        where = _parse(target)
        return (
            self._commander.live.states() if where is None else self._commander.live.states(where.unit, where.channel)
        )

    def follow(self, target: str | None = None) -> Feed[ChannelState]:
        """A feed of states: those of now, then each that is published, of all channels, of a unit, or of one channel.

        When a unit can't be reached any more, or the connection is lost, one with ``online`` False comes for each channel.

        :raises ValueError: the text names no unit and no channel
        :raises BrokerError: there is no connection, or this user may not read
        """
        return self._commander.live.feed_states(_parse(target))

    def events(self, target: str | None = None) -> Feed[Event]:
        """A feed of events from now on: what changed, from which value to which, and who did it (``by``).

        :raises ValueError: the text names no unit and no channel
        :raises BrokerError: there is no connection, or this user may not read
        """
        return self._commander.live.feed_events(_parse(target))

    def wait(self, condition: Callable[[list[ChannelState]], bool], timeout: float = 10.0) -> list[ChannelState]:
        """Wait until the present states of all channels fulfil a condition, which is asked whenever something has come.

        Returns these states.

        :param timeout: s
        :raises WaitTimeoutError: they did not in time
        :raises BrokerError: there is no connection
        """
        deadline = time.monotonic() + timeout
        while True:
            version = self._commander.live.version
            states = self.states()
            if condition(states):
                return states
            left = deadline - time.monotonic()
            if left <= 0 or not self._commander.live.await_change(version, left):
                raise WaitTimeoutError(f"the condition did not become true within {timeout:g} s")

    def all_off(self, timeout: float = 10.0) -> list[Response]:
        """Turn every output of every agent off, and wait until all agents that run have answered.

        Returns the response of each unit. Units whose agent is offline are not reached; nobody answers for them.

        :param timeout: s to wait for the responses
        :raises RefusedError: a unit did not do it; the text names it, and all others were tried as well
        :raises NobodyAnsweredError: not every unit answered; whether the others are off is not known
        :raises BrokerError: the broker can't be reached; a connection that hangs is left for a new one
        """
        outcome = self._commander.all_off(timeout)
        for response in outcome.responses:
            if not response.ok:
                raise RefusedError(*_reason(response), response)
        if not outcome.responses:
            raise NobodyAnsweredError("nobody answered; is an agent running?")
        if outcome.silent:
            raise NobodyAnsweredError(f"{', '.join(sorted(outcome.silent))} did not answer within {timeout:g} s")
        return outcome.responses


def _reason(response: Response) -> tuple[ErrorCode, str]:
    error = response.error
    return ("uncertain", response.psu) if error is None else (error.code, f"{response.psu}: {error.message}")


def connect(
    broker: str | Address | None = None,
    *,
    base: str | None = None,
    password: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    holder: str | None = None,
    off_if_lost: str | None = None,
) -> Supplies:
    """Connect to a broker: ``with connect("mqtt://bench3") as supplies: …``.

    :param broker: ``mqtt[s]://[user@]host[:port]``. None: as the command line finds it, by ``$PSU_AGENT_BROKER``, else by the
        configuration file; without one ``localhost``
    :param base: the topic that everything stands under. None: ``psu``, or the configuration's
    :param password: None: that of ``$PSU_AGENT_MQTT_PASSWORD``, or the configuration's
    :param ca: file with the CA of the broker's certificate (PEM), for ``mqtts://``. None: the system's CAs
    :param holder: the name in which leases are taken. None: that of ``$PSU_AGENT_HOLDER``, else ``user@host``
    :param off_if_lost: a channel, a unit, or ``all``, that the broker turns off when this program dies or its connection breaks,
        and after some 20 s of silence, but not at `Supplies.close`: MQTT's last will
    :raises ValueError: an argument is wrong; the text says what would be right
    :raises BrokerError: the broker can't be reached, or refuses the connection
    """
    if isinstance(broker, Address):
        if ca is not None:
            raise ValueError("ca goes with an address as text; an Address has tls")
        address = (
            broker
            if base is None
            else replace(broker, base_topic=Address.parse("localhost", base_topic=base).base_topic)
        )
    else:
        named = broker or os.environ.get(BROKER_VARIABLE) or None
        if ca is not None and not (named or "").startswith("mqtts://"):
            raise ValueError("ca is for TLS; give the broker as mqtts://HOST")
        try:
            address = find_address(named, base_topic=base, ca=None if ca is None else Path(ca))
        except config.ConfigError as error:
            raise ValueError(str(error)) from None
    if password is not None:
        address = replace(address, password=SecretStr(password))
    return Supplies(address, holder=holder, off_if_lost=off_if_lost)


def _parse(target: str | None) -> Target | None:
    return None if target is None or target == "all" else Target.parse(target)

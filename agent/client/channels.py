"""One unit and one channel, as a program uses them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Self

from agent.client.commanding import Commander, checked
from agent.client.errors import ClientError, NobodyAnsweredError, OfflineError, WaitTimeoutError
from agent.client.feeds import Feed
from agent.client.request import Target
from agent.protocol.messages import ChannelInfo, ChannelState, Event, LeaseState, Response, UnitInfo
from agent.protocol.quantities import BY_NAME


class Lease:
    """A reservation that was taken. As a context manager it is given back at the end.

    ``state``: its holder, and until when. Commands of the same `Supplies` name the holder while it is held.
    """

    def __init__(self, commander: Commander, target: Target, ttl: float, holder: str, state: LeaseState) -> None:
        self._commander = commander
        self._target = target
        self._ttl = ttl
        self._holder = holder
        self.state = state

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # It ends by itself. Nobody is helped if an exception of the caller's is hidden behind this.
        with contextlib.suppress(ClientError):
            self.release()

    def renew(self) -> None:
        """Have it from now on for its whole time again.

        :raises RefusedError: ``claimed``, another one holds it by now
        :raises NobodyAnsweredError: no agent answered
        :raises BrokerError: there is no connection
        """
        self.state = self._commander.reserve(self._target, self._ttl, self._holder)

    def release(self) -> None:
        """Give it back. The outputs stay as they are.

        :raises RefusedError: ``claimed``, another one holds it by now
        :raises NobodyAnsweredError: no agent answered
        :raises BrokerError: there is no connection
        """
        self.state = self._commander.release(self._target, self._holder)


class _Addressed:
    """The commands that a channel and a whole unit take alike."""

    def __init__(self, commander: Commander, target: Target) -> None:
        self._commander = commander
        self._target = target

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._target}>"

    def __str__(self) -> str:
        return str(self._target)

    def send(self, *, expires_in: float | None = None, timeout: float | None = None, **fields: Any) -> Response:
        """Send any command, by the names of its fields, and wait for the response, which may be a refusal (``ok`` False).

        It tells more than `set`: ``also_off`` has the channels that an off turned off as well.

        :param expires_in: s after which it must not be carried out any more, by the clocks of this host and of the agent's
        :param timeout: s to wait; None: 10, and as long as a cycle or a ramp takes. With MQTT 5 the broker drops it after that
        :raises NobodyAnsweredError: no response came; whether it was carried out is not known
        :raises BrokerError: there is no connection, or it was lost meanwhile; the text says what is known
        """
        return self._commander.send(self._target, fields, expires_in=expires_in, timeout=timeout)

    def lease(self, ttl: float, *, holder: str | None = None, force: bool = False) -> Lease:
        """Reserve it: until the lease ends, settings of others are refused. An off is never refused.

        :param ttl: s from now on, 1 s to 7 days; `Lease.renew` begins anew
        :param holder: None: that of the `Supplies`
        :param force: also if another one holds it
        :raises ValueError: ``ttl`` or ``holder`` is not one that an agent takes
        :raises RefusedError: ``claimed``, another one holds it
        :raises NobodyAnsweredError: no agent answered
        :raises BrokerError: there is no connection
        """
        name = self._commander.holder if holder is None else holder
        state = self._commander.reserve(self._target, ttl, name, force=force)
        return Lease(self._commander, self._target, ttl, name, state)

    def events(self) -> Feed[Event]:
        """See `Supplies.events`."""
        return self._commander.live.feed_events(self._target)

    def follow(self) -> Feed[ChannelState]:
        """See `Supplies.follow`."""
        return self._commander.live.feed_states(self._target)


class ChannelClient(_Addressed):
    """One channel. Made by `Supplies.channel`; for several threads, as `Supplies` is."""

    def state(self, *, max_age: float = 0.0, timeout: float = 10.0) -> ChannelState:
        """The channel's state as it is now: the agent is asked to poll, and a reading that began after that is waited for.

        Volts, amperes, watts, Wh and Ah; None for a quantity that the model does not tell. Never a state that is older than the
        call, unless ``max_age`` allows it, and never one of a unit that is offline. It is the second state that comes after the
        call: where polls follow each other faster than a state gets from the agent to here, it may be older by that way's time.

        :param max_age: s since a state came that is taken without asking
        :param timeout: s to wait
        :raises OfflineError: the unit can't be reached, or its agent is offline
        :raises RefusedError: ``unknown_channel``
        :raises NobodyAnsweredError: nothing is known of the unit, or no new state came in time
        :raises BrokerError: there is no connection
        """
        return self._commander.live.fresh(self._target, max_age=max_age, timeout=timeout)

    def info(self) -> ChannelInfo:
        """The channel's number, name, ratings (V, A), and the ranges within the configured limits.

        :raises RefusedError: ``unknown_channel``
        :raises OfflineError: the unit has not told its channels yet
        :raises NobodyAnsweredError: nothing is known of the unit
        :raises BrokerError: there is no connection
        """
        return self._commander.live.channel_info(self._target)

    def set(
        self,
        *,
        state: bool | None = None,
        voltage_limit: float | None = None,
        current_limit: float | None = None,
        voltage_protection: float | None = None,
        current_protection: bool | None = None,
        current_protection_level: float | None = None,
        voltage_protection_state: bool | None = None,
        clear_protection: bool | None = None,
        cycle: float | None = None,
        ramp: float | None = None,
        expires_in: float | None = None,
        timeout: float | None = None,
    ) -> ChannelState:
        """Send one command, wait until it has been carried out, and return the state that was read back.

        The agent checks it whole, then does it in the safe order: off first, or settings before on.

        While the connection is lost or hangs, an off is sent by a new one, without the other fields, and `BrokerError` says so.

        :param state: output on or off
        :param voltage_limit: V
        :param current_limit: A
        :param voltage_protection: V, the over-voltage trip level
        :param current_protection: trip instead of limiting in CC
        :param current_protection_level: A, where it is apart from the current limit
        :param voltage_protection_state: over-voltage protection on or off, where its switch is apart from the level
        :param clear_protection: True: clear a trip; the output stays off
        :param cycle: s; off, wait so long, on
        :param ramp: V/s; go to ``voltage_limit`` at this rate
        :param expires_in: s after which it must not be carried out any more, by the clocks of this host and of the agent's
        :param timeout: s to wait for the response; None: 10, and as long as a cycle or a ramp takes
        :raises RefusedError: it was not, or not wholly, carried out; ``code`` and ``message`` say why
        :raises NobodyAnsweredError: no response came; whether it was carried out is not known
        :raises BrokerError: there is no connection, or it was lost meanwhile; the text says what is known
        """
        fields = {
            "state": state,
            "voltage_limit": voltage_limit,
            "current_limit": current_limit,
            "voltage_protection": voltage_protection,
            "current_protection": current_protection,
            "current_protection_level": current_protection_level,
            "voltage_protection_state": voltage_protection_state,
            "clear_protection": clear_protection,
            "cycle": cycle,
            "ramp": ramp,
        }
        response = checked(self.send(expires_in=expires_in, timeout=timeout, **fields))
        if not isinstance(response.result, ChannelState):
            raise NobodyAnsweredError(f"{self}: the response has no state of the channel")
        return response.result

    def on(self) -> ChannelState:
        """Turn the output on, with the settings that it has. Errors as `set`."""
        return self.set(state=True)

    def off(self) -> ChannelState:
        """Turn the output off: always done if an agent hears it, whoever has reserved it. Errors as `set`.

        While the connection is lost or hangs, it is sent by a new one.
        """
        return self.set(state=False)

    def cycle(self, seconds: float = 2.0) -> ChannelState:
        """Turn the output off, and on again after some s. The agent does both, also if this program dies. Errors as `set`."""
        return self.set(cycle=seconds)

    def wait(self, condition: Callable[[ChannelState], bool], timeout: float = 10.0) -> ChannelState:
        """Wait until a state fulfils a condition, such as ``lambda state: state.current > 0.1``. Returns that state.

        It sees every state that comes after the call, none of a unit that is offline. The agent is asked to poll. The first state
        may be of a poll that was under way at the call, and have been measured before it.

        :param timeout: s
        :raises WaitTimeoutError: none did in time; it has the last state
        :raises RefusedError: ``unknown_channel``
        :raises NobodyAnsweredError: nothing is known of the unit
        :raises BrokerError: there is no connection at the call; while it waits, a connection that comes back is waited for
        """
        deadline = time.monotonic() + timeout
        live = self._commander.live
        with contextlib.suppress(OfflineError):  # a supply that has no power yet is waited for
            live.channel_info(self._target)
        last: ChannelState | None = None
        with live.feed_states(self._target, new_only=True) as feed:
            live.ask_to_poll(self._target)
            while (left := deadline - time.monotonic()) > 0:
                state = feed.get(left)
                if state is None:
                    break
                last = state
                if state.online and condition(state):
                    return state
        raise WaitTimeoutError(f"{self} did not come to that within {timeout:g} s; {_told(last)}", last)


class UnitClient(_Addressed):
    """One unit, that is one power supply. Made by `Supplies.unit`; for several threads, as `Supplies` is."""

    def channel(self, channel: int | str) -> ChannelClient:
        """One of its channels, by its number or name. Nothing is asked of anybody yet.

        :raises ValueError: the text names no channel
        """
        return ChannelClient(self._commander, Target.parse(f"{self._target.unit}/{channel}"))

    def channels(self) -> list[ChannelClient]:
        """All its channels.

        :raises NobodyAnsweredError: nothing is known of the unit
        :raises BrokerError: there is no connection
        """
        return [self.channel(channel.index) for channel in self.info().channels]

    def info(self) -> UnitInfo:
        """Its identity, model, channels, address, and the reason if it is offline.

        :raises NobodyAnsweredError: nothing is known of the unit
        :raises BrokerError: there is no connection
        """
        return self._commander.live.info(self._target.unit)

    def states(self) -> list[ChannelState]:
        """See `Supplies.states`."""
        return self._commander.live.states(self._target.unit)

    def off(self, timeout: float | None = None) -> list[ChannelState]:
        """Turn all its outputs off: always done if an agent hears it. Returns the states that were read back.

        :param timeout: s to wait for the response; None: 10
        :raises RefusedError: it was not, or not wholly, carried out
        :raises NobodyAnsweredError: no response came; whether it was carried out is not known
        :raises BrokerError: there is no connection, or it was lost meanwhile; the text says what is known
        """
        return self._all(checked(self.send(state=False, timeout=timeout)))

    def clear_protection(self, timeout: float | None = None) -> list[ChannelState]:
        """Clear the trips of all its channels; the outputs stay off. Returns and errors as `off`."""
        return self._all(checked(self.send(clear_protection=True, timeout=timeout)))

    def _all(self, response: Response) -> list[ChannelState]:
        if not isinstance(response.result, list):
            raise NobodyAnsweredError(f"{self}: the response has no states of the channels")
        return response.result


def _told(state: ChannelState | None) -> str:
    """A state for people, or that there is none."""
    if state is None:
        return "no new state of it came"
    if not state.online:
        return "it is offline"
    values = [(name, getattr(state, name)) for name in ("state", "voltage", "current", "mode", "tripped")]
    return "it is " + ", ".join(BY_NAME[name].shown(value) for name, value in values if value is not None)

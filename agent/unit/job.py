"""A command on its way to a unit, from the thread that took it to the worker that answers it."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from agent.protocol.commands import Command
from agent.protocol.errors import ErrorCode, Refusal
from agent.protocol.messages import By, ChannelState, Response, ResponseError, utc_now
from agent.protocol.report import ReplyTo
from agent.timing import system_clock
from agent.unit.limits.channel import Channel


@dataclass(slots=True, eq=False)
class Job:
    """A checked command for some channels of one unit.

    ``by``: the agent's own jobs get no response. ``expires``: a moment of `time.monotonic`, from MQTT's message expiry.
    ``retried``: True for an off that a broken link interrupted; it gets no third try. ``merged``: further offs of the same
    outputs or of some of them, which are carried out with this one, and are answered with it. ``whole``: the job that this one is
    the off of, see `off_part`. ``also_off``: other outputs that went off with its off, see `note_also_off`.
    """

    command: Command
    channels: tuple[Channel, ...]
    whole_unit: bool = False
    reply_to: ReplyTo = field(default_factory=ReplyTo)
    by: By = "command"
    expires: float | None = None
    retried: bool = False
    received: float = field(default_factory=system_clock)
    merged: list[Job] = field(default_factory=list)
    whole: Job | None = None
    also_off: set[int] = field(default_factory=set)
    indices: frozenset[int] = field(init=False)
    _answer: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.indices = frozenset(channel.index for channel in self.channels)

    @property
    def turns_off(self) -> bool:
        """True if it asks for nothing but off: it goes ahead of all other jobs then."""
        return self.command.turns_off

    @property
    def rides_on_off(self) -> bool:
        """True if it asks for something else beside an off. The off goes ahead as a job of its own, see `off_part`."""
        return self.command.state is False and not self.command.turns_off

    def off_part(self) -> Job:
        """The off of a command that asks for something else as well, as a job that gets no response.

        The author of the change is the command, so it has the same id.
        """
        command = Command(state=False, id=self.command.id).model_copy(update={"expires_at": self.command.expires_at})
        part = Job(command, self.channels, whole_unit=self.whole_unit, expires=self.expires, whole=self)
        part.claim_answer()
        return part

    def keep_off(self, fault: Refusal) -> bool:
        """Make it a job for nothing but its off. False if it asks for none.

        :param fault: why the rest is not carried out, for the response
        """
        if self.command.state is not False:
            return False
        if not self.turns_off:
            self.command = self.command.only_off(fault)
        return True

    def narrow(self, channels: tuple[Channel, ...]) -> None:
        """Make it a job for these channels."""
        self.channels = channels
        self.indices = frozenset(channel.index for channel in channels)

    def take_merged(self) -> list[Job]:
        """Empty `merged`, and return what was in it."""
        merged, self.merged = self.merged, []
        return merged

    def note_also_off(self, indices: Collection[int]) -> None:
        """Note outputs that its off turned off, though it does not name them, for all that are answered with it."""
        for job in (self, *self.merged):
            for told in (job, job.whole):
                if told is not None:
                    told.also_off.update(set(indices) - told.indices)

    @property
    def turns_on(self) -> bool:
        """True if it leaves outputs on."""
        return bool(self.command.state) or self.command.cycle is not None

    def has_expired(self) -> bool:
        """True if its ``expires_at`` or MQTT's message expiry is past."""
        expires_at = self.command.expires_at
        return (expires_at is not None and utc_now() > expires_at) or (
            self.expires is not None and time.monotonic() > self.expires
        )

    def claim_answer(self) -> bool:
        """True for the first caller, in whatever thread: every command gets exactly one response."""
        return self._answer.acquire(blocking=False)

    def done(self, unit: str, states: list[ChannelState]) -> Response:
        """The response that it was carried out, with the states of its channels as they were read back.

        Of an off with a fault it says the fault beside the states.
        """
        fault = self.command.fault
        return Response(
            id=self.command.id,
            ok=fault is None,
            time=utc_now(),
            psu=unit,
            index=None if self.whole_unit else self.channels[0].index,
            result=states if self.whole_unit else states[0],
            also_off=sorted(self.also_off),
            error=None
            if fault is None
            else ResponseError(code=fault.code, message=f"it was turned off, but {fault.message}"),
        )

    def refused(self, unit: str, code: ErrorCode, message: str, states: Sequence[ChannelState] = ()) -> Response:
        """The response that it was not, or not wholly, carried out, with the states of its channels if they were read back."""
        return Response(
            id=self.command.id,
            ok=False,
            time=utc_now(),
            psu=unit,
            index=None if self.whole_unit else self.channels[0].index,
            result=None if not states else list(states) if self.whole_unit else states[0],
            also_off=sorted(self.also_off),
            error=ResponseError(code=code, message=message),
        )

"""The worker's answers to commands: carried out, or not; with what was read back."""

from __future__ import annotations

import time

from agent.protocol.errors import ErrorCode, Refusal
from agent.unit.access import UnitAccess
from agent.unit.brokerloss import BrokerLoss
from agent.unit.job import Job
from agent.unit.limits.channel import Channel


class Answers:
    """Answers the jobs of one unit. For its worker alone. The agent's own offs get no response; failed ones are tried again."""

    __slots__ = ("_loss", "_unit")

    def __init__(self, unit: UnitAccess, loss: BrokerLoss) -> None:
        self._unit = unit
        self._loss = loss

    def refuse(self, job: Job, code: ErrorCode, message: str, *, has_result: bool = False) -> None:
        """Tell the sender that a job is not, or not wholly, carried out; and what was read back, or that the output is off."""
        off: list[Job] = []
        was_read_back = code in ("readback_mismatch", "instrument_error")
        for other in job.take_merged():
            is_off = was_read_back and self._unit.samples.are_off(other.indices, other.received)
            (off if is_off else job.merged).append(other)
        if job.by != "command":
            self._not_turned_off(job, code, message)
        elif job.rides_on_off and self._unit.samples.are_off(job.indices, job.received):
            job.keep_off(Refusal(code, message))
            self.confirm(job, job.channels)
        else:
            states = self._unit.states(sorted(job.indices)) if has_result and was_read_back else []
            self._unit.reporter.refuse(job, code, message, states)
        if off:
            off[0].merged = off[1:]
            self.confirm(off[0], job.channels)

    def confirm(self, job: Job, channels: tuple[Channel, ...]) -> None:
        """Tell the sender that a job was carried out, with the states of these channels."""
        self._unit.reporter.confirm(job, self._unit.states(channel.index for channel in channels))

    def _not_turned_off(self, job: Job, code: ErrorCode, message: str) -> None:
        """Have outputs tried again that the agent itself was to turn off."""
        self._unit.reporter.refuse(job, code, message, is_logged=self._loss.is_news(message))
        if code in ("uncertain", "offline"):
            self._loss.interrupted(job.indices)
        elif code != "superseded":
            left = [index for index in job.indices if not self._unit.samples.are_off((index,), job.received)]
            self._loss.failed(left, time.monotonic())

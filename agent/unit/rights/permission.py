"""Permissions: who else than the unit's ratings and limits has a say before a setting is sent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from agent.protocol.errors import Refusal
from agent.unit.job import Job


class Permission(Protocol):
    """One who has a say. It is asked three times: when a command comes in, when its turn has come, and before each write.

    An off is not asked for; neither is a write that turns off in the middle of a command.
    """

    def refusal(self, job: Job, indices: Collection[int], *, turns_on: bool = False) -> Refusal | None:
        """Why a job may not set these channels; None if it may. Called from any thread. It returns at once, and never raises.

        :param indices: numbers of channels: those of the job, or of the write that is to be sent
        :param turns_on: the job, or the write, turns them on
        """


class Permissions:
    """All who have a say, in the order in which they are asked."""

    __slots__ = ("_all",)

    def __init__(self, permissions: Sequence[Permission] = ()) -> None:
        self._all = tuple(permissions)

    def refusal(self, job: Job, indices: Collection[int], *, turns_on: bool = False) -> Refusal | None:
        """The first refusal; None if the job may set these channels."""
        for permission in self._all:
            if (refusal := permission.refusal(job, indices, turns_on=turns_on)) is not None:
                return refusal
        return None

    def admit(self, job: Job) -> None:
        """Let a job wait for its unit. Of an off with something else that may not be set, the off is left.

        :raises Refusal: it may not set its channels, and is no off
        """
        if job.turns_off or (refusal := self.refusal(job, job.indices, turns_on=job.turns_on)) is None:
            return
        if not job.keep_off(refusal):
            raise refusal

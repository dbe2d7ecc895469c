"""The time in which another agent serves the supply: there is no link to it, and an off opens one for itself."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable

from agent.instruments.driver import DriverError
from agent.protocol.errors import Refusal
from agent.unit import connecting
from agent.unit.access import UnitAccess
from agent.unit.connecting import Connector
from agent.unit.inbox import Stopped
from agent.unit.job import Job
from agent.unit.serving.answers import Answers
from agent.unit.standing import Standing

log = logging.getLogger(__name__)

#: Tries to open a link for an off. Some units take no second link, nor a new one right after the old one was closed.
TRIES = 2


class Aside:
    """Keeps a unit away from its supply. For the unit's worker alone."""

    __slots__ = ("_answers", "_connector", "_offs", "_told", "_unit")

    def __init__(self, unit: UnitAccess, connector: Connector, answers: Answers) -> None:
        self._unit = unit
        self._connector = connector
        self._answers = answers
        self._offs: list[Job] = []  # taken out of the inbox, and not begun
        self._told: Standing | None = None  # the one that the log has the reason of

    @property
    def is_needed(self) -> bool:
        """True while another agent serves the supply, and until the offs that came meanwhile are done."""
        return self._unit.role.is_aside or bool(self._offs)

    def leave(self, under_way: Iterable[Job]) -> None:
        """Close the link. Settings that wait or are under way are refused, offs that wait are done by `wait`.

        :param under_way: jobs that are no offs, whose plans have been ended
        :raises DriverError: the link broke; it is to be closed all the same
        """
        unit = self._unit
        conflict = unit.role.conflict()
        for job in under_way:
            self._answers.refuse(job, conflict.code, f"{conflict.message}; the rest of it is not carried out")
        unit.finish_poll_ahead()  # the unit would report an interrupted answer as an error
        self._step_aside()

    def wait(self) -> None:
        """Wait until this agent is to serve the supply and has no off left, or until the link is open for offs; then the unit is
        online.

        :raises Stopped: the worker is to end, and no off is left
        """
        unit = self._unit
        told = None
        while self.is_needed:
            if told is not unit.role.standing and unit.role.is_aside:
                told = unit.role.standing
                self._step_aside()
            if self._has_off():
                if self._open():
                    return
                continue
            unit.heartbeat = math.inf
            try:
                unit.inbox.wait(math.inf)
            except Stopped:
                if not self._has_off():
                    raise
            unit.heartbeat = time.monotonic()

    def refuse_offs(self) -> None:
        """Refuse the offs that were taken out of the inbox, at the worker's end."""
        offs, self._offs = self._offs, []
        for job in offs:
            self._answers.refuse(job, "offline", "the agent has stopped before the link was open")

    def _has_off(self) -> bool:
        return bool(self._offs) or self._unit.inbox.has_off_job()

    def _step_aside(self) -> None:
        """Have the unit offline, for the reason that the standing gives, with no link and no job but offs."""
        unit = self._unit
        self._connector.release()
        conflict = unit.role.conflict()
        for job in unit.inbox.close(but_for_offs=True):
            if job.keep_off(conflict):
                self._offs.append(job)
            else:
                self._answers.refuse(job, conflict.code, conflict.message)
        # The link for an off is no news: somebody who repeats an off each second would fill the log.
        standing, before = unit.role.standing, self._told
        self._told = standing
        unit.go_offline(conflict.message, is_told=standing is before)

    def _open(self) -> bool:
        """Open the link for the offs that wait. False if that failed: then they have been refused."""
        unit = self._unit
        why = ""
        for number in range(TRIES):
            if number:
                time.sleep(connecting.FIRST_RETRY)
            try:
                self._connector.connect(self._offs, for_offs=True)
                self._offs = []  # not before: if the worker is ended meanwhile, `refuse_offs` answers them
                return True
            except DriverError as error:
                why = str(error)
        refusal = Refusal(
            "offline", f"{unit.role.conflict().message}; this agent could not open a link for the off: {why}"
        )
        offs, self._offs = self._offs, []
        for job in [*offs, *unit.inbox.close(but_for_offs=True)]:
            self._answers.refuse(job, refusal.code, refusal.message)
        return False

"""The standing of a unit among agents, as a permission: settings are sent only while this agent serves the unit."""

from __future__ import annotations

from collections.abc import Collection

from agent.protocol.errors import Refusal
from agent.unit.job import Job
from agent.unit.standing import ALONE, Part, Standing


class Role:
    """Holds the present standing of one unit. Any thread may replace it; it holds from that moment on."""

    __slots__ = ("_unit", "standing")

    def __init__(self, unit: str, standing: Standing = ALONE) -> None:
        """:param unit: its name, for messages"""
        self._unit = unit
        self.standing = standing

    @property
    def is_aside(self) -> bool:
        """True while another agent serves the supply, so that this one has no link to it but for an off."""
        return self.standing.part is Part.YIELDS_SUPPLY

    @property
    def looks_taken(self) -> bool:
        """True while another agent serves a supply at this address, which may be this one: it has not said yet who it is."""
        return self.standing.part is Part.UNDECIDED and self.standing.other is not None

    def refusal(self, job: Job, indices: Collection[int], *, turns_on: bool = False) -> Refusal | None:
        """``conflict`` unless this agent serves the unit."""
        del job, indices, turns_on
        standing = self.standing
        return None if standing.part is Part.SERVES else self.conflict(standing)

    def conflict(self, standing: Standing | None = None) -> Refusal:
        """The refusal of a setting for this standing, or for the present one."""
        standing = standing or self.standing
        if standing.why is not None:
            return Refusal("conflict", standing.why)
        if standing.part is Part.UNDECIDED:
            return Refusal("conflict", f"it is not known yet if another agent serves {self._unit}; send it again")
        return Refusal("conflict", f"another agent claims {self._unit}; send it again when one of the two serves it")

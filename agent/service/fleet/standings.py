"""The standings of this agent's units: each change reaches the unit and what is published of it, in the order that is safe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from agent.service.fleet.outlet import FleetOutlet
from agent.unit.standing import Part, Standing
from agent.unit.supply import Supply


class Standings:
    """Gives units their standings. From any thread; it waits for no unit, no broker and no disk."""

    def __init__(self, supplies: Callable[[], Mapping[str, Supply]], outlet: FleetOutlet) -> None:
        """:param supplies: gives the units that are served now, by name"""
        self._supplies = supplies
        self._outlet = outlet

    def stand(self, unit: str, standing: Standing, since: datetime | None = None) -> None:
        """Have a unit take a standing over. Settings stop before anybody is told of it, and begin after it was told.

        :param since: since when this agent has claimed the unit; None for now if it begins with this standing
        """
        supply = self._supplies().get(unit)
        serves = standing.part is Part.SERVES
        was_muted = supply is not None and supply.standing.is_muted
        if supply is not None and not serves:
            supply.stand(standing)
        self._outlet.stand(unit, standing, since)
        if supply is not None and serves:
            supply.stand(standing)
        if supply is not None and was_muted and not standing.is_muted:
            supply.poll_now()  # its states were not published for a while

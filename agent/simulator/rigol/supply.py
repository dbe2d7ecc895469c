"""A supply of the series with its commands."""

from __future__ import annotations

from typing import ClassVar

from agent.simulator.rigol.commands import COMMANDS
from agent.simulator.rigol.outputs import DP800Outputs
from agent.simulator.scpi import Command


class DP800(DP800Outputs):
    """A supply of the series. Its options are those of `DP800Outputs`."""

    commands: ClassVar[tuple[Command, ...]] = COMMANDS

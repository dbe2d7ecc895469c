"""The steps of a plan: what a plan yields to its execution, and what it is sent for that."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import NamedTuple

from agent.instruments.driver import Conditions, Reading, Write
from agent.protocol.quantities import Setting
from agent.unit.gate import Readings


@dataclass(frozen=True, slots=True)
class Look:
    """Poll the unit, publish the readings and ask if it took the last write; the plan is sent what was seen.

    ``is_whole``: ask for the conditions, too, as the first look before a setting does by itself. ``settings``: those that the
    conditions are to be of; None for the ones of the command.
    """

    is_whole: bool = False
    settings: frozenset[Setting] | None = None


class Seen(NamedTuple):
    """The answer to a look: the readings, and the conditions as they were last asked for."""

    readings: Readings
    conditions: Conditions = Conditions()


@dataclass(frozen=True, slots=True)
class Checked:
    """Send a write and ask the unit if it took it, in one message where it takes that; go on when it has answered."""

    write: Write


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait until this moment of `agent.timing.system_clock` (s).

    ``holds``: the fields whose change by another command ends the plan; None for those of its own command.
    """

    until: float
    holds: frozenset[str] | None = None


Step = Look | Checked | Pause | tuple[Write, ...]
Plan = Generator[Step, Seen, None]
#: A part of a plan that returns what it has seen.
Finding = Generator[Step, Seen, Seen]

#: The newest reading of a channel and its moment of `agent.timing.system_clock`; None where there is none.
Newest = Callable[[int], tuple[Reading, float] | None]

LOOK = Look()
LOOK_AT_ALL = Look(is_whole=True)

"""The one table of what a channel has: measured quantities, settings and actions, with unit symbol, kind and who may set it.

Whatever prints, reads, checks or writes a quantity takes its properties from here; tests hold `ChannelState`, `Command` and the
drivers' `Reading` against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "switch", "word", "action"]
#: The smallest thing that a command may name for it: a channel, or a whole unit too. None: it can't be commanded.
Commanded = Literal["channel", "unit"] | None

#: What a driver can be told to write. A literal type, so that a misspelt name is found before anything runs.
Setting = Literal[
    "state", "voltage_limit", "current_limit", "voltage_protection", "current_protection", "clear_protection"
]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One row of the table.

    ``unit``: the symbol of its unit, empty where it has none. ``written``: a driver writes it to an instrument (it is a
    `Setting`). ``reported``: it stands in a channel's state. ``watched``: a change of it is told as an event. ``label``: its name
    for people.
    """

    name: str
    kind: Kind
    unit: str = ""
    commanded: Commanded = None
    written: bool = False
    reported: bool = True
    watched: bool = False
    label: str = ""

    def shown(self, value: float | bool | str | None) -> str:
        """A value for people: ``on``, ``3.3 V``, ``CV``, ``none``."""
        if isinstance(value, bool):
            return "on" if value else "off"
        if value is None:
            return "none"
        if isinstance(value, int | float):
            return f"{value:g} {self.unit}".rstrip()
        return value


#: In the order of a channel's state.
QUANTITIES: tuple[Quantity, ...] = (
    Quantity("state", "switch", commanded="unit", written=True, watched=True, label="output"),
    Quantity("voltage", "number", "V", label="voltage"),
    Quantity("current", "number", "A", label="current"),
    Quantity("power", "number", "W", label="power"),
    Quantity("voltage_limit", "number", "V", commanded="channel", written=True, watched=True, label="voltage limit"),
    Quantity("current_limit", "number", "A", commanded="channel", written=True, watched=True, label="current limit"),
    Quantity("mode", "word", watched=True, label="mode"),
    Quantity("tripped", "word", watched=True, label="trip"),
    Quantity(
        "voltage_protection",
        "number",
        "V",
        commanded="channel",
        written=True,
        watched=True,
        label="over-voltage protection",
    ),
    Quantity(
        "current_protection",
        "switch",
        commanded="channel",
        written=True,
        watched=True,
        label="over-current protection",
    ),
    Quantity("energy", "number", "Wh", label="energy"),
    Quantity("charge", "number", "Ah", label="charge"),
    Quantity("clear_protection", "action", commanded="unit", written=True, reported=False, label="clear protection"),
    Quantity("cycle", "number", "s", commanded="channel", reported=False, label="power cycle"),
    Quantity("ramp", "number", "V/s", commanded="channel", reported=False, label="ramp"),
)

BY_NAME: dict[str, Quantity] = {quantity.name: quantity for quantity in QUANTITIES}


def names(chosen: Callable[[Quantity], bool]) -> tuple[str, ...]:
    """The names of the rows that satisfy a condition, in the table's order."""
    return tuple(quantity.name for quantity in QUANTITIES if chosen(quantity))


#: What a command may ask a channel for, in the order of the contract's table.
COMMANDED: tuple[str, ...] = (
    "state",
    "voltage_limit",
    "current_limit",
    "voltage_protection",
    "current_protection",
    "clear_protection",
    "cycle",
    "ramp",
)
#: Of them, what a whole unit takes.
COMMANDED_OF_UNIT: frozenset[str] = frozenset(names(lambda quantity: quantity.commanded == "unit"))
#: Settings with a number, a range and a unit symbol.
LEVELS: tuple[str, ...] = names(lambda quantity: quantity.written and quantity.kind == "number")
#: Changes of these are events, in this order.
WATCHED: tuple[str, ...] = names(lambda quantity: quantity.watched)

"""The one table of what a channel has: measured quantities, settings and actions, with unit symbol, kind and who may set it.

All code that prints, reads, checks or writes a quantity takes its properties from here. A new quantity needs a row here (and, if
drivers write it, its name in `Setting`), a typed field in `ChannelState`, in `Command` if it can be commanded, in the drivers'
`Reading` if they read it, its range in `ChannelInfo` and the drivers' `Output` if it is a level, and its lines in the series
files. tests/protocol/test_quantities.py names what was forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, cast

Kind = Literal["number", "switch", "word", "action"]
#: The largest thing that one command may set it for: a channel, or a whole unit too. None: it can't be commanded.
Commanded = Literal["channel", "unit"] | None

#: The settings that a driver writes. A literal type, so that mypy finds a misspelt name.
Setting = Literal[
    "state",
    "voltage_limit",
    "current_limit",
    "voltage_protection",
    "current_protection",
    "current_protection_level",
    "voltage_protection_state",
    "clear_protection",
]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One row of the table.

    ``unit``: the symbol of its unit, empty where it has none. ``written``: a driver writes it to an instrument (it is a
    `Setting`). ``reported``: it stands in a channel's state. ``computed``: the agent works it out from what the instrument
    tells. ``watched``: a change of it is told as an event. ``label``: its name for people. ``purpose``: for the help of
    command lines, what a command with it does. ``minimum``, ``maximum``: what any command is checked against, in its unit,
    None for no bound; ``above_minimum``: the minimum itself is not allowed.
    """

    name: str
    kind: Kind
    unit: str = ""
    commanded: Commanded = None
    written: bool = False
    reported: bool = True
    computed: bool = False
    watched: bool = False
    label: str = ""
    purpose: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above_minimum: bool = False

    def shown(self, value: float | bool | str | None) -> str:
        """A value for people: ``on``, ``3.3 V``, ``CV``, ``none``."""
        if isinstance(value, bool):
            return "on" if value else "off"
        if value is None:
            return "none"
        if isinstance(value, int | float):
            return f"{value:g} {self.unit}".rstrip()
        return value

    def is_within(self, value: float) -> bool:
        """True if a number lies between ``minimum`` and ``maximum``. A unit or a channel may allow less."""
        if self.minimum is not None and (value < self.minimum or (self.above_minimum and value == self.minimum)):
            return False
        return self.maximum is None or value <= self.maximum


#: In the order of a channel's state.
QUANTITIES: tuple[Quantity, ...] = (
    Quantity(
        "state",
        "switch",
        commanded="unit",
        written=True,
        watched=True,
        label="output",
        purpose="Output on or off.",
    ),
    Quantity("voltage", "number", "V", label="voltage"),
    Quantity("current", "number", "A", label="current"),
    Quantity("power", "number", "W", computed=True, label="power"),
    Quantity(
        "voltage_limit",
        "number",
        "V",
        commanded="channel",
        written=True,
        watched=True,
        label="voltage limit",
        purpose="Voltage setting, V.",
    ),
    Quantity(
        "current_limit",
        "number",
        "A",
        commanded="channel",
        written=True,
        watched=True,
        label="current limit",
        purpose="Current setting, A.",
    ),
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
        purpose="Over-voltage trip level, V.",
    ),
    Quantity(
        "current_protection",
        "switch",
        commanded="channel",
        written=True,
        watched=True,
        label="over-current protection",
        purpose="Trip instead of limiting in CC.",
    ),
    Quantity(
        "current_protection_level",
        "number",
        "A",
        commanded="channel",
        written=True,
        watched=True,
        label="over-current trip level",
        purpose="Over-current trip level, A, where it is apart from the current limit.",
    ),
    Quantity(
        "voltage_protection_state",
        "switch",
        commanded="channel",
        written=True,
        watched=True,
        label="over-voltage protection on",
        purpose="Over-voltage protection on or off, where its switch is apart from the level.",
    ),
    Quantity("energy", "number", "Wh", computed=True, label="energy"),
    Quantity("charge", "number", "Ah", computed=True, label="charge"),
    Quantity(
        "clear_protection",
        "action",
        commanded="unit",
        written=True,
        reported=False,
        label="clear protection",
        purpose="Clear a trip; the output stays off.",
    ),
    Quantity(
        "cycle",
        "number",
        "s",
        commanded="channel",
        reported=False,
        label="power cycle",
        purpose="Off, wait so many seconds (0 to 3600), on.",
        minimum=0,
        maximum=3600,
    ),
    Quantity(
        "ramp",
        "number",
        "V/s",
        commanded="channel",
        reported=False,
        label="ramp",
        purpose="Go to --voltage-limit at so many V/s.",
        minimum=0,
        above_minimum=True,
    ),
)

BY_NAME: dict[str, Quantity] = {quantity.name: quantity for quantity in QUANTITIES}


def names(chosen: Callable[[Quantity], bool]) -> tuple[str, ...]:
    """The names of the rows that satisfy a condition, in the table's order."""
    return tuple(quantity.name for quantity in QUANTITIES if chosen(quantity))


#: The quantities of a channel's state, in the table's order.
REPORTED: tuple[str, ...] = names(lambda quantity: quantity.reported)
_COMPUTED = names(lambda quantity: quantity.computed)
#: The numbers that an instrument tells of an output, and the switches.
READ_NUMBERS: frozenset[str] = frozenset(names(lambda row: row.reported and row.kind == "number" and not row.computed))
READ_SWITCHES: frozenset[str] = frozenset(names(lambda row: row.reported and row.kind == "switch"))
_COMPUTED_FROM = frozenset(("voltage", "current"))


def reported(told: Iterable[str]) -> frozenset[str]:
    """The quantities of a channel's state that are known where an instrument tells ``told``; other names are left out.

    Power, energy and charge are among them where it tells voltage and current.
    """
    found = frozenset(told) & frozenset(REPORTED)
    return found.union(_COMPUTED) if found >= _COMPUTED_FROM else found


#: The fields of a command for a channel, in the order of the contract's table.
COMMANDED: tuple[str, ...] = names(lambda quantity: quantity.commanded is not None)
#: Those of them that a whole unit takes.
COMMANDED_OF_UNIT: frozenset[str] = frozenset(names(lambda quantity: quantity.commanded == "unit"))
#: All that a driver writes.
SETTINGS = cast("frozenset[Setting]", frozenset(names(lambda quantity: quantity.written)))
#: Settings with a number, a range and a unit symbol.
LEVELS = cast("tuple[Setting, ...]", names(lambda quantity: quantity.written and quantity.kind == "number"))
#: Settings that are on or off, beside the output itself.
SWITCHES = cast("tuple[Setting, ...]", names(lambda row: row.written and row.kind == "switch" and row.name != "state"))
_FIRST = ("state", "tripped", "mode")
#: Changes of these are events, in this order: first those of the output, then those of settings.
WATCHED: tuple[str, ...] = (
    *_FIRST,
    *names(lambda quantity: quantity.watched and quantity.name not in _FIRST),
)

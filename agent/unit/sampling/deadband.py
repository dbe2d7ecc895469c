"""Which samples of a unit are published: all of them, or those that tell a change, and one every now and then."""

from __future__ import annotations

from typing import Protocol

from agent.instruments.driver import Output, Reading

#: Of the deadband: 5.002 - 5.001 is a little more than 0.001 in binary numbers.
ROUNDING = 1 + 1e-6


class Deadbands(Protocol):
    """How far the measured quantities of a channel may move without a state; None for the default.

    That of ``voltage`` and ``current`` is one step of the channel's resolution; the power goes with them.
    """

    @property
    def voltage(self) -> float | None:
        """V."""

    @property
    def current(self) -> float | None:
        """A."""

    @property
    def power(self) -> float | None:
        """W."""


class PublishSettings(Protocol):
    """Which states of a unit are published."""

    @property
    def changes_only(self) -> bool:
        """True if a state that tells no change is not published."""

    @property
    def deadband(self) -> Deadbands:
        """How far a measured quantity has to move for a change."""

    @property
    def heartbeat(self) -> float:
        """The time (s) after which a state is published though nothing has changed."""


class Deadband:
    """Compares a channel's reading with the last one that was published, so that a slow drift is told, too."""

    __slots__ = ("_current", "_power", "_voltage")

    def __init__(self, settings: Deadbands, output: Output) -> None:
        """``output``: whose resolution is the default."""
        voltage, current, power = settings.voltage, settings.current, settings.power
        self._voltage = (output.voltage_resolution if voltage is None else voltage) * ROUNDING
        self._current = (output.current_resolution if current is None else current) * ROUNDING
        self._power = None if power is None else power * ROUNDING

    def is_left(self, told: Reading, reading: Reading, power_told: float | None, power: float | None) -> bool:
        """True if a reading differs from the one that was told: in a measured quantity by more than its deadband, in another
        one at all.
        """
        return (
            told[2:] != reading[2:]
            or _differ(told.voltage, reading.voltage, self._voltage)
            or _differ(told.current, reading.current, self._current)
            or (self._power is not None and _differ(power_told, power, self._power))
        )


def _differ(told: float | None, value: float | None, by_more_than: float) -> bool:
    if told is None or value is None:
        return told is not value
    # Not `>`, which is false for a number and NaN; two NaNs are no change.
    return not abs(told - value) <= by_more_than and (told == told or value == value)

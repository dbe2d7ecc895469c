"""A channel: the ranges of its output, and the narrower limits of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from agent.instruments.driver import Output, Profile, Range, Reading
from agent.protocol.errors import Refusal
from agent.protocol.quantities import BY_NAME

#: V or A by which a value may be past an end: the rounding of binary fractions.
ROUNDING = 1e-9
#: The part by which a product of volts and amperes may be above the most, for the same reason.
_ENVELOPE = 1e-6


class ChannelSettings(Protocol):
    """The configuration of one channel. V, A, s."""

    @property
    def name(self) -> str | None:
        """The configured name; None for the output's own."""

    @property
    def voltage_max(self) -> float | None:
        """The magnitude that ``voltage_limit`` may have at most (V)."""

    @property
    def current_max(self) -> float | None:
        """The magnitude that ``current_limit`` may have at most (A)."""

    @property
    def on_broker_loss(self) -> Literal["keep", "off"]:
        """``off``: the output is turned off when the broker has been gone for `broker_loss_after`."""

    @property
    def broker_loss_after(self) -> float:
        """The time without a broker (s) after which the output is turned off."""


@dataclass(frozen=True, slots=True)
class DefaultSettings:
    """The `ChannelSettings` of a channel that the configuration does not mention."""

    name: str | None = None
    voltage_max: float | None = None
    current_max: float | None = None
    on_broker_loss: Literal["keep", "off"] = "keep"
    broker_loss_after: float = 10.0


DEFAULTS = DefaultSettings()


@dataclass(frozen=True, slots=True)
class Channel:
    """One output of a unit with its name, its ranges and its limits (V, A).

    ``together``: the outputs, this one among them, that its switch acts on; empty where it has one of its own.
    """

    unit: str
    name: str
    output: Output
    settings: ChannelSettings = DEFAULTS
    together: frozenset[int] = frozenset()

    @property
    def index(self) -> int:
        """Its number, as on the front panel."""
        return self.output.index

    def __str__(self) -> str:
        own = "" if self.name == self.output.name else f" ({self.name})"
        return f"channel {self.index}{own} of {self.unit}"

    def range(self, setting: str) -> Range | None:
        """The values that the output takes for a setting; None where it has no such setting."""
        return self.output.range(setting)

    def limit(self, setting: str) -> float | None:
        """The magnitude that the configuration limits a setting to; None where it does not."""
        match setting:
            case "voltage_limit":
                return self.settings.voltage_max
            case "current_limit":
                return self.settings.current_max
        return None

    def allowed(self, setting: str) -> Range | None:
        """The part of `range` that the configuration allows."""
        interval, limit = self.range(setting), self.limit(setting)
        if interval is None or limit is None:
            return interval
        return Range(max(interval.min, -limit), min(interval.max, limit))

    def tolerance(self, setting: str) -> float:
        """How far a setting that is read back may be from the one that was sent."""
        return self.output.resolution(setting)

    def check(self, setting: str, value: float, doing: str = "") -> None:
        """Refuse a value that the configuration or the output does not allow. ``doing`` stands in front of the message.

        :raises Refusal: ``limit_exceeded`` or ``out_of_range``
        """
        unit = BY_NAME[setting].unit
        limit = self.limit(setting)
        if limit is not None and not abs(value) <= limit + ROUNDING:
            raise Refusal(
                "limit_exceeded",
                f"{doing}{setting} {plain(value)} {unit} is above the {plain(limit)} {unit} that {self} is limited to",
            )
        interval = self.range(setting)
        if interval is not None and value not in _widened(interval):
            raise Refusal(
                "out_of_range",
                f"{doing}{setting} {plain(value)} {unit} is outside the {plain(interval.min)} to "
                f"{plain(interval.max)} {unit} of {self}",
            )

    def check_present(self, setting: str, value: float, interval: Range) -> None:
        """Refuse a value outside the range that the output takes at present, of several that it has.

        :raises Refusal: ``out_of_range``
        """
        if value not in _widened(interval):
            unit = BY_NAME[setting].unit
            raise Refusal(
                "out_of_range",
                f"{setting} {plain(value)} {unit} is not in the present range of {self}, {plain(interval.min)} to "
                f"{plain(interval.max)} {unit}; select the other range at the unit",
            )

    def check_power(
        self, volts: float | None, amperes: float | None, held: tuple[float | None, float | None] = (None, None)
    ) -> None:
        """Refuse settings whose product is more than the output takes, unless it is no more than that of the ones before.

        :param volts: ``voltage_limit``, None where it is not known
        :param amperes: ``current_limit``, None where it is not known
        :param held: the two before
        :raises Refusal: ``out_of_range``
        """
        most = self.output.power_max
        if most is None or volts is None or amperes is None:
            return
        watts = abs(volts * amperes)
        is_raised = None in held or watts > abs((held[0] or 0.0) * (held[1] or 0.0))
        if watts > most * (1 + _ENVELOPE) and is_raised:
            raise Refusal(
                "out_of_range",
                f"voltage_limit {plain(volts)} V with current_limit {plain(amperes)} A is {plain(watts)} W, more than the "
                f"{plain(most)} W of {self}; lower one of them in the same command",
            )

    def check_settings(self, reading: Reading) -> None:
        """Refuse to turn an output on while the unit has settings for it that are above the limits of the configuration.

        :raises Refusal: ``limit_exceeded``
        """
        # The unit's own rounding must not make a setting at the limit one above it.
        for setting, value in (("voltage_limit", reading.voltage_limit), ("current_limit", reading.current_limit)):
            limit = self.limit(setting)
            if limit is None:
                continue
            if value is None:
                raise Refusal(
                    "limit_exceeded",
                    f"not turned on: the unit does not tell the {setting} of {self}, so that nobody knows whether it keeps "
                    f"the {plain(limit)} {BY_NAME[setting].unit} that it is limited to",
                )
            if not abs(value) <= limit + self.tolerance(setting):
                self.check(setting, value, "not turned on: in the unit, ")


def channels_of(unit: str, profile: Profile, settings: Mapping[int, ChannelSettings]) -> dict[int, Channel]:
    """The channels of a unit by their numbers, named and limited as the configuration says."""
    channels = {}
    for output in profile.outputs:
        own = settings.get(output.index, DEFAULTS)
        together = next((group for group in profile.together if output.index in group), frozenset[int]())
        channels[output.index] = Channel(unit, own.name or output.name, output, own, together)
    return channels


def _widened(interval: Range) -> Range:
    return Range(interval.min - ROUNDING, interval.max + ROUNDING)


def plain(value: float) -> str:
    """A number for a message to a person: up to ten digits, without zeros at the end."""
    return f"{value:.10g}"

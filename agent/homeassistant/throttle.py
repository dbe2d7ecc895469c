"""Chooses the samples of a channel that Home Assistant gets: its database keeps a row for each value that changed.

At ten polls a second every measurement's last digits change ten times a second. These changes pass at once: an output that
is switched, a setting, a trip, a unit that is lost, a load that changes by more than noise. A value that only drifts passes
once an interval, and not at all while it drifts by less than the step in which the unit can be set.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from agent.protocol.messages import ChannelInfo, ChannelState
from agent.protocol.quantities import WATCHED

#: The part of its rating that a measurement has to change by to pass before the interval is over.
NOISE = 0.005
#: s between two samples that pass because a measurement changed.
FASTEST = 1.0
#: Changes of settings that may follow each other at once; after them one a second, so that a ramp makes few rows.
BURST = 5.0

_AT_ONCE = ("online", "state", "tripped")
_at_once = attrgetter(*_AT_ONCE)
_settings = attrgetter(*(name for name in WATCHED if name not in _AT_ONCE), "name")
#: Decimal places of what is integrated (Wh, Ah), and of watts.
_ENERGY_DIGITS, _POWER_DIGITS = 5, 4


@dataclass(frozen=True, slots=True)
class Scale:
    """The changes of one channel's measurements that are noise (V, A, W), and the steps that it can be set in (V, A)."""

    voltage: float
    current: float
    power: float
    voltage_step: float
    current_step: float

    @classmethod
    def of(cls, channel: ChannelInfo) -> Scale:
        """The scale of a channel with these ratings and resolutions."""
        # Of a channel that does not tell its rating every change beyond a step passes.
        voltage, current = channel.voltage_rating or 0.0, channel.current_rating or 0.0
        return cls(
            NOISE * voltage,
            NOISE * current,
            NOISE * voltage * current,
            channel.voltage_resolution,
            channel.current_resolution,
        )

    def rounded(self, state: ChannelState, energy: float, charge: float) -> ChannelState:
        """The state with the digits that mean something, and with this energy (Wh) and charge (Ah) where it has any."""
        return state.model_copy(
            update={
                "voltage": _round(state.voltage, _places(self.voltage_step)),
                "current": _round(state.current, _places(self.current_step)),
                "power": _round(state.power, _POWER_DIGITS),
                "energy": None if state.energy is None else _round(energy, _ENERGY_DIGITS),
                "charge": None if state.charge is None else _round(charge, _ENERGY_DIGITS),
            }
        )


class Throttle:
    """Chooses the samples of one channel. Not for several threads at once."""

    __slots__ = ("_charge", "_energy", "_interval", "_last", "_moment", "_tokens", "is_thinned", "scale")

    def __init__(self, scale: Scale, interval: float) -> None:
        """:param interval: s between samples in which nothing but noise changed"""
        self.scale = scale
        #: True if a sample that does not pass may be the last for long, as the unit publishes changes only.
        self.is_thinned = False
        self._interval = interval
        self._last: ChannelState | None = None
        self._energy = self._charge = 0.0
        self._moment = 0.0
        self._tokens = BURST

    def passes(self, state: ChannelState, energy: float, charge: float, now: float) -> bool:
        """True if this sample is to be published; later ones are compared with it in that case.

        :param energy: Wh, and ``charge``, Ah, that would be published with it
        :param now: the sample's moment (s)
        """
        last = self._last
        elapsed = now - self._moment
        tokens = min(BURST, self._tokens + elapsed / FASTEST)
        if last is None or _at_once(state) != _at_once(last):
            passes = True
        elif _settings(state) != _settings(last):
            passes = tokens >= 1.0
        elif elapsed < FASTEST and elapsed < self._interval:
            return False
        elif elapsed < self._interval:
            passes = self._has_changed(state, last)
        else:
            passes = self._has_drifted(state, last, energy, charge)
        if passes:
            self._last, self._moment, self._tokens = state, now, max(0.0, tokens - 1.0)
            self._energy, self._charge = energy, charge
        return passes

    def is_over(self, now: float) -> bool:
        """True if so long has passed since the last sample that passed that one which still does not pass tells nothing new."""
        return now - self._moment >= max(self._interval, FASTEST)

    def _has_changed(self, state: ChannelState, last: ChannelState) -> bool:
        scale = self.scale
        return (
            _differs(state.voltage, last.voltage, scale.voltage)
            or _differs(state.current, last.current, scale.current)
            or _differs(state.power, last.power, scale.power)
        )

    def _has_drifted(self, state: ChannelState, last: ChannelState, energy: float, charge: float) -> bool:
        scale = self.scale
        return (
            _differs(state.voltage, last.voltage, scale.voltage_step)
            or _differs(state.current, last.current, scale.current_step)
            or _differs(energy, self._energy, 10**-_ENERGY_DIGITS)
            or _differs(charge, self._charge, 10**-_ENERGY_DIGITS)
        )


def _differs(value: float | None, last: float | None, by: float) -> bool:
    if value is None or last is None:
        return value is not last
    return abs(value - last) > by


def _places(resolution: float) -> int:
    """One decimal place more than the setting's resolution has: units measure finer than they set."""
    return len(f"{resolution:.6f}".rstrip("0").partition(".")[2]) + 1


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits) + 0.0  # no -0.0

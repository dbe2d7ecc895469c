"""The front panel: the keys and knobs that a person in front of the supply has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent.simulator.e36300.outputs import TripleOutput
from agent.simulator.e36300.ratings import Inhibit, Quantity
from agent.simulator.scpi import ScpiError


class FrontPanel:
    """The keys and knobs of one supply, to be used from any thread.

    Every method returns True; or False, and has no effect, while ``SYST:RWL`` locks the keys.
    """

    def __init__(self, supply: TripleOutput) -> None:
        self._supply = supply

    def knob_voltage(self, channel: int, voltage: float) -> bool:
        """Turn an output's voltage setting to so many V.

        :raises ValueError: the knob doesn't go so far
        """
        return self._turn(channel, "voltage", voltage)

    def knob_current(self, channel: int, current: float) -> bool:
        """Turn an output's current limit to so many A.

        :raises ValueError: the knob doesn't go so far
        """
        return self._turn(channel, "current", current)

    def knob_protection(self, channel: int, voltage: float) -> bool:
        """Set an output's over-voltage protection level to so many V.

        :raises ValueError: it can't be set to that
        """
        return self._turn(channel, "protection", voltage)

    def press_current_protection(self, channel: int, on: bool) -> bool:
        """Switch an output's over-current protection."""
        with self._unless_locked() as usable:
            if usable:
                self._supply.channels[channel].settings.current_protection = on
                self._supply.advance()
            return usable

    def press_output(self, channel: int, on: bool | None = None) -> bool:
        """Press an output's On key, which toggles it unless ``on`` says how it is to end up."""
        with self._unless_locked() as usable:
            if usable:
                output = self._supply.channels[channel]
                self._supply.switch([output], not output.settings.output if on is None else on)
            return usable

    def press_all(self, on: bool) -> bool:
        """Press the key All On/Off."""
        with self._unless_locked() as usable:
            if usable:
                self._supply.switch(list(self._supply.channels.values()), on)
            return usable

    def clear_protection(self, channel: int) -> bool:
        """Clear an output's trip from the menu."""
        with self._unless_locked() as usable:
            if usable:
                self._supply.clear_trips([self._supply.channels[channel]])
            return usable

    def couple(self, *channels: int) -> bool:
        """Couple outputs in the menu, so that their On keys act on all of them; none, and no output is coupled."""
        with self._unless_locked() as usable:
            if usable:
                self._supply.coupled = frozenset(channels)
            return usable

    def choose_inhibit(self, mode: Inhibit) -> bool:
        """Choose in the menu how outputs follow the signal at pin 3 of the digital port, and give the pin that function."""
        with self._unless_locked() as usable:
            if usable:
                self._supply.inhibit_mode = mode
                self._supply.pins[3] = "DIO" if mode == "OFF" else "INH"
            return usable

    def delay(self, channel: int, *, rise: float = 0.0, fall: float = 0.0) -> bool:
        """Set an output's on and off delay in the menu (s)."""
        with self._unless_locked() as usable:
            if usable:
                settings = self._supply.channels[channel].settings
                settings.rise_delay, settings.fall_delay = rise, fall
                self._supply.advance()
            return usable

    def _turn(self, channel: int, quantity: Quantity, value: float) -> bool:
        with self._unless_locked() as usable:
            if usable:
                try:
                    self._supply.set_level([self._supply.channels[channel]], quantity, quantity, float(value))
                except (KeyError, ScpiError) as error:
                    raise ValueError(f"channel {channel}'s {quantity} can't be turned to {value}") from error
            return usable

    @contextmanager
    def _unless_locked(self) -> Iterator[bool]:
        """Hold the supply's lock; False while its panel is locked."""
        with self._supply.lock:
            self._supply.advance()
            yield self._supply.lock_state != "RWL"

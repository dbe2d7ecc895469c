"""The three outputs together: settings and their limits, switching, pairing, tracking, coupling, triggers, status."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

from agent.simulator.e36300.channel import ALL_BITS, Settings, SimulatedChannel
from agent.simulator.e36300.ratings import DECIMALS, MODELS, PROTECTION_MIN, Inhibit, Pairing, Quantity, Trip
from agent.simulator.instrument import ScpiInstrument, StatusRegister
from agent.simulator.loads import Load
from agent.simulator.scpi import Quirks, ScpiError

_QUESTIONABLE_INSTRUMENT = 1 << 13


class TripleOutput(ScpiInstrument):
    """A supply of the series, without its commands and its panel. ``channels[1]`` is output 1.

    Every method raises `ScpiError` for what the supply refuses, and wants the instrument's lock held, but for `set_load`,
    `trip` and `power_cycle`, which take it.
    """

    def __init__(
        self,
        model: str,
        *,
        loads: Mapping[int, Load] | None = None,
        noise: bool = True,
        seed: int = 0,
        restore_after_clear: bool = True,
        clock: Callable[[], float] = time.monotonic,
        quirks: Quirks | None = None,
        log_size: int = 0,
    ) -> None:
        if model not in MODELS:
            raise ValueError(f"no such model to simulate: {model!r}; there are {', '.join(MODELS)}")
        super().__init__(clock=clock, quirks=quirks, log_size=log_size)
        self.model = model
        self.channels = {
            number: SimulatedChannel(number, rating, Settings.of(rating))
            for number, rating in enumerate(MODELS[model], 1)
        }
        self.instruments = StatusRegister(ALL_BITS)
        self.lock_state: Literal["LOC", "REM", "RWL"] = "LOC"
        self.display_on = True
        self.display_text = ""
        self.beeper = True
        self.beeps = 0
        #: Gives the deviation of one reading, from a mean and a standard deviation.
        self.noise: Callable[[float, float], float] = random.Random(seed).gauss if noise else _no_noise
        self._restore_after_clear = restore_after_clear
        self._saved: dict[int, dict[str, Any]] = {}
        self._signal = False
        self.reset()
        for number, load in (loads or {}).items():
            self.channels[number].load = load

    # --- events beside commands

    def set_load(self, channel: int, load: Load) -> None:
        """Connect another load to an output.

        :raises KeyError: there is no such output
        """
        with self.lock:
            self.channels[channel].load = load
            self.advance()

    def trip(self, channel: int, cause: Trip) -> None:
        """Make a protection trip as if its condition had occurred and gone.

        :raises KeyError: there is no such output
        :raises ValueError: there is no such protection
        """
        if cause not in get_args(Trip):
            raise ValueError(f"a trip is OVP, OCP or OTP, not {cause!r}")
        with self.lock:
            self.channels[channel].trip_by(cause)
            self.advance()

    def inhibit(self, signal: bool) -> None:
        """Apply the signal to pin 3 of the digital port, or take it away. It has an effect if the pin is an INHibit."""
        with self.lock:
            self._signal = signal and self.pins[3] == "INH" and self.inhibit_mode != "OFF"
            for channel in self.channels.values():
                channel.inhibited = self._signal or (channel.inhibited and self.inhibit_mode == "LATC")
            self.advance()

    def power_cycle(self) -> None:
        """Mains off and on. Loads stay connected, saved states are kept."""
        with self.lock:
            super().power_cycle()
            for register in (self.instruments, *(channel.status for channel in self.channels.values())):
                register.event = register.condition = 0
                register.enable = ALL_BITS
            self.lock_state = "LOC"
            self.display_on, self.display_text = True, ""

    # --- hooks of the base class

    def advance(self) -> None:
        """Bring every output and the status registers up to the present time."""
        now = self.time
        for channel in self.channels.values():
            channel.advance(now)
        if self.pair != "OFF":
            second, third = self.channels[2], self.channels[3]
            third.voltage, third.current, third.mode = second.voltage, second.current, second.mode
        self.summarize()

    def summarize(self) -> None:
        """Bring the summary registers up to date with the outputs' registers."""
        condition = 0
        for channel in self.channels.values():
            if channel.status.event & channel.status.enable:
                condition |= 1 << channel.number
        self.instruments.update(condition)
        self.questionable.update(_QUESTIONABLE_INSTRUMENT if self.instruments.summary else 0)

    def reset(self) -> None:
        """``*RST``."""
        self.selected = 1
        self.pair: Pairing = "OFF"
        self.tracking = False
        self.coupled: frozenset[int] = frozenset()
        self.trigger_source = "BUS"
        self.inhibit_mode: Inhibit = "OFF"
        self.pins = {1: "DIO", 2: "DIO", 3: "DIO"}
        for channel in self.channels.values():
            channel.reset(self.time)
        self.advance()

    def clear_status(self) -> None:
        """``*CLS``."""
        super().clear_status()
        self.instruments.event = 0
        for channel in self.channels.values():
            channel.status.event = 0

    def preset_status(self) -> None:
        """``STATus:PRESet``."""
        super().preset_status()
        self.instruments.enable = ALL_BITS
        for channel in self.channels.values():
            channel.status.enable = ALL_BITS

    def save(self, location: int) -> None:
        """``*SAV``."""
        self._saved[location] = {
            "channels": {number: copy.copy(channel.settings) for number, channel in self.channels.items()},
            "state": (self.selected, self.pair, self.tracking, self.coupled),
        }

    def recall(self, location: int) -> None:
        """``*RCL``; an empty location holds the settings after ``*RST``."""
        saved = self._saved.get(location)
        self.reset()
        if saved is not None:
            for number, settings in saved["channels"].items():
                self.channels[number].settings = copy.copy(settings)
            self.selected, self.pair, self.tracking, self.coupled = saved["state"]
        self.advance()

    def bus_trigger(self) -> None:
        """``*TRG``."""
        if self.trigger_source != "BUS":
            raise ScpiError(-211)
        self.trigger_outputs(self.channels.values())

    # --- which outputs

    def named_output(self, name: str) -> int:
        """The number of an output by a word such as P6V or CH1."""
        if name.startswith("CH"):
            return int(name[2:])
        return next(channel.number for channel in self.channels.values() if channel.rating.name == name)

    def _peers(self, channels: list[SimulatedChannel], *, outputs: bool = False) -> list[SimulatedChannel]:
        """The channels and those that follow them by pairing, or by coupling of output states."""
        numbers = {channel.number for channel in channels}
        if self.pair != "OFF" and numbers & {2, 3}:
            numbers |= {2, 3}
        if outputs and numbers & self.coupled:
            numbers |= self.coupled
        return [self.channels[number] for number in sorted(numbers)]

    def _touch(self, channels: list[SimulatedChannel]) -> None:
        now = self.time
        for channel in channels:
            channel.changed_at = now
        self.advance()

    # --- settings

    def named_level(self, channel: SimulatedChannel, quantity: Quantity, word: str) -> float:
        """The level that MIN, MAX or DEF stands for, in V or A."""
        if word == "MAX":
            return self._maximum(channel, quantity)
        if quantity == "voltage":
            return 0.0
        if quantity == "current":
            return channel.rating.current_min if word == "MIN" else channel.rating.current_rating
        return PROTECTION_MIN if word == "MIN" else channel.rating.protection_max

    def checked_level(self, channel: SimulatedChannel, quantity: Quantity, attribute: str, value: float | str) -> float:
        """The setting that ``value`` (a number, MIN, MAX, DEF, UP or DOWN) asks for, without sign.

        :raises ScpiError: -222, the output can't be set to it
        """
        sign = channel.rating.sign if quantity == "voltage" else 1
        if value in ("UP", "DOWN"):
            step = getattr(channel.settings, f"{quantity}_step")
            level: float = getattr(channel.settings, attribute) + (step if value == "UP" else -step)
        elif isinstance(value, str):
            return self.named_level(channel, quantity, value)
        else:
            level = value * sign
        low = PROTECTION_MIN if quantity == "protection" else 0.0
        if not low - 1e-9 <= level <= self._maximum(channel, quantity) + 1e-9:
            raise ScpiError(-222)
        return round(level, DECIMALS)

    def set_level(
        self, channels: list[SimulatedChannel], quantity: Quantity, attribute: str, value: float | str
    ) -> None:
        """Set a level of outputs and of those that follow them; all are checked before the first is set."""
        channels = self._peers(channels)
        if self.tracking and quantity == "voltage" and {2, 3} & {channel.number for channel in channels}:
            channels = self._peers([*channels, self.channels[2], self.channels[3]])
            levels = [
                self.checked_level(
                    c, quantity, attribute, abs(value) * c.rating.sign if isinstance(value, float) else value
                )
                for c in channels
            ]
        else:
            levels = [self.checked_level(channel, quantity, attribute, value) for channel in channels]
        for channel, level in zip(channels, levels, strict=True):
            setattr(channel.settings, attribute, level)
        self._touch(channels)

    def assign(self, channels: list[SimulatedChannel], attribute: str, value: Any) -> None:
        """Set a setting without a range, of outputs and of those that follow them by pairing."""
        channels = self._peers(channels)
        for channel in channels:
            setattr(channel.settings, attribute, value)
        self._touch(channels)

    def _maximum(self, channel: SimulatedChannel, quantity: Quantity) -> float:
        rating = channel.rating
        if quantity == "current":
            return rating.current_max * (2 if self.pair == "PAR" and channel.number > 1 else 1)
        highest = rating.voltage_max if quantity == "voltage" else rating.protection_max
        return highest * (2 if self.pair == "SER" and channel.number > 1 else 1)

    # --- outputs

    def switch(self, channels: list[SimulatedChannel], on: bool) -> None:
        """Switch outputs, and those that follow them by pairing or coupling."""
        now = self.time
        channels = self._peers(channels, outputs=True)
        for channel in channels:
            if channel.settings.output != on:
                channel.switched_at = now
            channel.settings.output = on
            channel.restore = on
        self._touch(channels)

    def clear_trips(self, channels: list[SimulatedChannel], causes: tuple[Trip, ...] = get_args(Trip)) -> None:
        """Clear the trips of these causes."""
        peers = self._peers(channels)
        for channel in peers:
            if channel.trip in causes:
                channel.clear_trip(restore=self._restore_after_clear)
            channel.inhibited = channel.inhibited and self._signal
        self._touch(peers)

    def set_pair(self, mode: Pairing) -> None:
        """``OUTPut:PAIR``: outputs 2 and 3, which change their meaning, start with settings as after ``*RST``, switched off."""
        if mode != self.pair:
            self.pair = mode
            self.tracking = False
            for number in (2, 3):
                self.channels[number].settings = Settings.of(self.channels[number].rating)
            self._touch([self.channels[2], self.channels[3]])

    def set_tracking(self, on: bool) -> None:
        """``OUTPut:TRACk``: output 3 follows the voltage of output 2."""
        if on and self.pair != "OFF":
            raise ScpiError(-221)
        if on and not self.tracking:
            self.channels[3].settings.voltage = self.channels[2].settings.voltage
            self._touch([self.channels[3]])
        self.tracking = on

    # --- triggers

    def initiate(self, channels: list[SimulatedChannel]) -> None:
        """``INITiate``: have outputs wait for a trigger, or trigger them where the source is IMMediate."""
        for channel in channels:
            channel.initiated = True
        if self.trigger_source == "IMM":
            self.trigger_outputs(channels)

    def trigger_outputs(self, channels: Iterable[SimulatedChannel]) -> None:
        """Set those outputs that wait for a trigger to their triggered levels.

        :raises ScpiError: -211, none of them waits for one
        """
        waiting = [channel for channel in channels if channel.initiated]
        if not waiting:
            raise ScpiError(-211)
        for channel in waiting:
            channel.initiated = False
            settings = channel.settings
            if settings.voltage_mode == "STEP":
                settings.voltage = settings.voltage_triggered
            if settings.current_mode == "STEP":
                settings.current = settings.current_triggered
        self._touch(waiting)


def _no_noise(_mean: float, _deviation: float) -> float:
    return 0.0

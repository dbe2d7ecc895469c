"""The Keysight E36311A, E36312A and E36313A triple-output supplies.

Written from the E36300 Series Programming Guide, E36311-90008 ("the guide" below), as far as its contents could
be had; where they could not, from what else is public, and the comment says so. Nothing here is taken from the agent's
own model files: a command that they get wrong has to fail here.

What is not known for certain, and was decided so:

- E36311A, output 3: programmed from 0 down to -25.75 V, as libsigrok's table has it and as users of
  ``APPL N25V,-1`` do it; its protection level and measured current are positive.
- Clearing a trip restores the output to the state before it. The guides of the E3632A and of the N6900 series say so
  word for word; for this series it is assumed, as the more dangerous of the two.
  ``E36300(restore_after_clear=False)`` is the other. ``OUTP?`` answers 0 while an output is tripped.
- Bits 9 (OV) and 10 (OC) of the instrument summary, after the E3600 family; sources disagree. Bits 0 (CC), 1 (CV) and 4
  (temperature) are libsigrok's, tried on an E36312A; neither CC nor CV is off or unregulated.
- The over-current protection's delay is 0 s after ``*RST``, and resolution is 1 mV and 1 mA.

A reading is worked out when it is asked for: a load's surge between two messages trips nothing.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from agent.simulator.instrument import ScpiInstrument, StatusRegister
from agent.simulator.loads import Load, Open
from agent.simulator.scpi import Boolean, Call, Choice, Command, Integer, Numeric, Quirks, ScpiError, Text

Trip = Literal["OVP", "OCP", "OTP"]
Mode = Literal["CV", "CC", "UR", "OFF"]

_MODE_BITS: Final[Mapping[Mode, int]] = {"CC": 1, "CV": 2, "UR": 0, "OFF": 0}
_OVER_TEMPERATURE, _OVER_VOLTAGE, _OVER_CURRENT = 1 << 4, 1 << 9, 1 << 10
_TRIP_BITS: Final[Mapping[Trip, int]] = {"OVP": _OVER_VOLTAGE, "OCP": _OVER_CURRENT, "OTP": _OVER_TEMPERATURE}
_QUESTIONABLE_INSTRUMENT = 1 << 13
_ALL_BITS = 32767

_VOLTAGE_NOISE, _CURRENT_NOISE = 0.0002, 0.0001  # V and A, standard deviation


@dataclass(frozen=True, slots=True)
class Output:
    """What one output can do. After libsigrok's table, read from an E36312A with ``VOLT? MAX`` and ``CURR? MIN``."""

    name: str
    voltage_max: float
    current_rating: float
    current_max: float
    current_min: float
    protection_max: float
    sign: int = 1


_P6V_5A = Output("P6V", 6.18, 5.0, 5.15, 0.002, 6.6)
_P25V_1A = Output("P25V", 25.75, 1.0, 1.03, 0.001, 27.5)
_N25V_1A = Output("N25V", 25.75, 1.0, 1.03, 0.001, 27.5)
_MINUS_25V_1A = Output("N25V", 25.75, 1.0, 1.03, 0.001, 27.5, sign=-1)
_P6V_10A = Output("P6V", 6.18, 10.0, 10.3, 0.002, 6.6)
_P25V_2A = Output("P25V", 25.75, 2.0, 2.06, 0.001, 27.5)
_N25V_2A = Output("N25V", 25.75, 2.0, 2.06, 0.001, 27.5)

MODELS: Final[Mapping[str, tuple[Output, ...]]] = {
    "E36311A": (_P6V_5A, _P25V_1A, _MINUS_25V_1A),
    "E36312A": (_P6V_5A, _P25V_1A, _N25V_1A),
    "E36313A": (_P6V_10A, _P25V_2A, _N25V_2A),
}
"""Outputs have the names that INSTrument:SELect takes; on E36312A and E36313A, N25V is a positive output too."""

_PROTECTION_MIN = 0.5
_DECIMALS = 3  # of volts and amperes
_LONGEST_DELAY = 3600.0


@dataclass(slots=True)
class Settings:
    """What ``*RST`` resets and ``*SAV`` saves, of one output. Volts without their sign."""

    voltage: float
    current: float
    voltage_triggered: float
    current_triggered: float
    protection: float
    voltage_step: float = 0.1
    current_step: float = 0.1
    protection_enabled: bool = True
    current_protection: bool = False
    current_protection_delay: float = 0.0
    current_protection_start: str = "SCH"
    voltage_mode: str = "FIX"
    current_mode: str = "FIX"
    sense: str = "INT"
    rise_delay: float = 0.0
    fall_delay: float = 0.0
    output: bool = False

    @classmethod
    def of(cls, output: Output) -> Settings:
        return cls(0.0, output.current_rating, 0.0, output.current_rating, output.protection_max)


@dataclass(slots=True)
class Channel:
    """One output with what hangs on it."""

    number: int
    rating: Output
    settings: Settings
    load: Load = field(default_factory=Open)
    trip: Trip | None = None
    restore: bool = False  # the output was on when it tripped
    voltage: float = 0.0  # at the terminals, without sign
    current: float = 0.0
    mode: Mode = "OFF"
    changed_at: float = 0.0
    limiting_since: float | None = None
    switched_at: float = float("-inf")
    initiated: bool = False
    status: StatusRegister = field(default_factory=lambda: StatusRegister(_ALL_BITS))

    @property
    def output(self) -> bool:
        """Is the output switched on and not disabled by a trip."""
        return self.settings.output and self.trip is None

    def advance(self, now: float) -> None:
        """Find the operating point at ``now`` and see whether it trips a protection."""
        settings = self.settings
        delay = settings.rise_delay if settings.output else settings.fall_delay
        live = settings.output if now >= self.switched_at + delay else not settings.output
        if not live or self.trip is not None:
            self.voltage = self.current = 0.0
            self.mode, self.limiting_since = "OFF", None
        else:
            self.voltage, self.current, self.mode = self.load.operating_point(settings.voltage, settings.current, now)
            if settings.protection_enabled and self.voltage > settings.protection + 1e-9:
                self.trip_by("OVP")
            elif self.mode != "CC":
                self.limiting_since = None
            elif settings.current_protection:
                if self.limiting_since is None:
                    self.limiting_since = now
                start = self.changed_at if settings.current_protection_start == "SCH" else self.limiting_since
                if now - start >= settings.current_protection_delay:
                    self.trip_by("OCP")
        condition = _TRIP_BITS[self.trip] if self.trip else 0
        self.status.update(condition | _MODE_BITS[self.mode])

    def trip_by(self, cause: Trip) -> None:
        """Latch a trip: the output is disabled until it is cleared."""
        self.restore = self.settings.output
        self.trip = cause
        self.voltage = self.current = 0.0
        self.mode, self.limiting_since = "OFF", None


class E36300(ScpiInstrument):
    """A supply of the series. ``channels[1]`` is output 1.

    ``loads`` maps outputs to what hangs on them. ``noise`` adds the last digits' flicker to readings, from ``seed``.
    Raises ValueError for an unknown model, KeyError for a load on an output that isn't there.
    """

    commands: ClassVar[tuple[Command, ...]]

    def __init__(
        self,
        model: str = "E36313A",
        *,
        serial: str = "MY61004803",
        firmware: str = "1.0.4-1.0.0-1.00",
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
        self.serial = serial
        self.identity = f"Keysight Technologies,{model},{serial},{firmware}"
        self.channels = {
            number: Channel(number, output, Settings.of(output)) for number, output in enumerate(MODELS[model], 1)
        }
        self.panel = FrontPanel(self)
        self.instruments = StatusRegister(_ALL_BITS)
        self.lock_state: Literal["LOC", "REM", "RWL"] = "LOC"
        self.display_on = True
        self.display_text = ""
        self.beeper = True
        self.beeps = 0
        self._noise = random.Random(seed).gauss if noise else _no_noise
        self._restore_after_clear = restore_after_clear
        self._saved: dict[int, dict[str, Any]] = {}
        self.reset()
        for number, load in (loads or {}).items():
            self.channels[number].load = load

    # --- what happens to a supply beside commands

    def set_load(self, channel: int, load: Load) -> None:
        """Connect another load to an output. Raises KeyError if there is no such output."""
        with self.lock:
            self.channels[channel].load = load
            self.advance()

    def trip(self, channel: int, cause: Trip) -> None:
        """Make a protection trip as if its condition had occurred and gone. Raises KeyError and ValueError."""
        if cause not in _TRIP_BITS:
            raise ValueError(f"a trip is OVP, OCP or OTP, not {cause!r}")
        with self.lock:
            self.channels[channel].trip_by(cause)
            self.advance()

    def power_cycle(self) -> None:
        """Mains off and on. Loads stay connected, saved states are kept."""
        with self.lock:
            super().power_cycle()
            for register in (self.instruments, *(channel.status for channel in self.channels.values())):
                register.event = register.condition = 0
                register.enable = _ALL_BITS
            self.lock_state = "LOC"
            self.display_on, self.display_text = True, ""

    # --- hooks of the base class

    def advance(self) -> None:
        now = self.time
        for channel in self.channels.values():
            channel.advance(now)
        if self.pair != "OFF":
            second, third = self.channels[2], self.channels[3]
            third.voltage, third.current, third.mode = second.voltage, second.current, second.mode
        self._summarize()

    def _summarize(self) -> None:
        condition = 0
        for channel in self.channels.values():
            if channel.status.event & channel.status.enable:
                condition |= 1 << channel.number
        self.instruments.update(condition)
        self.questionable.update(_QUESTIONABLE_INSTRUMENT if self.instruments.summary else 0)

    def reset(self) -> None:
        self.selected = 1
        self.pair = "OFF"
        self.tracking = False
        self.coupled: frozenset[int] = frozenset()
        self.trigger_source = "BUS"
        now = self.time
        for channel in self.channels.values():
            channel.settings = Settings.of(channel.rating)
            channel.trip, channel.restore, channel.initiated = None, False, False
            channel.changed_at, channel.limiting_since, channel.switched_at = now, None, float("-inf")
        self.advance()

    def clear_status(self) -> None:
        super().clear_status()
        self.instruments.event = 0
        for channel in self.channels.values():
            channel.status.event = 0

    def preset_status(self) -> None:
        super().preset_status()
        self.instruments.enable = _ALL_BITS
        for channel in self.channels.values():
            channel.status.enable = _ALL_BITS

    def save(self, location: int) -> None:
        self._saved[location] = {
            "channels": {number: copy.copy(channel.settings) for number, channel in self.channels.items()},
            "state": (self.selected, self.pair, self.tracking, self.coupled),
        }

    def recall(self, location: int) -> None:
        saved = self._saved.get(location)
        self.reset()
        if saved is not None:
            for number, settings in saved["channels"].items():
                self.channels[number].settings = copy.copy(settings)
            self.selected, self.pair, self.tracking, self.coupled = saved["state"]
        self.advance()

    def bus_trigger(self) -> None:
        waiting = [channel for channel in self.channels.values() if channel.initiated]
        if not waiting or self.trigger_source != "BUS":
            raise ScpiError(-211)
        self._fire(waiting)

    # --- outputs

    def _channels(self, call: Call) -> list[Channel]:
        if call.channels is None:
            return [self.channels[self.selected]]
        try:
            return [self.channels[number] for number in call.channels]
        except KeyError:
            raise ScpiError(-222) from None

    def _peers(self, channels: list[Channel], *, outputs: bool = False) -> list[Channel]:
        """The channels and those that follow them by pairing, or by coupling of output states."""
        numbers = {channel.number for channel in channels}
        if self.pair != "OFF" and numbers & {2, 3}:
            numbers |= {2, 3}
        if outputs and numbers & self.coupled:
            numbers |= self.coupled
        return [self.channels[number] for number in sorted(numbers)]

    def _touch(self, channels: list[Channel]) -> None:
        now = self.time
        for channel in channels:
            channel.changed_at = now
        self.advance()

    def _maximum(self, channel: Channel, quantity: str) -> float:
        rating = channel.rating
        if quantity == "voltage":
            return rating.voltage_max * (2 if self.pair == "SER" and channel.number > 1 else 1)
        if quantity == "current":
            return rating.current_max * (2 if self.pair == "PAR" and channel.number > 1 else 1)
        return rating.protection_max * (2 if self.pair == "SER" and channel.number > 1 else 1)

    def _named(self, channel: Channel, quantity: str, word: str) -> float:
        """What MIN, MAX and DEF stand for."""
        if word == "MAX":
            return self._maximum(channel, quantity)
        if quantity == "voltage":
            return 0.0
        if quantity == "current":
            return channel.rating.current_min if word == "MIN" else channel.rating.current_rating
        return _PROTECTION_MIN if word == "MIN" else channel.rating.protection_max

    def _checked(self, channel: Channel, quantity: str, attribute: str, value: float | str) -> float:
        """The setting that ``value`` asks for, without sign. Raises -222 if the output can't be set to it."""
        sign = channel.rating.sign if quantity == "voltage" else 1
        if value in ("UP", "DOWN"):
            step = getattr(channel.settings, f"{quantity}_step")
            level: float = getattr(channel.settings, attribute) + (step if value == "UP" else -step)
        elif isinstance(value, str):
            return self._named(channel, quantity, value)
        else:
            level = value * sign
        low = _PROTECTION_MIN if quantity == "protection" else 0.0
        if not low - 1e-9 <= level <= self._maximum(channel, quantity) + 1e-9:
            raise ScpiError(-222)
        return round(level, _DECIMALS)

    def _set_levels(self, call: Call, quantity: str, attribute: str) -> None:
        channels = self._peers(self._channels(call))
        if self.tracking and quantity == "voltage" and {2, 3} & {channel.number for channel in channels}:
            channels = self._peers([*channels, self.channels[2], self.channels[3]])
            value = call.arguments[0]
            levels = [
                self._checked(c, quantity, attribute, abs(value) * c.rating.sign if isinstance(value, float) else value)
                for c in channels
            ]
        else:
            levels = [self._checked(channel, quantity, attribute, call.arguments[0]) for channel in channels]
        for channel, level in zip(channels, levels, strict=True):
            setattr(channel.settings, attribute, level)
        self._touch(channels)

    def _read_levels(self, call: Call, quantity: str, attribute: str) -> str:
        word = call.arguments[0]
        return ",".join(
            _number(
                (getattr(channel.settings, attribute) if word is None else self._named(channel, quantity, word))
                * (channel.rating.sign if quantity == "voltage" else 1)
            )
            for channel in self._channels(call)
        )

    def _assign(self, call: Call, attribute: str) -> None:
        channels = self._peers(self._channels(call))
        for channel in channels:
            setattr(channel.settings, attribute, call.arguments[0])
        self._touch(channels)

    def _measured(self, call: Call) -> list[Channel]:
        name = call.arguments[0]
        if name is None:
            return self._channels(call)
        if call.channels is not None:
            raise ScpiError(-108)
        return [self.channels[self._named_output(name)]]

    def _measure_voltage(self, call: Call) -> str:
        noise = self._noise
        return ",".join(
            [f"{c.voltage * c.rating.sign + noise(0.0, _VOLTAGE_NOISE):+.5E}" for c in self._measured(call)]
        )

    def _measure_current(self, call: Call) -> str:
        noise = self._noise
        return ",".join([f"{c.current + noise(0.0, _CURRENT_NOISE):+.5E}" for c in self._measured(call)])

    def _switch(self, channels: list[Channel], on: bool) -> None:
        now = self.time
        channels = self._peers(channels, outputs=True)
        for channel in channels:
            if channel.settings.output != on:
                channel.switched_at = now
            channel.settings.output = on
            channel.restore = on
        self._touch(channels)

    def _set_output(self, call: Call) -> None:
        self._switch(self._channels(call), call.arguments[0])

    def _clear(self, channels: list[Channel], causes: tuple[Trip, ...]) -> None:
        channels = [channel for channel in self._peers(channels) if channel.trip in causes]
        for channel in channels:
            channel.trip = None
            channel.settings.output = channel.restore and self._restore_after_clear
            channel.switched_at = float("-inf")
        self._touch(channels)

    def _read_tripped(self, call: Call, cause: Trip) -> str:
        return ",".join(["1" if channel.trip == cause else "0" for channel in self._channels(call)])

    def _set_pair(self, call: Call) -> None:
        (mode,) = call.arguments
        if mode != self.pair:
            # The outputs that change their meaning start afresh, switched off.
            self.pair = mode
            self.tracking = False
            for number in (2, 3):
                self.channels[number].settings = Settings.of(self.channels[number].rating)
            self._touch([self.channels[2], self.channels[3]])

    def _set_tracking(self, call: Call) -> None:
        (on,) = call.arguments
        if on and self.pair != "OFF":
            raise ScpiError(-221)
        if on and not self.tracking:
            self.channels[3].settings.voltage = self.channels[2].settings.voltage
            self._touch([self.channels[3]])
        self.tracking = on

    def _set_coupling(self, call: Call) -> None:
        words = [word for word in call.arguments if word is not None]
        if "ALL" in words or "NONE" in words:
            if len(words) > 1:
                raise ScpiError(-224)
            self.coupled = frozenset(self.channels) if words == ["ALL"] else frozenset()
        else:
            self.coupled = frozenset(int(word[2:]) for word in words)

    def _read_coupling(self, _call: Call) -> str:
        if not self.coupled:
            return "NONE"
        return "ALL" if self.coupled == set(self.channels) else ",".join(f"CH{n}" for n in sorted(self.coupled))

    # --- selection, APPLy

    def _named_output(self, name: str) -> int:
        if name.startswith("CH"):
            return int(name[2:])
        return next(channel.number for channel in self.channels.values() if channel.rating.name == name)

    def _select(self, call: Call) -> None:
        name = call.arguments[0]
        self.selected = name if isinstance(name, int) else self._named_output(name)

    def _apply(self, call: Call) -> None:
        name, voltage, current = call.arguments
        channel = self.channels[self._named_output(name)]
        if voltage is not None:
            # Both are checked before either is set.
            self._checked(channel, "voltage", "voltage", voltage)
        if current is not None:
            self._checked(channel, "current", "current", current)
        self.selected = channel.number
        if voltage is not None:
            self._set_levels(Call((voltage,), (channel.number,)), "voltage", "voltage")
        if current is not None:
            self._set_levels(Call((current,), (channel.number,)), "current", "current")

    def _read_applied(self, call: Call) -> str:
        name = call.arguments[0]
        channel = self.channels[self.selected if name is None else self._named_output(name)]
        return f'"{_number(channel.settings.voltage * channel.rating.sign)},{_number(channel.settings.current)}"'

    # --- triggers

    def _initiate(self, call: Call) -> None:
        channels = self._channels(call)
        for channel in channels:
            channel.initiated = True
        if self.trigger_source == "IMM":
            self._fire(channels)

    def _abort(self, call: Call) -> None:
        for channel in self._channels(call):
            channel.initiated = False

    def _trigger_now(self, call: Call) -> None:
        waiting = [channel for channel in self._channels(call) if channel.initiated]
        if not waiting:
            raise ScpiError(-211)
        self._fire(waiting)

    def _fire(self, channels: list[Channel]) -> None:
        for channel in channels:
            channel.initiated = False
            settings = channel.settings
            if settings.voltage_mode == "STEP":
                settings.voltage = settings.voltage_triggered
            if settings.current_mode == "STEP":
                settings.current = settings.current_triggered
        self._touch(channels)

    # --- status, system, display

    def _read_summary(self, call: Call, part: str) -> str:
        register = self.channels[call.suffix].status
        if part != "event":
            return f"{getattr(register, part):+d}"
        event = register.read_event()
        self._summarize()
        return f"{event:+d}"

    def _enable_summary(self, call: Call) -> None:
        self.channels[call.suffix].status.enable = call.arguments[0]
        self._summarize()

    def _read_instruments(self, _call: Call) -> str:
        event = self.instruments.read_event()
        self._summarize()
        return f"{event:+d}"

    def _enable_instruments(self, call: Call) -> None:
        self.instruments.enable = call.arguments[0]
        self._summarize()

    def _set_lock_state(self, state: Literal["LOC", "REM", "RWL"]) -> None:
        self.lock_state = state

    def _set_display(self, call: Call) -> None:
        self.display_on = call.arguments[0]

    def _set_text(self, text: str) -> None:
        self.display_text = text

    def _beep(self, _call: Call) -> None:
        self.beeps += 1

    def _set_beeper(self, call: Call) -> None:
        self.beeper = call.arguments[0]


class FrontPanel:
    """What a person in front of the supply can do.

    Every method says whether it did anything: nothing does while ``SYST:RWL`` locks the keys.
    """

    def __init__(self, supply: E36300) -> None:
        self._supply = supply

    def knob_voltage(self, channel: int, voltage: float) -> bool:
        """Turn an output's voltage setting to so many volts. Raises ValueError if the knob doesn't go so far."""
        return self._turn(channel, "voltage", voltage)

    def knob_current(self, channel: int, current: float) -> bool:
        """Turn an output's current limit to so many amperes. Raises ValueError if the knob doesn't go so far."""
        return self._turn(channel, "current", current)

    def knob_protection(self, channel: int, voltage: float) -> bool:
        """Set an output's over-voltage protection level in volts. Raises ValueError if it can't be set to that."""
        return self._turn(channel, "protection", voltage)

    def press_current_protection(self, channel: int, on: bool) -> bool:
        """Switch an output's over-current protection."""
        with self._unlocked() as supply:
            if supply is None:
                return False
            supply.channels[channel].settings.current_protection = on
            supply.advance()
            return True

    def press_output(self, channel: int, on: bool | None = None) -> bool:
        """Press an output's On key, which toggles it unless ``on`` says how it is to end up."""
        with self._unlocked() as supply:
            if supply is None:
                return False
            output = supply.channels[channel]
            supply._switch([output], not output.settings.output if on is None else on)
            return True

    def press_all(self, on: bool) -> bool:
        """The key All On/Off."""
        with self._unlocked() as supply:
            if supply is None:
                return False
            supply._switch(list(supply.channels.values()), on)
            return True

    def clear_protection(self, channel: int) -> bool:
        """Clear an output's trip from the menu."""
        with self._unlocked() as supply:
            if supply is None:
                return False
            supply._clear([supply.channels[channel]], ("OVP", "OCP", "OTP"))
            return True

    def _turn(self, channel: int, quantity: str, value: float) -> bool:
        with self._unlocked() as supply:
            if supply is None:
                return False
            try:
                supply._set_levels(Call((float(value),), (channel,)), quantity, quantity)
            except ScpiError as error:
                raise ValueError(f"channel {channel}'s {quantity} can't be turned to {value}") from error
            return True

    def _unlocked(self) -> _PanelLock:
        return _PanelLock(self._supply)


class _PanelLock:
    """Holds the supply's lock, and gives the supply unless its panel is locked."""

    def __init__(self, supply: E36300) -> None:
        self._supply = supply

    def __enter__(self) -> E36300 | None:
        self._supply.lock.acquire()
        self._supply.advance()
        return None if self._supply.lock_state == "RWL" else self._supply

    def __exit__(self, *_: object) -> None:
        self._supply.lock.release()


def _no_noise(_mean: float, _deviation: float) -> float:
    return 0.0


def _number(value: float) -> str:
    return f"{value + 0.0:+.5E}"  # + 0.0 turns -0.0 into 0.0


def _commands() -> tuple[Command, ...]:
    names = ("P6V", "P25V", "N25V", "CH1", "CH2", "CH3")
    limits = ("MINimum", "MAXimum", "DEFault")
    stepped = (*limits, "UP", "DOWN")
    limit = (Choice("MINimum", "MAXimum", "DEFault", optional=True),)
    name = Choice(*names, optional=True)

    def level(header: str, quantity: str, attribute: str, unit: str, words: tuple[str, ...] = limits) -> Command:
        return Command(
            header,
            set=lambda i, call: i._set_levels(call, quantity, attribute),
            query=lambda i, call: i._read_levels(call, quantity, attribute),
            parameters=(Numeric(unit, words),),
            query_parameters=limit,
            channels=True,
        )

    def switch(header: str, attribute: str) -> Command:
        return Command(
            header,
            set=lambda i, call: i._assign(call, attribute),
            query=lambda i, call: ",".join(["1" if getattr(c.settings, attribute) else "0" for c in i._channels(call)]),
            parameters=(Boolean(),),
            channels=True,
        )

    def choice(header: str, attribute: str, *words: str) -> Command:
        return Command(
            header,
            set=lambda i, call: i._assign(call, attribute),
            query=lambda i, call: ",".join([getattr(c.settings, attribute) for c in i._channels(call)]),
            parameters=(Choice(*words),),
            channels=True,
        )

    def quantity(header: str, attribute: str, unit: str, low: float, high: float, default: float) -> Command:
        named = {"MIN": low, "MAX": high, "DEF": default}

        def change(i: E36300, call: Call) -> None:
            value = named.get(call.arguments[0], call.arguments[0])
            if not low <= value <= high:
                raise ScpiError(-222)
            i._assign(call._replace(arguments=(value,)), attribute)

        def read(i: E36300, call: Call) -> str:
            word = call.arguments[0]
            return ",".join(
                [_number(getattr(c.settings, attribute) if word is None else named[word]) for c in i._channels(call)]
            )

        return Command(header, change, read, (Numeric(unit, limits),), limit, channels=True)

    summary = "STATus:QUEStionable:INSTrument:ISUMmary<3>"
    return (
        Command("ABORt", set=E36300._abort, channels=True),
        Command(
            "APPLy",
            set=E36300._apply,
            query=E36300._read_applied,
            parameters=(Choice(*names), Numeric("V", limits, optional=True), Numeric("A", limits, optional=True)),
            query_parameters=(name,),
        ),
        Command("DISPlay[:WINDow][:STATe]", E36300._set_display, lambda i, _: str(int(i.display_on)), (Boolean(),)),
        Command(
            "DISPlay[:WINDow]:TEXT[:DATA]",
            set=lambda i, call: i._set_text(call.arguments[0]),
            query=lambda i, _: f'"{i.display_text}"',
            parameters=(Text(40),),
        ),
        Command("DISPlay[:WINDow]:TEXT:CLEar", set=lambda i, _: i._set_text("")),
        Command("INITiate[:IMMediate][:TRANsient]", set=E36300._initiate, channels=True),
        Command("INSTrument[:SELect]", E36300._select, lambda i, _: f"CH{i.selected}", parameters=(Choice(*names),)),
        Command("INSTrument:NSELect", E36300._select, lambda i, _: f"{i.selected:+d}", parameters=(Integer(1, 3),)),
        Command("MEASure[:SCALar]:CURRent[:DC]", None, E36300._measure_current, (), (name,), channels=True),
        Command("MEASure[:SCALar]:VOLTage[:DC]", None, E36300._measure_voltage, (), (name,), channels=True),
        Command(
            "OUTPut[:STATe]",
            set=E36300._set_output,
            query=lambda i, call: ",".join(["1" if c.output else "0" for c in i._channels(call)]),
            parameters=(Boolean(),),
            channels=True,
        ),
        Command(
            "OUTPut[:STATe]:COUPle[:CHANnel]",
            set=E36300._set_coupling,
            query=E36300._read_coupling,
            parameters=(
                Choice("ALL", "NONE", "CH1", "CH2", "CH3"),
                Choice("CH1", "CH2", "CH3", optional=True),
                Choice("CH1", "CH2", "CH3", optional=True),
            ),
        ),
        quantity("OUTPut[:STATe]:DELay:RISE", "rise_delay", "S", 0.0, _LONGEST_DELAY, 0.0),
        quantity("OUTPut[:STATe]:DELay:FALL", "fall_delay", "S", 0.0, _LONGEST_DELAY, 0.0),
        Command("OUTPut:PAIR", E36300._set_pair, lambda i, _: i.pair, (Choice("OFF", "PARallel", "SERies"),)),
        Command(
            "OUTPut:PROTection:CLEar",
            set=lambda i, call: i._clear(i._channels(call), ("OVP", "OCP", "OTP")),
            channels=True,
        ),
        Command("OUTPut:TRACk[:STATe]", E36300._set_tracking, lambda i, _: str(int(i.tracking)), (Boolean(),)),
        level("[SOURce:]CURRent[:LEVel][:IMMediate][:AMPLitude]", "current", "current", "A", stepped),
        quantity("[SOURce:]CURRent[:LEVel][:IMMediate]:STEP[:INCRement]", "current_step", "A", 0.001, 10.3, 0.1),
        level("[SOURce:]CURRent[:LEVel]:TRIGgered[:AMPLitude]", "current", "current_triggered", "A"),
        choice("[SOURce:]CURRent:MODE", "current_mode", "FIXed", "STEP", "LIST"),
        Command(
            "[SOURce:]CURRent:PROTection:CLEar",
            set=lambda i, call: i._clear(i._channels(call), ("OCP",)),
            channels=True,
        ),
        quantity("[SOURce:]CURRent:PROTection:DELay[:TIME]", "current_protection_delay", "S", 0.0, _LONGEST_DELAY, 0.0),
        choice("[SOURce:]CURRent:PROTection:DELay:STARt", "current_protection_start", "SCHange", "CCTRans"),
        switch("[SOURce:]CURRent:PROTection:STATe", "current_protection"),
        Command(
            "[SOURce:]CURRent:PROTection:TRIPped", query=lambda i, call: i._read_tripped(call, "OCP"), channels=True
        ),
        level("[SOURce:]VOLTage[:LEVel][:IMMediate][:AMPLitude]", "voltage", "voltage", "V", stepped),
        quantity("[SOURce:]VOLTage[:LEVel][:IMMediate]:STEP[:INCRement]", "voltage_step", "V", 0.001, 25.75, 0.1),
        level("[SOURce:]VOLTage[:LEVel]:TRIGgered[:AMPLitude]", "voltage", "voltage_triggered", "V"),
        choice("[SOURce:]VOLTage:MODE", "voltage_mode", "FIXed", "STEP", "LIST"),
        level("[SOURce:]VOLTage:PROTection[:LEVel]", "protection", "protection", "V"),
        Command(
            "[SOURce:]VOLTage:PROTection:CLEar",
            set=lambda i, call: i._clear(i._channels(call), ("OVP",)),
            channels=True,
        ),
        switch("[SOURce:]VOLTage:PROTection:STATe", "protection_enabled"),
        Command(
            "[SOURce:]VOLTage:PROTection:TRIPped", query=lambda i, call: i._read_tripped(call, "OVP"), channels=True
        ),
        choice("[SOURce:]VOLTage:SENSe[:SOURce]", "sense", "INTernal", "EXTernal"),
        Command("STATus:QUEStionable:INSTrument[:EVENt]", query=E36300._read_instruments),
        Command("STATus:QUEStionable:INSTrument:CONDition", query=lambda i, _: f"{i.instruments.condition:+d}"),
        Command(
            "STATus:QUEStionable:INSTrument:ENABle",
            set=E36300._enable_instruments,
            query=lambda i, _: f"{i.instruments.enable:+d}",
            parameters=(Integer(0, _ALL_BITS),),
        ),
        Command(f"{summary}[:EVENt]", query=lambda i, call: i._read_summary(call, "event")),
        Command(f"{summary}:CONDition", query=lambda i, call: i._read_summary(call, "condition")),
        Command(
            f"{summary}:ENABle",
            set=E36300._enable_summary,
            query=lambda i, call: i._read_summary(call, "enable"),
            parameters=(Integer(0, _ALL_BITS),),
        ),
        Command("SYSTem:BEEPer[:IMMediate]", set=E36300._beep),
        Command("SYSTem:BEEPer:STATe", E36300._set_beeper, lambda i, _: str(int(i.beeper)), (Boolean(),)),
        Command(
            "SYSTem:COMMunicate:RLSTate",
            set=lambda i, call: i._set_lock_state(call.arguments[0]),
            query=lambda i, _: i.lock_state,
            parameters=(Choice("LOCal", "REMote", "RWLock"),),
        ),
        Command("SYSTem:LOCal", set=lambda i, _: i._set_lock_state("LOC")),
        Command("SYSTem:REMote", set=lambda i, _: i._set_lock_state("REM")),
        Command("SYSTem:RWLock", set=lambda i, _: i._set_lock_state("RWL")),
        Command("TRIGger[:TRANsient][:IMMediate]", set=E36300._trigger_now, channels=True),
        Command(
            "TRIGger[:TRANsient]:SOURce",
            set=lambda i, call: setattr(i, "trigger_source", call.arguments[0]),
            query=lambda i, _: i.trigger_source,
            parameters=(Choice("BUS", "IMMediate"),),
        ),
    )


E36300.commands = _commands()

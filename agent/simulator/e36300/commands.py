"""The guide's commands, each with its effect on the outputs."""

from __future__ import annotations

from typing import Final

from agent.simulator.e36300.channel import ALL_BITS, SimulatedChannel
from agent.simulator.e36300.outputs import TripleOutput
from agent.simulator.e36300.ratings import Quantity, Trip
from agent.simulator.scpi import Boolean, Call, Choice, Command, Integer, Numeric, ScpiError, Text
from agent.simulator.scpi.tree import Handler

_VOLTAGE_NOISE, _CURRENT_NOISE = 0.0002, 0.0001  # V and A, standard deviation
_LONGEST_DELAY = 3600.0  # s

_NAMES = ("P6V", "P25V", "N25V", "CH1", "CH2", "CH3")
_LIMITS = ("MINimum", "MAXimum", "DEFault")
_STEPPED = (*_LIMITS, "UP", "DOWN")
_LIMIT = (Choice(*_LIMITS, optional=True),)
_NAME = Choice(*_NAMES, optional=True)
_SUMMARY = "STATus:QUEStionable:INSTrument:ISUMmary<3>"


def _number(value: float) -> str:
    return f"{value + 0.0:+.5E}"  # + 0.0 turns -0.0 into 0.0


def _channels(supply: TripleOutput, call: Call) -> list[SimulatedChannel]:
    """The outputs of the channel list; without one, the output that INSTrument:SELect chose."""
    if call.channels is None:
        return [supply.channels[supply.selected]]
    try:
        return [supply.channels[number] for number in call.channels]
    except KeyError:
        raise ScpiError(-222) from None


# --- readings and levels


def _measured(supply: TripleOutput, call: Call) -> list[SimulatedChannel]:
    name = call.arguments[0]
    if name is None:
        return _channels(supply, call)
    if call.channels is not None:
        raise ScpiError(-108)
    return [supply.channels[supply.named_output(name)]]


def _measure_voltage(supply: TripleOutput, call: Call) -> str:
    noise = supply.noise
    return ",".join([f"{c.voltage * c.rating.sign + noise(0.0, _VOLTAGE_NOISE):+.5E}" for c in _measured(supply, call)])


def _measure_current(supply: TripleOutput, call: Call) -> str:
    noise = supply.noise
    return ",".join([f"{c.current + noise(0.0, _CURRENT_NOISE):+.5E}" for c in _measured(supply, call)])


def _apply(supply: TripleOutput, call: Call) -> None:
    name, voltage, current = call.arguments
    channel = supply.channels[supply.named_output(name)]
    if voltage is not None:
        # Both are checked before either is set.
        supply.checked_level(channel, "voltage", "voltage", voltage)
    if current is not None:
        supply.checked_level(channel, "current", "current", current)
    supply.selected = channel.number
    if voltage is not None:
        supply.set_level([channel], "voltage", "voltage", voltage)
    if current is not None:
        supply.set_level([channel], "current", "current", current)


def _read_applied(supply: TripleOutput, call: Call) -> str:
    name = call.arguments[0]
    channel = supply.channels[supply.selected if name is None else supply.named_output(name)]
    return f'"{_number(channel.settings.voltage * channel.rating.sign)},{_number(channel.settings.current)}"'


def _select(supply: TripleOutput, call: Call) -> None:
    name = call.arguments[0]
    supply.selected = name if isinstance(name, int) else supply.named_output(name)


# --- outputs, triggers


def _set_coupling(supply: TripleOutput, call: Call) -> None:
    words = [word for word in call.arguments if word is not None]
    if "ALL" in words or "NONE" in words:
        if len(words) > 1:
            raise ScpiError(-224)
        supply.coupled = frozenset(supply.channels) if words == ["ALL"] else frozenset()
    else:
        supply.coupled = frozenset(int(word[2:]) for word in words)


def _read_coupling(supply: TripleOutput, _call: Call) -> str:
    if not supply.coupled:
        return "NONE"
    return "ALL" if supply.coupled == set(supply.channels) else ",".join(f"CH{n}" for n in sorted(supply.coupled))


def _has_port(supply: TripleOutput) -> None:
    if supply.model == "E36311A":  # it has no digital port
        raise ScpiError(-113)


def _set_inhibit(supply: TripleOutput, call: Call) -> None:
    _has_port(supply)
    supply.inhibit_mode = call.arguments[0]


def _read_inhibit(supply: TripleOutput, _call: Call) -> str:
    _has_port(supply)
    return supply.inhibit_mode


def _set_pin(supply: TripleOutput, call: Call) -> None:
    _has_port(supply)
    supply.pins[call.suffix] = call.arguments[0]


def _read_pin(supply: TripleOutput, call: Call) -> str:
    _has_port(supply)
    return supply.pins[call.suffix]


def _clear(header: str, *causes: Trip) -> Command:
    return Command(header, set=lambda i, call: i.clear_trips(_channels(i, call), causes), channels=True)


def _tripped(header: str, cause: Trip) -> Command:
    return Command(
        header,
        query=lambda i, call: ",".join(["1" if c.trip == cause else "0" for c in _channels(i, call)]),
        channels=True,
    )


def _abort(supply: TripleOutput, call: Call) -> None:
    for channel in _channels(supply, call):
        channel.initiated = False


# --- status, system


def _read_summary(part: str) -> Handler:
    def read(supply: TripleOutput, call: Call) -> str:
        register = supply.channels[call.suffix].status
        if part != "event":
            return f"{getattr(register, part):+d}"
        event = register.read_event()
        supply.summarize()
        return f"{event:+d}"

    return read


def _enable_summary(supply: TripleOutput, call: Call) -> None:
    supply.channels[call.suffix].status.enable = call.arguments[0]
    supply.summarize()


def _read_instruments(supply: TripleOutput, _call: Call) -> str:
    event = supply.instruments.read_event()
    supply.summarize()
    return f"{event:+d}"


def _enable_instruments(supply: TripleOutput, call: Call) -> None:
    supply.instruments.enable = call.arguments[0]
    supply.summarize()


def _beep(supply: TripleOutput, _call: Call) -> None:
    supply.beeps += 1


def _store(attribute: str) -> Handler:
    """A handler that keeps its argument in an attribute of the supply."""
    return lambda supply, call: setattr(supply, attribute, call.arguments[0])


def _lock_keys(state: str) -> Handler:
    return lambda supply, _: setattr(supply, "lock_state", state)


# --- kinds of settings


def _level(header: str, quantity: Quantity, attribute: str, unit: str, words: tuple[str, ...] = _LIMITS) -> Command:
    """A level in V or A, with a range by the output's rating."""

    def read(supply: TripleOutput, call: Call) -> str:
        word = call.arguments[0]
        return ",".join(
            _number(
                (getattr(channel.settings, attribute) if word is None else supply.named_level(channel, quantity, word))
                * (channel.rating.sign if quantity == "voltage" else 1)
            )
            for channel in _channels(supply, call)
        )

    return Command(
        header,
        set=lambda i, call: i.set_level(_channels(i, call), quantity, attribute, call.arguments[0]),
        query=read,
        parameters=(Numeric(unit, words),),
        query_parameters=_LIMIT,
        channels=True,
    )


def _switch(header: str, attribute: str) -> Command:
    """A setting that is on or off."""
    return Command(
        header,
        set=lambda i, call: i.assign(_channels(i, call), attribute, call.arguments[0]),
        query=lambda i, call: ",".join(["1" if getattr(c.settings, attribute) else "0" for c in _channels(i, call)]),
        parameters=(Boolean(),),
        channels=True,
    )


def _choice(header: str, attribute: str, *words: str) -> Command:
    """A setting that is one of some words."""
    return Command(
        header,
        set=lambda i, call: i.assign(_channels(i, call), attribute, call.arguments[0]),
        query=lambda i, call: ",".join([getattr(c.settings, attribute) for c in _channels(i, call)]),
        parameters=(Choice(*words),),
        channels=True,
    )


def _quantity(header: str, attribute: str, unit: str, low: float, high: float, default: float) -> Command:
    """A number with the same range on every output."""
    named = {"MIN": low, "MAX": high, "DEF": default}

    def change(supply: TripleOutput, call: Call) -> None:
        value = named.get(call.arguments[0], call.arguments[0])
        if not low <= value <= high:
            raise ScpiError(-222)
        supply.assign(_channels(supply, call), attribute, value)

    def read(supply: TripleOutput, call: Call) -> str:
        word = call.arguments[0]
        return ",".join(
            [_number(getattr(c.settings, attribute) if word is None else named[word]) for c in _channels(supply, call)]
        )

    return Command(header, change, read, (Numeric(unit, _LIMITS),), _LIMIT, channels=True)


# --- the guide's list

COMMANDS: Final[tuple[Command, ...]] = (
    Command("ABORt", set=_abort, channels=True),
    Command(
        "APPLy",
        set=_apply,
        query=_read_applied,
        parameters=(Choice(*_NAMES), Numeric("V", _LIMITS, optional=True), Numeric("A", _LIMITS, optional=True)),
        query_parameters=(_NAME,),
    ),
    Command(
        "DIGital:PIN<3>:FUNCtion",
        _set_pin,
        _read_pin,
        (Choice("DIO", "DINPut", "TOUTput", "TINPut", "FAULt", "INHibit", "ONCouple", "OFFCouple"),),
    ),
    Command("DISPlay[:WINDow][:STATe]", _store("display_on"), lambda i, _: str(int(i.display_on)), (Boolean(),)),
    Command(
        "DISPlay[:WINDow]:TEXT[:DATA]",
        set=_store("display_text"),
        query=lambda i, _: f'"{i.display_text}"',
        parameters=(Text(40),),
    ),
    Command("DISPlay[:WINDow]:TEXT:CLEar", set=lambda i, _: setattr(i, "display_text", "")),
    Command("INITiate[:IMMediate][:TRANsient]", set=lambda i, call: i.initiate(_channels(i, call)), channels=True),
    Command("INSTrument[:SELect]", _select, lambda i, _: f"CH{i.selected}", parameters=(Choice(*_NAMES),)),
    Command("INSTrument:NSELect", _select, lambda i, _: f"{i.selected:+d}", parameters=(Integer(1, 3),)),
    Command("MEASure[:SCALar]:CURRent[:DC]", None, _measure_current, (), (_NAME,), channels=True),
    Command("MEASure[:SCALar]:VOLTage[:DC]", None, _measure_voltage, (), (_NAME,), channels=True),
    Command(
        "OUTPut[:STATe]",
        set=lambda i, call: i.switch(_channels(i, call), call.arguments[0]),
        query=lambda i, call: ",".join(["1" if c.output else "0" for c in _channels(i, call)]),
        parameters=(Boolean(),),
        channels=True,
    ),
    Command(
        "OUTPut[:STATe]:COUPle[:CHANnel]",
        set=_set_coupling,
        query=_read_coupling,
        parameters=(
            Choice("ALL", "NONE", "CH1", "CH2", "CH3"),
            Choice("CH1", "CH2", "CH3", optional=True),
            Choice("CH1", "CH2", "CH3", optional=True),
        ),
    ),
    _quantity("OUTPut[:STATe]:DELay:RISE", "rise_delay", "S", 0.0, _LONGEST_DELAY, 0.0),
    _quantity("OUTPut[:STATe]:DELay:FALL", "fall_delay", "S", 0.0, _LONGEST_DELAY, 0.0),
    Command("OUTPut:INHibit:MODE", _set_inhibit, _read_inhibit, (Choice("LATChing", "LIVE", "OFF"),)),
    Command(
        "OUTPut:PAIR",
        lambda i, call: i.set_pair(call.arguments[0]),
        lambda i, _: i.pair,
        (Choice("OFF", "PARallel", "SERies"),),
    ),
    _clear("OUTPut:PROTection:CLEar", "OVP", "OCP", "OTP"),
    Command(
        "OUTPut:TRACk[:STATe]",
        lambda i, call: i.set_tracking(call.arguments[0]),
        lambda i, _: str(int(i.tracking)),
        (Boolean(),),
    ),
    _level("[SOURce:]CURRent[:LEVel][:IMMediate][:AMPLitude]", "current", "current", "A", _STEPPED),
    _quantity("[SOURce:]CURRent[:LEVel][:IMMediate]:STEP[:INCRement]", "current_step", "A", 0.001, 10.3, 0.1),
    _level("[SOURce:]CURRent[:LEVel]:TRIGgered[:AMPLitude]", "current", "current_triggered", "A"),
    _choice("[SOURce:]CURRent:MODE", "current_mode", "FIXed", "STEP", "LIST"),
    _clear("[SOURce:]CURRent:PROTection:CLEar", "OCP"),
    _quantity("[SOURce:]CURRent:PROTection:DELay[:TIME]", "current_protection_delay", "S", 0.0, _LONGEST_DELAY, 0.0),
    _choice("[SOURce:]CURRent:PROTection:DELay:STARt", "current_protection_start", "SCHange", "CCTRans"),
    _switch("[SOURce:]CURRent:PROTection:STATe", "current_protection"),
    _tripped("[SOURce:]CURRent:PROTection:TRIPped", "OCP"),
    _level("[SOURce:]VOLTage[:LEVel][:IMMediate][:AMPLitude]", "voltage", "voltage", "V", _STEPPED),
    _quantity("[SOURce:]VOLTage[:LEVel][:IMMediate]:STEP[:INCRement]", "voltage_step", "V", 0.001, 25.75, 0.1),
    _level("[SOURce:]VOLTage[:LEVel]:TRIGgered[:AMPLitude]", "voltage", "voltage_triggered", "V"),
    _choice("[SOURce:]VOLTage:MODE", "voltage_mode", "FIXed", "STEP", "LIST"),
    _level("[SOURce:]VOLTage:PROTection[:LEVel]", "protection", "protection", "V"),
    _clear("[SOURce:]VOLTage:PROTection:CLEar", "OVP"),
    _switch("[SOURce:]VOLTage:PROTection:STATe", "protection_enabled"),
    _tripped("[SOURce:]VOLTage:PROTection:TRIPped", "OVP"),
    _choice("[SOURce:]VOLTage:SENSe[:SOURce]", "sense", "INTernal", "EXTernal"),
    Command("STATus:QUEStionable:INSTrument[:EVENt]", query=_read_instruments),
    Command("STATus:QUEStionable:INSTrument:CONDition", query=lambda i, _: f"{i.instruments.condition:+d}"),
    Command(
        "STATus:QUEStionable:INSTrument:ENABle",
        set=_enable_instruments,
        query=lambda i, _: f"{i.instruments.enable:+d}",
        parameters=(Integer(0, ALL_BITS),),
    ),
    Command(f"{_SUMMARY}[:EVENt]", query=_read_summary("event")),
    Command(f"{_SUMMARY}:CONDition", query=_read_summary("condition")),
    Command(
        f"{_SUMMARY}:ENABle",
        set=_enable_summary,
        query=_read_summary("enable"),
        parameters=(Integer(0, ALL_BITS),),
    ),
    Command("SYSTem:BEEPer[:IMMediate]", set=_beep),
    Command("SYSTem:BEEPer:STATe", _store("beeper"), lambda i, _: str(int(i.beeper)), (Boolean(),)),
    Command(
        "SYSTem:COMMunicate:RLSTate",
        set=_store("lock_state"),
        query=lambda i, _: i.lock_state,
        parameters=(Choice("LOCal", "REMote", "RWLock"),),
    ),
    Command("SYSTem:LOCal", set=_lock_keys("LOC")),
    Command("SYSTem:REMote", set=_lock_keys("REM")),
    Command("SYSTem:RWLock", set=_lock_keys("RWL")),
    Command(
        "TRIGger[:TRANsient][:IMMediate]", set=lambda i, call: i.trigger_outputs(_channels(i, call)), channels=True
    ),
    Command(
        "TRIGger[:TRANsient]:SOURce",
        set=_store("trigger_source"),
        query=lambda i, _: i.trigger_source,
        parameters=(Choice("BUS", "IMMediate"),),
    ),
)

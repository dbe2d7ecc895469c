"""The guide's commands, each with its effect on the outputs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from agent.simulator.rigol.outputs import DP800Outputs
from agent.simulator.scpi import Boolean, Call, Choice, Command, Datum, Integer, Numeric, Parameter, ScpiError
from agent.simulator.scpi.tree import Handler
from agent.simulator.supply import Output, Trip, plain, within

OnOutput = Callable[..., str | None]
"""Gets the supply, an output and the arguments."""

_VOLTS, _AMPS = Numeric("V", ("MINimum", "MAXimum")), Numeric("A", ("MINimum", "MAXimum"))
_LIMIT = Choice("MINimum", "MAXimum")
_CHANNEL = re.compile(r"CH(\d+)")


class _Any(Parameter):
    """A parameter of any type: whether it is the channel shows when the message is carried out."""

    def accept(self, datum: Datum) -> Datum:
        return datum


_ANYTHING = tuple(_Any(optional=True) for _ in range(3))


def _word(value: bool) -> str:
    return "ON" if value else "OFF"


def _by_argument(do: OnOutput, *parameters: Parameter, optional: int = 0) -> Handler:
    """A handler for the output that the first argument names. Without one, and for a number of no output, the selected one."""

    def handle(supply: DP800Outputs, call: Call) -> str | None:
        data = [datum for datum in call.arguments if datum is not None]
        output = supply.outputs[supply.selected]
        if data and data[0].kind == "word" and (match := _CHANNEL.fullmatch(data[0].value)):
            output = supply.outputs.get(int(match[1]), output)
            del data[0]
        if len(data) > len(parameters):
            raise ScpiError(-108)
        if len(data) < len(parameters) - optional:
            raise ScpiError(-109)
        return do(
            supply, output, *(parameter.accept(datum) for parameter, datum in zip(parameters, data, strict=False))
        )

    return handle


def _by_suffix(do: OnOutput) -> Handler:
    """A handler for the output whose number is in the header. Without one, the selected one."""

    def handle(supply: DP800Outputs, call: Call) -> str | None:
        output = supply.outputs[supply.selected]
        if call.numbered:
            output = supply.outputs.get(call.suffix, output)
        return do(supply, output, *call.arguments)

    return handle


# --- levels


def _level(value: float | str, low: float, high: float) -> float:
    """A level without sign, of a number or a word."""
    if isinstance(value, str):
        return high if value == "MAX" else low
    return within(value, low, high)


def _set_voltage(supply: DP800Outputs, output: Output, value: float | str) -> None:
    signed = value if isinstance(value, str) else value * output.rating.sign
    supply.set_voltage(output, _level(signed, 0.0, output.rating.voltage_max))


def _set_current(_supply: DP800Outputs, output: Output, value: float | str) -> None:
    output.current_set = _level(value, 0.0, output.rating.current_max)


def _set_ovp(_supply: DP800Outputs, output: Output, value: float | str) -> None:
    signed = value if isinstance(value, str) else value * output.rating.sign
    output.ovp_level = _level(signed, output.rating.protection_min, output.rating.ovp_max or 0.0)


def _set_ocp(_supply: DP800Outputs, output: Output, value: float | str) -> None:
    output.ocp_level = _level(value, output.rating.protection_min, output.rating.ocp_max or 0.0)


def _of_limits(value: float, limit: str | None, low: float, high: float) -> float:
    return value if limit is None else high if limit == "MAX" else low


def _read_voltage(_supply: DP800Outputs, output: Output, limit: str | None = None) -> str:
    volts = _of_limits(output.voltage_set, limit, 0.0, output.rating.voltage_max)
    return plain(volts * output.rating.sign, 3)


def _read_current(_supply: DP800Outputs, output: Output, limit: str | None = None) -> str:
    return plain(_of_limits(output.current_set, limit, 0.0, output.rating.current_max), 4)


def _read_ovp(_supply: DP800Outputs, output: Output, limit: str | None = None) -> str:
    volts = _of_limits(output.ovp_level, limit, output.rating.protection_min, output.rating.ovp_max or 0.0)
    return plain(volts * output.rating.sign, 3)


def _read_ocp(_supply: DP800Outputs, output: Output, limit: str | None = None) -> str:
    return plain(_of_limits(output.ocp_level, limit, output.rating.protection_min, output.rating.ocp_max or 0.0), 4)


def _apply(supply: DP800Outputs, output: Output, volts: float | str, amps: float | str | None = None) -> None:
    before = output.voltage_set
    _set_voltage(supply, output, volts)
    if amps is not None:
        try:
            _set_current(supply, output, amps)
        except ScpiError:
            supply.set_voltage(output, before)
            raise


def _read_applied(supply: DP800Outputs, call: Call) -> str:
    named = call.arguments[0] is not None
    settings = _by_argument(lambda s, o: f"{_read_voltage(s, o)},{_read_current(s, o)}")(supply, call)
    header = _by_argument(lambda _, o: f"CH{o.number}:{o.rating.name}")(supply, call)
    return f"{header},{settings}" if named else str(settings)


# --- readings


def _measure(*quantities: str) -> OnOutput:
    def read(supply: DP800Outputs, output: Output) -> str:
        volts, amps = supply.measured_voltage(output), supply.measured_current(output)
        texts = {"V": plain(volts, 4), "A": plain(amps, 4), "W": plain(abs(volts * amps), 3)}
        return ",".join(texts[quantity] for quantity in quantities)

    return read


def _mode(_supply: DP800Outputs, output: Output) -> str:
    return "CV" if output.mode == "OFF" else output.mode


def _summary(_supply: DP800Outputs, output: Output) -> str:
    mode = {"CC": 1, "CV": 2, "UR": 3, "OFF": 0}[output.mode]
    trip = {"OVP": 4, "OCP": 8}.get(output.trip or "", 0)
    return str(mode | trip)


# --- switches and trips


def _switch(supply: DP800Outputs, output: Output, on: bool) -> None:
    supply.switch([output], on)


def _tripped(cause: Trip) -> OnOutput:
    return lambda _, output: "YES" if output.trip == cause else "NO"


def _clear(cause: Trip, *, restore: bool) -> OnOutput:
    def clear(supply: DP800Outputs, output: Output) -> None:
        if output.trip == cause:
            output.clear_trip(restore=restore)
            supply.advance()

    return clear


def _assign(attribute: str) -> OnOutput:
    return lambda _, output, value: setattr(output, attribute, value)


def _read_switch(attribute: str) -> OnOutput:
    return lambda _, output: _word(getattr(output, attribute))


def _track(supply: DP800Outputs, output: Output, on: bool) -> None:
    if output.number not in supply.pair:
        raise ScpiError(-221)
    supply.tracking = on


def _read_track(supply: DP800Outputs, output: Output) -> str:
    return _word(supply.tracking) if output.number in supply.pair else "NONE"


# --- the whole unit


def _select(supply: DP800Outputs, call: Call) -> None:
    wanted = call.arguments[0]
    if isinstance(wanted, Datum):
        match = _CHANNEL.fullmatch(str(wanted.value))
        wanted = int(match[1]) if match else 0
    if wanted in supply.outputs:
        supply.selected = wanted


def _unit_switch(header: str, attribute: str) -> Command:
    return Command(
        header,
        set=lambda s, call: setattr(s, attribute, call.arguments[0]),
        query=lambda s, _: _word(getattr(s, attribute)),
        parameters=(Boolean(),),
    )


def _set_remote(remote: bool) -> Handler:
    def change(supply: Any, _call: Call) -> None:
        supply.remote = remote
        supply.locked = supply.locked and remote

    return change


# --- the list


def _argument_command(
    header: str, do: OnOutput | None, read: OnOutput | None, *parameters: Parameter, optional: int = 0
) -> Command:
    return Command(
        header,
        set=do and _by_argument(do, *parameters, optional=optional),
        query=read and _by_argument(read),
        parameters=_ANYTHING,
        query_parameters=_ANYTHING,
    )


def _source_level(header: str, do: OnOutput, read: OnOutput, parameter: Parameter) -> Command:
    limit = (Choice("MINimum", "MAXimum", optional=True),)
    return Command(f"[SOURce<9>:]{header}", _by_suffix(do), _by_suffix(read), (parameter,), limit)


COMMANDS: Final[tuple[Command, ...]] = (
    Command("*OPT", query=lambda s, _: ",".join(s.options) or "0"),
    Command(
        "APPLy",
        set=_by_argument(_apply, _VOLTS, _AMPS, optional=1),
        query=_read_applied,
        parameters=_ANYTHING,
        query_parameters=_ANYTHING[:1],
    ),
    Command("INSTrument:NSELect", _select, lambda s, _: str(s.selected), (Integer(0, 99),)),
    Command("INSTrument[:SELect]", _select, lambda s, _: f"CH{s.selected}", (_Any(),)),
    _argument_command("MEASure[:VOLTage][:DC]", None, _measure("V")),
    _argument_command("MEASure:CURRent[:DC]", None, _measure("A")),
    _argument_command("MEASure:POWEr[:DC]", None, _measure("W")),
    _argument_command("MEASure:ALL[:DC]", None, _measure("V", "A", "W")),
    _argument_command("OUTPut[:STATe]", _switch, _read_switch("on"), Boolean()),
    _argument_command("OUTPut:MODE", None, _mode),
    _argument_command("OUTPut:CVCC", None, _mode),
    _argument_command("OUTPut:OVP[:STATe]", _assign("ovp_on"), _read_switch("ovp_on"), Boolean()),
    _argument_command("OUTPut:OVP:VALue", _set_ovp, _read_ovp, _VOLTS),
    _argument_command("OUTPut:OVP:QUES", None, _tripped("OVP")),
    _argument_command("OUTPut:OVP:ALAR", None, _tripped("OVP")),
    _argument_command("OUTPut:OVP:CLEAR", _clear("OVP", restore=False), None),
    _argument_command("OUTPut:OCP[:STATe]", _assign("ocp_on"), _read_switch("ocp_on"), Boolean()),
    _argument_command("OUTPut:OCP:VALue", _set_ocp, _read_ocp, _AMPS),
    _argument_command("OUTPut:OCP:QUES", None, _tripped("OCP")),
    _argument_command("OUTPut:OCP:ALAR", None, _tripped("OCP")),
    _argument_command("OUTPut:OCP:CLEAR", _clear("OCP", restore=False), None),
    _argument_command("OUTPut:TRACk", _track, _read_track, Boolean()),
    _source_level("VOLTage[:LEVel][:IMMediate][:AMPLitude]", _set_voltage, _read_voltage, _VOLTS),
    _source_level("CURRent[:LEVel][:IMMediate][:AMPLitude]", _set_current, _read_current, _AMPS),
    _source_level("VOLTage:PROTection[:LEVel]", _set_ovp, _read_ovp, _VOLTS),
    _source_level("CURRent:PROTection[:LEVel]", _set_ocp, _read_ocp, _AMPS),
    *(
        command
        for header, name, cause in (("VOLTage", "ovp_on", "OVP"), ("CURRent", "ocp_on", "OCP"))
        for command in (
            Command(
                f"[SOURce<9>:]{header}:PROTection:STATe",
                _by_suffix(_assign(name)),
                _by_suffix(_read_switch(name)),
                (Boolean(),),
            ),
            Command(f"[SOURce<9>:]{header}:PROTection:TRIPped", query=_by_suffix(_tripped(cause))),  # type: ignore[arg-type]
            # The guide: these also turn the output on again.
            Command(f"[SOURce<9>:]{header}:PROTection:CLEar", _by_suffix(_clear(cause, restore=True))),  # type: ignore[arg-type]
        )
    ),
    Command("STATus:QUEStionable:INSTrument:ISUMmary<9>:CONDition", query=_by_suffix(_summary)),
    _unit_switch("SYSTem:ONOFFSync", "switches_together"),
    _unit_switch("SYSTem:OTP", "over_temperature"),
    Command(
        "SYSTem:TRACKMode",
        set=lambda s, call: setattr(s, "tracks_all", call.arguments[0] == "SYNC"),
        query=lambda s, _: "SYNC" if s.tracks_all else "INDE",
        parameters=(Choice("SYNC", "INDE"),),
    ),
    Command("SYSTem:REMote", _set_remote(True)),
    Command("SYSTem:LOCal", _set_remote(False)),
    _unit_switch("SYSTem:RWLock", "locked"),
)

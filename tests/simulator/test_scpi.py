"""The SCPI grammar, against a little instrument of its own."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.simulator.scpi import (
    Boolean,
    Call,
    Choice,
    Command,
    CommandTree,
    ErrorQueue,
    Integer,
    Numeric,
    Quirks,
    ScpiError,
    Text,
    forms,
    parse_channel_list,
    parse_datum,
)

LIMITS = ("MINimum", "MAXimum", "DEFault")


def echo(name: str):  # type: ignore[no-untyped-def]
    def handler(_instrument: object, call: Call) -> str:
        return f"{name}{list(call.arguments)}{list(call.channels) if call.channels is not None else '-'}/{call.suffix}"

    return handler


def refuse(_instrument: object, _call: Call) -> str:
    raise ScpiError(-221)


COMMANDS = (
    Command("*IDN", query=echo("idn")),
    Command("*ESE", echo("ese"), echo("ese?"), (Integer(0, 255),)),
    Command(
        "[SOURce:]VOLTage[:LEVel][:IMMediate][:AMPLitude]",
        echo("volt"),
        echo("volt?"),
        (Numeric("V", LIMITS),),
        (Choice(*LIMITS, optional=True),),
        channels=True,
    ),
    Command("[SOURce:]VOLTage:PROTection[:LEVel]", echo("ovp"), echo("ovp?"), (Numeric("V", LIMITS),), channels=True),
    Command("[SOURce:]VOLTage:PROTection:STATe", echo("ovp state"), None, (Boolean(),), channels=True),
    Command("[SOURce:]CURRent[:LEVel]", echo("curr"), echo("curr?"), (Numeric("A", LIMITS),), channels=True),
    Command("OUTPut[:STATe]", echo("outp"), echo("outp?"), (Boolean(),), channels=True),
    Command("DISPlay:TEXT", echo("text"), None, (Text(12),)),
    Command("STATus:INSTrument:ISUMmary<3>:CONDition", query=echo("isum?")),
    Command("SYSTem:DELay", echo("delay"), None, (Numeric("S"),)),
    Command("SYSTem:COUNt", echo("count"), None, (Numeric(),)),
    Command("SYSTem:REFuse", refuse, refuse),
)
TREE = CommandTree(COMMANDS)


def run(message: str, tree: CommandTree = TREE) -> list[str | int]:
    """The result of each unit of a message: an answer, or the number of an error."""
    results: list[str | int] = []
    for handler, call in tree.compile(message):
        try:
            results.append(str(handler(None, call)))
        except ScpiError as error:
            results.append(error.number)
    return results


def test_forms() -> None:
    assert forms("VOLTage") == ("VOLT", "VOLTAGE")
    assert forms("STEP") == ("STEP", "STEP")
    assert forms("CH1") == ("CH1", "CH1")


@pytest.mark.parametrize(
    "header",
    [
        "VOLT", "volt", "Volt", "VOLTAGE", "voltage", ":VOLT", "SOUR:VOLT", "SOURCE:VOLTAGE", ":SOURce:VOLTage",
        "VOLT:LEV", "VOLT:IMM", "VOLT:AMPL", "VOLT:LEV:IMM:AMPL", "SOUR:VOLT:LEVEL:AMPLITUDE", "VOLT:IMMEDIATE:AMPL",
    ],
)  # fmt: skip
def test_every_way_to_write_a_header(header: str) -> None:
    assert run(f"{header} 5") == ["volt[5.0]-/1"]
    assert run(f"{header}?") == ["volt?[None]-/1"]


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("VOLTA 5", -113), ("VOL 5", -113), ("VOLTAG 5", -113), ("VOLT:AMPL:LEV 5", -113), ("CURR:IMM 1", -113),
        ("*IDN", -113), ("*FOO?", -113), ("SOUR:OUTP ON", -113), ("SOUR 5", -113), ("DISP:TEXT?", -113),
        ("OUTPUTSTATETOOLONG ON", -112), ("OUTP2 ON", -114), ("STAT:INST:ISUM4:COND?", -114),
        ("STAT:INST:ISUM0:COND?", -114), ("STAT:INST:ISUM99999999999:COND?", -114),
        ("VOLT?(@1)", -111), ("VOLT,5", -111), ('DISP:TEXT"x"', -111), ("VOLT::LEV 5", -102), ("*", -102), (":", -102),
        ("?", -102), ("::VOLT 5", -102), ("$VOLT 5", -101), ("VÖLT 5", -101), ("VOLT 5 €", -101), ("5", -101),
        ("VOLT??", -102), ("VOLT 5?", -121),
    ],
)  # fmt: skip
def test_header_errors(message: str, number: int) -> None:
    assert run(message) == [number]


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("5", 5.0), ("+5", 5.0), ("-5", -5.0), ("5.", 5.0), (".5", 0.5), ("5.0", 5.0), ("1.5E0", 1.5), ("15e-1", 1.5),
        ("1.5 E 0", 1.5), ("5V", 5.0), ("5 V", 5.0), ("5v", 5.0), ("500mV", 0.5), ("500 MV", 0.5), ("0.5KV", 500.0),
        ("2UV", 2e-6), ("1MAV", 1e6), ("1e3 mV", 1.0), ("#H10", 16.0), ("#B101", 5.0), ("#Q17", 15.0),
        ("MIN", "MIN"), ("maximum", "MAX"), ("DEF", "DEF"),
    ],
)  # fmt: skip
def test_numbers(data: str, value: float | str) -> None:
    (unit,) = TREE.compile(f"VOLT {data}")
    (argument,) = unit.call.arguments
    assert argument == (pytest.approx(value) if isinstance(value, float) else value)


def test_m_is_milli_even_for_amperes() -> None:
    """``MA`` is the multiplier of a million where a unit follows, and a milliampere where none does."""
    assert TREE.compile("CURR 300 MA")[0].call.arguments == pytest.approx((0.3,))
    assert TREE.compile("CURR 300A")[0].call.arguments == (300.0,)
    assert TREE.compile("SYST:DEL 5MS")[0].call.arguments == pytest.approx((0.005,))


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("VOLT", -109), ("VOLT ,(@1)", -109), ("VOLT 5,", -109), ("VOLT (@1)", -109), ("VOLT 5,6", -108),
        ("VOLT? 5", -128), ("VOLT? MAX,MIN", -108), ("*IDN? 1", -108), ("SYST:COUN 5,(@1)", -108),
        ("VOLT 5A", -131), ("VOLT 5XV", -131), ("SYST:COUN 5V", -138), ("OUTP 1V", -138), ("*ESE 5V", -138),
        ("VOLT ON", -224), ("OUTP MAYBE", -224), ("VOLT? FOO", -224), ("VOLT 'x'", -104), ("OUTP 'ON'", -104),
        ("*ESE ALL", -148), ("*ESE 256", -222), ("*ESE -1", -222), ("DISP:TEXT HELLO", -148), ("DISP:TEXT 5", -128),
        ("DISP:TEXT 'x", -151), ("DISP:TEXT 'a'b'", -151), ("DISP:TEXT '1234567890123'", -223),
        ("VOLT 5..5", -121), ("VOLT 1e99999", -123), ("VOLT 1e999", -222), ("VOLT -1e999", -222), ("VOLT +", -121),
        ("VOLT 5 (@2)", -121), ("VOLT 5,@2", -101), ("VOLT 5,(2)", -171), ("VOLT 5,(@)", -171), ("VOLT 5,(@1,)", -171),
        ("VOLT 5,(@a)", -171), ("VOLT 5,(@1:2:3)", -171), ("VOLT 5,(@1", -171), ("VOLT 5,(@1:9999)", -223),
        ("VOLT WORDTHATISTOOLONG", -144), ("VOLT A-B", -141), ("VOLT #15HELLO", -168), ("VOLT #HXY", -121),
        ("SYST:REF", -221),
    ],
)  # fmt: skip
def test_data_errors(message: str, number: int) -> None:
    assert run(message) == [number]


@pytest.mark.parametrize(
    ("message", "value"),
    [("ON", True), ("off", False), ("1", True), ("0", False), ("0.4", False), ("-7", True), ("0.5", True)],
)
def test_booleans(message: str, value: bool) -> None:
    assert TREE.compile(f"OUTP {message}")[0].call.arguments == (value,)


@pytest.mark.parametrize(("data", "value"), [("2.4", 2), ("2.5", 3), ("0.0", 0), ("#HFF", 255)])
def test_integers_are_rounded(data: str, value: int) -> None:
    assert TREE.compile(f"*ESE {data}")[0].call.arguments == (value,)


@pytest.mark.parametrize(
    ("data", "value"), [('"a;b,c"', "a;b,c"), ("'it''s'", "it's"), ('""', ""), ("'(@1)'", "(@1)"), ("'*IDN?'", "*IDN?")]
)
def test_strings_may_hold_separators(data: str, value: str) -> None:
    assert [unit.call.arguments for unit in TREE.compile(f"DISP:TEXT {data}")] == [(value,)]


@pytest.mark.parametrize(
    ("text", "channels"),
    [("(@1)", (1,)), ("(@1,3)", (1, 3)), ("(@1:3)", (1, 2, 3)), ("(@3:1)", (3, 2, 1)), ("(@ 1 , 2:3 )", (1, 2, 3))],
)
def test_channel_lists(text: str, channels: tuple[int, ...]) -> None:
    assert parse_channel_list(text) == channels
    assert TREE.compile(f"VOLT? {text}")[0].call.channels == channels
    assert TREE.compile(f"VOLT 5,{text}")[0].call.channels == channels
    assert TREE.compile(f"VOLT? MAX, {text}")[0].call.channels == channels


@pytest.mark.parametrize(
    ("message", "results"),
    [
        # SCPI-1999 volume 1, 6.2.4: the next header starts where the last node of the one before was looked up.
        ("VOLT 5;CURR 1", ["volt[5.0]-/1", "curr[1.0]-/1"]),
        ("VOLT:PROT 5;STAT ON", ["ovp[5.0]-/1", -113]),
        ("VOLT:PROT:LEV 5;STAT ON", ["ovp[5.0]-/1", "ovp state[True]-/1"]),
        ("SOUR:VOLT 5;CURR 1", ["volt[5.0]-/1", "curr[1.0]-/1"]),
        ("SOUR:VOLT 5;OUTP ON", ["volt[5.0]-/1", -113]),
        ("VOLT:LEV 5;CURR 1", ["volt[5.0]-/1", -113]),
        ("VOLT:LEV 5;:CURR 1", ["volt[5.0]-/1", "curr[1.0]-/1"]),
        ("VOLT:LEV 5;IMM 6", ["volt[5.0]-/1", "volt[6.0]-/1"]),
        ("VOLT:PROT:LEV 5;*IDN?;STAT ON", ["ovp[5.0]-/1", "idn[]-/1", "ovp state[True]-/1"]),
        (":VOLT?;:CURR?;:OUTP?", ["volt?[None]-/1", "curr?[]-/1", "outp?[]-/1"]),
        (" VOLT? ; CURR? ", ["volt?[None]-/1", "curr?[]-/1"]),
        ("VOLT?;;CURR?;", ["volt?[None]-/1", "curr?[]-/1"]),
        ("STAT:INST:ISUM2:COND?;:STAT:INST:ISUM:COND?", ["isum?[]-/2", "isum?[]-/1"]),
        ("", []),
        (" ; ; ", []),
    ],
)
def test_compound_messages(message: str, results: list[str | int]) -> None:
    assert run(message) == results


def test_a_command_error_ends_its_message() -> None:
    assert run("VOLT 5;FOO;CURR 1") == ["volt[5.0]-/1", -113]
    assert run("VOLT 5;CURR;OUTP ON") == ["volt[5.0]-/1", -109]


def test_an_execution_error_concerns_its_unit_alone() -> None:
    assert run("VOLT 5;:SYST:REF;:CURR 1") == ["volt[5.0]-/1", -221, "curr[1.0]-/1"]
    assert run("*ESE 256;:CURR 1") == [-222, "curr[1.0]-/1"]
    assert run("VOLT:PROT:STAT FOO;LEV 5") == [-224, "ovp[5.0]-/1"]


def test_quirk_no_compound_messages() -> None:
    tree = CommandTree(COMMANDS, Quirks(compound_messages=False))
    assert run("VOLT 5", tree) == ["volt[5.0]-/1"]
    assert run("VOLT 5;", tree) == ["volt[5.0]-/1"]
    assert run("VOLT 5;CURR 1", tree) == [-103]


def test_quirk_channel_lists() -> None:
    single = CommandTree(COMMANDS, Quirks(channel_lists="single"))
    assert run("VOLT? (@2)", single) == ["volt?[None][2]/1"]
    assert run("VOLT? (@1,2)", single) == [-171]
    none = CommandTree(COMMANDS, Quirks(channel_lists="none"))
    assert run("VOLT?", none) == ["volt?[None]-/1"]
    assert run("VOLT? (@2)", none) == [-108]


def test_quirk_missing_commands() -> None:
    tree = CommandTree(COMMANDS, Quirks(missing=("OUTPut[:STATe]",)))
    assert run("OUTP?", tree) == [-113]


def test_quirk_read_only_commands() -> None:
    tree = CommandTree(COMMANDS, Quirks(read_only=("OUTPut[:STATe]",)))
    assert run("OUTP ON;:CURR 1", tree) == [-113]
    assert run("OUTP?", tree) == run("OUTP?")


def test_quirk_resumes_after_a_command_error() -> None:
    tree = CommandTree(COMMANDS, Quirks(resumes=True))
    assert run("VOLT 5;FOO;CURR 1", tree) == ["volt[5.0]-/1", -113, "curr[1.0]-/1"]


def test_the_same_header_twice_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="same header"):
        CommandTree([Command("A[:B]", set=refuse), Command("A", set=refuse)])
    with pytest.raises(ValueError, match="twice"):
        CommandTree([Command("*A", set=refuse), Command("*A", set=refuse)])


def test_a_flood_of_different_messages_does_not_fill_the_memory() -> None:
    tree = CommandTree(COMMANDS)
    for number in range(3000):
        tree.compile(f"VOLT {number}")
    assert len(tree._compiled) <= 512


def test_error_queue() -> None:
    queue = ErrorQueue(20)
    for number in range(1, 25):
        queue.push(ScpiError(number, f"error {number}"))
    errors = [queue.pop() for _ in range(21)]
    assert errors[:19] == [(number, f"error {number}") for number in range(1, 20)]
    assert errors[19:] == [(-350, "Error queue overflow"), (0, "No error")]


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for result in run(text):
        assert isinstance(result, str) or result < 0


@given(st.text(alphabet="VOLTvoltCURR:;?*(@)1,2 .eE+-#'\"\t&", max_size=50))
def test_near_misses_are_parsed_or_refused(text: str) -> None:
    results = run(text)
    # Nothing is carried out after a command error.
    assert all(not isinstance(result, int) or result <= -200 for result in results[:-1])


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["", "V", " V"]))
def test_numbers_survive(value: float, unit: str) -> None:
    assert TREE.compile(f"VOLT {value!r}{unit}")[0].call.arguments == (value,)


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="\n"), max_size=12))
def test_strings_survive(text: str) -> None:
    quoted = '"' + text.replace('"', '""') + '"'
    assert parse_datum(quoted).value == text
    assert [unit.call.arguments for unit in TREE.compile(f"DISP:TEXT {quoted}")] == [(text,)]


@given(st.lists(st.integers(1, 99), min_size=1, max_size=20))
def test_channel_lists_survive(channels: list[int]) -> None:
    assert parse_channel_list(f"(@{','.join(map(str, channels))})") == tuple(channels)


@given(st.integers(-(10**30), 10**30), st.integers(-40, 40))
def test_exponents(mantissa: int, exponent: int) -> None:
    value = TREE.compile(f"SYST:COUN {mantissa}E{exponent}")[0].call.arguments[0]
    assert math.isclose(value, float(f"{mantissa}e{exponent}"))

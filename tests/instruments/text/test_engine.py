"""What the text driver makes of a series file, by literal transcripts of made-up units: one mechanism of the language each."""

from __future__ import annotations

from typing import Any

import pytest

from agent.instruments.catalogue import Series, models_of
from agent.instruments.driver import IdentityError, LinkError, MalformedAnswerError, Write, never
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from tests.instruments.text.made_up import CHANNEL, IDN, driver_of, send, series
from tests.instruments.transcript import Line, Transcript

# Selected outputs.

SELECTED = {
    "polls": [{"ask": "V?", "answer": "{voltage}", "selected": True}, {"ask": "G?", "answer": "{master}"}],
    "settings": {"voltage_limit": {"send": "SET {value}", "selected": True}},
}


def test_outputs_may_be_counted_from_0() -> None:
    data = series(
        polls=[{"ask": "V{ch}?", "answer": "{voltage}"}, {"ask": "S? {list}", "answer": "{state:bit}"}],
        settings={"state": {"send": "OUT {value},{list}"}, "voltage_limit": {"send": "SET{ch} {value}"}},
        models={"T1": {"channels": {1: {**CHANNEL, "number": 0}, 2: {**CHANNEL, "number": 1}}}},
    )
    poll: list[Line] = [("V0?", "1.5"), ("V1?", "2.5"), ("S? (@0,1)", "0,1")]
    link, driver = driver_of(data, [IDN, *poll])
    link.expect(poll)
    readings = driver.poll(never)
    assert readings is not None
    assert {index: (one.voltage, one.state) for index, one in readings.items()} == {1: (1.5, False), 2: (2.5, True)}
    assert send(link, driver, Write("voltage_limit", (2,), 5.0), ("SET1 5", None)) == []
    assert send(link, driver, Write("state", (1, 2), True), ("OUT 1,(@0,1)", None)) == []


def test_a_selection_goes_right_before_each_of_its_messages() -> None:
    data = series(2, **SELECTED, select={"send": "SEL {ch}", "after": 0.05})
    link, driver = driver_of(data, [IDN, ("G?", "1"), ("SEL 1", None), ("V?", "1"), ("SEL 2", None), ("V?", "2")])
    assert link.pauses == [0.05, 0.05]
    assert send(link, driver, Write("voltage_limit", (2,), 5.0), ("SEL 2", None), ("SET 5", None)) == []


def test_a_selection_stands_in_the_message_where_the_unit_takes_that() -> None:
    data = series(2, **SELECTED, select={"send": "SEL {ch}", "compound": True})
    link, driver = driver_of(data, [IDN, ("G?", "1"), ("SEL 1;:V?", "1"), ("SEL 2;:V?", "2")])
    assert send(link, driver, Write("voltage_limit", (1, 2), 5.0), ("SEL 1;:SET 5", None), ("SEL 2;:SET 5", None)) == []


def test_a_unit_that_takes_no_selection_with_a_question_is_selected_by_messages_of_its_own() -> None:
    data = Series.model_validate(series(2, **SELECTED, select={"send": "SEL {ch}", "compound": True}))
    silent: list[Line] = [IDN, ("G?", "1"), ("SEL 1;:V?", None), IDN]
    apart: list[Line] = [("G?", "1"), ("SEL 1", None), ("V?", "1"), ("SEL 2", None), ("V?", "2")]
    link = Transcript(silent)
    driver = TextDriver(link, name="psu1", models=models_of(data), knowledge=Knowledge())
    with pytest.raises(LinkError):  # it may have been the link
        driver.connect()
    link.expect([*silent, *apart])
    driver.connect()
    link.check()
    assert send(link, driver, Write("voltage_limit", (2,), 5.0), ("SEL 2", None), ("SET 5", None)) == []
    link.expect([IDN, *apart])  # it is not tried again
    driver.connect()
    link.check()


def test_a_model_with_one_output_is_sent_no_selection() -> None:
    link, driver = driver_of(series(1, **SELECTED, select={"send": "SEL {ch}"}), [IDN, ("G?", "1"), ("V?", "1")])
    assert send(link, driver, Write("voltage_limit", (1,), 5.0), ("SET 5", None)) == []


def test_an_output_is_on_if_its_own_switch_and_the_master_are() -> None:
    polls = [{"ask": "O{ch}?", "answer": "{state}"}, {"ask": "G?", "answer": "{master}"}]
    link, driver = driver_of(series(2, polls=polls), [IDN, ("O1?", "1"), ("O2?", "0"), ("G?", "1")])
    for master, states in (("1", [True, False]), ("0", [False, False])):
        link.expect([("O1?", "1"), ("O2?", "0"), ("G?", master)])
        readings = driver.poll(never)
        assert readings is not None
        assert [reading.state for reading in readings.values()] == states


# Answers to settings, and lines that nobody asked for.


def test_a_setting_that_is_answered_is_taken_or_refused_by_its_answer() -> None:
    settings = {"voltage_limit": {"send": "PV {value}", "reaches": "all", "answer": "OK"}}
    link, driver = driver_of(series(settings=settings), [IDN, ("V?", "1")])
    assert send(link, driver, Write("voltage_limit", (1,), 5.0), ("PV 5", "OK")) == []
    assert send(link, driver, Write("voltage_limit", (1,), 9.0), ("PV 9", "E01")) == ["PV 9 was answered E01"]


def test_a_selection_that_is_refused_keeps_no_other_output_from_being_turned_off() -> None:
    data = series(
        3,
        polls=[{"ask": "V{ch}?", "answer": "{voltage}"}],
        settings={"state": {"on": "ON", "off": "OFF", "selected": True}},
        select={"send": "SEL {ch}"},
        link={"acknowledges": "OK"},
    )
    link, driver = driver_of(data, [IDN, ("V1?", "1"), ("V2?", "1"), ("V3?", "1")])
    refused: list[Line] = [("SEL 2", "E9"), IDN, ("SEL 2", "E9"), IDN]
    link.expect([("SEL 1", "OK"), ("OFF", "OK"), *refused, ("SEL 3", "OK"), ("OFF", "OK")])
    with pytest.raises(MalformedAnswerError, match="SEL 2 was answered 'E9'; expected was OK"):
        driver.write(Write("state", (1, 2, 3), False))
    link.check()


def test_a_question_that_is_acknowledged_behind_its_answer() -> None:
    data = series(
        link={"acknowledges": "OK", "acknowledges_queries": "OK"}, identify={"ask": "MOD", "form": "(?P<model>.*)"}
    )
    link, driver = driver_of(data, [("MOD", ["T1", "OK"]), ("V?", ["1.0", "OK"])])
    link.expect([("V?", ["1.0", "E2"])])
    with pytest.raises(MalformedAnswerError, match=r"V\? was answered '1.0' and 'E2'; expected was OK at the end"):
        driver.poll(never)
    assert not link.is_open


def test_lines_that_nobody_asked_for_are_complaints() -> None:
    data = series(link={"unasked": [r"\*\*ERROR: .*"]})
    link, driver = driver_of(data, [IDN, ("V?", "1")])
    link.stray = ['**ERROR: -222,"Data out of range"']
    link.expect([("V?", "1")])
    driver.poll(never)
    assert driver.complaints() == ['**ERROR: -222,"Data out of range"']
    assert driver.complaints() == []


# Registers.


def events(**more: Any) -> dict[str, Any]:
    polls = [{"ask": "LSR?", "answer": "{lsr}"}, {"ask": "OP?", "answer": "{state}"}]
    rules = [{"gives": "mode", "mask": 3, "values": {1: "CV", 2: "CC"}, "event": True}]
    rules += [{"gives": "OVP", "bit": 2, "event": True}]
    clear = {"clear_protection": {"send": "TRIPRST", "reaches": "all"}}
    return series(polls=polls, registers={"lsr": rules}, settings=clear, **more)


def told(link: Transcript, driver: TextDriver, lsr: str, state: str = "1") -> tuple[str | None, str | None]:
    link.expect([("LSR?", lsr), ("OP?", state)])
    readings = driver.poll(never)
    assert readings is not None
    return readings[1].mode, readings[1].tripped


def test_what_a_register_tells_once_is_remembered() -> None:
    link, driver = driver_of(events(), [IDN, ("LSR?", "1"), ("OP?", "1")])
    assert told(link, driver, "0") == ("CV", None)
    assert told(link, driver, "2") == ("CC", None)
    assert told(link, driver, "0") == ("CC", None)
    assert told(link, driver, "3") == (None, None)  # it crossed over: nobody knows where it is
    assert told(link, driver, "0") == (None, None)
    assert told(link, driver, "4", "0") == ("OFF", "OVP")
    assert told(link, driver, "0", "0") == ("OFF", "OVP")
    send(link, driver, Write("clear_protection", (1,), True), ("TRIPRST", None))
    assert told(link, driver, "0", "0") == ("OFF", None)


def test_a_trip_that_was_told_once_ends_when_the_output_is_on_again() -> None:
    link, driver = driver_of(events(), [IDN, ("LSR?", "1"), ("OP?", "1")])
    assert told(link, driver, "4", "1") == ("OFF", "OVP")  # the switch was asked for before it opened
    assert told(link, driver, "0", "0") == ("OFF", "OVP")
    assert told(link, driver, "1", "1") == ("CV", None)
    assert told(link, driver, "0", "1") == ("CV", None)


def test_what_was_remembered_is_forgotten_with_the_connection() -> None:
    link, driver = driver_of(events(), [IDN, ("LSR?", "6"), ("OP?", "0")])
    assert told(link, driver, "0", "0") == ("OFF", "OVP")
    link.expect([IDN, ("LSR?", "0"), ("OP?", "0")])
    driver.connect()
    assert told(link, driver, "0", "0") == ("OFF", None)


def test_a_mode_that_nobody_tells_is_none() -> None:
    link, driver = driver_of(series(polls=[{"ask": "OP?", "answer": "{state}"}]), [IDN, ("OP?", "0")])
    for state in "01":
        link.expect([("OP?", state)])
        readings = driver.poll(never)
        assert readings is not None
        assert readings[1].mode is None


def test_one_meaning_may_have_several_bits_in_several_registers() -> None:
    polls = [{"ask": "A?", "answer": "{a}"}, {"ask": "B?", "answer": "{b:hex}"}]
    registers = {
        "a": [{"gives": "OTP", "bit": 0}, {"gives": "mode", "mask": 6, "values": {2: "CV", 4: "CC"}}],
        "b": [
            {"gives": "OTP", "bit": 3},
            {"gives": "OTP", "bit": 4},
            {"gives": "mode", "mask": 1, "values": {1: "UR"}},
        ],
    }
    link, driver = driver_of(series(polls=polls, registers=registers), [IDN, ("A?", "0"), ("B?", "0")])
    for a, b, expected in (
        ("2", "0", ("CV", None)),
        ("4", "1", ("CC", None)),
        ("0", "1", ("UR", None)),
        ("0", "0", (None, None)),
        ("1", "0", ("OFF", "OTP")),
        ("2", "8", ("OFF", "OTP")),
        ("2", "10", ("OFF", "OTP")),
    ):
        link.expect([("A?", a), ("B?", b)])
        readings = driver.poll(never)
        assert readings is not None
        assert (readings[1].mode, readings[1].tripped) == expected


# Errors that are alarms.


def test_errors_whose_reading_clears_alarms_are_read_behind_the_status_and_not_during_a_trip() -> None:
    polls = [{"ask": "ST?", "answer": "{status}"}]
    data = series(
        polls=polls,
        registers={"status": [{"gives": "OVP", "bit": 0}]},
        errors={"ask": "ERR?", "none": "0,.*", "acknowledges": True},
    )
    link, driver = driver_of(data, [IDN, ("ST?", "0")])  # no error is read when it is connected
    link.expect([("ST?", "0"), ("ERR?", '-222,"Range"'), ("ERR?", '0,"None"')])
    assert driver.inspect([1]).complaints == ['-222,"Range"']
    link.check()
    link.expect([("ST?", "1")])
    inspection = driver.inspect([1])
    assert (inspection.readings[1].tripped, inspection.complaints) == ("OVP", [])
    link.check()
    assert driver.complaints() == []


# Settings at the unit that forbid a command.


@pytest.mark.parametrize("means", [{"expect": ["0"]}, {"refuse": ["4"]}])
def test_a_register_that_is_not_told_forbids_a_command(means: dict[str, list[str]]) -> None:
    guard = {"register": "status", "mask": 4, **means, "text": "outputs track ({answer})", "remedy": "end it"}
    data = series(polls=[{"ask": "V?", "answer": ["{voltage},{status}", "{voltage}"]}], conditions=[guard])
    link, driver = driver_of(data, [IDN, ("V?", "1,3")])
    for answer, bars in (
        ("1,3", []),
        ("1,7", ["outputs track (4); end it"]),
        ("1", ["outputs track (nothing); end it"]),
    ):
        link.expect([("V?", answer)])
        assert driver.inspect([1]).bars == bars
    link.check()


def test_an_answer_without_a_word_forbids_a_command() -> None:
    guard = {"ask": "LOCK?", "refuse": ["1"], "text": "it is locked", "remedy": "unlock it"}
    link, driver = driver_of(series(conditions=[guard]), [IDN, ("V?", "1"), ("LOCK?", "0")])
    for answers, bars in ((["0"], []), (["1"], ["it is locked; unlock it"]), (["", ""], ["it is locked; unlock it"])):
        link.expect([*(("LOCK?", answer) for answer in answers), ("V?", "1")])
        assert driver.inspect([1]).bars == bars
    link.check()


# Remote mode, and messages at the connection.

GPIB = "GPIB0::5::INSTR"
GREETED = {"enter": ["REM"], "leave": ["LOC"], "setup": ["*CLS"], "serial": {"enter": ["SYST:REM"], "leave": []}}


def test_remote_mode_is_entered_behind_the_identity_and_left_at_the_end() -> None:
    link, driver = driver_of(series(link=GREETED), [IDN, ("REM", None), ("*CLS", None), ("V?", "1")], uri=GPIB)
    link.expect([("LOC", None)])
    driver.close()
    link.check()
    assert not link.is_open


@pytest.mark.parametrize("uri", ["ASRL/dev/ttyUSB0::INSTR", "TCPIP::192.0.2.7::4001::SOCKET"])
def test_what_a_serial_line_wants_stands_apart(uri: str) -> None:
    """A raw socket of a unit without LAN is that of a gateway to its serial port."""
    lines: list[Line] = [IDN, ("SYST:REM", None), ("*CLS", None), ("V?", "1")]
    link, driver = driver_of(series(link=GREETED), lines, uri=uri)
    driver.close()
    link.check()


def test_a_unit_of_another_maker_is_told_as_that() -> None:
    """The model alone would read: it is a T1, not a T1."""
    link = Transcript([("*IDN?", "Best,T1,7,1.0")])
    data = Series.model_validate(series())
    driver = TextDriver(link, name="psu1", models=models_of(data), knowledge=Knowledge())
    with pytest.raises(IdentityError, match=r"is a Best T1, not a T1 by \w+ \(manufacturer of `identify`"):
        driver.connect()
    driver.close()
    link.check()


def test_another_unit_is_sent_nothing_that_is_no_question() -> None:
    link = Transcript([("*IDN?", "Test,T2,7,1.0")])
    data = Series.model_validate(series(link=GREETED))
    driver = TextDriver(link, name="psu1", models=models_of(data), knowledge=Knowledge())
    with pytest.raises(IdentityError, match="not a T1; it gets no commands"):
        driver.connect()
    driver.close()
    link.check()


def test_a_link_that_failed_is_not_told_to_leave_remote_mode() -> None:
    link, driver = driver_of(series(link=GREETED), [IDN, ("REM", None), ("*CLS", None), ("V?", "1")], uri=GPIB)
    link.expect([("V?", None)])
    with pytest.raises(LinkError):
        driver.poll(never)
    driver.close()
    assert link.sent[-1] == "V?"


# What the unit tells of itself.


def test_ranges_and_outputs_that_the_unit_tells() -> None:
    ratings = [
        {"ask": "COUNT?", "answer": "{channels}"},
        {"ask": "MAX? {list}", "answer": "{voltage_max}"},
        {"ask": "IMAX? {ch}", "answer": "{current_max}A"},
        {"ask": "OPT?", "answer": "{power_max}", "optional": True},
    ]
    data = series(ratings=ratings, models={"T1": {}}, polls=[{"ask": "V? {ch}", "answer": "{voltage}"}])
    lines: list[Line] = [IDN, ("COUNT?", "2"), ("MAX? (@1,2)", "20.6,8.24"), ("IMAX? 1", "1.5A"), ("IMAX? 2", "3.1A")]
    lines += [("OPT?", None), IDN, ("V? 1", "1"), ("V? 2", "2")]
    link, driver = driver_of(data, lines)
    link.expect(lines)
    outputs = driver.connect().outputs
    assert [output.ranges for output in outputs] == [
        {"voltage_limit": (0, 20.6), "current_limit": (0, 1.5)},
        {"voltage_limit": (0, 8.24), "current_limit": (0, 3.1)},
    ]


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("voltage_resolution", "1e9"),
        ("voltage_resolution", "-1"),
        ("voltage_resolution", "0"),
        ("current_resolution", "3"),
        ("voltage_max", "1e9"),
        ("voltage_max", "-1"),
        ("current_max", "1000"),
        ("voltage_min", "-1e6"),
        ("power_max", "0"),
        ("power_max", "-5"),
    ],
)
def test_nonsense_is_no_rating(what: str, answer: str) -> None:
    question = {"ask": "R?", "answer": f"{{{what}}}"}
    with pytest.raises(MalformedAnswerError, match=r"R\? was answered .*, which (is no|does not fit)"):
        driver_of(series(ratings=[question]), [IDN, ("R?", answer)])
    lines: list[Line] = [IDN, ("R?", answer), IDN, ("V?", "1")]
    link, driver = driver_of(series(ratings=[{**question, "optional": True}]), lines)
    link.expect(lines)
    (output,) = driver.connect().outputs
    assert output.ranges == {"voltage_limit": (0, 30), "current_limit": (0, 3)}
    assert (output.voltage_resolution, output.current_resolution, output.power_max) == (0.01, 0.01, None)


def test_an_option_makes_a_model_another_one_of_the_series_that_the_unit_is_served_by() -> None:
    """The catalogue does not know the series any more, or has another one of that name, when its file has changed since."""
    fine = {**CHANNEL, "voltage": [0, 8], "voltage_resolution": 0.001}
    data = series(
        ratings=[{"ask": "*OPT?", "answer": "{option}"}],
        options=[{"holds": "FINE", "becomes": "T2", "models": "T1"}],
        models={"T1": {"channels": {1: CHANNEL}}, "T2": {"channels": {1: fine}}},
    )
    lines: list[Line] = [IDN, ("*OPT?", "FINE"), ("V?", "1")]
    link, driver = driver_of(data, lines)
    link.expect(lines)
    profile = driver.connect()
    assert (profile.model, profile.outputs[0].range("voltage_limit")) == ("T2", (0, 8))
    data["options"][0]["becomes"] = "T3"
    assert Series.model_validate(data).faults() == [(("options", 0, "becomes"), "'T3' is no model of `models`")]


@pytest.mark.parametrize(("answer", "is_told"), [("ON", True), ("off", False), (None, False)])
def test_outputs_that_come_back_after_the_mains(answer: str | None, is_told: bool) -> None:
    data = series(power_up={"ask": "AST?", "on": ["ON", "1"]})
    again: list[Line] = [IDN] if answer is None else []
    lines: list[Line] = [IDN, ("V?", "1"), ("AST?", answer), *again]
    link, driver = driver_of(data, lines)
    link.expect(lines if answer is not None else [IDN, ("V?", "1")])
    assert (driver.connect().power_up is not None) is is_told
    link.check()


def test_an_answer_that_does_not_fit_says_what_was_sent_and_what_was_expected() -> None:
    link, driver = driver_of(
        series(polls=[{"ask": "V?", "answer": ["{voltage}V", "{voltage} VDC"]}]), [IDN, ("V?", "1V")]
    )
    link.expect([("V?", "1.0A")])
    with pytest.raises(MalformedAnswerError) as error:
        driver.poll(never)
    assert str(error.value) == "V? was answered '1.0A'; expected was {voltage}V or {voltage} VDC"

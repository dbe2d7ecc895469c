"""Messages of the E36300 series, word for word, and answers of the form that the Programming Guide E36311-90008 gives them."""

from __future__ import annotations

from collections.abc import Mapping

from agent.instruments.catalogue import candidates
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from tests.instruments.transcript import Line, Transcript

MODELS = ["E36311A", "E36312A", "E36313A"]
NO_ERROR: Line = ("SYST:ERR?", '+0,"No error"')

QUERIES = [
    "MEAS:VOLT? (@1,2,3)",
    "MEAS:CURR? (@1,2,3)",
    "VOLT? (@1,2,3)",
    "CURR? (@1,2,3)",
    "OUTP? (@1,2,3)",
    "VOLT:PROT? (@1,2,3)",
    "VOLT:PROT:TRIP? (@1,2,3)",
    "CURR:PROT:STAT? (@1,2,3)",
    "CURR:PROT:TRIP? (@1,2,3)",
    "STAT:QUES:INST:ISUM1:COND?",
    "STAT:QUES:INST:ISUM2:COND?",
    "STAT:QUES:INST:ISUM3:COND?",
]
POLL = (
    "MEAS:VOLT? (@1,2,3);:MEAS:CURR? (@1,2,3);:VOLT? (@1,2,3);:CURR? (@1,2,3);:OUTP? (@1,2,3);"
    ":VOLT:PROT? (@1,2,3);:VOLT:PROT:TRIP? (@1,2,3);:CURR:PROT:STAT? (@1,2,3);:CURR:PROT:TRIP? (@1,2,3);"
    ":STAT:QUES:INST:ISUM1:COND?;:STAT:QUES:INST:ISUM2:COND?;:STAT:QUES:INST:ISUM3:COND?"
)


def answers(
    *,
    voltage: str = "+1.10000E-04,+0.00000E+00,-2.00000E-05",
    current: str = "-1.00000E-04,+0.00000E+00,+3.00000E-05",
    volt: str = "+0.00000E+00,+0.00000E+00,+0.00000E+00",
    curr: str = "+1.00000E+00,+1.00000E+00,+1.00000E+00",
    outp: str = "0,0,0",
    prot: str = "+6.60000E+00,+2.75000E+01,+2.75000E+01",
    ovp: str = "0,0,0",
    ocp: str = "0,0,0",
    ocp_tripped: str = "0,0,0",
    conditions: tuple[str, str, str] = ("+0", "+0", "+0"),
) -> list[str]:
    """The answers to `QUERIES`."""
    return [voltage, current, volt, curr, outp, prot, ovp, ocp, ocp_tripped, *conditions]


def poll(**changed: str) -> Line:
    return (POLL, ";".join(answers(**changed)))  # type: ignore[arg-type]


OFF = poll()


def idn(model: str = "E36313A", serial: str = "MY61004803") -> Line:
    return ("*IDN?", f"Keysight Technologies,{model},{serial},1.0.4-1.0.0-1.00")


#: Questions on settings at the unit, their answers where nothing is in the way, and the settings that they are asked before.
#: ``2`` stands for those that concern outputs 2 and 3 alone, ``port`` for those of models with a digital port.
_GUARDS: list[tuple[str, str, set[str]]] = [
    ("OUTP:TRAC:STAT?", "0", {"2"}),
    ("OUTP:PAIR?", "OFF", {"2"}),
    ("VOLT:MODE? (@1,2,3)", "FIX,FIX,FIX", set()),
    ("CURR:MODE? (@1,2,3)", "FIX,FIX,FIX", set()),
    ("VOLT:PROT:STAT? (@1,2,3)", "1,1,1", {"voltage_protection"}),
    ("OUTP:INH:MODE?", "OFF", {"state", "port"}),
    ("DIG:PIN1:FUNC?", "DIO", {"state", "port"}),
    ("DIG:PIN2:FUNC?", "DIO", {"state", "port"}),
    ("DIG:PIN3:FUNC?", "DIO", {"state", "port"}),
    ("OUTP:COUP:CHAN?", "NONE", {"state", "clear_protection"}),
    ("OUTP:DEL:RISE? (@1,2,3)", "+0.00000E+00,+0.00000E+00,+0.00000E+00", {"state"}),
    ("OUTP:DEL:FALL? (@1,2,3)", "+0.00000E+00,+0.00000E+00,+0.00000E+00", {"state"}),
    (
        "CURR:PROT:DEL? (@1,2,3)",
        "+5.00000E-02,+5.00000E-02,+5.00000E-02",
        {"state", "voltage_limit", "current_limit", "current_protection"},
    ),
]


def guards(
    *settings: str, channel: int = 1, model: str = "E36313A", changed: Mapping[str, str] | None = None
) -> list[Line]:
    """The questions before these settings and their answers, of which some are changed, by parts of the questions."""
    lines: list[Line] = []
    for ask, answer, asked_for in _GUARDS:
        if ("port" in asked_for and model == "E36311A") or ("2" in asked_for and channel == 1):
            continue
        if asked_for - {"2", "port"} and asked_for.isdisjoint(settings):
            continue
        lines.append((ask, next((other for part, other in (changed or {}).items() if part in ask), answer)))
    return lines


def all_guards(model: str = "E36313A") -> list[Line]:
    """All that a unit of the model is asked when it connects."""
    return guards(*(setting for *_, settings in _GUARDS for setting in settings), channel=2, model=model)


def joined(*lines: Line) -> Line:
    """The one message that is asked around a setting, and its answer."""
    return (";:".join(sent for sent, _ in lines), ";".join(str(answer) for _, answer in lines))


def checked(setting: str, error: Line = NO_ERROR) -> Line:
    """A setting and the question for errors in one message, and its answer."""
    return (f"{setting};:{error[0]}", error[1])


REFUSED: Line = ("SYST:ERR?", '-103,"Invalid separator"')
LISTS: list[Line] = list(zip(QUERIES, answers(), strict=True))


def one_by_one(lines: list[Line]) -> list[Line]:
    """The same questions, for each output by itself."""
    return [
        (query.replace("(@1,2,3)", f"(@{number})"), part)
        for query, answer in lines
        for number, part in enumerate(str(answer).split(",") if "(@" in query else [str(answer)], 1)
    ]


SINGLES = one_by_one(LISTS)
#: All that is asked around a setting, in one message.
TOGETHER = joined(NO_ERROR, *all_guards(), OFF)
UNKNOWN: list[Line] = [("SYST:ERR?", '-113,"Undefined header"'), NO_ERROR]


def together_but(*unknown: str) -> Line:
    """The same without some questions."""
    return joined(NO_ERROR, *(line for line in all_guards() if line[0] not in unknown), OFF)


def individually(*unknown: str) -> list[Line]:
    """The questions on settings at the unit one by one; some are refused, twice each: the second time at once."""
    lines: list[Line] = []
    for ask, answer in all_guards():
        lines += [(ask, None), idn(), *UNKNOWN, (ask, None), *UNKNOWN] if ask in unknown else [(ask, answer)]
    return lines


def never() -> bool:
    return False


def connecting(model: str = "E36313A", seen: Line = OFF) -> list[Line]:
    """The messages of a driver until it is connected, and those of the first poll."""
    return [idn(model), NO_ERROR, OFF, joined(NO_ERROR, *all_guards(model), OFF), seen]


def make_driver(
    link: Transcript, model: str = "E36313A", *, serial: str | None = None, knowledge: Knowledge | None = None
) -> TextDriver:
    """A driver over a transcript that knows of no other unit."""
    return TextDriver(link, name="psu1", models=candidates(model), serial=serial, knowledge=knowledge or Knowledge())


def connected(model: str = "E36313A", seen: Line = OFF) -> tuple[Transcript, TextDriver]:
    """A driver that is connected and was polled once."""
    link = Transcript(connecting(model, seen))
    driver = make_driver(link, model)
    driver.connect()
    assert driver.poll(never)
    link.check()
    return link, driver


def by_single_channels() -> tuple[Transcript, TextDriver]:
    """A connected driver of a unit that takes neither lists nor several questions in a message."""
    lines = [idn(), NO_ERROR, (POLL, None), idn(), REFUSED, NO_ERROR]
    lines += [(QUERIES[0], None), idn(), ("SYST:ERR?", '-171,"Invalid expression"'), NO_ERROR]
    lines += [*SINGLES, *one_by_one(all_guards())]
    link = Transcript(lines)
    driver = make_driver(link)
    assert driver.connect().effort == "30 messages"
    link.check()
    return link, driver

"""The rows and the test that `psu-agent series try` makes of a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from agent.instruments.catalogue import Series, models_of
from agent.instruments.recording import Exchanged, RecordingLink, Replay
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from agent.instruments.text.trial import as_test, rows
from agent.instruments.trial import run
from tests.instruments.text.made_up import CHANNEL, series

GUARDS = [
    {"ask": "TRACK?", "expect": ["0"], "selected": True, "text": "outputs track", "remedy": "end it"},
    {"ask": "DELAY?", "tells": "rise_delay", "selected": True, "text": "a delay (s)"},
]


def test_each_message_is_told_with_its_meaning() -> None:
    data = series(
        outputs=2,
        polls=[{"ask": "V?", "answer": "{voltage}", "selected": True}],
        select={"send": "INST {ch}", "compound": True},
        conditions=GUARDS,
        errors={"ask": "ERR?", "none": "0,no error"},
        identify={"also": [{"ask": "SN?", "answer": "{serial}"}]},
        power_up={"ask": "AST?", "on": ["1", "ON"]},
        ratings=[{"ask": "V{ch}? MAX", "answer": "{voltage_max}"}],
        link={"enter": "REM", "leave": "LOC", "setup": "*CLS", "serial": {"enter": "SYST:REM", "leave": "SYST:LOC"}},
    )
    (model,) = models_of(Series.model_validate(data))
    record = [
        Exchanged("*IDN?", [""]),
        Exchanged("*IDN?", ["Test,T1,7,1.0"]),
        *(Exchanged(text) for text in ("REM", "SYST:REM", "*CLS")),
        Exchanged("ERR?", ["0,No Error"]),
        Exchanged("ERR?", ["-113,Undefined header"]),
        Exchanged("SN?", ["7"]),
        *(Exchanged("AST?", [word]) for word in ("on", "0")),
        Exchanged("V2? MAX", ["30.5"]),
        Exchanged("INST 2;:V?", ["1.5"]),
        Exchanged("INST 2;:V?", ["x"]),
        Exchanged("INST 2;:TRACK?", ["0"]),
        Exchanged("DELAY?", ["0"]),
        Exchanged("V?", problem="no answer: timeout"),
        *(Exchanged(text) for text in ("LOC", "SYST:LOC", "INST 1")),
    ]
    told = list(rows(record, model))
    assert [row.understood for row in told] == [
        "nothing, so it is asked again",
        "manufacturer = Test, model = T1, serial = 7, firmware = 1.0",
        *["prepares the unit"] * 3,
        "no error",
        "an error",
        "serial = 7",
        "outputs come back by themselves after power returns",
        "outputs stay off after power returns",
        "voltage_max 2 = 30.5",
        "voltage 2 = 1.5",
        "V? was answered 'x'; expected was {voltage}",
        "a setting at the unit",
        "on a delay",
        "no answer: timeout",
        *["gives the front panel back"] * 2,
        "no answer is expected",
    ]
    assert [row.sent for row in told if row.is_fault] == ["V?", "V?"]


def test_the_test_of_a_unit_that_does_not_tell_its_model_names_the_one_that_was_given(tmp_path: Path) -> None:
    one = {"channels": {1: CHANNEL}}
    data: dict[str, Any] = series(identify={"ask": "WHO?", "form": "(?P<serial>[0-9]+)"}, models={"T1": one, "T2": one})
    file = tmp_path / "t.yaml"
    file.write_text(yaml.safe_dump(data))
    checked = Series.model_validate(data)
    link = RecordingLink(Replay([("WHO?", "4803"), ("V?", "1.5"), ("V?", "1.5"), ("V?", "1.5")]))
    driver = TextDriver(link, name="psu1", models=models_of(checked)[1:], knowledge=Knowledge())
    text = as_test(run(driver, link), checked, f"Path({str(file)!r})", "T2")
    assert "4803" not in text
    space: dict[str, object] = {}
    exec(compile(text, "test_t.py", "exec"), space)
    space["test_t_as_recorded"]()  # type: ignore[operator]

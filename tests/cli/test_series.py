"""`psu-agent series try`: it sets nothing, tells what was understood, and prints a test that passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.instruments.catalogue import models_of, read
from agent.instruments.driver import Write
from agent.instruments.text.asking import NotAQuestionError, QuestionsOnly
from agent.instruments.text.settings import outgoing
from agent.simulator import Simulator
from tests.commandline import called as psu_agent
from tests.instruments.catalogue.samples import E36300, FILES, changed


def tried(file: Path, supply: Simulator, *more: str) -> tuple[int, str, str]:
    """Exit code, what was printed, and what was told on stderr; no message was a setting."""
    done = psu_agent("series", "try", str(file), supply.resource, *more, COLUMNS="300")
    assert [message for message in supply.instrument.log if "?" not in message] == []
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_what_was_asked_answered_and_understood_is_shown_and_nothing_is_set() -> None:
    with Simulator(serial="MY99887766") as supply:
        supply.instrument.panel.knob_voltage(2, 3.3)
        code, out, _ = tried(E36300, supply)
    assert code == 0
    lines = out.splitlines()
    (volts,) = {" ".join(line.split()[1:]) for line in lines if " VOLT? (@1,2,3)  " in line}
    assert volts.startswith(
        "VOLT? (@1,2,3) +0.00000E+00,+3.30000E+00,+0.00000E+00 voltage_limit 1 = 0.0, voltage_limit 2 = 3.3,"
    )
    assert any(line.startswith("output 2: ") and "voltage_limit 3.3 V" in line and "mode OFF" in line for line in lines)
    assert "MY99887766" not in out.partition("def test_")[0].partition('"""Series')[2]


def test_the_test_that_it_writes_passes_by_itself(tmp_path: Path) -> None:
    written = tmp_path / "test_mine.py"
    with Simulator(serial="MY99887766") as supply:
        code, out, _ = tried(E36300, supply, "--test", str(written))
    assert code == 0
    assert out.endswith(f"test written to {written}\n")
    text = written.read_text()
    assert "MY99887766" not in text
    space: dict[str, object] = {}
    exec(compile(text, str(written), "exec"), space)
    space["test_e36300_as_recorded"]()  # type: ignore[operator]
    space["LINES"][-1] = ("VOLT?", "1")  # type: ignore[index]
    with pytest.raises(AssertionError, match="was sent, where the record has 'VOLT\\?'"):
        space["test_e36300_as_recorded"]()  # type: ignore[operator]


def test_a_test_beside_its_file_passes_wherever_both_are(tmp_path: Path) -> None:
    """They are sent to others, whose folders have other names."""
    file = changed(tmp_path, "tried: no", "tried: no")
    with Simulator() as supply:
        code, _, _ = tried(file, supply, "--test", str(tmp_path / "test_mine.py"))
    assert code == 0
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-elsewhere")
    tmp_path.rename(elsewhere)
    written = elsewhere / "test_mine.py"
    space: dict[str, object] = {"__file__": str(written)}
    exec(compile(written.read_text(), str(written), "exec"), space)
    space["test_e36300_as_recorded"]()  # type: ignore[operator]


def test_an_answer_that_does_not_fit_is_told_with_what_was_sent_answered_and_expected(tmp_path: Path) -> None:
    file = changed(tmp_path, "'CURR? {list}', answer: '{current_limit}'", "'CURR? {list}', answer: '{current_limit}A'")
    with Simulator() as supply:
        code, out, err = tried(file, supply)
    assert code == 1
    assert (
        "CURR? (@1,2,3) was answered '+1.00000E+01,+2.00000E+00,+2.00000E+00'; expected was {current_limit}A"
        in err + out
    )


def test_another_unit_than_the_file_is_for_is_told(tmp_path: Path) -> None:
    file = changed(tmp_path, "'Keysight|Agilent'", "'Somebody Else'")
    with Simulator() as supply:
        code, _, err = tried(file, supply)
    assert code == 1
    assert "is a Keysight Technologies E36313A" in err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "'OUTP? {list}', answer",
            "'OUTP 1,{list}', answer",
            "polls[4].ask: 'OUTP 1,{list}' is a setting of this file, too",
        ),
        ("'OUTP? {list}', answer", "'SOUR:VOLT 5', answer", "polls[4].ask: 'SOUR:VOLT 5' is no question"),
        ("link: {", "link: {setup: ['VOLT 1,(@1)'], ", "link: 'VOLT 1,(@1)' is a setting of this file, too"),
        ("tried: no", "tried: maybe", "tried: should be a list"),
    ],
)
def test_a_file_that_would_set_something_is_refused_before_anything_is_sent(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    file = changed(tmp_path, old, new)
    with Simulator() as supply:
        code, _, err = tried(file, supply)
        assert supply.instrument.log == []
    assert code == 2
    assert said in err


def test_messages_that_prepare_the_unit_are_told_before(tmp_path: Path) -> None:
    file = changed(tmp_path, "link: {", "link: {setup: ['*CLS'], ")
    with Simulator() as supply:
        done = psu_agent("series", "try", str(file), supply.resource)
        assert [message for message in supply.instrument.log if "?" not in message] == ["*CLS"]
    assert done.returncode == 0
    assert done.stdout.startswith("besides questions these messages of the file are sent: '*CLS'\n")


def test_a_unit_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = psu_agent("series", "try", str(E36300), "TCPIP::127.0.0.1::9::SOCKET")
    assert done.returncode == 2
    assert "Connection refused" in done.stderr
    done = psu_agent("series", "try", str(tmp_path / "none.yaml"), "TCPIP::127.0.0.1::9::SOCKET")
    assert done.returncode == 2
    assert "can't be read: No such file" in done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_no_setting_of_any_series_passes_for_a_question(file: Path) -> None:
    series = read(file)
    watch = QuestionsOnly(series)
    count = 0
    for model in models_of(series):
        for output in model.outputs:
            for setting in output.settings:
                interval = output.range(setting)
                for value in (True, False) if interval is None else interval:
                    for message in outgoing(model, Write(setting, (output.index,), value), address=3):
                        with pytest.raises(NotAQuestionError):
                            watch(message.text)
                        count += 1
    # None where a unit alone tells its outputs, and where registers are written: those are tested in tests/instruments/modbus.
    assert count or series.modbus or not any(model.outputs for model in models_of(series))

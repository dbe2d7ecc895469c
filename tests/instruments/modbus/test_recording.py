"""What crosses a link to registers is written down, tried and verified on a unit, and played again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.instruments.driver import LinkError, Write, never
from agent.instruments.modbus.driver import ModbusDriver
from agent.instruments.modbus.frames import RefusedError
from agent.instruments.modbus.recording import RecordingRegisters, ReplayRegisters
from agent.instruments.modbus.trial import understood
from agent.simulator.riden import DPS, Riden
from agent.simulator.simulator import NetworkInstrument
from tests.commandline import called as psu_agent
from tests.instruments.modbus.bench import on_line
from tests.instruments.modbus.paper import FOLDER, MODELS

IDENTITY = ("read 0-3", "60125 0 0 142")
BLOCK = "60125 0 0 142 0 27 0 80 0 5000 0 0 0 0 6500 0 0 0 0 0 {}"


def on_record(*lines: tuple[str, str | None], model: str = "RD6012P") -> tuple[ModbusDriver, ReplayRegisters]:
    unit = ReplayRegisters(lines)
    return ModbusDriver(unit, models=[MODELS[model]]), unit


def test_a_record_is_played_again() -> None:
    driver, unit = on_record(
        IDENTITY,
        ("read 68-68", None),
        ("read 0-20", BLOCK.format(0)),
        ("read 82-83", "62000 0"),
        ("read 0-20", BLOCK.format(0)),
        ("write 9: 5000", "OK"),
        ("write 8: 3300", None),
    )
    driver.connect()
    assert (driver.poll(never) or {})[1].current_limit == 0.5
    driver.write(Write("current_limit", (1,), 0.5))
    driver.write(Write("voltage_limit", (1,), 3.3))
    assert driver.complaints() == ["refused in the record"]
    unit.check()
    with pytest.raises(AssertionError, match="after the end of the record"):
        driver.poll(never)


def test_a_record_wants_its_order() -> None:
    driver, unit = on_record(("read 0-4", "1 2 3 4 5"))
    with pytest.raises(AssertionError, match="'read 0-3' was sent, where the record has 'read 0-4'"):
        driver.connect()
    with pytest.raises(AssertionError, match="not asked"):
        on_record(IDENTITY)[1].check()
    unit.check()


def test_a_recorder_that_only_reads_sends_no_write() -> None:
    unit = ReplayRegisters([("read 8-9", "1 2"), ("read 1-2", None), ("write 8: 1", "OK")])
    recorder = RecordingRegisters(unit, hidden=(9,), reads_only=True)
    assert recorder.read(8, 2) == (1, 2)
    with pytest.raises(RefusedError):
        recorder.read(1, 2)
    with pytest.raises(LinkError, match="not sent: it would set something"):
        recorder.write(8, 1)
    assert [(one.sent, one.answer, one.problem) for one in recorder.record] == [
        ("read 8-9", "1 0", None),
        ("read 1-2", None, "refused in the record"),
        ("write 8: 1", None, "not sent: it would set something"),
    ]
    recorder = RecordingRegisters(unit)
    recorder.write(8, 1)
    assert recorder.record[0].answer == "OK"


@pytest.mark.parametrize(("chosen", "current"), [(0, "0.5"), (1, "5.0"), (7, "None")])
def test_what_was_understood(chosen: int, current: str) -> None:
    unit = ReplayRegisters(
        [IDENTITY, ("read 68-68", "1"), ("read 0-20", BLOCK.format(chosen)), ("read 82-83", "62000 0")]
    )
    recorder = RecordingRegisters(unit)
    driver = ModbusDriver(recorder, models=[MODELS["RD6012P"]])
    driver.connect()
    driver.poll(never)
    texts = [text for _, text in understood(recorder.record, MODELS["RD6012P"])]
    assert texts[:2] == ["signature 60125: RD6012P", "the output comes back after power returns"]
    assert f"current_limit = {current}, " in texts[2]
    assert texts[3] == "voltage_protection = 62.0"


@pytest.mark.parametrize("unit", [Riden("RD6006", serial="99887766"), DPS("DPS5015")], ids=["RD6006", "DPS5015"])
def test_series_try(tmp_path: Path, unit: Riden) -> None:
    """It sets nothing, and the test that it writes passes by itself, without the serial number."""
    file = FOLDER / ("dps.yaml" if isinstance(unit, DPS) else "rd60xx.yaml")
    written = tmp_path / "test_mine.py"
    with on_line(unit) as network:
        uri = network.resources["socket"]
        done = psu_agent("series", "try", str(file), uri, "--test", str(written), COLUMNS="300")
    assert (done.returncode, done.stderr) == (0, "")
    assert unit.written == []
    assert f"{unit.model}, 2 messages a poll" in done.stdout
    assert "voltage_limit = 0.0" in done.stdout
    text = written.read_text()
    assert "99887766" not in text
    space: dict[str, Any] = {}
    exec(compile(text, str(written), "exec"), space)
    (test,) = (value for name, value in space.items() if name.startswith("test_"))
    test()
    space["LINES"][-1] = ("read 1-2", "1 2")
    with pytest.raises(AssertionError, match="where the record has"):
        test()


def test_series_try_with_a_unit_that_the_file_does_not_know() -> None:
    unit = Riden("RD6006", signature=60066)
    with NetworkInstrument(unit) as network:
        done = psu_agent("series", "try", str(FOLDER / "rd60xx.yaml"), network.resource, COLUMNS="300")
    assert done.returncode == 1
    assert "signature 60066, which RD60xx does not know" in done.stderr
    assert "signature 60066: not known" in done.stdout
    assert unit.written == []


def test_verify(tmp_path: Path) -> None:
    """Everything that the file claims holds on the simulated unit, which is left off; the report has the transcript."""
    unit = Riden("RD6012", serial="99887766", noise=False)
    unit.output.ovp_level, unit.output.ocp_level = 60.0, 12.0
    with NetworkInstrument(unit) as network:
        arguments = ("--model", "RD6012", "--yes", "--report", str(tmp_path))
        done = psu_agent("verify", network.resource, *arguments, COLUMNS="300")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not unit.output.on
    assert (unit.output.voltage_set, unit.output.ovp_level, unit.output.ocp_level) == (0.0, 60.0, 12.0)
    assert {register for register, _ in unit.written} <= {8, 9, 18, 82, 83}
    (report,) = tmp_path.glob("*.json")
    text = report.read_text()
    assert "99887766" not in text
    sent = [one["sent"] for one in json.loads(text)["transcript"]]
    assert "read 0-20" in sent
    assert any(one.startswith("write 8: ") for one in sent)

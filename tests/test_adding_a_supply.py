"""docs/adding-a-supply.md, followed word for word, on a supply that does what the page's manual says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.instruments import catalogue
from agent.simulator import NetworkInstrument
from agent.simulator.base import Instrument
from tests.commandline import ROOT, environment, psu_agent

PAGE = (ROOT / "docs" / "adding-a-supply.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^( *)```yaml\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
#: The parts of the file stand at the margin, the configuration in a list.
FILE = "".join(block for indent, block in BLOCKS if not indent)
CONFIGURATION = "".join(block for indent, block in BLOCKS if indent)


class EX3020(Instrument):
    """The supply of the page, written from its manual."""

    def __init__(self) -> None:
        super().__init__(log_size=10000)
        self.volts, self.amps, self.level = {1: 12.0, 2: 0.0}, {1: 1.0, 2: 0.5}, {1: 33.0, 2: 33.0}
        self.on, self.tripped = {1: False, 2: False}, {1: False, 2: False}
        self.errors: list[str] = []

    def respond(self, message: str) -> str | None:
        match = re.fullmatch(r"(\*?[A-Z]+)([12]?)(\?)?(?: (\S+))?", message)
        name, number, asked, value = match.groups() if match else ("", "", None, None)
        answer = self._asked(name, int(number or 1)) if asked else self._told(name, int(number or 1), value)
        if answer is None:
            self.errors.append("101,unknown command")
        self._protect()
        return answer or None

    def _asked(self, name: str, n: int) -> str | None:
        volts = self.volts[n] if self.on[n] else 0.0
        match name:
            case "*IDN":
                return "EXAMPLE INSTRUMENTS,EX-3020,100123,1.07"
            case "MEAS":
                return f"{volts:.3f}V,{0.0:.3f}A"
            case "SET":
                return f"{self.volts[n]:.3f},{self.amps[n]:.3f}"
            case "OUT":
                return "ON" if self.on[n] else "OFF"
            case "OVP":
                return f"{self.level[n]:.1f}"
            case "STAT":
                return str(self.on[n] + 4 * self.tripped[n])
            case "TRACK":
                return "0"
            case "ERR":
                return self.errors.pop(0) if self.errors else "0,none"
        return None

    def _told(self, name: str, n: int, value: str | None) -> str | None:
        table = {"VOLT": (self.volts, 0, 30), "CURR": (self.amps, 0, 2), "OVP": (self.level, 1, 33)}
        if name in table and value is not None:
            settings, least, most = table[name]
            if least <= float(value) <= most:
                settings[n] = float(value)
            else:
                self.errors.append("102,out of range")
            return ""
        if name == "OUT" and value in ("ON", "OFF"):
            self.on[n] = value == "ON" and not self.tripped[n]
            return ""
        if name == "CLR":
            self.tripped[n] = False
            return ""
        return "" if name in ("REMOTE", "LOCAL") else None

    def _protect(self) -> None:
        for n in (1, 2):
            if self.on[n] and self.volts[n] > self.level[n]:
                self.on[n], self.tripped[n] = False, True


@pytest.fixture
def supply() -> Iterator[NetworkInstrument]:
    with NetworkInstrument(EX3020()) as network:
        yield network


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ex3020.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_the_parts_of_the_page_are_a_file_without_fault(file: Path) -> None:
    series = catalogue.read(file)
    assert [model.name for model in catalogue.models_of(series)] == ["EX-3020"]


def test_every_message_of_the_manual_is_in_the_file() -> None:
    manual = re.findall(r"^> \| `(.*?)` \|", PAGE, re.MULTILINE)
    assert len(manual) == 14
    for message in manual[1:]:  # *IDN? is asked where a file says nothing else
        name = re.sub(r"<n>.*|\?.*| .*|`.*", "", message)
        assert name in FILE, name


def test_a_try_of_the_file_shows_what_the_supply_has_and_its_test_passes(
    supply: NetworkInstrument, file: Path, tmp_path: Path
) -> None:
    written = tmp_path / "test_ex3020.py"
    done = psu_agent("series", "try", str(file), supply.resource, "--test", str(written), COLUMNS="200")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "voltage_limit 12 V, current_limit 1 A, state off" in done.stdout
    assert {m for m in supply.instrument.log if "?" not in m} == {"REMOTE", "LOCAL"}
    assert supply.instrument.log[-1] == "LOCAL"
    assert "100123" not in written.read_text()
    passed = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(written)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert passed.returncode == 0, passed.stdout


def test_the_configuration_of_the_page_is_right_and_the_supply_is_verified(
    supply: NetworkInstrument, file: Path, tmp_path: Path
) -> None:
    supply.instrument.execute("VOLT1 4")  # within the limit that the page's configuration sets
    shown = yaml.safe_load(CONFIGURATION)
    shown["units"][0]["uri"] = supply.resource
    shown["settings"]["mqtt"] = {"host": "localhost"}
    configuration = tmp_path / "psu-agent.yaml"
    configuration.write_text(yaml.safe_dump(shown))
    assert file.name in shown["settings"]["series"]
    checked = psu_agent("check", str(configuration))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    done = psu_agent("verify", "psu1", "-c", str(configuration), "--yes", "--report", str(tmp_path / "report"))
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = (tmp_path / "report").glob("*.json")
    data = json.loads(report.read_text())
    skipped = {check["name"] for check in data["checks"] if check["verdict"] == "skipped"}
    assert skipped == {"over-voltage trip"}  # its least level, 1 V, is not below the 1 V of the verification
    assert "100123" not in report.read_text()
    instrument = supply.instrument
    assert isinstance(instrument, EX3020)
    assert (instrument.volts, instrument.amps, instrument.on) == (
        {1: 4.0, 2: 0.0},
        {1: 1.0, 2: 0.5},
        {1: False, 2: False},
    )


def test_with_more_volts_the_trip_is_tried_too(supply: NetworkInstrument, file: Path, tmp_path: Path) -> None:
    configuration = tmp_path / "psu-agent.yaml"
    shown = yaml.safe_load(CONFIGURATION)
    shown["units"][0]["uri"] = supply.resource
    configuration.write_text(
        yaml.safe_dump({**shown, "settings": {**shown["settings"], "mqtt": {"host": "localhost"}}})
    )
    done = psu_agent(
        "verify", "psu1", "-c", str(configuration), "--yes", "--voltage-max", "5", "--report", str(tmp_path / "report")
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "over-voltage trip, output 1: tripped at 2.5 V, cleared, off" in done.stdout
    # It was found at 12 V, which is above the limit of the configuration: that is not set again.
    assert "left lower than it was found: voltage_limit of output 1 was 12 V" in done.stdout

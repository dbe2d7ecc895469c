"""Messages that must never be sent to a supply, looked for in all that the series files send."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.instruments import catalogue

FOLDER = Path(catalogue.__file__).parent / "series"
FILES = sorted(FOLDER.rglob("*.yaml"))

#: Keys under which a file has messages. Each of the other texts is a pattern, a word, or a sentence for people.
SENT = {"ask", "send", "on", "off", "enter", "leave", "setup", "select"}

#: Settings, each with the damage that it does. Questions for the same thing are harmless.
NEVER = {
    "relay signals on the RS-232 plug may damage the interface of an E363x or E364x": r"OUTP(UT)?:REL(AY)?",
    "rescales an older Delta": r"(SOUR:)?(VOLT|CURR):MAX",
    "calibration": r"CAL(I|IB\w*)?",
    "turns an output of a Rigol on again after a trip": r"SOUR\d?:(VOLT|CURR):PROT:CLE(AR)?",
    "closes the master switch, and so all outputs that are armed": r"OUTP(UT)?:(GEN(ERAL)?|MAST(ER)?)",
    "switches all outputs, whichever is meant": r"OPALL|ALLOUT(ON|OFF)",
    "acts on every unit of a bus without an answer": r"G(RST|OUT|PV|PC)|GLOB",
    "resets settings, or calls up others": r"\*(RST|RCL|SAV)",
    "locks the front panel against its user": r"SYST(EM)?:RWL(OCK)?|RMT 2|LLO",
}
#: Registers of the Modbus series: calling up a preset, calibration, mirrors, presets, bootloader.
NEVER_WRITTEN = {
    "RD60xx": {19, *range(54, 63), *range(84, 120), 256},
    "DPS": {35, 80, 81, *range(84, 88), *range(96, 257)},
}


def messages(data: object, key: str = "") -> Iterator[str]:
    """The messages that a file sends, questions among them."""
    if isinstance(data, dict):
        for name, value in data.items():
            # YAML 1.1 takes on and off for booleans.
            yield from messages(value, {"True": "on", "False": "off"}.get(str(name), str(name)))
    elif isinstance(data, list):
        for value in data:
            yield from messages(value, key)
    elif isinstance(data, str) and key in SENT:
        yield data


def read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    data.get("power_up", {}).pop("on", None)  # words of an answer
    return data


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_file_sends_what_does_damage(path: Path) -> None:
    found = list(messages(read(path)))
    assert found or "modbus" in read(path)
    for part in (part.strip() for message in found for part in message.split(";") if "?" not in part):
        for why, words in NEVER.items():
            assert re.match(rf":?({words})(?![A-Z])", part, re.IGNORECASE) is None, f"{part}: {why}"


@pytest.mark.parametrize("path", [path for path in FILES if "modbus" in read(path)], ids=lambda path: path.stem)
def test_no_register_is_written_that_does_damage(path: Path) -> None:
    data = read(path)
    written = {entry["register"] for entry in data["modbus"]["settings"].values() if "register" in entry}
    assert written
    assert not written & NEVER_WRITTEN[data["series"]]

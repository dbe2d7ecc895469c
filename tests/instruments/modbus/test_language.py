"""Series files of units that speak Modbus: what is wrong with one is told with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.instruments.catalogue import candidates
from tests.instruments.catalogue.samples import changed, faults
from tests.instruments.modbus.paper import FOLDER, MODELS

RD60XX = FOLDER / "rd60xx.yaml"


@pytest.mark.parametrize("name", MODELS)
def test_models_are_found_by_their_names(name: str) -> None:
    (found,) = candidates(name)
    assert found.name == name
    assert found.series.modbus is not None
    assert candidates(f"{found.manufacturer},{name}") == (found,)
    (output,) = found.outputs
    assert "no register is known that clears a trip" in output.unsupported["clear_protection"]
    assert "clear_protection" not in output.settings


def test_the_rd6012p_has_no_trip_level_for_current() -> None:
    """The scale of register 83 may move between two exchanges."""
    (output,) = MODELS["RD6012P"].outputs
    assert "current_protection_level" not in output.settings
    (other,) = MODELS["RD6012"].outputs
    assert "current_protection_level" in other.settings


@pytest.mark.parametrize(
    ("old", "new", "key", "told"),
    [
        ("count: 21}", "count: 4}", "modbus.reads[0].count", "`identify` reads 4 registers, too"),
        ("first: 0, count: 21", "first: 0, count: 126", "modbus.reads[0].count", "less than or equal to 125"),
        ("register: 10}", "register: 21}", "modbus.quantities.voltage.register", "register 21 is in none of `reads`"),
        ("1: CC}", "1: CX}", "modbus.quantities.mode.values.1", "'CX' is no value of mode; known are CV, CC"),
        (", values: {0: false, 1: true}", "", "modbus.quantities.state", "values are missing"),
        ("    voltage: {register: 10}", "    power: {register: 10}", "modbus.quantities.power", "is no quantity"),
        (
            "    voltage: {register: 10}",
            "    voltage: {register: 10, values: {1: OVP}}",
            "modbus.quantities.voltage.values",
            "is a number; it has no values",
        ),
        ("'on': 1, 'off': 0", "'on': 1", "modbus.settings.state", "give the numbers of on and off"),
        ("    voltage_limit: {register: 8}\n    current_limit: {register: 9}\n    state", "    state",
         "modbus.settings.voltage_limit", "could not be read back"),
        ("[60061, 60062]", "[60065]", "modbus.models.RD6006P.signatures", "60065 is a signature of RD6006, too"),
        ("    RD6024: {sig", "    RD6030: {sig", "modbus.models", "RD6024 is missing: its signatures and scales"),
        ("range: 6 A}", "range: 5 A}", "modbus.models.RD6012P.current.values.0.range", "'5 A' is no range of RD6012P"),
        ("{register: 20,", "{register: 21,", "modbus.models.RD6012P.current.register", "register 21 is in none of `reads`"),
        (
            "register: 83, models: ['RD6006P?', RD6012, RD6018, RD6024]",
            "register: 83",
            "modbus.quantities.current_protection_level.register",
            "the scale of RD6012P is in register 20",
        ),
        ("firmware: 3,", "firmware: 4,", "modbus.identify", "register 4 is none of the 4 that are read from 0 on"),
        ("{unsupported: '", "{register: 5, unsupported: '", "modbus.settings.clear_protection", "give one of register"),
        ("\nlink:", "\nerrors: {ask: 'E?', none: '0'}\nlink:", "the file", "errors: belongs to text"),
        ("\nmodbus:", "\npolls: [{ask: 'V?', answer: '{voltage}'}]\nmodbus:", "the file", "give one language"),
        ("      1: {voltage: [0, 60], current: [0, 6], v", "      2: {voltage: [0, 60], current: [0, 6], v", "the file",
         "each with its one output 1"),
        ("register: 82}\n    # Not", "register: 82, x: 7}\n    # Not", "modbus.quantities.voltage_protection.x", "unknown key"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_line(tmp_path: Path, old: str, new: str, key: str, told: str) -> None:
    file = changed(tmp_path, old, new, RD60XX)
    first = f"{file}:1: " if key == "the file" else f"{file}:"
    found = faults(file)
    assert any(fault.startswith(first) and f": {key}: " in fault and told in fault for fault in found), found


def test_the_line_is_the_one_of_the_key(tmp_path: Path) -> None:
    file = changed(tmp_path, "register: 10}", "register: 21}", RD60XX)
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "register: 21}" in text)
    assert faults(file) == [f"{file}:{line}: modbus.quantities.voltage.register: register 21 is in none of `reads`"]

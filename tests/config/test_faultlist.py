"""Faults as they are collected: once each, in the order of their lines, nothing twice about one value."""

from __future__ import annotations

from agent.config.faults import ConfigError, Fault, FaultList
from agent.config.source import from_data, read

TEXT = b"""\
settings:
  agent: a
  poll_interval: ${NOT_SET_ANYWHERE}
units:
  - {name: b}
"""


def collected() -> FaultList:
    return FaultList(read(TEXT, {}), "f.yaml")


def test_the_faults_of_the_yaml_are_in_it() -> None:
    faults = collected()
    assert faults
    (fault,) = faults.in_order()
    assert (fault.line, fault.key) == (3, "settings.poll_interval")
    assert not faults.is_readable(("settings", "poll_interval"))
    assert not faults.is_sound(("settings", "poll_interval"))


def test_a_fault_is_told_once_and_all_of_them_by_line() -> None:
    faults = collected()
    for _ in range(2):
        faults.add(("units", 0, "name"), "is wrong")
        faults.add(("settings", "agent"), "is wrong")
    assert [str(fault) for fault in faults.in_order() if fault.message == "is wrong"] == [
        "f.yaml:2: settings.agent: is wrong",
        "f.yaml:5: units[0].name: is wrong",
    ]
    assert str(ConfigError(faults.in_order())).count("\n") == 2


def test_what_holds_a_fault_is_not_sound_and_what_stands_beside_it_is() -> None:
    faults = collected()
    faults.add(("units", 0, "name"), "is wrong")
    assert not faults.is_sound(("units", 0, "name"))
    assert not faults.is_sound(("units", 0))
    assert faults.is_sound(("units", 0, "uri"))
    assert faults.is_sound(("settings", "agent"))


def test_a_key_that_is_not_there_has_the_line_of_what_would_hold_it() -> None:
    faults = collected()
    faults.add(("units", 0, "model"), "is missing")
    assert "f.yaml:5: units[0].model: is missing" in [str(fault) for fault in faults.in_order()]


def test_a_warning_is_no_fault() -> None:
    faults = FaultList(from_data({"a": 1}), "configuration")
    faults.warn(("a",), "is not used")
    assert not faults
    assert faults.warnings == [Fault("configuration", 0, "a", "is not used")]
    assert str(faults.warnings[0]) == "configuration: a: is not used"

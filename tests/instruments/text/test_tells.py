"""Which quantities of an output's state its answers hold: known once the unit is connected, from the plan of its poll."""

from __future__ import annotations

from typing import Any

import pytest

from agent.instruments.catalogue import Model, Series, all_models, candidates, models_of
from agent.instruments.text.polling import Batching, poll_plan
from agent.protocol.quantities import REPORTED
from tests.instruments.series.keysight.test_e36200 import E36231A, E36233A
from tests.instruments.series.on_paper import Supply, connected
from tests.instruments.series.siglent.test_spd3303 import SPD3303X
from tests.instruments.text.made_up import series

MEASURED = {"voltage", "current", "power", "energy", "charge"}
MODES = {"modes": {"CV": "CV", "CC": "CC"}}
SET = {"state", "voltage_limit", "current_limit"}


def told(supply: Supply) -> dict[int, set[str]]:
    _, _, profile = connected(supply)
    return {output.index: set(output.tells or ()) for output in profile.outputs}


def test_an_output_that_is_only_switched_tells_nothing() -> None:
    both = MEASURED | SET | {"mode"}
    assert told(SPD3303X) == {1: both, 2: both, 3: set()}


def test_no_mode_and_no_trip() -> None:
    assert told(E36233A) == {1: MEASURED | SET, 2: MEASURED | SET}
    assert told(E36231A) == {1: MEASURED | SET}


@pytest.mark.parametrize("batching", Batching)
def test_all_that_an_e36300_has(batching: Batching) -> None:
    every = MEASURED | SET | {"mode", "tripped", "voltage_protection", "current_protection"}
    plan = poll_plan(candidates("E36313A")[0], batching)
    assert [set(output.tells or ()) for output in plan.described] == [every] * 3


def test_nothing_is_known_before_the_unit_has_answered() -> None:
    driver, _, _ = connected(SPD3303X)
    assert {output.tells for output in driver.expected.outputs} == {None}


def told_by(polls: list[dict[str, Any]], **changes: Any) -> list[set[str]]:
    """The same of a made-up model with two outputs."""
    checked = Series.model_validate(series(2, polls=polls, **changes))
    assert checked.faults() == []
    plan = poll_plan(models_of(checked)[0], Batching.SINGLE)
    return [set(output.tells or ()) for output in plan.described]


def test_a_register_tells_what_its_rules_give() -> None:
    rules = [
        {"gives": "OVP", "channel": 1, "bit": 0},
        {"gives": "mode", "channel": 2, "mask": 2, "values": {0: "CV", 2: "CC"}},
        {"gives": "current_protection", "bit": 2},
    ]
    assert told_by([{"ask": "S?", "answer": "{status}"}], registers={"status": rules}) == [
        {"tripped", "current_protection"},
        {"mode", "current_protection"},
    ]


def test_a_trip_that_is_a_field_of_an_answer_is_a_trip() -> None:
    polls: list[dict[str, Any]] = [
        {"ask": "OVP{ch}?", "answer": "{OVP}", "channels": [2]},
        {"ask": "T{ch}?", "answer": "{tripped:trips}"},
    ]
    words = {"trips": {"OT": "OTP", "NONE": None}}
    assert told_by(polls[:1]) == [set(), {"tripped"}]
    assert told_by(polls[1:], words=words) == [{"tripped"}, {"tripped"}]


def test_power_and_energy_need_voltage_and_current() -> None:
    volts = {"ask": "V{ch}?", "answer": "{voltage}"}
    amperes = {"ask": "I{ch}?", "answer": "{current}", "channels": [2]}
    assert told_by([volts, amperes]) == [{"voltage"}, MEASURED]
    assert told_by([amperes, {"ask": "VL{ch}?", "answer": "{voltage_limit}"}]) == [
        {"voltage_limit"},
        {"voltage_limit", "current"},
    ]


def test_a_field_of_one_of_several_forms_is_told() -> None:
    assert told_by([{"ask": "V{ch}?", "answer": ["{voltage} {mode:modes}", "{voltage}"]}], words=MODES) == [
        {"voltage", "mode"},
        {"voltage", "mode"},
    ]


def test_a_master_switch_alone_is_no_state_of_an_output() -> None:
    master = {"ask": "ALL?", "answer": "{master}"}
    assert told_by([master]) == [set(), set()]
    assert told_by([master, {"ask": "O{ch}?", "answer": "{state}"}]) == [{"state"}, {"state"}]


TEXT = [model for model in all_models() if model.series.modbus is None]


@pytest.mark.parametrize("model", TEXT, ids=lambda model: f"{model.series.name}-{model.name}")
def test_every_shipped_model_says_what_it_tells(model: Model) -> None:
    """It does not depend on how many questions a message holds."""
    plans = [poll_plan(model, batching, 1) for batching in Batching]
    for described in zip(*(plan.described for plan in plans), strict=True):
        assert len({output.tells for output in described}) == 1
        tells = described[0].tells
        assert tells is not None
        assert tells <= set(REPORTED)
        assert ("power" in tells) == ({"voltage", "current"} <= tells) == ("energy" in tells)

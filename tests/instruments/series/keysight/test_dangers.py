"""Dangers of Keysight's supplies, seen from the worker: switches that reach further, trips that are cleared, ranges."""

from __future__ import annotations

from typing import Any

import pytest

from agent.protocol.errors import Refusal
from tests.instruments.series.bench import Bench
from tests.instruments.series.keysight.test_e3631a import E3631A
from tests.instruments.series.keysight.test_e3632a import E3633A
from tests.instruments.series.keysight.test_e3640a import E3640A
from tests.instruments.series.keysight.test_e3646a import E3647A
from tests.instruments.series.keysight.test_edu36311a import EDU36311A
from tests.instruments.series.keysight.test_n6700 import N6700B

SWITCH = {"OUTP 0": {"OUTP?": "0"}, "OUTP 1": {"OUTP?": "1"}}


def test_on_of_one_output_is_refused_where_the_switch_reaches_all() -> None:
    for supply in (E3631A, E3647A):
        with Bench(supply, {"OUTP?": "0"}, SWITCH) as bench:
            with pytest.raises(Refusal, match="has one switch with channel") as refused:
                bench.carry_out('{"state": true}')
            assert refused.value.code == "unsupported"
            assert bench.unit.sent == []
            assert bench.carry_out('{"state": true}', None).ok
            assert bench.settings == ["OUTP 1"]


def test_off_of_one_output_goes_ahead_and_tells_the_others_that_went_off() -> None:
    with Bench(E3631A, {"OUTP?": "1"}, SWITCH) as bench:
        response = bench.carry_out('{"state": false}', "2")
        assert response.ok
        assert bench.unit.sent[0] == "OUTP 0"
        assert response.also_off == [1, 3]


def test_the_output_is_off_before_a_trip_is_cleared() -> None:
    effects = {**SWITCH, "VOLT:PROT:CLE": {"VOLT:PROT:TRIP?": "0"}}
    for supply, messages in (
        (E3633A, ["OUTP 0", "VOLT:PROT:CLE", "CURR:PROT:CLE"]),
        (E3640A, ["OUTP 0", "VOLT:PROT:CLE"]),
    ):
        with Bench(supply, {"OUTP?": "1", "VOLT:PROT:TRIP?": "1", "STAT:QUES:COND?": "+2"}, effects) as bench:
            assert bench.latest[1].tripped == "OVP"
            response = bench.carry_out('{"clear_protection": true}')
            assert response.ok, response
            assert bench.settings == messages


def test_the_output_of_a_list_is_off_before_its_trip_is_cleared() -> None:
    effects = {"OUTP 0,(@1)": {"OUTP? (@1,2,3)": "0,1,0"}, "OUTP:PROT:CLE (@1)": {"VOLT:PROT:TRIP? (@1,2,3)": "0,0,0"}}
    with Bench(EDU36311A, {"VOLT:PROT:TRIP? (@1,2,3)": "1,0,0"}, effects) as bench:
        assert bench.carry_out('{"clear_protection": true}').ok
        assert bench.settings == ["OUTP 0,(@1)", "OUTP:PROT:CLE (@1)"]


def test_a_trip_is_not_cleared_while_the_one_switch_would_turn_a_healthy_output_off() -> None:
    effects: dict[str, dict[str, Any]] = {**SWITCH, "VOLT:PROT:CLE": {"VOLT:PROT:TRIP?": {2: "0"}}}
    with Bench(E3647A, {"OUTP?": "1", "VOLT:PROT:TRIP?": {1: "0", 2: "1"}}, effects) as bench:
        response = bench.carry_out('{"clear_protection": true}', "2")
        assert response.error is not None
        assert "turn the whole unit off first" in response.error.message
        assert bench.settings == []
        assert bench.carry_out('{"state": false}', None).ok
        assert bench.carry_out('{"clear_protection": true}', "2").ok
        assert bench.settings[-1] == "INST:NSEL 2;:VOLT:PROT:CLE"


def test_a_setting_beyond_the_present_range_is_refused() -> None:
    with Bench(E3633A, {"VOLT:RANG?": "P8V"}) as bench:
        response = bench.carry_out('{"voltage_limit": 15}')
        assert response.error is not None
        assert response.error.code == "out_of_range"
        assert bench.settings == []
    with Bench(E3633A, {"VOLT:RANG?": "P20V"}, {"VOLT 15": {"VOLT?": "+1.50000000E+01"}}) as bench:
        assert bench.carry_out('{"voltage_limit": 15}').ok


def test_a_setting_that_was_clamped_in_silence_is_told() -> None:
    with Bench(E3633A, {"VOLT:RANG?": "P20V"}, {"VOLT 15": {"VOLT?": "+8.24000000E+00"}}) as bench:
        response = bench.carry_out('{"voltage_limit": 15}')
        assert response.error is not None
        assert response.error.code == "readback_mismatch"


def test_off_of_a_module_that_can_take_current_goes_ahead() -> None:
    modules = {"SYST:CHAN:MOD? (@1,2)": '"N6731B","N6791A"', "OUTP? (@1,2)": "1,1"}
    with Bench(N6700B, modules, {"OUTP 0,(@2)": {"OUTP? (@1,2)": "1,0"}}) as bench:
        assert bench.carry_out('{"state": false}', "2").ok
        response = bench.carry_out('{"state": true}', "2")
        assert response.error is not None
        assert "can also take current" in response.error.message
        assert bench.settings == []

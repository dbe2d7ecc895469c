"""Dangers of supplies with switches, masters, loads and silent limits, seen from the worker: README of the fact sheets."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agent.protocol.errors import Refusal
from tests.instruments.series.bench import Bench
from tests.instruments.series.gwinstek.test_gpd_x303s import GPD2303S
from tests.instruments.series.gwinstek.test_gpp import GPP4323
from tests.instruments.series.gwinstek.test_psw import PSW30_72
from tests.instruments.series.on_paper import Supply
from tests.instruments.series.rigol.test_dp800 import DP832A
from tests.instruments.series.rohde_schwarz.test_hmc804x import HMC8043
from tests.instruments.series.rohde_schwarz.test_hmp import HMP4040, each
from tests.instruments.series.rohde_schwarz.test_nge100 import NGE103B
from tests.instruments.series.rohde_schwarz.test_ngl_ngm_ngu import NGL202
from tests.instruments.series.rohde_schwarz.test_ngp800 import NGP822
from tests.instruments.series.siglent.test_spd3303 import SPD3303X
from tests.instruments.series.siglent.test_spd4000x import SPD4323X

#: A selection goes before questions, too.
SELECTION = re.compile(r"INST:NSEL \d")


def refusal(bench: Bench, payload: str, channel: str | None = "1") -> str:
    """The sentence with which a command was refused; nothing was set then."""
    try:
        response = bench.carry_out(payload, channel)
    except Refusal as refused:
        assert bench.unit.sent == []
        return str(refused)
    assert response.error is not None, "it was carried out"
    assert [message for message in bench.settings if not SELECTION.fullmatch(message)] == []
    return response.error.message


# 1: a switch that acts on more than one output.


def test_a_gpd_comes_on_as_a_whole_only_and_its_off_tells_the_others() -> None:
    switch = {"OUT1": {"STATUS?": "01010110"}, "OUT0": {"STATUS?": "00010010"}}
    with Bench(GPD2303S, {"STATUS?": "00010010"}, switch) as bench:
        assert "has one switch with channel" in refusal(bench, '{"state": true}')
        assert bench.carry_out('{"state": true}', None).ok
        assert bench.settings == ["OUT1"]
        response = bench.carry_out('{"state": false}', "2")
        assert response.ok
        assert bench.settings == ["OUT0"]
        assert response.also_off == [1]


# 2: clearing a trip turns the output on.


def test_a_rigol_is_turned_off_and_then_cleared_without_the_command_that_turns_it_on() -> None:
    effects = {
        ":OUTP CH2,OFF": {":OUTP? CH2": "OFF"},
        ":OUTP:OVP:CLEAR CH2": {":OUTP:OVP:QUES? CH2": "NO"},
    }
    with Bench(DP832A, {":OUTP:OVP:QUES? CH2": "YES"}, effects) as bench:
        assert bench.latest[2].tripped == "OVP"
        assert bench.carry_out('{"clear_protection": true}', "2").ok
        assert bench.settings == [":OUTP CH2,OFF", ":OUTP:OVP:CLEAR CH2", ":OUTP:OCP:CLEAR CH2"]


def test_an_output_that_a_clear_turned_on_is_turned_off_again_and_told() -> None:
    effects = {"RESET:PROT CH2": {"OUTP? CH2": "1", "OVP:PROT:STAT? CH2": "0"}, "OUTP CH2,0": {"OUTP? CH2": "0"}}
    with Bench(SPD4323X, {"OUTP? CH2": "0", "OVP:PROT:STAT? CH2": "1"}, effects) as bench:
        response = bench.carry_out('{"clear_protection": true}', "2")
        assert response.error is not None
        assert bench.settings == ["OUTP CH2,0", "RESET:PROT CH2", "OUTP CH2,0"]
        assert bench.latest[2].state is False


# 6: settings that are clamped in silence.


def test_a_setting_that_a_siglent_clamped_is_told() -> None:
    with Bench(SPD4323X, {}, {"VOLT CH1,6": {"VOLT? CH1": "5.500000"}}) as bench:
        response = bench.carry_out('{"voltage_limit": 6}')
        assert response.error is not None
        assert response.error.code == "readback_mismatch"
    with Bench(SPD4323X) as bench:
        assert "6.06" in refusal(bench, '{"voltage_limit": 7.5}')


# 7: the minus sign that is dropped, and levels below zero.


def test_an_hmp_is_sent_no_minus_sign() -> None:
    with Bench(HMP4040) as bench:
        assert "-4.1" in refusal(bench, '{"voltage_limit": -4.1}')


# 9: messages that come too fast are lost.


def test_a_setting_that_was_lost_is_told() -> None:
    with Bench(GPD2303S) as bench:
        response = bench.carry_out('{"voltage_limit": 7}')
        assert response.error is not None
        assert response.error.code == "readback_mismatch"


# 11: units that can also sink.


def test_a_load_is_not_set_but_can_be_turned_off() -> None:
    with Bench(GPP4323, {"MODE1?": "CC"}, {":OUTP1:STAT 0": {":OUTP1:STAT?": "OFF"}}) as bench:
        assert "electronic load" in refusal(bench, '{"voltage_limit": 3}')
        assert bench.carry_out('{"state": false}').ok
        assert bench.settings == [":OUTP1:STAT 0"]
        assert "electronic load" in refusal(bench, '{"state": true}')


# 13: the master switch.


@pytest.mark.parametrize(
    ("supply", "master", "off", "changed"),
    [
        (HMP4040, "OUTP:GEN?", "OUTP:SEL 0", {"OUTP?": each("0", "0")}),
        (HMC8043, "OUTP:MAST?", "OUTP:CHAN OFF", {"OUTP?": "0"}),
        (NGE103B, "OUTP:GEN?", "OUTP:SEL 0", {"OUTP?": "0"}),
        (NGL202, "OUTP:GEN?", "OUTP:SEL 0", {"OUTP?": "0"}),
        (NGP822, "OUTP:GEN?", "OUTP:SEL 0,(@1)", {"OUTP? (@1,2)": "0,0"}),
    ],
)
def test_nothing_comes_on_while_the_master_is_open_and_off_goes_ahead(
    supply: Supply, master: str, off: str, changed: dict[str, Any]
) -> None:
    with Bench(supply, {master: "0"}, {off: changed}) as bench:
        assert "the master switch of the unit is off" in refusal(bench, '{"state": true}')
        assert bench.carry_out('{"state": false}').ok
        assert any(message.endswith(off) for message in bench.settings)
        assert not any("OUTP:GEN" in message or "OUTP:MAST" in message for message in bench.settings)


# Couplings, and what a unit does not tell.


def test_outputs_in_series_are_turned_off_but_not_set() -> None:
    with Bench(SPD3303X, {"SYST:STAT?": "0x003c"}, {"OUTP CH1,OFF": {"SYST:STAT?": "0x002c"}}) as bench:
        assert "OUTP:TRACK 0" in refusal(bench, '{"voltage_limit": 3}', "2")
        assert bench.carry_out('{"state": false}').ok


def test_an_output_that_tells_nothing_is_switched() -> None:
    with Bench(SPD3303X) as bench:
        assert bench.latest[3].state is None
        assert bench.carry_out('{"state": true}', "3").ok
        assert bench.settings == ["OUTP CH3,ON"]
        assert bench.carry_out('{"state": false}', "3").ok


def test_settings_outside_the_envelope_are_refused() -> None:
    with Bench(PSW30_72, {"APPL?": "+5.050, +40.000"}) as bench:
        told = refusal(bench, '{"voltage_limit": 30}')
        assert "1200 W" in told
        assert "720 W" in told

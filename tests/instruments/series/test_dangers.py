"""Dangers of TTi, Korad, TDK-Lambda, EA, EEZ and Manson supplies, seen from the worker."""

from __future__ import annotations

import pytest

from agent.protocol.errors import Refusal
from tests.instruments.series.bench import Bench
from tests.instruments.series.ea.test_ps_9000 import EA
from tests.instruments.series.eez.test_bb3 import BB3
from tests.instruments.series.korad.test_ka3005p import KORAD
from tests.instruments.series.manson.test_hcs import HCS
from tests.instruments.series.tdk_lambda.test_genesys import GENESYS, STT
from tests.instruments.series.tti.test_tti import CPX


def refused(bench: Bench, payload: str, code: str, words: str, channel: str = "1") -> None:
    """The command is refused with that code, and nothing was set by it."""
    response = bench.carry_out(payload, channel)
    assert response.error is not None
    assert (response.error.code, words in response.error.message) == (code, True), response.error.message


HEALTHY = STT.format(mv="40.0", pv="40", mc="1.5", pc="10", sr="05", fr="00")
TRIPPED = STT.format(mv="0.0", pv="40", mc="0.0", pc="10", sr="08", fr="10")


def test_a_trip_of_a_genesys_is_left_only_by_an_on_that_somebody_asked_for() -> None:
    with Bench(GENESYS, {"STT?": TRIPPED, "OUT?": "OFF"}, {"OUT 1": {"STT?": HEALTHY, "OUT?": "ON"}}) as bench:
        assert bench.latest[1].tripped == "OVP"
        with pytest.raises(Refusal, match="only when its output is turned on") as refusal:
            bench.carry_out('{"clear_protection": true}')
        assert refusal.value.code == "unsupported"
        assert bench.settings == []
        assert bench.carry_out('{"state": true}').ok
        assert bench.settings == ["OUT 1"]
        assert bench.latest[1].tripped is None


def test_a_setting_that_a_genesys_refuses_is_told_in_its_words() -> None:
    with Bench(GENESYS, {"STT?": HEALTHY, "PV 41": "E01"}) as bench:
        refused(bench, '{"voltage_limit": 41}', "instrument_error", "E01")


def test_an_off_of_a_manson_is_its_word_that_looks_like_on() -> None:
    """Its state can't be read: OK confirms it, unless the meters say otherwise."""
    with Bench(HCS) as bench:
        refused(bench, '{"state": false}', "readback_mismatch", "still measures 15 V and 16 A")
    with Bench(HCS, effects={"SOUT1": {"GETD": "000000000"}}) as bench:
        assert bench.carry_out('{"state": false}').ok
        assert [one for one in bench.unit.sent if one.startswith("SOUT")] == ["SOUT1"]
        assert bench.latest[1].state is None


def test_a_setting_that_a_korad_drops_in_silence_is_no_success() -> None:
    with Bench(KORAD) as bench:
        refused(bench, '{"voltage_limit": 5}', "readback_mismatch", "reads back 12 V, not 5 V")
    with Bench(KORAD, effects={"VSET1:05.00": {"VSET1?": "05.00"}}) as bench:
        assert bench.carry_out('{"voltage_limit": 5}').ok


def test_an_output_of_a_bb3_is_off_before_its_trip_is_cleared() -> None:
    effects = {
        "OUTP 0,CH2": {"OUTP? CH2": "0"},
        "OUTP:PROT:CLE CH2": {"STAT:QUES:INST:ISUM2:COND?": "0"},
    }
    with Bench(BB3, {"STAT:QUES:INST:ISUM2:COND?": "256"}, effects) as bench:
        assert bench.latest[2].tripped == "OVP"
        assert bench.carry_out('{"clear_protection": true}', "2").ok
        assert bench.settings[0] == "OUTP 0,CH2"
        assert bench.settings[-1] == "OUTP:PROT:CLE CH2"


def test_the_alarm_of_an_ea_is_seen_before_anything_reads_its_errors() -> None:
    effects = {"OUTP OFF": {"OUTP?": "OFF"}, "SYST:ERR:ALL?": {"STAT:QUES:COND?": "1024"}}
    with Bench(EA, {"STAT:QUES:COND?": "1025", "OUTP?": "OFF"}, effects) as bench:
        assert bench.latest[1].tripped == "OVP"
        refused(bench, '{"state": true}', "instrument_error", "has tripped (OVP)")
        assert not any("ERR" in message for message in bench.unit.sent)
        assert bench.carry_out('{"clear_protection": true}').ok
        assert bench.latest[1].tripped is None


def test_an_ea_out_of_remote_mode_takes_an_off_and_nothing_else() -> None:
    with Bench(EA, {"SYST:LOCK:OWN?": "LOCAL"}, {"OUTP OFF": {"OUTP?": "OFF"}}) as bench:
        refused(bench, '{"voltage_limit": 5}', "unsupported", "not in remote mode")
        assert bench.settings == []
        assert bench.carry_out('{"state": false}').ok
        assert bench.settings == ["OUTP OFF"]


def test_tracking_outputs_of_a_cpx_take_no_settings() -> None:
    with Bench(CPX, {"CONFIG?": "0"}, {"OP2 0": {"OP2?": "0"}}) as bench:
        refused(bench, '{"voltage_limit": 5}', "unsupported", "tracks")
        assert bench.settings == []
        assert bench.carry_out('{"state": false}', "2").ok
        assert bench.settings == ["OP2 0"]


def test_a_cpx_gives_its_power_and_no_more() -> None:
    with Bench(CPX) as bench:
        refused(bench, '{"voltage_limit": 60, "current_limit": 20}', "out_of_range", "more than the 420 W")
        assert bench.settings == []


def test_trip_levels_move_in_coarser_steps_than_settings() -> None:
    """What the unit rounds is no mismatch: 0.1 V and 0.01 A of a CPX."""
    effects = {"OVP1 21.3": {"OVP1?": "VP1 21.30"}, "OCP1 7.08": {"OCP1?": "CP1 7.08"}}
    with Bench(CPX, effects=effects) as bench:
        assert bench.carry_out('{"voltage_protection": 21.26, "current_protection_level": 7.076}').ok
    with Bench(CPX, effects={"OVP1 21.3": {"OVP1?": "VP1 21.50"}}) as bench:
        refused(bench, '{"voltage_protection": 21.26}', "readback_mismatch", "reads back 21.5 V")

"""A verification in memory: a supply that keeps its promises, and one for each promise that it breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.instruments.driver import GiveWay, LinkError, Range, Reading, Write
from agent.protocol.quantities import READ_SWITCHES, SETTINGS
from agent.unit.limits.channel import DefaultSettings
from tests.service.verify.supplies import FOUND, FakeSupply, text_of, verdicts, verified
from tests.unit.fakedriver import ALL_SETTINGS


def test_a_supply_that_keeps_its_promises() -> None:
    supply = FakeSupply(outputs=2)
    result = verified(supply)
    told = verdicts(result)
    assert "failed" not in told.values(), [(c.title, c.text) for c in result.findings.checks]
    for name in (
        "voltage_limit",
        "current_limit",
        "voltage_protection",
        "current_protection",
        "output on",
        "mode",
        "output off",
    ):
        assert told[f"{name}, output 1"] == told[f"{name}, output 2"] == "ok"
    assert told["over-voltage trip, output 1"] == told["other outputs"] == told["lost link"] == "ok"
    assert result.exit_code == 0
    assert supply.readings == {1: FOUND, 2: FOUND}
    assert result.ending.output == "off"


def test_nothing_above_the_limits_is_set() -> None:
    supply = FakeSupply()
    assert verified(supply, volts=0.7, amps=0.05).exit_code == 0
    assert supply.highest == 0.7
    currents = [w.value for w in supply.writes if w.setting == "current_limit" and w.value != FOUND.current_limit]
    assert max(currents) == 0.05


def test_the_configured_limits_hold_as_well() -> None:
    supply = FakeSupply()
    result = verified(supply, channels={1: DefaultSettings(voltage_max=0.3)})
    assert supply.highest == 0.3
    # What was found above the user's own limit is not put back either.
    assert any(
        "left lower than it was found: voltage_limit of output 1 was 5 V" in text for text in result.ending.sentences
    )
    assert result.exit_code == 0


def test_other_outputs_than_the_chosen_ones_are_left_alone() -> None:
    supply = FakeSupply(outputs=3)
    assert verified(supply, outputs=(2,)).exit_code == 0
    assert {index for write in supply.writes for index in write.channels} == {2}


def test_a_switch_of_several_outputs_is_used_with_all_of_them_at_the_limits() -> None:
    supply = FakeSupply(outputs=2, together=True)
    seen: list[dict[int, float | None]] = []

    def watch(call: object) -> None:
        if isinstance(call, Write) and call.setting == "state" and call.value:
            assert call.channels == (1, 2)
            seen.append({index: reading.voltage_limit for index, reading in supply.readings.items()})

    supply.script = watch
    assert verified(supply, outputs=(1,)).exit_code == 0
    assert seen
    assert all(volts == {1: 1.0, 2: 1.0} for volts in seen)
    assert supply.readings == {1: FOUND, 2: FOUND}


def test_a_negative_output_is_set_to_negative_voltages() -> None:
    supply = FakeSupply(voltage=Range(-6.18, 0.0), found=FOUND._replace(voltage_limit=-5.0))
    result = verified(supply)
    assert min(w.value for w in supply.writes if w.setting == "voltage_limit" and w.value != -5.0) == -1.0
    assert verdicts(result)["voltage_limit, output 1"] == "ok"


def test_an_output_that_is_on_is_turned_off_and_left_off() -> None:
    supply = FakeSupply(found=FOUND._replace(state=True, voltage=5.0))
    result = verified(supply)
    first = supply.writes[0]
    assert (first.setting, first.value) == ("state", False)
    assert supply.readings[1].state is False
    assert any("was on before and was left off" in text for text in result.ending.sentences)


# Broken promises.


def test_a_setting_that_does_not_read_back_has_failed() -> None:
    supply = FakeSupply()
    supply.alter = lambda index, reading, write: (
        reading._replace(voltage_limit=0.3) if write.setting == "voltage_limit" and write.value == 0.5 else reading
    )
    result = verified(supply)
    assert (
        text_of(result, "voltage_limit, output 1")
        == "0.5 V was sent, and the unit tells 0.3 V: more than 0.001 V apart"
    )
    assert result.exit_code == 1
    assert supply.readings[1] == FOUND


def test_a_scale_that_is_wrong_turns_nothing_on() -> None:
    """Tenfold: the gate sees what the unit tells of its settings, and refuses the on."""
    supply = FakeSupply()
    supply.alter = lambda index, reading, write: (
        reading._replace(voltage_limit=float(write.value) * 10) if write.setting == "voltage_limit" else reading
    )
    result = verified(supply)
    assert verdicts(result)["output on, output 1"] == "failed"
    assert not any(write.setting == "state" and write.value for write in supply.writes)


@pytest.mark.parametrize("setting", sorted(SETTINGS - {"clear_protection"}))
def test_a_setting_that_changes_with_the_link_has_failed(setting: str) -> None:
    later: Mapping[str, Any] = {setting: not getattr(FOUND, setting) if setting in READ_SWITCHES else 0.25}
    supply = FakeSupply()

    def watch(call: object) -> None:
        if call == "connect" and "close" in supply.calls and supply.writes:
            supply.readings[1] = supply.readings[1]._replace(**later)

    supply.script = watch
    assert text_of(verified(supply), "lost link") == "the settings of output 1 changed"


def test_a_refused_setting_has_failed_with_the_words_of_the_unit() -> None:
    supply = FakeSupply()
    supply.answer = lambda write: '-222,"Data out of range"' if write.setting == "current_protection" else None
    result = verified(supply)
    assert "-222" in text_of(result, "current_protection, output 1")
    assert result.exit_code == 1


def test_a_unit_that_ignores_off_is_told_in_words_and_by_the_exit_code() -> None:
    supply = FakeSupply()
    supply.alter = lambda index, reading, write: (
        reading._replace(state=True, voltage=1.0) if write.setting == "state" else reading
    )
    supply.readings[1] = FOUND._replace(state=True)
    result = verified(supply)
    assert result.exit_code == 3
    assert result.ending.output == "on"
    assert any("THE OUTPUT IS STILL ON" in text for text in result.ending.sentences)


def test_a_trip_that_turns_the_output_on_when_it_is_cleared_is_turned_off_at_once() -> None:
    supply = FakeSupply()
    supply.alter = lambda index, reading, write: (
        reading._replace(state=True, voltage=1.0) if write.setting == "clear_protection" else reading
    )
    result = verified(supply)
    assert text_of(result, "over-voltage trip, output 1").startswith("clearing the trip turned the output on")
    behind = supply.writes[[w.setting for w in supply.writes].index("clear_protection") + 1]
    assert (behind.setting, behind.value) == ("state", False)
    assert supply.readings[1].state is False
    assert result.exit_code == 1


def test_a_trip_that_could_not_be_cleared_is_not_tried() -> None:
    supply = FakeSupply(settings=ALL_SETTINGS - {"clear_protection"})
    result = verified(supply)
    assert verdicts(result)["over-voltage trip, output 1"] == "skipped"
    assert supply.readings[1] == FOUND


def test_an_output_that_has_tripped_before_is_not_turned_on() -> None:
    supply = FakeSupply(found=FOUND._replace(tripped="OCP"))
    result = verified(supply)
    assert text_of(result, "output on, output 1").startswith("it has tripped (OCP)")
    assert not any(write.setting == "state" and write.value for write in supply.writes)
    assert supply.readings[1] == FOUND._replace(tripped="OCP")


def test_a_trip_level_that_could_not_be_put_back_is_not_changed() -> None:
    supply = FakeSupply(found=FOUND._replace(voltage_protection=7.0))
    result = verified(supply)
    assert "could not be put back" in text_of(result, "voltage_protection, output 1")
    assert not any(write.setting == "voltage_protection" for write in supply.writes)
    assert result.exit_code == 0


def test_a_trip_that_does_not_come_has_failed_and_the_output_is_off() -> None:
    supply = FakeSupply()
    supply.alter = lambda index, reading, write: (
        reading._replace(tripped=None, state=True) if reading.tripped == "OVP" else reading
    )
    result = verified(supply)
    assert "tells no trip" in text_of(result, "over-voltage trip, output 1")
    assert supply.readings[1].state is False


def test_a_setting_of_one_output_that_changes_another_has_failed() -> None:
    supply = FakeSupply(outputs=2)

    def follow(index: int, reading: Reading, write: Write) -> Reading:
        if write.setting == "voltage_limit":
            supply.readings[2] = supply.readings[2]._replace(voltage_limit=float(write.value))
        return reading

    supply.alter = follow
    result = verified(supply, outputs=(1,))
    assert "voltage_limit of output 1 changed voltage_limit of output 2" in text_of(result, "other outputs")
    assert supply.readings[2] == FOUND


def test_something_that_is_connected_ends_it_with_the_output_off() -> None:
    supply = FakeSupply()
    supply.alter = lambda index, reading, write: reading._replace(current=0.09 if reading.state else 0.0)
    result = verified(supply)
    assert result.problem is not None
    assert "something is connected" in result.problem
    assert supply.readings[1] == FOUND
    assert result.exit_code == 1


def test_a_load_that_the_meter_cant_tell_shows_by_the_current_limit() -> None:
    supply = FakeSupply()
    supply.alter = lambda index, reading, write: (
        reading._replace(voltage=0.05, mode="CC") if reading.state else reading._replace(voltage=0.0)
    )
    result = verified(supply)
    assert result.problem is not None
    assert "limits its current and does not reach its voltage, so something is connected" in result.problem
    assert text_of(result, "output on, output 1") == "not finished: the verification was ended here"
    assert supply.readings[1] == FOUND


@pytest.mark.parametrize(
    ("setting", "first", "title", "text"),
    [
        ("state", {"voltage": 0.3}, "output on, output 1", "no voltage at 1 V: more than"),
        (
            "voltage_protection",
            {"voltage_protection": 0.1},
            "voltage_protection, output 1",
            "and the unit tells nothing",
        ),
    ],
)
def test_a_value_that_the_unit_tells_at_first_and_then_no_more_has_failed(
    setting: str, first: dict[str, float], title: str, text: str
) -> None:
    class Forgetful(FakeSupply):
        looks: int | None = None  # since the write; None where it was another one

        def write(self, write: Write) -> None:
            super().write(write)
            self.looks = 0 if write.setting == setting and write.value is not False else None

        def poll(self, give_way: GiveWay) -> dict[int, Reading] | None:
            found = super().poll(give_way)
            if found is None or self.looks is None:
                return found
            self.looks += 1
            told = first if self.looks == 1 else dict.fromkeys(first)
            return {index: reading._replace(**told) for index, reading in found.items()}

    result = verified(Forgetful())
    assert text in text_of(result, title)
    assert verdicts(result)[title] == "failed"


def test_a_voltage_at_an_output_that_is_off_ends_it_before_anything_is_set() -> None:
    supply = FakeSupply(found=FOUND._replace(voltage=3.7))
    result = verified(supply)
    assert "is off and measures 3.7 V" in (result.problem or "")
    assert supply.writes == []
    assert result.ending.sentences == ["nothing was set"]


def test_a_coupling_ends_it_before_anything_is_set() -> None:
    supply = FakeSupply()
    supply.bars = ["outputs 1 and 2 track each other; turn tracking off"]
    result = verified(supply)
    assert "track each other" in (result.problem or "")
    assert supply.writes == []


def test_a_link_that_is_cut_is_opened_again_for_the_off() -> None:
    supply = FakeSupply()
    cut: list[object] = []

    def break_once(call: object) -> None:
        if not cut and isinstance(call, Write) and call.setting == "state" and call.value:
            cut.append(call)
            supply.readings[1] = supply.readings[1]._replace(state=True)
            raise LinkError("the unit closed the connection")

    supply.script = break_once
    result = verified(supply)
    assert cut
    assert result.problem == "the unit closed the connection"
    assert "the link was opened again for the off" in result.ending.sentences
    assert supply.readings[1] == FOUND
    assert result.exit_code == 1


def test_a_link_that_does_not_come_back_leaves_an_unknown_output_and_says_so() -> None:
    supply = FakeSupply()
    cut: list[object] = []

    def stay_broken(call: object) -> None:
        if cut or (isinstance(call, Write) and call.setting == "state" and call.value):
            cut.append(call)
            raise LinkError("the unit closed the connection")

    supply.script = stay_broken
    result = verified(supply)
    assert result.ending.output == "unknown"
    assert result.exit_code == 3
    assert any("THE OUTPUT MAY STILL BE ON" in text and "front panel" in text for text in result.ending.sentences)


@pytest.mark.parametrize("after", range(4, 68, 3))
def test_an_interruption_at_any_step_leaves_the_output_off_and_the_settings_as_they_were(after: int) -> None:
    supply = FakeSupply()
    result = verified(supply, is_interrupted=lambda: len(supply.calls) > after)
    assert supply.readings[1] == FOUND
    assert result.was_interrupted
    assert result.exit_code == 130


def test_a_fault_of_the_program_itself_leaves_the_output_off() -> None:
    supply = FakeSupply()
    raised: list[object] = []

    def fail(call: object) -> None:
        if call == "poll" and supply.readings[1].state and not raised:
            raised.append(call)
            raise ZeroDivisionError

    supply.script = fail
    with pytest.raises(ZeroDivisionError):
        verified(supply)
    assert supply.readings[1] == FOUND


def test_settings_that_the_unit_does_not_tell_are_said_to_be_unknown() -> None:
    supply = FakeSupply(found=FOUND._replace(state=None, mode=None, voltage=None, current_protection=None))
    supply.alter = lambda index, reading, write: reading._replace(
        state=None, mode=None, voltage=None, current_protection=None, tripped=None
    )
    result = verified(supply)
    told = verdicts(result)
    assert told["mode, output 1"] == "skipped"
    assert "neither state nor voltage" in text_of(result, "output on, output 1")
    assert result.ending.output == "untold"
    assert any("does not tell its state: look at it" in text for text in result.ending.sentences)


def test_an_output_whose_current_can_not_be_limited_is_not_turned_on() -> None:
    """A higher --current-max would not help: nobody can say which range the setting has."""
    supply = FakeSupply(current=None)
    told = text_of(verified(supply), "output on, output 1")
    assert (
        told
        == "the current_limit of output 1 is not known to be within the limits: the series file has no range for it"
    )
    assert all(write.setting != "state" or not write.value for write in supply.writes)

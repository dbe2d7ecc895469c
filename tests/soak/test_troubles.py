"""The rules of the soak that need time or trouble, each broken on purpose, and kept where it looks like broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.soak.commands import LIMITS, Command, Commands
from tests.soak.scene import OFF, Scene, with_on


def an_off(scene: Scene, **more: Any) -> Command:
    return scene.command("off", turns_off=True, wanted={"state": False}, **more)


# --- rule 7: nothing old


def delivered_late(scene: Scene, command: Command, age: float) -> None:
    """The broker has it at once, and gives it to the agent after so many seconds."""
    scene.ledger.accepted(command.number, scene.now())
    scene.wait(age)
    scene.deliver(command)


def old_and_turned_on(scene: Scene) -> None:
    command = scene.command(turns_on=True)
    delivered_late(scene, command, 4)
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1))


def old_and_confirmed(scene: Scene) -> None:
    command = scene.command("settings", wanted={"voltage_limit": 3.0})
    delivered_late(scene, command, 4)
    scene.respond(command)


def unread_while_the_agent_was_stopped(scene: Scene) -> None:
    command = scene.command(turns_on=True)
    scene.ledger.agent_stops()
    scene.deliver(command, taken=False)
    scene.wait(4)
    scene.ledger.agent_goes_on()
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1))


@pytest.mark.parametrize("story", [old_and_turned_on, old_and_confirmed, unread_while_the_agent_was_stopped])
def test_rule_7(scene: Scene, story: Callable[[Scene], None]) -> None:
    story(scene)
    assert scene.rules() == ["rule 7"]


def test_an_old_off_is_done_and_what_is_old_and_refused_is_well(scene: Scene) -> None:
    off, on = an_off(scene), scene.command(turns_on=True)
    delivered_late(scene, off, 20)
    scene.unit_receives("OUTP 0,(@1)", with_on(1), OFF)
    scene.respond(off)
    delivered_late(scene, on, 4)
    scene.respond(on, "expired")
    assert scene.complaints == []
    assert scene.ledger.counts["deliveries of old commands"] == 2


# --- rule 8: off is done


def an_off_that_is_a_duplicate(scene: Scene) -> None:
    off = an_off(scene)
    scene.deliver(off)
    scene.respond(off, "duplicate")


def an_off_that_was_refused_for_what_stands_beside_it(scene: Scene) -> None:
    off = an_off(scene, may_say=frozenset({"bad_payload"}))
    scene.deliver(off)
    scene.respond(off, "bad_payload", data={"result": {"state": False}})


def an_off_without_a_result(scene: Scene) -> None:
    off = an_off(scene, may_say=frozenset({"bad_payload"}))
    scene.deliver(off)
    scene.unit_receives("OUTP 0,(@1)", with_on(1), OFF)
    scene.respond(off, "bad_payload")


def an_off_that_a_well_unit_did_not_get(scene: Scene) -> None:
    scene.deliver(an_off(scene))
    scene.wait(30)


def an_off_that_is_offline_on_a_well_unit(scene: Scene) -> None:
    scene.wait(20)
    off = an_off(scene)
    scene.deliver(off)
    scene.respond(off, "offline")


@pytest.mark.parametrize(
    "story",
    [
        an_off_that_is_a_duplicate,
        an_off_that_was_refused_for_what_stands_beside_it,
        an_off_without_a_result,
        an_off_that_a_well_unit_did_not_get,
        an_off_that_is_offline_on_a_well_unit,
    ],
)
def test_rule_8(scene: Scene, story: Callable[[Scene], None]) -> None:
    story(scene)
    assert scene.rules() == ["rule 8"]


def test_offs_that_are_done_or_can_not_be(scene: Scene) -> None:
    scene.wait(20)
    beside = an_off(scene, may_say=frozenset({"bad_payload"}))
    scene.deliver(beside)
    scene.unit_receives("OUTP 0,(@1)", with_on(1), OFF)
    scene.respond(beside, "bad_payload", data={"result": {"state": False}})
    again = an_off(scene, group=beside.group)
    scene.deliver(again)
    scene.unit_receives("OUTP 0,(@1)", OFF)
    scene.respond(again)
    scene.ledger.trouble("psu1", "it hangs", lasts=True)
    away, late = an_off(scene), an_off(scene)
    for off in (away, late):
        scene.deliver(off)
    scene.respond(away, "offline")
    scene.wait(30, polled=False)
    scene.ledger.recovered("psu1")
    scene.wait(5)
    scene.unit_receives("OUTP 0,(@1)", OFF)
    scene.respond(late)
    assert scene.complaints == []


# --- rule 9: what is refused has no effect


def plan_given_up(scene: Scene, by: str, code: str, **more: Any) -> None:
    """A ramp that is given up after another command had this response."""
    scene.wait(20)
    ramp = scene.command("ramp", turns_on=True)
    scene.deliver(ramp)
    other = scene.command(by, **more)
    scene.deliver(other)
    if other.turns_off:
        scene.unit_receives("OUTP 0,(@1,2,3)", OFF)
    scene.respond(other, code)
    scene.respond(ramp, "superseded")


@pytest.mark.parametrize(
    ("by", "code", "more"),
    [
        ("settings", "limit_exceeded", {}),
        ("settings", "ok", {"channel": 2, "wanted": {"voltage_limit": 1.0}}),
        ("settings", "ok", {"wanted": {"current_limit": 1.0}}),
    ],
)
def test_rule_9(scene: Scene, by: str, code: str, more: dict[str, Any]) -> None:
    plan_given_up(scene, by, code, **more)
    assert scene.rules() == ["rule 9"]


@pytest.mark.parametrize(
    ("by", "code", "more"),
    [
        ("settings", "ok", {"wanted": {"voltage_limit": 1.0}}),
        ("off", "ok", {"turns_off": True, "wanted": {"state": False}}),
        ("off", "ok", {"turns_off": True, "wanted": {"state": False}, "channel": None}),
    ],
)
def test_what_may_end_a_plan(scene: Scene, by: str, code: str, more: dict[str, Any]) -> None:
    plan_given_up(scene, by, code, **more)
    assert scene.complaints == []


# --- rules 10 and 11: what the agent has to do by itself


def test_rule_10_an_output_that_stays_on_without_a_broker(scene: Scene) -> None:
    scene.wait(20, on=(3,))
    scene.ledger.disconnected(1)
    scene.wait(20, on=(3,))
    assert scene.rules() == ["rule 10"]


def test_rule_10_a_unit_that_did_not_do_it_has_to_be_asked_again(scene: Scene) -> None:
    scene.wait(20, on=(3,))
    scene.ledger.way("the link is stalled", blocked=True)
    scene.wait(4, on=(3,))
    scene.unit_receives("OUTP 0,(@3)", with_on(3))  # and it stays on
    scene.wait(12, on=(3,))
    assert scene.rules() == ["rule 10"]


def test_an_outage_that_is_short_or_in_which_the_output_went_off(scene: Scene) -> None:
    scene.wait(20, on=(3,))
    scene.ledger.way("the link is stalled", blocked=True)
    scene.wait(6, on=(3,))
    scene.ledger.way("the link is stalled", blocked=False)
    scene.wait(20, on=(3,))
    scene.ledger.disconnected(1)
    scene.wait(4, on=(3,))
    scene.unit_receives("OUTP 0,(@3)", with_on(3), OFF)
    scene.wait(2)
    scene.wait(20, on=(3,))  # a hand turned it on again
    assert scene.complaints == []
    assert scene.ledger.counts["outages that outputs were watched in"] > 0


def test_rule_11_a_well_unit_that_is_not_polled(scene: Scene) -> None:
    scene.wait(20)
    scene.wait(20, polled=False)
    assert scene.rules() == ["rule 11"]


def test_a_unit_in_trouble_and_an_agent_that_is_stopped_are_given_time(scene: Scene) -> None:
    scene.wait(20)
    scene.ledger.trouble("psu1", "it hangs", lasts=True)
    scene.wait(20, polled=False)
    scene.ledger.recovered("psu1")
    scene.wait(4, polled=False)
    scene.wait(20)
    scene.ledger.agent_stops()
    scene.wait(20, polled=False)
    scene.ledger.agent_goes_on()
    scene.wait(4, polled=False)
    scene.wait(20)
    assert scene.complaints == []


# --- an agent that is killed


def killed(scene: Scene, unwritten_since: float | None = None) -> None:
    scene.ledger.agent_killed(unwritten_since)
    scene.ledger.disconnected(1)
    scene.wait(1)
    scene.ledger.agent_starts()
    scene.ledger.connected(2)


def test_a_command_taken_by_an_agent_that_was_killed_is_answered_by_the_next(scene: Scene) -> None:
    answered, silent = scene.command("settings"), scene.command("settings")
    for command in (answered, silent):
        scene.deliver(command)
    scene.wait(3)
    killed(scene)
    scene.respond(answered, "uncertain", connection=2)
    scene.ledger.close()
    assert scene.rules() == ["rule 1"]
    assert f"no response to command {silent.number} " in scene.complaints[0]


def test_it_is_answered_once(scene: Scene) -> None:
    command = scene.command("settings")
    scene.deliver(command)
    killed(scene)
    for second in (1, 2):
        scene.respond(command, "uncertain", connection=2, data={"time": second})
    assert scene.rules() == ["rule 1"]


def test_a_response_that_an_agent_had_sent_before_it_was_killed_may_come_again(scene: Scene) -> None:
    command = scene.command("settings")
    scene.deliver(command)
    scene.respond(command)
    scene.wait(5)
    killed(scene)
    scene.respond(command, connection=2)
    scene.ledger.close()
    assert scene.complaints == []


def test_what_no_disk_took_need_not_be_answered(scene: Scene) -> None:
    frozen = scene.now()
    scene.wait(3)
    scene.deliver(scene.command("settings"))
    scene.wait(3)
    killed(scene, unwritten_since=frozen)
    scene.ledger.close()
    assert scene.complaints == []


def test_what_an_agent_had_taken_when_it_was_killed_turns_nothing_on_later(scene: Scene) -> None:
    scene.deliver(scene.command(turns_on=True))
    killed(scene)
    scene.wait(20)
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1))
    assert scene.rules() == ["rule 2"]


def test_each_run_of_the_agent_counts_its_samples_anew(scene: Scene) -> None:
    for voltage, seq in ((1.0, 1), (2.0, 2)):
        scene.answer_voltages(voltage, 0.0, 0.0)
        scene.state(seq, voltage)
    scene.wait(60)
    killed(scene)
    scene.answer_voltages(3.0, 0.0, 0.0)
    scene.state(1, 3.0, connection=2)
    scene.ledger.close()
    assert scene.complaints == []


def test_rule_4_a_sample_read_long_before_the_agent_was_killed(scene: Scene) -> None:
    for seq in (1, 3):
        scene.answer_voltages(float(seq), 0.0, 0.0)
        scene.state(seq, float(seq))
    scene.wait(60)
    killed(scene)
    scene.ledger.close()
    assert scene.rules() == ["rule 4"]


# --- couplings


def test_rule_2_outputs_that_were_coupled_for_long(scene: Scene) -> None:
    scene.ledger.coupling("psu1", "a hand couples 1, 2")
    scene.wait(6)
    scene.deliver(scene.command(turns_on=True))
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1, 2))
    assert scene.rules() == ["rule 2"]


def test_outputs_that_were_coupled_behind_the_agents_back(scene: Scene) -> None:
    scene.unit_receives("OUTP:COUP?", answer="NONE")
    scene.wait(1)
    scene.ledger.coupling("psu1", "a hand couples 1, 2")
    scene.deliver(scene.command(turns_on=True))
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1, 2))
    assert scene.complaints == []


def test_a_violation_shows_what_happened_before(scene: Scene) -> None:
    command = scene.command("settings")
    scene.deliver(command)
    scene.ledger.trouble("psu1", "its connection is reset")
    scene.unit_receives("VOLT 5.01,(@1)")
    for what in (f"command {command.number}", "its connection is reset", "> VOLT 5.01,(@1)"):
        assert what in scene.complaints[0]


def test_floods_and_ramps_are_the_same_for_the_same_seed_and_within_the_limits() -> None:
    def some(seed: int) -> list[Command]:
        floods = Commands(["psu1", "psu2"], seed, "floods", first=1_000_000)
        return [*floods.flood(50), *floods.ramps()]

    assert some(1) == some(1)
    assert some(1) != some(2)
    found = some(1)
    assert sum(command.turns_off for command in found) == 1
    assert len({command.unit for command in found[:50]}) == 1
    assert {command.channel for command in found[50:]} == set(LIMITS)
    assert len({command.number for command in found}) == 53

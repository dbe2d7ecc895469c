"""Each rule of the soak, broken on purpose: a rule that can't be broken proves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.soak.commands import CHANNELS, LIMITS, Commands
from tests.soak.rules.books import Setting
from tests.soak.scene import OFF, Scene, with_on


def test_all_is_well(scene: Scene) -> None:
    on = scene.command(turns_on=True, wanted={"state": True})
    scene.deliver(on)
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1))
    scene.respond(on)
    off = scene.command("off", turns_off=True, wanted={"state": False}, own_topic=True)
    scene.deliver(off)
    scene.unit_receives("OUTP 0,(@1)", with_on(1), OFF)
    scene.respond(off)
    scene.answer_voltages(1.0, 2.0, 3.0)
    scene.state(1, 1.0)
    scene.ledger.sweep()
    scene.ledger.close()
    assert scene.complaints == []
    assert scene.ledger.counts["responses"] == 2


def two_responses(scene: Scene) -> None:
    command = scene.command("settings")
    scene.deliver(command)
    scene.respond(command, "offline")
    scene.respond(command, "superseded")


def response_to_nothing(scene: Scene) -> None:
    scene.respond(scene.command("settings"))


def no_response(scene: Scene) -> None:
    scene.deliver(scene.command("settings"))
    scene.ledger.close()


def response_that_stays_with_the_agent(scene: Scene) -> None:
    command = scene.command("settings")
    scene.deliver(command)
    scene.respond(command, acknowledged=False)
    scene.ledger.disconnected(1)
    scene.ledger.close()


def response_elsewhere(scene: Scene) -> None:
    command = scene.command("settings", own_topic=True)
    scene.deliver(command)
    scene.respond(command, topic="psu/psu1/2/response")


def forbidden_and_carried_out(scene: Scene) -> None:
    command = scene.command("forbidden", refusals=frozenset({"limit_exceeded"}))
    scene.deliver(command)
    scene.respond(command)


def refused_for_another_reason(scene: Scene) -> None:
    command = scene.command("retained", refusals=frozenset({"retained"}), retain=True)
    scene.deliver(command)
    scene.respond(command, "bad_payload")


def carried_out_twice(scene: Scene) -> None:
    first = scene.command("repeated", group=99)
    second = scene.command("repetition", group=99)
    for command in (first, second):
        scene.deliver(command)
        scene.respond(command)


def a_first_one_called_duplicate(scene: Scene) -> None:
    command = scene.command("settings")
    scene.deliver(command)
    scene.respond(command, "duplicate")


def one_unit_silent_to_all(scene: Scene) -> None:
    command = scene.command("all off", None, unit="all", turns_off=True)
    scene.deliver(command)
    scene.unit_receives("OUTP 0,(@1,2,3)")
    scene.respond(command)
    scene.ledger.close()


@pytest.mark.parametrize(
    "story",
    [
        two_responses,
        response_to_nothing,
        no_response,
        response_that_stays_with_the_agent,
        response_elsewhere,
        forbidden_and_carried_out,
        refused_for_another_reason,
        carried_out_twice,
        a_first_one_called_duplicate,
        one_unit_silent_to_all,
    ],
)
def test_rule_1(scene: Scene, story: Callable[[Scene], None]) -> None:
    story(scene)
    assert scene.rules() == ["rule 1"]


def test_a_response_sent_again_after_a_lost_connection_is_one(scene: Scene) -> None:
    command = scene.command("settings")
    scene.deliver(command)
    scene.respond(command, acknowledged=False)
    scene.ledger.disconnected(1)
    scene.ledger.connected(2)
    scene.respond(command, connection=2)
    scene.ledger.close()
    assert scene.complaints == []


def test_a_command_cut_off_may_have_no_response(scene: Scene) -> None:
    scene.deliver(scene.command("settings"), taken=False)
    scene.ledger.disconnected(1)
    scene.ledger.close()
    assert scene.complaints == []
    assert scene.ledger.counts["deliveries cut off"] == 1


def test_a_replay_after_a_delivery_that_was_cut_off_needs_one_response(scene: Scene) -> None:
    command = scene.command("retained", refusals=frozenset({"retained"}), retain=True)
    scene.deliver(command, taken=False)
    scene.ledger.disconnected(1)
    scene.ledger.connected(2)
    scene.deliver(command, 2)
    scene.respond(command, "retained", connection=2)
    scene.ledger.close()
    assert scene.complaints == []
    assert scene.ledger.counts["deliveries cut off"] == 1


def turned_on_for_nothing(scene: Scene) -> None:
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1))


def turned_on_for_another_channel(scene: Scene) -> None:
    scene.deliver(scene.command(channel=2, turns_on=True))
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1))


def turned_on_by_something_else(scene: Scene) -> None:
    scene.deliver(scene.command(turns_on=True))
    scene.unit_receives("OUTP:PROT:CLE (@1)", OFF, with_on(1))


def turned_on_twice(scene: Scene) -> None:
    scene.deliver(scene.command(turns_on=True))
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1))
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1))


def turned_on_after_its_refusal(scene: Scene) -> None:
    command = scene.command(turns_on=True)
    scene.deliver(command)
    scene.respond(command, "superseded")
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1))


def turned_on_for_what_is_forbidden(scene: Scene) -> None:
    scene.deliver(scene.command(turns_on=True, refusals=frozenset({"expired"})))
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1))


def turned_on_for_one_older_than_a_confirmed_off(scene: Scene) -> None:
    on, off = scene.command(turns_on=True), scene.command("off", None, turns_off=True)
    scene.deliver(on)
    scene.deliver(off)
    scene.unit_receives("OUTP 0,(@1,2,3)")
    scene.respond(off)
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1))


@pytest.mark.parametrize(
    "story",
    [
        turned_on_for_nothing,
        turned_on_for_another_channel,
        turned_on_by_something_else,
        turned_on_twice,
        turned_on_after_its_refusal,
        turned_on_for_what_is_forbidden,
        turned_on_for_one_older_than_a_confirmed_off,
    ],
)
def test_rule_2(scene: Scene, story: Callable[[Scene], None]) -> None:
    story(scene)
    assert scene.rules() == ["rule 2"]


def test_an_on_that_follows_an_off_is_good(scene: Scene) -> None:
    off, on = scene.command("off", turns_off=True), scene.command(turns_on=True)
    scene.deliver(off)
    scene.unit_receives("OUTP 0,(@1)")
    scene.deliver(on)
    scene.respond(off)
    scene.unit_receives("OUTP 1,(@1)", OFF, with_on(1))
    assert scene.complaints == []


@pytest.mark.parametrize("message", ["VOLT 5.01,(@1)", "CURR 1.5,(@2)", "VOLT 1e3,(@3)"])
def test_rule_3_a_setpoint_above_the_limit(scene: Scene, message: str) -> None:
    scene.unit_receives(message)
    assert scene.rules() == ["rule 3"]


def test_rule_3_a_setting_that_became_too_high_in_whatever_words(scene: Scene) -> None:
    scene.unit_receives("APPL CH1,6,1", OFF, with_on(voltage=LIMITS[1][0] + 1))
    assert set(scene.rules()) == {"rule 3"}


def test_rule_3_turned_on_although_the_knob_stood_too_high(scene: Scene) -> None:
    scene.deliver(scene.command(turns_on=True))
    scene.ledger.turning_knob("psu1", 1)
    high = {index: Setting(False, 30.0, 0.1) for index in CHANNELS}
    scene.unit_receives("VOLT? (@1,2,3)", high, answer="30,30,30")
    scene.unit_receives("OUTP 1,(@1)", high)
    assert scene.rules() == ["rule 3"]


def test_a_knob_turned_after_the_last_look_is_nobodys_fault(scene: Scene) -> None:
    scene.deliver(scene.command(turns_on=True))
    scene.unit_receives("VOLT? (@1,2,3)", answer="1,1,1")
    scene.ledger.turning_knob("psu1", 1)
    scene.unit_receives("OUTP 1,(@1)", {index: Setting(False, 30.0, 0.1) for index in CHANNELS})
    assert scene.complaints == []


def a_gap(scene: Scene) -> None:
    for _ in range(2):
        scene.answer_voltages(1.0, 2.0, 3.0)
    scene.state(1)
    scene.state(3)
    scene.ledger.close()


def one_that_was_never_acknowledged(scene: Scene) -> None:
    scene.answer_voltages(1.0, 2.0, 3.0)
    scene.state(1, acknowledged=False)
    scene.ledger.close()


def two_with_one_seq(scene: Scene) -> None:
    scene.answer_voltages(1.0, 2.0, 3.0)
    scene.state(1)
    scene.state(1, topic="backlog", data={"voltage": 2.0})


def twice_by_the_backlog(scene: Scene) -> None:
    scene.answer_voltages(1.0, 2.0, 3.0)
    time = datetime.now(UTC).isoformat()
    scene.state(1, topic="backlog", data={"time": time})
    scene.state(1, topic="backlog", data={"time": time})


def backlog_out_of_order(scene: Scene) -> None:
    for seq in (2, 1):
        scene.answer_voltages(1.0, 2.0, 3.0)
        scene.state(seq, topic="backlog")


@pytest.mark.parametrize(
    "story", [a_gap, one_that_was_never_acknowledged, two_with_one_seq, twice_by_the_backlog, backlog_out_of_order]
)
def test_rule_4(scene: Scene, story: Callable[[Scene], None]) -> None:
    story(scene)
    assert scene.rules() == ["rule 4"]


def test_what_is_kept_on_disk_is_accounted_for(scene: Scene) -> None:
    scene.answer_voltages(1.0, 2.0, 3.0)
    scene.state(1, acknowledged=False)
    scene.ledger.kept(
        [("psu/psu1/1/backlog", json.dumps({"seq": 1, "time": datetime.now(UTC).isoformat()}).encode())], []
    )
    scene.ledger.close()
    assert scene.complaints == []


def test_rule_5_a_state_that_the_unit_never_answered(scene: Scene) -> None:
    scene.answer_voltages(1.0, 2.0, 3.0)
    scene.state(1, 1.5)
    assert scene.rules() == ["rule 5"]


def test_rule_5_one_answer_passed_off_as_two(scene: Scene) -> None:
    scene.answer_voltages(1.0, 2.0, 3.0)
    scene.state(1)
    scene.state(2)
    assert scene.rules() == ["rule 5"]


def test_rule_5_an_old_answer(scene: Scene) -> None:
    scene.answer_voltages(1.0, 2.0, 3.0)
    scene.state(1, age=-10)
    assert scene.rules() == ["rule 5"]


@pytest.mark.parametrize(("stopped", "broken"), [(7, []), (0.5, ["rule 5"])])
def test_what_an_agent_that_was_stopped_reads_afterwards_is_as_old_as_the_stop(
    scene: Scene, stopped: float, broken: list[str]
) -> None:
    """However late it is published: the broker may be away, or the agent be stopped once more."""
    scene.answer_voltages(1.0, 2.0, 3.0)
    scene.wait(7 - stopped)
    scene.ledger.agent_stops()
    scene.wait(stopped)
    scene.ledger.agent_goes_on()
    read = 10
    scene.wait(read)
    scene.ledger.agent_stops()
    scene.wait(0.5)
    scene.ledger.agent_goes_on()
    scene.state(1, age=read + 0.4)
    assert scene.rules() == broken


def test_rule_5_values_of_a_unit_that_is_offline(scene: Scene) -> None:
    scene.state(1, data={"online": False})
    assert scene.rules() == ["rule 5"]


def test_a_garbled_answer_is_none(scene: Scene) -> None:
    scene.unit_receives("MEAS:VOLT? (@1,2,3)", answer=None)
    scene.state(1)
    assert scene.rules() == ["rule 5"]


def test_rule_6_a_setting_that_reads_back_otherwise(scene: Scene) -> None:
    command = scene.command("settings", wanted={"voltage_limit": 3.0})
    scene.deliver(command)
    scene.respond(command, data={"result": {"voltage_limit": 2.0}})
    assert scene.rules() == ["rule 6"]


def test_rule_6_an_off_that_never_was(scene: Scene) -> None:
    command = scene.command("off", turns_off=True, wanted={"state": False})
    scene.deliver(command)
    scene.respond(command)
    assert scene.rules() == ["rule 6"]


def test_what_is_due_is_named(scene: Scene) -> None:
    scene.deliver(scene.command("settings"))
    assert not scene.ledger.quiet()
    assert any("command 1" in what for what in scene.ledger.due())
    assert "psu2 is not online" in scene.ledger.due()


def test_the_same_seed_gives_the_same_commands() -> None:
    def first(seed: int) -> list[tuple[int, str, str]]:
        commands = Commands(["psu1", "psu2"], seed)
        return [(c.number, c.kind, c.topic) for _ in range(300) for c in commands.next()]

    assert first(1) == first(1)
    assert first(1) != first(2)
    assert {kind for _, kind, _ in first(1)} >= {
        "on",
        "off",
        "ramp",
        "cycle",
        "forbidden",
        "malformed",
        "retained",
        "expired",
    }

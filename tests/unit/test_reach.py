"""A switch that acts on several outputs: on only by a command that names them all, off always, and it says what else went off."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from agent.instruments.driver import Conditions, Reading, Write
from agent.protocol.errors import Refusal
from agent.protocol.messages import Response
from agent.unit.limits.channel import DefaultSettings
from tests.lab import wait_until
from tests.unit.fakedriver import OFF, Call, FakeDriver, Hold, TalkingDriver, Unit, is_write

ON = OFF._replace(state=True, mode="CV", voltage=1.0, voltage_limit=1.0)
PAIR = (frozenset((1, 2)),)


class OneSwitch(FakeDriver):
    """Outputs of which some have one switch."""

    def __init__(self, together: Iterable[frozenset[int]] = PAIR, **readings: Reading) -> None:
        super().__init__()
        self.profile = replace(self.profile, together=tuple(together))
        for index in self.readings:
            self.readings[index] = readings.get(f"ch{index}", OFF)

    def write(self, write: Write) -> None:
        if write.setting == "state":
            reached = {i for group in self.profile.together for i in group if group.intersection(write.channels)}
            write = replace(write, channels=tuple(sorted(reached.union(write.channels))))
        super().write(write)

    def on(self) -> list[int]:
        return [index for index, reading in self.readings.items() if reading.state]


def message(response: Response) -> str:
    assert response.error is not None
    return response.error.message


@pytest.mark.parametrize("fields", [{"state": True}, {"cycle": 0}, {"state": True, "voltage_limit": 1, "ramp": 100}])
def test_on_is_refused_unless_all_that_the_switch_reaches_are_named(fields: dict[str, Any]) -> None:
    with Unit(OneSwitch()) as unit:
        with pytest.raises(Refusal, match="channel 1 of psu1 has one switch with channel 2, which would be turned on"):
            unit.send(1, "a", **fields)
        assert unit.driver.writes == []
        assert unit.ask(3, "b", **fields) == "ok"  # it has a switch of its own
        assert unit.ask(1, "c", voltage_limit=2) == "ok"


def test_a_whole_unit_is_turned_on() -> None:
    with Unit(OneSwitch([frozenset((1, 2, 3))])) as unit:
        assert unit.ask(None, "on", state=True) == "ok"
        assert unit.driver.writes == [Write("state", (1, 2, 3), True)]


def test_off_goes_ahead_and_says_what_else_went_off() -> None:
    driver = OneSwitch([frozenset((1, 2, 3))], ch1=ON, ch2=ON)
    with Unit(driver) as unit:
        assert unit.ask(1, "off", state=False) == "ok"
        response = unit.sheet.response("off")
        assert (response.also_off, json.loads(response.to_json())["also_off"]) == ([2], [2])  # 3 was off
        assert driver.on() == []
        assert unit.sheet.changes(2)[0] == ("state", True, False, "command", "off")
        assert unit.ask(1, "again", state=False) == "ok"
        assert "also_off" not in json.loads(unit.sheet.response("again").to_json())


def test_an_off_of_all_names_no_others() -> None:
    with Unit(OneSwitch(ch1=ON, ch2=ON, ch3=ON)) as unit:
        assert unit.ask(None, "off", state=False) == "ok"
        assert unit.sheet.response("off").also_off == []


def test_the_rest_of_an_off_may_be_wrong() -> None:
    driver = OneSwitch(ch1=ON, ch2=ON)
    with Unit(driver) as unit:
        assert unit.ask(1, "a", state=False, voltage_limit=99) == "out_of_range"
        assert unit.sheet.response("a").also_off == [2]
        driver.readings.update({1: ON, 2: ON})
        unit.supply.poll_now()
        wait_until(lambda: unit.sheet.states[-2].state is True, "on again")
        assert unit.ask(1, "b", state=False, voltage_limit=2) == "ok"
        assert unit.sheet.response("b").also_off == [2]


def test_offs_that_are_carried_out_as_one_say_it_each() -> None:
    driver = OneSwitch([frozenset((1, 2, 3))], ch1=ON, ch2=ON, ch3=ON)
    with Unit(driver) as unit:
        hold: Hold = driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        for name in ("a", "b"):
            unit.send(1, name, state=False)
        hold.release()
        assert [unit.sheet.response(name).also_off for name in ("a", "b")] == [[2, 3], [2, 3]]
        assert len(driver.writes) == 1


def test_outputs_that_are_coupled_at_the_unit_are_named_too() -> None:
    driver = TalkingDriver()
    driver.conditions = Conditions(coupled=frozenset((1, 3)))
    driver.readings.update({1: ON, 3: ON})

    def couple(call: Call) -> None:
        if call == Write("state", (1,), False):
            driver.readings[3] = OFF

    driver.script = couple
    with Unit(driver) as unit:
        assert unit.ask(1, "off", state=False) == "ok"
        assert unit.sheet.response("off").also_off == [3]
        assert unit.sheet.changes(3)[0] == ("state", True, False, "command", "off")


def test_what_somebody_turned_off_at_the_panel_is_not_laid_to_the_command() -> None:
    driver = OneSwitch(ch1=ON, ch3=ON)

    def at_the_panel(call: Call) -> None:
        if is_write("state")(call):
            driver.readings[3] = OFF

    driver.script = at_the_panel
    with Unit(driver) as unit:
        assert unit.ask(1, "off", state=False) == "ok"
        assert unit.sheet.response("off").also_off == []
        assert unit.sheet.changes(3)[0] == ("state", True, False, "panel", None)


def test_clearing_a_trip_does_not_turn_off_what_runs_on_the_same_switch() -> None:
    driver = OneSwitch(ch1=OFF._replace(tripped="OVP"), ch2=ON)
    with Unit(driver) as unit:
        assert unit.ask(1, "a", clear_protection=True) == "unsupported"
        assert "has one switch with 2, which would be turned off too" in message(unit.sheet.response("a"))
        assert driver.writes == []
        assert unit.ask(None, "off", state=False) == "ok"
        assert unit.ask(1, "b", clear_protection=True) == "ok"
        assert driver.readings[1].tripped is None


def test_the_loss_of_the_broker_turns_off_the_others_and_the_log_said_so(caplog: pytest.LogCaptureFixture) -> None:
    driver = OneSwitch([frozenset((1, 2, 3))], ch1=ON, ch2=ON, ch3=ON)
    settings = {1: DefaultSettings(on_broker_loss="off", broker_loss_after=0.0)}
    with caplog.at_level(logging.WARNING), Unit(driver, channels=settings) as unit:
        assert "channel 1 has on_broker_loss: off; its switch turns off channels 2 and 3 too" in caplog.text
        unit.supply.broker_gone(time.monotonic())
        wait_until(lambda: not driver.on(), "off")
        wait_until(lambda: bool(unit.sheet.changes(3)), "the event")
        assert unit.sheet.changes(3)[0] == ("state", True, False, "agent", None)


def test_nothing_is_said_where_all_are_to_go_off(caplog: pytest.LogCaptureFixture) -> None:
    settings = {index: DefaultSettings(on_broker_loss="off") for index in (1, 2)}
    with caplog.at_level(logging.WARNING), Unit(OneSwitch(), channels=settings):
        assert "its switch" not in caplog.text


def test_an_output_without_a_switch_does_not_keep_the_others_from_being_turned_on() -> None:
    driver = OneSwitch()
    fixed = replace(driver.profile.outputs[2], settings=frozenset())
    driver.profile = replace(driver.profile, outputs=(*driver.profile.outputs[:2], fixed))
    driver.readings[3] = ON
    with Unit(driver) as unit:
        assert unit.ask(None, "on", state=True) == "ok"
        assert unit.ask(None, "off", state=False) == "unsupported"  # done, but one output is on still
        assert message(unit.sheet.response("off")).startswith("it was turned off, but channel 3 of psu1 has no state")
        assert driver.writes == [Write("state", (1, 2), True), Write("state", (1, 2), False)]
        with pytest.raises(Refusal, match="has no state"):
            unit.send(3, "no", state=True)


def test_a_unit_without_any_switch_is_not_turned_on() -> None:
    driver = OneSwitch()
    driver.profile = replace(
        driver.profile, outputs=tuple(replace(one, settings=frozenset()) for one in driver.profile.outputs)
    )
    with Unit(driver) as unit, pytest.raises(Refusal, match="it can only be watched"):
        unit.send(None, "no", state=True)

"""Writes whose complaints come in the same message: what an off has to wait for, and what a refusal ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agent.instruments.driver import LinkError, Write
from agent.simulator import Quirks, Simulator
from tests.lab import Bench, unit, wait_until
from tests.support.messages import writes_in
from tests.unit.fakedriver import Call, TalkingDriver, Unit, is_write


class CheckingDriver(TalkingDriver):
    """One that asks for errors in the message of a write. ``together``: the writes of which it was asked to."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.together: list[Write] = []

    def write_checked(self, write: Write) -> list[str] | None:
        self.together.append(write)
        self.write(write)
        queue, self.queue = self.queue, []
        return queue


def exchanges(driver: CheckingDriver, first: Write) -> list[Call]:
    """The calls from a write on."""
    return driver.calls[driver.calls.index(first) :]


def begun_ramp(unit: Unit, to: float) -> Any:
    """Output 1 is on at 1 V, and its ramp has sent the first step, which the unit takes when this is released."""
    unit.set_at_the_panel(1, state=True, voltage_limit=1.0)
    hold = unit.driver.hold(is_write("voltage_limit"))
    unit.send(1, "ramp", voltage_limit=to, ramp=1.0)
    hold.wait()
    return hold


def test_all_but_the_last_write_before_a_look_are_checked_with_it() -> None:
    with Unit(CheckingDriver()) as unit:
        driver = unit.driver
        assert isinstance(driver, CheckingDriver)
        payload = {"voltage_limit": 3, "current_limit": 1, "voltage_protection": 6.6, "state": True}
        assert unit.ask(1, "a", **payload) == "ok"
        on, *settings = sorted(driver.writes, key=lambda write: write.setting != "state")
        assert driver.together == settings[:-1]
        assert on.setting == "state"
        assert "complaints" not in driver.calls


def test_an_off_is_never_checked_with_itself() -> None:
    """Not even where other writes come behind it."""
    with Unit(CheckingDriver()) as unit:
        driver = unit.driver
        assert isinstance(driver, CheckingDriver)
        unit.set_at_the_panel(1, state=True, voltage_limit=3.0)
        assert unit.ask(1, "a", cycle=0, current_limit=1, voltage_limit=2) == "ok"
        unit.set_at_the_panel(1, state=False, tripped="OVP")
        assert unit.ask(1, "b", clear_protection=True) == "ok"
        assert unit.ask(1, "c", state=False, voltage_limit=1, current_limit=0.5) == "ok"
        assert [w for w in driver.writes if w.setting == "state" and not w.value]
        assert not [w for w in driver.together if w.setting == "state"]


def test_an_off_waits_for_one_message_of_a_ramp() -> None:
    with Unit(CheckingDriver()) as unit:
        hold = begun_ramp(unit, to=5)
        under_way = len(unit.driver.calls)
        unit.send(1, "off", state=False)
        unit.send(2, "off 2", state=False)
        hold.release()
        assert (unit.sheet.code("off"), unit.sheet.code("off 2")) == ("ok", "ok")
        assert unit.sheet.code("ramp") == "superseded"
        assert unit.driver.calls[under_way] == Write("state", (1,), False)


def test_an_off_waits_for_no_question_where_the_unit_takes_two_messages() -> None:
    with Unit(TalkingDriver()) as unit:
        hold = begun_ramp(unit, to=5)
        under_way = len(unit.driver.calls)
        unit.send(1, "off", state=False)
        hold.release()
        assert (unit.sheet.code("off"), unit.sheet.code("ramp")) == ("ok", "superseded")
        assert unit.driver.calls[under_way] == Write("state", (1,), False)


@pytest.mark.parametrize("driver", [CheckingDriver, TalkingDriver])
def test_an_off_of_another_output_comes_between_two_steps(driver: Callable[[], TalkingDriver]) -> None:
    with Unit(driver()) as unit:
        hold = begun_ramp(unit, to=1.05)
        under_way = len(unit.driver.calls)
        unit.send(2, "off", state=False)
        hold.release()
        assert (unit.sheet.code("off"), unit.sheet.code("ramp")) == ("ok", "ok")
        left = unit.driver.calls[under_way:]
        # Two messages: else the complaint about the step would be taken for one about the off.
        expected = [] if driver is CheckingDriver else ["complaints"]
        assert left[: len(expected) + 1] == [*expected, Write("state", (2,), False)]
        assert unit.driver.readings[1].voltage_limit == 1.05


@pytest.mark.parametrize("fields", [{"voltage_limit": 3, "ramp": 100}, {"current_limit": 0.3, "voltage_limit": 3}])
def test_a_refusal_ends_the_command_and_the_truth_is_read(fields: dict[str, Any]) -> None:
    driver = CheckingDriver()
    driver.answer = lambda write: '-222,"Data out of range"'
    with Unit(driver) as unit:
        assert unit.ask(1, "a", **fields) == "instrument_error"
        (refused,) = driver.together
        assert exchanges(driver, refused) == [refused, "poll"]
        assert '-222,"Data out of range"' in unit.sheet.response("a").model_dump_json().replace("\\", "")


@pytest.mark.usefixtures("quick")
def test_a_link_that_breaks_leaves_it_uncertain_and_who_was_replaced_is_told() -> None:
    driver = CheckingDriver()
    with Unit(driver) as unit:
        unit.set_at_the_panel(1, state=True, voltage_limit=1.0)
        unit.send(1, "ramp", voltage_limit=5, ramp=1.0)
        wait_until(lambda: driver.together, "the ramp")

        def breaking(call: Call) -> None:
            if call == Write("current_limit", (1,), 0.05):
                raise LinkError("no answer: timeout")

        driver.script = breaking
        assert unit.ask(1, "b", voltage_limit=3, current_limit=0.05) == "uncertain"
        assert unit.sheet.code("ramp") == "superseded"


# With real links.

CURRENT = "[SOURce:]CURRent[:LEVel][:IMMediate][:AMPLitude]"


TRANSPORTS = ["socket", "vxi11", "hislip"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("resumes", [False, True])
def test_a_unit_that_refuses_a_setting_by_a_command_error(
    make_bench: Callable[..., Bench], transport: str, resumes: bool
) -> None:
    """It answers the question behind it, or drops that: the sender is told the refusal, and the unit goes on being served."""
    quirks = Quirks(read_only=(CURRENT,), resumes=resumes)
    simulator = Simulator(quirks=quirks, socket_port=0, vxi11_port=0, hislip_port=0).start()
    entry = unit("psu1", simulator, uri=simulator.resources[transport], pyvisa_args={"timeout": 1000})
    bench = make_bench([simulator], [entry])
    told = bench.observer.count("psu/psu1/status")
    for number in range(2):
        simulator.instrument.clear_log()
        response = bench.observer.ask("psu/psu1/1/set", {"id": f"{number}", "current_limit": 0.5, "voltage_limit": 2})
        assert response["error"]["code"] == "instrument_error", response
        assert '-113,"Undefined header"' in json.dumps(response).replace("\\", "")
        log = simulator.instrument.log
        assert log.count("*IDN?") == (number == 0 and not resumes)
        assert (writes_in(log), simulator.instrument.channels[1].settings.voltage) == (["CURR 0.5,(@1)"], 0.0)
        assert ("CURR 0.5,(@1);:SYST:ERR?" in log) == (resumes or number == 0)
    response = bench.observer.ask("psu/psu1/1/set", {"id": "2", "voltage_protection": 6, "voltage_limit": 2})
    assert response["ok"], response
    assert bench.observer.count("psu/psu1/status") == told


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.usefixtures("quick")
def test_an_answer_that_is_lost_behind_a_setting_is_no_refusal(
    make_bench: Callable[..., Bench], transport: str
) -> None:
    simulator = Simulator(socket_port=0, vxi11_port=0, hislip_port=0).start()
    entry = unit("psu1", simulator, uri=simulator.resources[transport], pyvisa_args={"timeout": 500})
    bench = make_bench([simulator], [entry])
    lost = iter([True])

    def lose(message: str, answer: str | None) -> str | None:
        return None if message.startswith("VOLT 2,(@1);:") and next(lost, False) else answer

    simulator.tamper = lose
    mark = bench.observer.mark()
    command = {"voltage_limit": 2, "current_limit": 0.5}
    simulator.instrument.execute("CURR 0.2,(@1)")
    simulator.instrument.execute("VOLT 3,(@1)")
    assert bench.observer.code("psu/psu1/1/set", {"id": "a", **command}) == "uncertain"
    state = bench.observer.wait_state("psu1", after=mark, online=True, voltage_limit=2.0)
    assert state["voltage_limit"] == simulator.instrument.channels[1].settings.voltage == 2.0
    assert bench.observer.ask("psu/psu1/1/set", {"id": "b", **command})["ok"]
    assert "VOLT 2,(@1);:SYST:ERR?" in simulator.instrument.log

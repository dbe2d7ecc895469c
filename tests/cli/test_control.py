"""set against a real broker, the real daemon and a simulated supply."""

from __future__ import annotations

import json
import re

import pytest

from agent.cli.main import cli
from agent.client.address import Address
from agent.client.connection import Client
from agent.protocol import quantities
from tests.cli.lab import Lab
from tests.support.waiting import wait_until


def test_set_is_carried_out_and_printed(lab: Lab) -> None:
    result = lab.call("set", "psu1/2", "--state", "on", "--voltage-limit", "4.5", "--current-limit", "0.25")
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.fullmatch(r"psu1/2 CH2: ON \d.* \(set 4.5000 V 0.2500 A\)\n", result.stdout)
    wait_until(lambda: lab.get("psu1/2")["voltage_limit"] == 4.5, "the setting")


def test_set_by_name_and_as_json(lab: Lab) -> None:
    result = lab.call("set", "psu1/VDD", "--voltage-limit", "1.5", "--id", "mine-1", "--json")
    response = json.loads(result.stdout)
    assert (result.exit_code, response["ok"], response["id"], response["index"]) == (0, True, "mine-1", 1)
    assert response["result"]["voltage_limit"] == 1.5


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["psu1/1", "--voltage-limit", "5.5"], "limit_exceeded"),
        (["psu1/2", "--voltage-limit", "50"], "out_of_range"),
        (["psu1/2", "--voltage-limit", "-1"], "out_of_range"),
        (["psu1/9", "--state", "off"], "unknown_channel"),
        (["psu1/nope", "--state", "off"], "unknown_channel"),
        (["psu2/1", "--state", "on"], "offline"),
    ],
)
def test_a_refusal_is_told_with_its_code(lab: Lab, arguments: list[str], code: str) -> None:
    result = lab.call("set", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert " refused: " in result.stderr
    assert f"({code})" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    response = json.loads(lab.call("set", *arguments, "--json").stdout)
    assert response["error"]["code"] == code


def test_a_repeated_id_is_a_duplicate(lab: Lab) -> None:
    assert lab.call("set", "psu1/2", "--current-limit", "0.2", "--id", "twice").exit_code == 0
    result = lab.call("set", "psu1/2", "--current-limit", "0.3", "--id", "twice")
    assert result.exit_code == 1
    assert "(duplicate)" in result.stderr


def test_every_field(lab: Lab) -> None:
    arguments = ["--voltage-protection", "20", "--current-protection", "on", "--voltage-limit", "3", "--ramp", "100"]
    result = lab.call("set", "psu1/3", *arguments, "--expires-in", "60", "--json")
    response = json.loads(result.stdout)
    assert result.exit_code == 0
    state = response["result"]
    assert (state["voltage_protection"], state["current_protection"], state["voltage_limit"]) == (20, True, 3)
    assert lab.call("set", "psu1/3", "--current-protection", "off", "--clear-protection").exit_code == 0
    assert lab.call("set", "psu1/3", "--cycle", "0").exit_code == 0
    assert lab.get("psu1/3")["state"] is True


def test_everything_that_can_be_commanded_has_an_option() -> None:
    names = {parameter.name for parameter in cli.commands["set"].params}
    assert names >= set(quantities.COMMANDED)


def test_a_whole_unit(lab: Lab) -> None:
    result = lab.call("set", "psu1", "--state", "on")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["psu1/1", "psu1/2", "psu1/3"]
    assert lab.call("set", "psu1", "--state", "off").exit_code == 0
    assert not any(state["state"] for state in lab.get("psu1"))


def test_everything_off(lab: Lab) -> None:
    assert lab.call("set", "psu1/2", "--state", "on").exit_code == 0
    result = lab.call("set", "all", "--state", "off", "--json")
    responses = {response["psu"]: response for response in map(json.loads, result.stdout.splitlines())}
    # psu2 is not there: nobody can say that it is off.
    assert result.exit_code == 1
    assert responses["psu1"]["ok"] is True
    assert responses["psu2"]["error"]["code"] == "offline"
    assert not any(state["state"] for state in lab.get("psu1"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["psu1/2"], "asks for nothing"),
        (["all", "--state", "on"], "OFF and nothing else"),
        (["all/1", "--state", "off"], "`all` has no channels"),
        (["psu1", "--voltage-limit", "5"], "a whole unit takes state and clear_protection only"),
        (["psu1/2", "--ramp", "1"], "ramp needs a voltage_limit"),
        (["psu1/2", "--state", "on", "--id", "x" * 129], "1 to 128 characters"),
        (["psu1/2", "--voltage-limit", "nan"], "not a number"),
        (["psu1/2", "--voltage-limit", "5,5"], "'5,5' is not a number; write 5.5."),
        (["psu1/2", "--cycle", "2s"], "'2s' is not a number; write 2, the number alone."),
    ],
)
def test_what_can_t_be_is_not_sent(lab: Lab, arguments: list[str], message: str) -> None:
    result = lab.call("set", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_nobody_listens(lab: Lab) -> None:
    result = lab.call("set", "psu9/1", "--state", "off", "--timeout", "1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "There is no unit psu9; known are psu1 and psu2." in result.stderr
    for command in (("lease", "psu9", "--for", "60"), ("takeover", "psu9", "--timeout", "1")):
        assert "known are psu1 and psu2." in lab.call(*command).stderr


def test_nobody_answers(lab: Lab) -> None:
    """A client listens that is no agent."""
    with Client(Address.parse(lab.url)) as listener:
        listener.subscribe(["psu/psu8/#"])
        result = lab.call("set", "psu8/1", "--state", "off", "--timeout", "0.3")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nobody answered for psu8/1 within 0.3 s" in result.stderr
    assert "is not known. There is no unit psu8; known are psu1 and psu2." in result.stderr


# The last test ends the agent.


def test_an_agent_that_is_gone_is_shown_as_such(lab: Lab) -> None:
    lab.agent.process.kill()
    lab.agent.process.wait()
    wait_until(lambda: not lab.get("psu1/1")["online"], "the end of the agent")
    state = lab.get("psu1/1")
    assert state["voltage"] is None
    assert state["state"] is None
    result = lab.call("set", "all", "--state", "off", "--timeout", "1")
    assert result.exit_code == 2

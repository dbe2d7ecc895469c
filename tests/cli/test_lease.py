"""lease, and the leases in set, get and watch, against a real broker, the real daemon and a simulated supply."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from agent.client.leases import default_holder
from tests.cli.lab import Lab
from tests.commandline import Running, invoke
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def free(lab: Lab) -> Iterator[None]:
    yield
    for place in ("psu1/2", "psu1"):
        assert lab.call("lease", place, "--release", "--force").exit_code == 0


def test_take_renew_and_give_back(lab: Lab) -> None:
    result = lab.call("lease", "psu1", "--for", "2h", "--holder", "ci-42")
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.fullmatch(r"psu1: reserved for ci-42 until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", result.stdout)
    renewed = json.loads(lab.call("lease", "psu1", "--for", "3h", "--holder", "ci-42", "--json").stdout)
    assert (renewed["ok"], renewed["result"]["holder"]) == (True, "ci-42")
    result = lab.call("lease", "psu1", "--for", "90", "--holder", "ci-43")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "psu1 is reserved for ci-42 until" in result.stderr
    assert "(claimed)" in result.stderr
    assert lab.call("lease", "psu1", "--release", "--holder", "ci-43").exit_code == 1
    assert lab.call("lease", "psu1", "--for", "90", "--holder", "ci-43", "--force").exit_code == 0
    result = lab.call("lease", "psu1", "--release", "--holder", "ci-43")
    assert (result.exit_code, result.stdout) == (0, "psu1: free\n")


def test_set_names_the_holder(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab.call("lease", "psu1/CH2", "--for", "2h").exit_code == 0
    assert lab.get("psu1/2")["lease"]["holder"] == default_holder()
    result = lab.call("set", "psu1/2", "--voltage-limit", "1")
    assert result.exit_code == 1
    assert f"channel 2 of psu1 is reserved for {default_holder()} until" in result.stderr
    assert lab.call("set", "psu1/2", "--voltage-limit", "1", "--lease").exit_code == 0
    assert lab.call("set", "psu1/2", "--lease", "--voltage-limit", "1").exit_code == 0
    assert lab.call("set", "psu1/2", "--voltage-limit", "1", "--lease", default_holder()).exit_code == 0
    assert lab.call("set", "psu1/2", "--voltage-limit", "1", "--lease", "ci-42").exit_code == 1
    assert lab.call("set", "psu1/2", "--state", "off").exit_code == 0
    monkeypatch.setenv("PSU_AGENT_HOLDER", "ci-42")
    assert lab.call("set", "psu1/2", "--voltage-limit", "1", "--lease").exit_code == 1
    assert lab.call("lease", "psu1/2", "--for", "60", "--force").exit_code == 0
    assert lab.call("set", "psu1/2", "--voltage-limit", "1", "--lease").exit_code == 0


def test_get_shows_it(lab: Lab) -> None:
    assert lab.get("psu1/2")["lease"] is None
    assert lab.call("lease", "psu1", "--for", "2h", "--holder", "ci-42").exit_code == 0
    assert lab.call("lease", "psu1/2", "--for", "2h", "--holder", "ann", "--force").exit_code == 0
    found = {state["index"]: state["lease"] for state in lab.get("psu1")}
    assert {index: (lease["holder"], lease["index"]) for index, lease in found.items()} == {
        1: ("ci-42", None),
        2: ("ann", 2),
        3: ("ci-42", None),
    }
    assert found[1]["until"] > found[1]["since"]


def test_watch_has_a_line_for_it(lab: Lab) -> None:
    with Running("watch", "psu1/2", "--broker", lab.url) as watch:
        watch.wait_for("psu1/2 CH2:")
        assert lab.call("lease", "psu1/2", "--for", "2h", "--holder", "ci-42").exit_code == 0
        watch.wait_for(", reserved for ci-42 until ")
        assert watch.end() == 0
    with Running("watch", "--json", "--broker", lab.url) as watch:
        line = json.loads(watch.wait_for('"index":2,"name":"CH2"'))
        assert line["lease"]["holder"] == "ci-42"
        assert lab.call("lease", "psu1/2", "--release", "--holder", "ci-42").exit_code == 0
        wait_until(lambda: json.loads(watch.wait_for('"index":2,"name":"CH2"'))["lease"] is None, "its end")
        assert watch.end() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["psu1"], "--for TIME"),
        (["psu1", "--for", "2h", "--release"], "--for TIME"),
        (["psu1", "--for", "2 hours"], "such as 90, 15m or 2h"),
        (["psu1", "--for", "8d"], "1 to 604800 s"),
        (["psu1", "--for", "0"], "1 to 604800 s"),
        (["psu1", "--for", "2h", "--holder", "x" * 65], "1 to 64 characters"),
        (["psu1", "--for", "2h", "--holder", ""], "1 to 64 characters"),  # a variable that a script has not set
        (["all", "--for", "2h"], "UNIT or UNIT/CH"),
        (["a b", "--for", "2h"], "names no unit"),
        ([], "UNIT"),
    ],
)
def test_wrong_usage_is_told_and_nothing_sent(arguments: list[str], said: str) -> None:
    result = invoke("lease", *arguments, PSU_AGENT_BROKER="mqtt://127.0.0.1:1")
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_variable_that_is_not_set_is_no_holder() -> None:
    result = invoke("set", "psu1/2", "--state", "on", "--lease", "", PSU_AGENT_BROKER="mqtt://127.0.0.1:1")
    assert result.exit_code == 2
    assert "lease" in result.stderr
    assert "mqtt://" not in result.stderr


def test_a_target_behind_lease_is_taken_for_a_name_and_that_is_told() -> None:
    result = invoke("set", "--lease", "psu1/2", "--state", "on", PSU_AGENT_BROKER="mqtt://127.0.0.1:1")
    assert result.exit_code == 2
    assert "put UNIT[/CH] first" in result.stderr
    assert "Missing argument 'UNIT[/CH]|all'." in invoke("set", "--state", "on").stderr


def test_nobody_there_is_2_and_an_unknown_channel_1(lab: Lab) -> None:
    result = lab.call("lease", "psu9", "--for", "2h")
    assert result.exit_code == 2
    assert "psu9" in result.stderr
    for arguments in (("lease", "psu1/9", "--for", "2h"), ("set", "psu1/9", "--state", "on")):
        result = lab.call(*arguments)
        assert result.exit_code == 1
        assert "psu1/9 refused: psu1 has no channel '9'" in result.stderr

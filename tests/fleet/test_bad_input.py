"""What strangers, clocks and brokers do to who serves a unit: nothing is energised by it, and each is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fleet.lab import BENCHES, SUPPLY, FleetLab, Supply, entry
from tests.lab import wait_until

#: Shifts the clock of the process as a host with a wrong one has it.
_CLOCK = """
import datetime, time
_time, _Datetime = time.time, datetime.datetime
class _Shifted(_Datetime):
    @classmethod
    def now(cls, tz=None):
        return _Datetime.now(tz) + datetime.timedelta(seconds={seconds})
time.time, datetime.datetime = lambda: _time() + {seconds}, _Shifted
"""

STRANGE_NAMES = (
    "#",
    "+",
    "a/+/b",
    "a/#",
    "$share/x/#",
    "",
    " ",
    "\0",
    "\ud800",
    "x" * 70_000,
    "../..",
    "bench1/",
    "a/psu1",
)
STRANGE_NUMBERS: tuple[Any, ...] = (1e308, -1, 0, 10**400, float("nan"), float("inf"), "never", None, [], {})


def forged(unit: str = "psu1", agent: str = "ghost", **fields: Any) -> dict[str, Any]:
    """An info as an agent would publish it."""
    info: dict[str, Any] = {
        "time": "2026-01-01T00:00:00.000Z",
        "agent": agent,
        "psu": unit,
        "online": True,
        "reason": None,
        "model": "E36313A",
        "manufacturer": "Keysight Technologies",
        "serial": "MY61004803",
        "firmware": "1.0",
        "uri": f"TCPIP::{SUPPLY}::5025::SOCKET",
        "poll_interval": 1.0,
        "channels": [],
        "instance": "0123456789abcdef",
        "host": "elsewhere",
        "serves": True,
        "since": "2020-01-01T00:00:00.000Z",
        "settings_for": 20.0,
    }
    return info | fields


def served(fleet: FleetLab, **more: Any) -> Supply:
    """A supply that bench1 serves as ``psu1``."""
    supply = fleet.supply()
    fleet.agent("bench1", [entry(supply)], takeover_after=15, **more).start()
    fleet.wait_serves("bench1")
    return supply


def is_well(fleet: FleetLab, supply: Supply) -> None:
    """It polls, it does an off, and it has no error of its own in the log."""
    fleet.wait_polls(supply, "bench1", 3)
    supply.order("press", 1, "on")
    assert fleet.codes("psu/psu1/1/set", {"state": False}, 1) == ["ok"]
    assert not supply.outputs()[0]
    assert "Traceback" not in (fleet.folder / "bench1" / "agent.log").read_text()


@pytest.mark.parametrize("unit", ["psu1", pytest.param("other", marks=pytest.mark.long)])
def test_a_forged_info_whose_author_is_not_there_changes_nothing(fleet: FleetLab, unit: str) -> None:
    """Neither of the name nor of the supply, neither before the agent starts nor while it serves."""
    for retain in (True, False):
        fleet.observer.send(f"psu/{unit}/info", forged(unit), retain=retain)
    supply = served(fleet)
    fleet.observer.send(f"psu/{unit}/info", forged(unit), retain=True)
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 1.5}, 1) == ["ok"]
    wait_until(lambda: fleet.retained()["psu/psu1/info"]["agent"] == "bench1", "the topic to be as it was")
    is_well(fleet, supply)


@pytest.mark.parametrize("unit", ["psu1", pytest.param("other", marks=pytest.mark.long)])
def test_a_forged_info_whose_author_is_there_can_keep_settings_from_a_unit_and_no_off(
    fleet: FleetLab, unit: str
) -> None:
    supply = served(fleet)
    fleet.observer.send("psu/agents/ghost/status", "online", retain=True)
    fleet.observer.send(f"psu/{unit}/info", forged(unit), retain=True)
    conflict = wait_until(lambda: fleet.info("bench1")["conflict"], "the agent to say so")
    assert (conflict["agent"], conflict["host"]) == ("ghost", "elsewhere")
    wait_until(lambda: "ghost" in (fleet.folder / "bench1" / "agent.log").read_text(), "the log")
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 1.5}, 1) in (["ok"], ["conflict"])
    is_well_or_waits(fleet, supply)
    # Without its author the claim is void.
    fleet.observer.send("psu/agents/ghost/status", "offline", retain=True)
    wait_until(
        lambda: fleet.codes("psu/psu1/1/set", {"voltage_limit": 1.5}, 1) == ["ok"], "settings to be taken again", 40
    )
    is_well(fleet, supply)


def is_well_or_waits(fleet: FleetLab, supply: Supply) -> None:
    supply.order("press", 1, "on")
    assert fleet.codes("psu/psu1/1/set", {"state": False}, 1) == ["ok"]
    assert not supply.outputs()[0]


def test_strange_claims_are_borne(fleet: FleetLab) -> None:
    """Wildcards, levels and anything else in the names, numbers without sense, and very many of them."""
    supply = served(fleet)
    observer = fleet.observer
    for name in (
        "#",
        "+",
        "a/+/b",
        "a/#",
        "$share/x/#",
        "",
        " ",
        "\u0000",
        "\ud800",
        "x" * 70_000,
        "../..",
        "bench1/",
        "psu/psu1",
    ):
        for claim in (
            forged(agent=name),
            forged(instance=name),
            forged(host=name),
            forged(serial=name),
            forged(uri=name),
        ):
            observer.send("psu/psu1/info", json.dumps(claim))
        observer.send("psu/agents/ghost/info", json.dumps({"agent": name, "units": [name, "psu1"], "instance": name}))
    observer.send("psu/agents/ghost/status", "online", retain=True)
    for number in STRANGE_NUMBERS:
        observer.send("psu/psu1/info", json.dumps(forged(settings_for=number, serves=False)))
        observer.send("psu/psu1/info", json.dumps(forged(since=number, serves=False)))
        observer.send("psu/psu1/info", json.dumps(forged(serves=number)))
    for content in (b"\xff\xfe", b"[" * 100_000, b"{}", b"null", b"0", b'{"agent": 1}', b"\x00" * 1_000_000):
        for topic in ("psu/psu1/info", "psu/agents/ghost/info", "psu/agents/ghost/status", "psu/psu1/takeover"):
            observer.send(topic, content)
    for number in range(500):
        observer.post(f"psu/unit{number}/info", json.dumps(forged(f"unit{number}", f"ghost{number}")).encode())
        observer.post(f"psu/agents/ghost{number}/status", b"online")
    observer.send("psu/agents/ghost/status", b"", retain=True)
    wait_until(
        lambda: fleet.codes("psu/psu1/1/set", {"voltage_limit": 1.5}, 1) == ["ok"], "settings to be taken again", 60
    )
    is_well(fleet, supply)


@pytest.mark.parametrize("seconds", [3600, pytest.param(-3600, marks=pytest.mark.long)])
def test_clocks_an_hour_apart_change_nothing(fleet: FleetLab, seconds: int) -> None:
    supply = fleet.supply()
    fleet.agent("bench1", [entry(supply)], takeover_after=15).start()
    fleet.wait_serves("bench1")
    other = fleet.agent("bench2", [entry(supply)], takeover_after=15)
    other.start(before=_CLOCK.format(seconds=seconds))
    fleet.wait_serves("bench2", serves=False)
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 1}) == ["conflict", "ok"]
    assert supply.authors() == ["bench1"]


def test_a_broker_that_comes_back_without_memory_changes_nothing(fleet: FleetLab) -> None:
    supply = served(fleet)
    fleet.agent("bench2", [entry(supply)], takeover_after=15).start()
    fleet.wait_serves("bench2", serves=False)
    for _ in range(2):
        after = fleet.observer.mark()
        fleet.broker.kill()
        fleet.broker.start()
        for bench in ("bench1", "bench2"):
            fleet.observer.wait_agent(bench, after=after)
        fleet.wait_codes("psu/psu1/1/set", {"voltage_limit": 1}, "conflict", "ok")
    assert supply.authors() == ["bench1"]


def test_forged_messages_of_a_living_agent_give_nothing_away(fleet: FleetLab) -> None:
    supply = served(fleet)
    fleet.agent("bench2", [entry(supply)], takeover_after=15).start()
    fleet.wait_serves("bench2", serves=False)
    observer = fleet.observer
    info = fleet.retained()["psu/psu1/info"]
    agent = fleet.retained()["psu/agents/bench1/info"]
    fleet.wait_polls(supply, "bench1", 3)
    told = sum(sent.peer == BENCHES["bench2"] for sent in supply.log())
    for retain in (True, False):
        for topic, content in (
            ("psu/agents/bench1/status", "offline"),
            ("psu/agents/bench1/status", ""),
            ("psu/psu1/info", ""),
            ("psu/psu1/info", info | {"serves": False}),
            ("psu/psu1/info", info | {"serves": False, "instance": "0"}),
            ("psu/agents/bench1/info", agent | {"units": []}),
            ("psu/agents/bench1/info", ""),
        ):
            observer.send(topic, content, retain=retain)
    fleet.wait_polls(supply, "bench1", 80)  # longer than a takeover takes
    assert sum(sent.peer == BENCHES["bench2"] for sent in supply.log()) == told
    retained = fleet.retained()
    assert retained["psu/agents/bench1/status"] == "online"
    assert (retained["psu/psu1/info"]["agent"], retained["psu/psu1/info"]["serves"]) == ("bench1", True)
    assert retained["psu/agents/bench1/info"]["units"] == ["psu1"]
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 1.5}) == ["conflict", "ok"]

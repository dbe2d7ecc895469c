from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.client.fleet import Fleet
from agent.protocol.messages import ChannelState
from agent.protocol.topics import Topics

TIME = "2026-11-23T09:15:02.417Z"


def state(psu: str = "psu1", index: int = 1, **changes: Any) -> bytes:
    values = {
        "time": TIME,
        "seq": 1,
        "agent": "bench",
        "psu": psu,
        "index": index,
        "name": f"CH{index}",
        "model": "E36313A",
        "online": True,
        "state": True,
        "voltage": 4.9998,
        "voltage_limit": 5.0,
        "mode": "CV",
    }
    return json.dumps(values | changes).encode()


def info(psu: str = "psu1", **changes: Any) -> bytes:
    values = {
        "time": TIME,
        "agent": "bench",
        "psu": psu,
        "online": False,
        "reason": "No route to host",
        "model": None,
        "manufacturer": None,
        "serial": None,
        "firmware": None,
        "uri": "TCPIP::a::INSTR",
        "poll_interval": 1.0,
        "channels": [],
    }
    return json.dumps(values | changes).encode()


def agent_info(agent: str, *units: str) -> bytes:
    values = {"time": TIME, "agent": agent, "version": "1", "host": "h", "start_time": TIME, "base_topic": "psu"}
    return json.dumps(values | {"units": units}).encode()


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet(Topics("lab3/psu"))
    fleet.update("lab3/psu/agents/bench/status", b"online")
    fleet.update("lab3/psu/agents/bench/info", agent_info("bench", "psu1"))
    fleet.update("lab3/psu/psu1/status", b"online")
    fleet.update("lab3/psu/psu1/1/state", state())
    return fleet


def test_present(fleet: Fleet) -> None:
    (channel,) = fleet.channels()
    assert (channel.online, channel.voltage) == (True, 4.9998)
    assert fleet.why_absent("psu1") is None
    assert fleet.online_units() == {"psu1"}
    assert fleet.served_by("online") == {"psu1": 1}


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("agents/bench/status", b"offline", "its agent bench is offline"),
        ("psu1/status", b"offline", "the agent can't reach it"),
    ],
)
def test_a_last_value_is_never_passed_off_as_a_present_one(
    fleet: Fleet, topic: str, payload: bytes, reason: str
) -> None:
    fleet.update(f"lab3/psu/{topic}", payload)
    (channel,) = fleet.channels("psu1")
    known = {"time", "seq", "agent", "psu", "index", "name", "model", "online"}
    assert channel.online is False
    assert {name for name, value in channel if value is not None} == known
    assert fleet.why_absent("psu1") == reason
    assert fleet.online_units() == set()


def test_without_a_status_nothing_is_present() -> None:
    fleet = Fleet(Topics("psu"))
    fleet.update("psu/psu1/1/state", state())
    assert fleet.why_absent("psu1") == "no agent tells its status"
    assert fleet.channels()[0].voltage is None
    assert fleet.why_absent("psu2") == "nothing is known of it"


def test_why_the_unit_is_offline(fleet: Fleet) -> None:
    fleet.update("lab3/psu/psu1/status", b"offline")
    fleet.update("lab3/psu/psu1/info", info())
    assert fleet.why_absent("psu1") == "No route to host"


def test_a_unit_that_moved_to_another_agent_is_spoken_for_by_that_one(fleet: Fleet) -> None:
    fleet.update("lab3/psu/agents/bench/status", b"offline")
    fleet.update("lab3/psu/agents/other/status", b"online")
    fleet.update("lab3/psu/psu1/1/state", state(agent="other", time="2026-11-23T09:15:03.000Z"))
    assert fleet.why_absent("psu1") is None


OTHER = {"agent": "bench2", "instance": "i2", "host": "host2", "unit": "psu7", "why": "supply"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"conflict": OTHER}, "agent bench2 on host2 has the same supply as psu7; take it out of one"),
        ({"conflict": OTHER | {"why": "name"}}, "agent bench2 on host2 has another supply of this name; give one"),
        (
            {"conflict": OTHER | {"why": "agent", "unit": None}},
            "agent bench2 on host2 has the same name as this agent;",
        ),
        ({"conflict": OTHER | {"host": None}}, "agent bench2 on an unknown host has the same supply"),
        ({"conflict": OTHER, "reason": "it is contested"}, "it is contested"),
        ({"reason": None}, None),
    ],
)
def test_another_agent_claims_it_too(fleet: Fleet, changes: dict[str, Any], text: str | None) -> None:
    assert fleet.conflict("psu1") is None
    assert fleet.conflict("psu9") is None
    fleet.update("lab3/psu/psu1/info", info(online=True, **{"reason": None, **changes}))
    found = fleet.conflict("psu1")
    assert found == text if text is None else found is not None and found.startswith(text)


def test_an_agent_that_leaves_the_name_does_not_speak_for_the_unit(fleet: Fleet) -> None:
    mine = info(online=True, reason=None, instance="i1", conflict=OTHER | {"why": "name"})
    fleet.update("lab3/psu/psu1/info", mine)
    fleet.update("lab3/psu/psu1/info", info(agent="bench2", instance="i2", serves=False, reason="bench has the name"))
    assert fleet.units["psu1"].agent == "bench"
    assert fleet.why_absent("psu1") is None
    # The one that served it gives it up, or is gone: the other one speaks again.
    fleet.update("lab3/psu/psu1/info", info(instance="i1", serves=False, reason="bench2 has it"))
    fleet.update("lab3/psu/psu1/info", info(agent="bench2", instance="i2", reason=None))
    known = fleet.units["psu1"].info
    assert known is not None
    assert known.agent == "bench2"


def test_how_many_agents_have_a_unit_of_a_name(fleet: Fleet) -> None:
    fleet.update("lab3/psu/agents/bench2/status", b"online")
    fleet.update("lab3/psu/agents/bench2/info", agent_info("bench2", "psu1", "psu2", "psu2"))
    fleet.update("lab3/psu/agents/bench3/info", agent_info("bench3", "psu1"))
    assert fleet.served_by("online") == {"psu1": 2, "psu2": 1}


def test_what_is_taken_back_is_gone(fleet: Fleet) -> None:
    fleet.update("lab3/psu/psu1/1/state", b"")
    assert fleet.channels() == []
    fleet.update("lab3/psu/psu1/status", b"")
    assert fleet.units == {}


def test_order_and_choice() -> None:
    fleet = Fleet(Topics("psu"))
    for unit in ("psu10", "psu2", "a", "psu02"):
        for index in (2, 1):
            fleet.update(f"psu/{unit}/{index}/state", state(unit, index, name="VDD" if index == 2 else "CH1"))
    assert [f"{channel.psu}/{channel.index}" for channel in fleet.channels()] == [
        *("a/1", "a/2", "psu02/1", "psu02/2", "psu2/1", "psu2/2", "psu10/1", "psu10/2")
    ]
    assert [channel.index for channel in fleet.channels("psu2", "VDD")] == [2]
    assert [channel.index for channel in fleet.channels("psu2", "1")] == [1]
    assert fleet.channels("psu9") == []


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("psu/psu1/1/state", b"{}"),
        ("psu/psu1/1/state", b"\xff"),
        ("psu/psu1/2/state", state()),
        ("psu/other/1/state", state()),
        ("psu/psu1/status", b"maybe"),
        ("psu/psu1/info", b"[]"),
        ("psu/agents/a/info", b"x"),
        ("elsewhere/psu1/1/state", state()),
        ("psu/psu1/1/event", b"{}"),
    ],
)
def test_what_others_write_there_is_passed_over(topic: str, payload: bytes) -> None:
    fleet = Fleet(Topics("psu"))
    assert fleet.update(topic, payload) is None
    assert fleet.channels() == []


_levels = st.sampled_from(["agents", "psu1", "1", "2", "state", "status", "info", "²", "9" * 5000, "", "x"])
_payloads = st.one_of(st.binary(max_size=20), st.sampled_from([b"online", b"offline", b"", state(), info()]))


@given(st.lists(st.tuples(st.lists(_levels, max_size=4), _payloads), max_size=20))
def test_any_messages_in_any_order(messages: list[tuple[list[str], bytes]]) -> None:
    fleet = Fleet(Topics("psu"))
    for levels, payload in messages:
        fleet.update("/".join(["psu", *levels]), payload)
    for channel in fleet.channels():
        assert isinstance(channel, ChannelState)
        assert channel.voltage is None or fleet.why_absent(channel.psu) is None


def lease(psu: str = "psu1", index: int | None = None, **changes: Any) -> bytes:
    values = {
        "time": TIME,
        "agent": "bench",
        "psu": psu,
        "index": index,
        "holder": "ci-42",
        "since": TIME,
        "until": TIME,
    }
    return json.dumps(values | changes).encode()


def test_the_lease_of_a_channel_is_its_own_else_its_units() -> None:
    fleet = Fleet(Topics("psu"))
    fleet.update("psu/agents/bench/status", b"online")
    assert fleet.update("psu/psu1/lease", lease()) == ("psu1", None)
    assert fleet.update("psu/psu1/2/lease", lease(index=2, holder="ann")) == ("psu1", None)

    def holders() -> list[str | None]:
        return [None if (found := fleet.lease_of("psu1", i)) is None else found.holder for i in (1, 2, None)]

    assert holders() == ["ci-42", "ann", "ci-42"]
    fleet.update("psu/psu1/2/lease", lease(index=2, holder=None, since=None, until=None))
    assert holders() == ["ci-42"] * 3
    # An agent that is away can't tell that it has ended.
    fleet.update("psu/agents/bench/status", b"offline")
    assert holders() == [None] * 3
    fleet.update("psu/psu1/lease", lease(until="9999-12-31T23:59:59Z"))
    assert holders() == ["ci-42"] * 3
    fleet.update("psu/psu1/lease", b"")
    assert holders() == [None] * 3


@pytest.mark.parametrize("payload", [b"garbage", b"{}", lease("psu2"), lease(index=2), lease(until="tomorrow")])
def test_a_lease_that_is_none_is_ignored(payload: bytes) -> None:
    fleet = Fleet(Topics("psu"))
    fleet.update("psu/agents/bench/status", b"online")
    fleet.update("psu/psu1/lease", payload)
    assert fleet.lease_of("psu1") is None
    assert fleet.units == {}

"""Messages that are forged, or no messages of an agent at all: nothing is given away, and they are corrected."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.report import Report
from agent.service.fleet.claims import read_claim
from agent.unit.standing import Part
from tests.properties import examples
from tests.service.fleet.test_cases import another, forge, last_info, part, supply
from tests.service.fleet.world import TAKEOVER_AFTER, TOPICS, World

FORGERIES: dict[str, dict[str, Any]] = {
    "of a living agent that has no such unit": {"agent": "c", "instance": "i0"},
    "of an agent that never was": {"agent": "nobody", "instance": "i0"},
    "of an agent with a wildcard in its name": {"agent": "+/#", "instance": "i0"},
    "years old": {"agent": "nobody", "since": "1999-01-01T00:00:00Z"},
    "of a time without a zone": {"agent": "nobody", "since": "0001-01-01T00:00:00"},
    "with a claim for all time": {"agent": "nobody", "settings_for": 1e300},
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_info_takes_nothing_from_anybody(name: str) -> None:
    world = World()
    first = world.join("a", supply())
    world.join("c", another("psu9"))
    info = json.loads(last_info(world).to_json())
    forge(world, TOPICS.info("psu1"), {**info, **FORGERIES[name]})
    forge(world, TOPICS.info("elsewhere"), {**info, "psu": "elsewhere", **FORGERIES[name]})
    world.flow()
    world.wait(5)
    assert first.may_set("psu1")
    assert last_info(world).agent == "a"  # it was repaired
    first.cut()
    first.disconnect()
    first.connect()
    world.flow()
    world.wait(1)
    assert first.may_set("psu1")


def test_an_agent_that_gives_a_unit_up_does_not_take_its_own_last_words_for_somebody_elses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    agent = world.join("a", supply())
    published: list[str] = []
    publish = world.broker.publish

    def noted(topic: str, payload: bytes, retain: bool) -> None:
        published.append(topic)
        publish(topic, payload, retain)

    monkeypatch.setattr(world.broker, "publish", noted)
    agent.outlet.report(Report(agent.units["psu1"].info("a").model_copy(update={"serves": False, "online": False})))
    world.flow()
    world.wait(3)
    assert not last_info(world).serves
    assert published == [TOPICS.info("psu1")]
    forge(world, TOPICS.info("psu1"), {**json.loads(last_info(world).to_json()), "host": "another"})
    world.flow()
    assert last_info(world).host == "host-a"


@pytest.mark.parametrize(
    ("topic", "change"),
    [
        (TOPICS.info("psu1"), None),
        (TOPICS.info("psu1"), {"serves": False}),
        (TOPICS.info("psu1"), {"serves": False, "instance": "another"}),
        (TOPICS.info("psu1"), {"settings_for": 0}),
        (TOPICS.info("psu1"), {"serial": "SN333"}),
        (TOPICS.agent_status("a"), None),
        (TOPICS.agent_status("a"), b"offline"),
        (TOPICS.agent_info("a"), None),
        (TOPICS.agent_info("a"), {"units": []}),
        (TOPICS.agent_info("a"), {"units": [], "instance": "another"}),
        (TOPICS.agent_info("a"), {"units": [], "asks": True}),
    ],
)
def test_messages_forged_in_the_name_of_a_living_agent_give_nothing_away(
    topic: str, change: dict[str, Any] | bytes | None
) -> None:
    world = World()
    first = world.join("a", supply())
    second = world.join("b", supply("dut"))
    genuine = world.broker.retained[topic]
    for _ in range(3):
        payload: bytes | dict[str, Any] = change if isinstance(change, bytes) else b""
        if isinstance(change, dict):
            payload = {**json.loads(genuine), **change}
        forge(world, topic, payload)
        world.flow()
        world.wait(2)
    world.wait(2 * TAKEOVER_AFTER)
    assert first.may_set("psu1")
    assert part(second, "dut") is Part.YIELDS_SUPPLY
    assert world.broker.retained[TOPICS.agent_status("a")] == b"online"
    assert last_info(world).serves
    assert last_info(world).serial == "SN111"


@pytest.mark.parametrize("payload", [b"no JSON", b"{}", b"[]", b'{"agent": 1}', b"\xff\xfe", b"9" * 5000])
def test_what_is_no_info_is_corrected_and_changes_nothing(payload: bytes) -> None:
    world = World()
    first = world.join("a", supply())
    forge(world, TOPICS.info("psu1"), payload)
    world.flow()
    world.wait(2)
    assert first.may_set("psu1")
    assert last_info(world).agent == "a"


FIELDS = [
    "agent",
    "psu",
    "online",
    "uri",
    "model",
    "manufacturer",
    "serial",
    "instance",
    "host",
    "serves",
    "since",
    "conflict",
]
VALUES = (
    st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.dictionaries(st.text(max_size=9), st.text())
)


@examples(200)
@given(
    st.dictionaries(st.sampled_from(FIELDS), VALUES),
    st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59+14:00", 1e30, None]),
)
def test_no_info_raises_an_exception(fields: dict[str, Any], since: object) -> None:
    base = json.loads(supply().info("x").to_json())
    claim = read_claim("psu1", json.dumps({**base, "since": since, **fields}).encode())
    if claim is not None:
        assert claim.order <= claim.order
        assert list(claim.keys)
        assert claim.conflict("name").agent.isprintable()
        assert list(claim.meets(claim))


@given(st.binary(max_size=60))
def test_no_bytes_raise_an_exception(payload: bytes) -> None:
    assert read_claim("psu1", payload) is None

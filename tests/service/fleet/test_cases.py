"""Single cases of who serves a unit, on a simulated broker."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.protocol.errors import Refusal
from agent.protocol.messages import UnitInfo
from agent.service.fleet import deciding
from agent.service.fleet.claims import own_claim
from agent.unit.standing import Part
from tests.service.fleet.world import TAKEOVER_AFTER, TOPICS, Agent, Broker, Unit, World

GONE_FOR_GOOD = TAKEOVER_AFTER + deciding.PROBATION + 1


def supply(name: str = "psu1", serial: str = "SN111", uri: str = "TCPIP::10.0.0.1::INSTR", **more: Any) -> Unit:
    return Unit(name, serial, uri, **more)


def another(name: str = "psu1") -> Unit:
    return supply(name, "SN222", "TCPIP::10.0.0.2::INSTR")


def part(agent: Agent, unit: str = "psu1") -> Part:
    return agent.standings[unit].part


def last_info(world: World, unit: str = "psu1") -> UnitInfo:
    return UnitInfo.model_validate_json(world.broker.retained[TOPICS.info(unit)])


def forge(world: World, topic: str, payload: bytes | dict[str, Any], *, retain: bool = True) -> None:
    world.broker.publish(topic, payload if isinstance(payload, bytes) else json.dumps(payload).encode(), retain)


def test_one_agent_alone_serves_its_units() -> None:
    world = World()
    alone = world.join("a", supply())
    assert alone.may_set("psu1")
    assert last_info(world).serves
    assert last_info(world).conflict is None


def test_who_was_there_first_keeps_a_name_and_both_say_who_the_other_is() -> None:
    world = World()
    first = world.join("a", supply())
    second = world.join("b", another())
    assert first.may_set("psu1")
    assert part(second) is Part.YIELDS_NAME
    standing = second.standings["psu1"]
    assert standing.is_muted
    assert standing.other is not None
    assert (standing.other.agent, standing.other.host, standing.other.why) == ("a", "host-a", "name")
    assert "agent a on host-a serves another supply as psu1" in (standing.why or "")
    info = last_info(world)
    assert (info.agent, info.instance, info.serves) == ("a", first.instance, True)
    assert info.conflict is not None
    assert (info.conflict.agent, info.conflict.host) == ("b", "host-b")


def test_a_supply_under_two_names_is_left_to_the_first() -> None:
    world = World()
    world.join("a", supply())
    second = world.join("b", supply("dut", uri="TCPIP::10.0.0.7::inst0::INSTR"))
    assert part(second, "dut") is Part.YIELDS_SUPPLY
    assert not second.standings["dut"].is_muted
    info = last_info(world, "dut")
    assert not info.serves
    assert not info.online
    assert "serves this supply as psu1" in (info.reason or "")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("TCPIP::10.0.0.1::INSTR", "tcpip0::10.0.0.1::inst0::INSTR", True),
        ("TCPIP::10.0.0.1::INSTR", "TCPIP::10.0.0.2::INSTR", False),
        ("TCPIP::localhost::5025::SOCKET", "TCPIP::localhost::5025::SOCKET", False),
        ("TCPIP::127.0.0.1::5025::SOCKET", "TCPIP::127.0.0.1::5025::SOCKET", False),
        ("ASRL/dev/ttyUSB0::INSTR", "ASRL/dev/ttyUSB0::INSTR", False),
        ("TCPIP::10.0.0.1::502::SOCKET (address 1)", "TCPIP::10.0.0.1::502::SOCKET (address 1)", True),
        ("TCPIP::10.0.0.1::502::SOCKET (address 1)", "TCPIP::10.0.0.1::502::SOCKET (address 2)", False),
    ],
)
def test_an_address_tells_a_supply_whose_serial_number_tells_nothing(one: str, other: str, same: bool) -> None:
    """An address that means another thing on each host does not: the two agents are on two hosts."""
    world = World()
    world.join("a", supply(serial="0", uri=one))
    second = world.join("b", supply("dut", serial="0", uri=other))
    assert (part(second, "dut") is Part.YIELDS_SUPPLY) == same


def test_one_address_in_two_private_networks_is_two_supplies() -> None:
    world = World()
    first = world.join("a", supply())
    second = world.join("b", supply("dut", serial="SN999"))
    assert first.may_set("psu1")
    assert second.may_set("dut")


@pytest.mark.parametrize(("pinned", "looks"), [(None, True), ("SN111", True), ("SN999", False)])
def test_a_unit_that_was_never_reached_at_an_address_that_is_served_tells_so(pinned: str | None, looks: bool) -> None:
    world = World()
    world.join("a", supply())
    second = world.start("b", supply("dut", pinned=pinned))
    second.report_unit("dut", online=False)
    second.connect()
    world.flow()
    assert (second.standings["dut"].other is not None) == looks
    assert (part(second, "dut") is Part.UNDECIDED) == looks
    second.report_unit("dut", online=True)  # and it is the same
    world.flow()
    assert part(second, "dut") is Part.YIELDS_SUPPLY


def test_two_that_start_at_once_decide_the_same() -> None:
    """For each order in which their first messages can reach the broker."""
    for early in range(6):
        world = World()
        agents = [world.start("a", supply()), world.start("b", another())]
        for agent in agents:
            agent.report_unit("psu1", online=True)
            agent.connect()
        for _ in range(early):
            agents[1].receive_one()
            agents[1].send_one()
        world.flow()
        world.wait(5)
        assert sorted(part(agent).name for agent in agents) == ["SERVES", "YIELDS_NAME"]


@pytest.mark.parametrize("how", ["killed", "its status is cleared", "its info is removed and it is stopped"])
def test_an_agent_that_is_gone_is_followed_after_the_delay(how: str) -> None:
    world = World()
    first = world.join("a", supply())
    second = world.join("b", supply("dut"))
    world.kill(first)
    if how == "its status is cleared":
        forge(world, TOPICS.agent_status("a"), b"")
    elif how.startswith("its info"):
        forge(world, TOPICS.info("psu1"), b"")
    world.wait(TAKEOVER_AFTER - 2)
    assert part(second, "dut") is Part.YIELDS_SUPPLY
    world.wait(3)
    assert part(second, "dut") is Part.UNDECIDED  # the other one could contradict
    assert "agent a is gone" in (second.standings["dut"].why or "")
    world.wait(deciding.PROBATION)
    assert part(second, "dut") is Part.SERVES
    assert last_info(world, "dut").serves


def test_an_agent_that_is_back_in_time_keeps_its_supply() -> None:
    world = World()
    unit = supply()
    first = world.join("a", unit)
    second = world.join("b", supply("dut"))
    world.kill(first)
    world.wait(TAKEOVER_AFTER / 2)
    again = world.join("a", supply())
    world.wait(2 * TAKEOVER_AFTER)
    assert again.may_set("psu1")
    assert part(second, "dut") is Part.YIELDS_SUPPLY


def test_an_agent_that_is_back_late_finds_its_supply_taken_over() -> None:
    world = World()
    first = world.join("a", supply())
    second = world.join("b", supply("dut"))
    first.cut()
    world.wait(GONE_FOR_GOOD)
    second.report_unit("dut", online=True)
    assert second.may_set("dut")
    assert not first.may_set("psu1")
    first.disconnect()
    first.connect()
    world.flow()
    assert part(first) is Part.YIELDS_SUPPLY
    world.wait(2 * TAKEOVER_AFTER)
    assert part(first) is Part.YIELDS_SUPPLY
    assert second.may_set("dut")


def test_who_may_send_settings_for_longer_is_waited_for_for_longer() -> None:
    world = World()
    first = world.join("a", supply())
    info = last_info(world)
    world.kill(first)
    forge(world, TOPICS.info("psu1"), info.model_copy(update={"settings_for": 100.0}).to_json())
    second = world.join("b", supply("dut"))
    world.wait(100 + deciding.MARGIN - 1)
    assert part(second, "dut") is Part.YIELDS_SUPPLY
    world.wait(2 + deciding.PROBATION)
    assert part(second, "dut") is Part.SERVES


def test_manual_takeover_waits_for_the_command_and_for_the_fence() -> None:
    world = World()
    first = world.join("a", supply())
    second = world.join("b", supply("dut", takeover="manual"))
    with pytest.raises(Refusal, match="agent a on host-a is there"):
        second.coordinator.takeover("dut")
    world.kill(first)
    world.wait(10 * TAKEOVER_AFTER)
    assert part(second, "dut") is Part.YIELDS_SUPPLY
    assert "psu-agent takeover dut" in (second.standings["dut"].why or "")
    second.coordinator.takeover("dut")
    world.wait(deciding.PROBATION + 1)
    assert part(second, "dut") is Part.SERVES
    second.coordinator.takeover("dut")  # nothing more happens


def test_a_command_does_not_end_the_time_in_which_the_other_one_may_still_send() -> None:
    world = World()
    first = world.join("a", supply())
    second = world.join("b", supply("dut"))
    world.kill(first)
    world.wait(1)
    second.coordinator.takeover("dut")
    world.wait(15)
    assert part(second, "dut") is Part.YIELDS_SUPPLY
    world.wait(12)
    assert part(second, "dut") is Part.SERVES


def test_a_unit_that_is_released_is_free_for_an_agent_that_starts_then() -> None:
    world = World()
    first = world.join("a", supply())
    forge(world, TOPICS.info("psu1"), last_info(world).model_copy(update={"serves": False, "online": False}).to_json())
    world.kill(first)
    second = world.join("b", supply("dut"))
    assert second.may_set("dut")


def test_a_unit_that_was_renamed_is_told_of_by_its_new_name() -> None:
    world = World()
    first = world.join("a", supply())
    second = world.join("b", supply("dut", uri="TCPIP::10.0.0.7::inst0::INSTR", takeover="manual"))
    world.broker.clients.remove(first)  # it speaks by the messages below
    info = last_info(world)
    forge(world, TOPICS.info("psu1"), info.model_copy(update={"serves": False, "online": False}).to_json())
    world.flow()
    assert "as psu1" in (second.standings["dut"].why or "")
    assert "It is away" in (second.standings["dut"].why or "")
    forge(world, TOPICS.info("psu9"), info.model_copy(update={"psu": "psu9"}).to_json())
    forge(world, TOPICS.agent_info("a"), first.info().model_copy(update={"units": ["psu9"]}).to_json())
    world.flow()
    why = second.standings["dut"].why or ""
    assert "as psu9" in why
    assert "away" not in why


def test_an_older_agent_that_does_not_know_of_claims_is_left_the_unit() -> None:
    """It publishes infos without the fields that tell of claims, and gives way to nobody."""
    world = World()
    first = world.join("a", supply())
    old = another().info("old")
    known = {"instance", "host", "serves", "since", "conflict", "settings_for"}
    forge(world, TOPICS.agent_status("old"), b"online")
    forge(world, TOPICS.info("psu1"), old.model_copy(update={"online": True}).model_dump_json(exclude=known).encode())
    world.flow()
    assert part(first) is Part.SERVES
    world.wait(deciding.PATIENCE + 1)
    assert part(first) is Part.YIELDS_NAME


def test_of_two_that_both_believe_to_be_first_the_older_claim_wins() -> None:
    """As behind a bridge that was broken: each has served on its own broker. Settings are refused until it is settled."""
    one, other = World(), World()
    older = one.join("a", supply())
    younger = other.join("b", another())
    others = [(topic, payload) for topic, payload in other.broker.retained.items()]
    for topic, payload in one.broker.retained.items():
        other.broker.publish(topic, payload, True)
    for topic, payload in others:
        one.broker.publish(topic, payload, True)
    seen = set()
    for _ in range(6):  # the bridge carries what each says of the other
        for world, target in ((one, other), (other, one)):
            before = dict(world.broker.retained)
            world.wait(0.5)
            seen.add(part(older))
            for topic, payload in world.broker.retained.items():
                if before.get(topic) != payload:
                    target.broker.publish(topic, payload, True)
    assert Part.CONTESTED in seen
    for world in (one, other):
        world.wait(5)
    assert part(younger) is Part.YIELDS_NAME
    assert part(older) is Part.SERVES


def test_an_agent_that_may_not_read_infos_serves_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    alone = world.start("a", supply())
    alone.report_unit("psu1", online=True)
    alone.connect()
    for _ in range(40):
        alone.send_one()
        alone.inbox = type(alone.inbox)(m for m in alone.inbox if not m[0].endswith("/info"))
        alone.receive_one()
    for _ in range(20):
        world.clock.now += 0.5
        alone.heard = world.clock.now
        alone.tick()
        alone.send_one()
        alone.inbox = type(alone.inbox)(m for m in alone.inbox if not m[0].endswith("/info"))
        alone.receive_one()
    assert alone.serves("psu1")
    assert "does not let this agent read the infos" in caplog.text


def test_without_retained_messages_an_agent_that_is_there_is_heard_of_by_its_answer() -> None:
    world = World(broker=Broker(retains=False))
    first = world.join("a", supply())
    second = world.join("b", supply("dut"))
    world.wait(5)
    assert first.may_set("psu1")
    assert part(second, "dut") is Part.YIELDS_SUPPLY


def test_a_short_absence_of_the_broker_leaves_a_unit_served() -> None:
    """A ramp goes on; after a long one it is refused until the claim has come back."""
    world = World()
    first = world.join("a", supply())
    for away, served in ((5.0, True), (25.0, False)):
        first.cut()
        first.disconnect()
        world.clock.now += away
        first.connect()
        while first.is_joining:
            first.send_one()
            first.receive_one()
        assert first.serves("psu1") == served
        world.flow()
        assert first.may_set("psu1")


def test_a_silence_on_a_connection_that_lasts_changes_nothing() -> None:
    world = World()
    first = world.join("a", supply())
    second = world.join("b", supply("dut"))
    for agent in (first, second):
        agent.coordinator.broker_gone(world.clock.now)
    world.clock.now += 5
    for agent in (first, second):
        agent.coordinator.broker_gone(None)
    world.kill(first)
    world.wait(GONE_FOR_GOOD)
    assert part(second, "dut") is Part.SERVES


def test_moments_are_compared_as_they_are_told() -> None:
    """In whole milliseconds: else each of two that begin within one would take the other for the older one."""
    claims = [
        own_claim(supply().info(name), "i", "h", datetime(2026, 1, 1, microsecond=fraction, tzinfo=UTC))
        for name, fraction in (("a", 1999), ("b", 1000))
    ]
    told = [replace(claim, since=datetime(2026, 1, 1, microsecond=1000, tzinfo=UTC)) for claim in claims]
    assert told[0].order < claims[1].order
    assert claims[0].order < told[1].order


def test_clocks_an_hour_apart_change_nothing() -> None:
    """Moments of other agents are compared only where two of them both believe to be first."""
    world = World()
    first = world.join("a", supply())
    second = world.join("b", supply("dut"))
    hour = timedelta(hours=1)
    info = last_info(world)
    forged = info.model_copy(update={"time": datetime.now(UTC) - hour, "since": datetime.now(UTC) + hour})
    second.inbox.append((TOPICS.info("psu1"), forged.to_json(), True))
    world.flow()
    world.wait(5)
    assert first.may_set("psu1")
    assert part(second, "dut") is Part.YIELDS_SUPPLY


class _Hiding(Broker):
    """Gives nothing retained to filters with wildcards, and does not say so: RabbitMQ."""

    def connect(self, client: Agent) -> None:
        self.clients.append(client)


def test_the_later_agent_yields_where_it_is_told_nothing_of_the_first() -> None:
    world = World(broker=_Hiding())
    first = world.join("a", supply())
    second = world.join("b", another())
    world.wait(5)
    assert first.may_set("psu1")
    assert part(second) is Part.YIELDS_NAME

"""Agents of one name: the later one ends at its start, or keeps silent."""

from __future__ import annotations

import json

import pytest

from agent.protocol.messages import AgentInfo
from agent.service.fleet import twins
from agent.unit.standing import Part
from tests.service.fleet.test_cases import another, forge, part, supply
from tests.service.fleet.world import TAKEOVER_AFTER, TOPICS, Broker, World


def kept_info(world: World) -> AgentInfo:
    return AgentInfo.model_validate_json(world.broker.retained[TOPICS.agent_info("a")])


def test_the_later_one_ends_before_it_has_published_anything() -> None:
    world = World()
    first = world.join("a", supply())
    before = dict(world.broker.retained)
    second = world.join("a", another("psu2"))
    assert second.ended is not None
    assert "another agent called a on host-a was there first" in second.ended
    assert world.broker.retained == before
    world.wait(5)
    assert first.may_set("psu1")
    assert world.broker.retained[TOPICS.agent_status("a")] == b"online"


def test_of_two_that_start_at_once_one_ends() -> None:
    for early in range(8):
        world = World()
        agents = [world.start("a", supply()), world.start("a", another("psu2"))]
        for agent in agents:
            agent.connect()
        for _ in range(early):
            agents[1].send_one()
            agents[1].receive_one()
        world.flow()
        world.wait(5)
        assert [agent.ended is None for agent in agents].count(True) == 1, early


def test_what_a_killed_run_has_left_is_no_twin() -> None:
    world = World()
    world.kill(world.join("a", supply()))
    again = world.join("a", supply())
    assert again.ended is None
    assert again.is_connected
    again.report_unit("psu1", online=True)
    world.flow()
    assert again.may_set("psu1")


def test_an_online_that_a_dead_run_has_left_is_waited_for_in_vain() -> None:
    """The broker was killed with the agent, and nobody has published its will."""
    world = World()
    world.kill(world.join("a", supply()))
    forge(world, TOPICS.agent_status("a"), b"online")
    again = world.join("a", supply())
    assert not again.is_connected
    world.wait(twins.PATIENCE + 1)
    assert again.is_connected
    assert again.ended is None


def test_one_that_can_not_tell_at_its_start_keeps_silent_until_the_other_one_has_gone() -> None:
    """The first one was cut off when the second one started."""
    world = World()
    first = world.join("a", supply())
    first.cut()
    world.clock.now += 5
    second = world.join("a", another("psu2"))
    assert second.may_set("psu2")
    first.disconnect()
    first.connect()  # now it is the later one
    world.flow()
    world.wait(5)
    assert first.ended is None
    assert part(first) is Part.YIELDS_NAME
    assert first.standings["psu1"].other is not None
    assert first.standings["psu1"].other.why == "agent"
    assert kept_info(world).instance == second.instance
    after = len(first.outbox)
    first.report_unit("psu1", online=True)
    assert len(first.outbox) == after
    world.kill(second)
    world.wait(TAKEOVER_AFTER + 5)
    assert first.may_set("psu1")
    assert kept_info(world).instance == first.instance
    assert world.broker.retained[TOPICS.agent_status("a")] == b"online"


def test_without_retained_messages_the_answer_comes_too_late_to_end_and_it_keeps_silent() -> None:
    world = World(broker=Broker(retains=False))
    first = world.join("a", supply())
    second = world.join("a", another("psu2"))
    world.wait(5)
    assert first.may_set("psu1")
    assert part(second, "psu2") is Part.YIELDS_NAME


def test_of_two_that_both_believe_to_be_first_the_older_run_stays() -> None:
    """Each has heard its own question first, as on a broker of several nodes."""
    world = World()
    first = world.start("a", supply(), age=60)
    second = world.start("a", another("psu2"))
    for agent in (first, second):
        agent.connect()
    for agent in (first, second):  # each hears itself alone, and joins
        question = agent.outbox.popleft()
        agent.inbox.append(question)
        agent.receive_one()
        assert agent.is_connected
    for agent, other in ((first, second), (second, first)):
        asked = other.info().model_copy(update={"asks": True})
        agent.inbox.appendleft((TOPICS.agent_info("a"), asked.to_json(), False))
        agent.receive_one()
    world.flow()
    world.wait(5)
    assert part(first) is not Part.YIELDS_NAME
    assert part(second, "psu2") is Part.YIELDS_NAME


@pytest.mark.parametrize(
    ("payload", "level", "said"),
    [
        (b"offline", "INFO", "has become offline, by its last will or by somebody else"),
        (b"", "WARNING", "somebody removed the status of this agent"),
        (b"off\xff\n", "WARNING", "somebody published 'off\\ufffd\\n' as the status of this agent"),
    ],
)
def test_another_status_of_this_agent_is_told_and_corrected(
    caplog: pytest.LogCaptureFixture, payload: bytes, level: str, said: str
) -> None:
    """A broker that stops publishes the wills, each time, so that is no warning."""
    caplog.set_level("INFO")
    world = World()
    world.join("a", supply())
    caplog.clear()
    forge(world, TOPICS.agent_status("a"), payload)
    world.flow()
    assert [(record.levelname, said in record.getMessage()) for record in caplog.records] == [(level, True)]
    assert world.broker.retained[TOPICS.agent_status("a")] == b"online"


def test_an_older_version_of_the_same_name_is_told_of_and_corrected() -> None:
    world = World()
    first = world.join("a", supply())
    old = json.loads(first.info().model_copy(update={"host": "elsewhere", "units": []}).to_json())
    for field in ("instance", "asks", "answers"):
        del old[field]
    forge(world, TOPICS.agent_info("a"), old)
    world.flow()
    world.wait(2)
    assert kept_info(world).instance == first.instance
    assert first.may_set("psu1")

"""Home Assistant hears of units that this agent serves, and the places of other agents there are left alone."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest

from agent.homeassistant.outlet import HomeAssistantOutlet
from agent.protocol.messages import AgentInfo, UnitInfo, utc_now
from agent.protocol.report import Report
from agent.protocol.topics import Topics
from agent.service.fleet.served import CarefulPublisher, ServedOutlet
from agent.unit.standing import ALONE, Part, Standing
from tests.homeassistant.fakes import Broker, Settings, Store
from tests.service.fleet.test_cases import supply

TOPICS = Topics("psu")
UNDECIDED = Standing(Part.UNDECIDED, "wait")
YIELDS_SUPPLY = Standing(Part.YIELDS_SUPPLY, "another")
YIELDS_NAME = Standing(Part.YIELDS_NAME, "another", is_muted=True)


def info(agent: str = "a") -> UnitInfo:
    unit = supply()
    unit.is_known = unit.is_online = True
    return unit.info(agent)


def test_an_info_waits_until_the_unit_is_served() -> None:
    outlet, leave = MagicMock(), MagicMock()
    served = ServedOutlet(outlet, leave)
    served.stand("psu1", UNDECIDED)
    first, second = info(), info()
    served.report(Report(info=first))
    served.report(Report(info=second))
    outlet.report.assert_not_called()
    served.stand("psu1", ALONE)
    (call,) = outlet.report.call_args_list
    assert call.args[0].info is second
    served.stand("psu1", YIELDS_SUPPLY)
    leave.assert_called_once_with("psu1", False)
    served.report(Report(info=first))
    assert outlet.report.call_count == 1
    served.stand("psu1", YIELDS_NAME)
    leave.assert_called_once()


@pytest.fixture
def broker() -> Broker:
    return Broker()


class One:
    """One agent with Home Assistant."""

    def __init__(self, agent: str, broker: Broker) -> None:
        about = AgentInfo(
            time=utc_now(), agent=agent, version="1", host="h", start_time=utc_now(), units=["psu1"], base_topic="psu"
        )
        self.is_muted = False
        self.agent = agent
        self.homeassistant = HomeAssistantOutlet(
            Settings(),
            agent=about,
            units={"psu1": "TCPIP::10.0.0.1::INSTR"},
            topics=TOPICS,
            store=Store(),
            saved={},
            publisher=CarefulPublisher(broker, TOPICS, lambda unit: self.is_muted),
        )
        self.served = ServedOutlet(self.homeassistant, self.homeassistant.leave)

    def stand(self, standing: Standing) -> None:
        self.is_muted = standing.is_muted
        self.served.stand("psu1", standing)

    def report(self) -> None:
        self.served.report(Report(info=info(self.agent)))


def test_two_agents_with_one_supply_show_the_one_that_serves_it(broker: Broker) -> None:
    first, second = One("a", broker), One("b", broker)
    first.stand(ALONE)
    first.report()
    (device,) = broker.devices
    shown = broker.retained[device]
    second.stand(UNDECIDED)
    second.report()
    second.stand(YIELDS_SUPPLY)
    assert broker.retained[device] == shown
    second.stand(UNDECIDED)
    second.stand(ALONE)  # it has taken over
    assert b'"via_device":"psu-agent_b"' in broker.retained[device]
    first.stand(YIELDS_SUPPLY)
    assert b'"via_device":"psu-agent_b"' in broker.retained[device]


def test_a_name_that_is_another_agents_leaves_no_device_and_takes_no_state_away(broker: Broker) -> None:
    first = One("a", broker)
    first.stand(ALONE)
    first.report()
    theirs = TOPICS.homeassistant("psu1", 1)
    broker.keep(theirs, b"of another")
    first.stand(YIELDS_NAME)
    assert broker.devices == set()
    publisher = CarefulPublisher(broker, TOPICS, lambda unit: True)
    publisher.keep(theirs, b"")
    assert broker.retained[theirs] == b"of another"

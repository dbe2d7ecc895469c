"""Sentences on units that do not exist: they name those that do in the order in which people count them."""

from __future__ import annotations

import pytest

from agent.client.existing import misnamed, told
from agent.client.fleet import Fleet
from agent.client.recording.selection import Selection, UnknownTargetError
from agent.client.request import Target
from agent.protocol.topics import Topics
from tests.client.test_fleet import info, state
from tests.mqtt import reports

NAMES = ["rack1", "rack2", "rack10"]


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet(Topics("psu"))
    for name in sorted(NAMES):
        fleet.update(f"psu/{name}/info", info(name))
    return fleet


def test_get_and_set_name_the_units_as_watch_orders_them(fleet: Fleet) -> None:
    assert "known are rack1, rack2 and rack10." in told(fleet, Target("rack9", None))


def test_a_channel_that_has_published_no_state_yet_is_one_all_the_same(fleet: Fleet) -> None:
    channels = [reports.channel_info(index).model_dump() for index in (1, 2)]
    fleet.update("psu/rack1/info", info("rack1", channels=channels))
    fleet.update("psu/rack1/1/state", state("rack1", 1))
    assert misnamed(fleet, Target("rack1", "2")) == misnamed(fleet, Target("rack1", "CH2")) == ""
    assert misnamed(fleet, Target("rack1", "3")) == "rack1 has no channel 3; it has 1 and 2."


def test_log_names_the_units_as_watch_orders_them(fleet: Fleet) -> None:
    with pytest.raises(UnknownTargetError, match=r"the units are: rack1, rack2, rack10$"):
        Selection([Target("rack9", None)]).check(fleet)

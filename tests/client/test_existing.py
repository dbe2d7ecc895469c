"""Sentences on units that do not exist: they name those that do in the order in which people count them."""

from __future__ import annotations

import pytest

from agent.client.existing import told
from agent.client.fleet import Fleet
from agent.client.recording.selection import Selection, UnknownTargetError
from agent.client.request import Target
from agent.protocol.topics import Topics
from tests.client.test_fleet import info

NAMES = ["rack1", "rack2", "rack10"]


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet(Topics("psu"))
    for name in sorted(NAMES):
        fleet.update(f"psu/{name}/info", info(name))
    return fleet


def test_get_and_set_name_the_units_as_watch_orders_them(fleet: Fleet) -> None:
    assert "known are rack1, rack2 and rack10." in told(fleet, Target("rack9", None))


def test_log_names_the_units_as_watch_orders_them(fleet: Fleet) -> None:
    with pytest.raises(UnknownTargetError, match=r"the units are: rack1, rack2, rack10$"):
        Selection([Target("rack9", None)]).check(fleet)

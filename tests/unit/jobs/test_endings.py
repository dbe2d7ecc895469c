"""The end of a worker, at a stop and at a reload: an off that comes then is done all the same."""

from __future__ import annotations

from typing import Any

import pytest

from agent.instruments.driver import LinkError, Write
from agent.protocol.errors import Refusal
from tests.unit.fakedriver import Breaks, Hold, Unit
from tests.unit.jobs.test_offs import OFF_1, held, submit

pytestmark = pytest.mark.usefixtures("quick")


def connecting_successor(unit: Unit) -> Any:
    """The unit has a successor, which connects for the first time until this is released."""
    unit.supply.stop("its configuration has changed")
    assert unit.supply.join(5)
    hold = unit.driver.hold("connect")
    unit.succeed()
    hold.wait()
    return hold


def test_an_off_that_came_before_the_end_is_done() -> None:
    with Unit() as unit:
        unit.set_at_the_panel(1, state=True)
        unit.set_at_the_panel(2, state=True)
        hold = held(unit)
        submit(unit, b'{"id": "set", "voltage_limit": 1}', 3)
        submit(unit, b'{"id": "a", "state": false}')
        submit(unit, b'{"id": "b", "state": false, "voltage_limit": 2}', 2)
        unit.supply.stop("its configuration has changed")
        submit(unit, b'{"id": "late", "state": false}')
        submit(unit, b'{"id": "rider", "state": false, "voltage_limit": 3}', 2)
        with pytest.raises(Refusal, match="is not served any more"):
            submit(unit, b'{"id": "on", "state": true}', 3)
        hold.release()
        assert unit.supply.join(5)
        for name in ("a", "late"):
            assert unit.sheet.response(name).ok
        assert not any(unit.driver.readings[index].state for index in (1, 2))
        response = unit.sheet.response("rider")
        assert response.error is not None
        assert response.error.code == "offline"
        assert response.result.state is False  # type: ignore[union-attr]
        unit.sheet.response("b")
        unit.sheet.response("set")
        assert Write("voltage_limit", (2,), 3.0) not in unit.driver.writes


def test_an_off_whose_link_breaks_at_the_end_is_answered() -> None:
    with Unit() as unit:
        unit.set_at_the_panel(1, state=True)
        hold = held(unit)
        job = submit(unit, b'{"id": "a", "state": false}')
        unit.supply.stop()
        hold.release(LinkError("gone"))
        assert unit.supply.join(5)
        assert not unit.sheet.response("a").ok
        assert not job.claim_answer()


def test_an_off_waits_for_the_first_connection_of_a_successor() -> None:
    with Unit() as unit:
        unit.set_at_the_panel(1, state=True)
        hold = connecting_successor(unit)
        submit(unit, b'{"id": "a", "state": false, "voltage_limit": 2}')
        with pytest.raises(Refusal, match="offline"):
            submit(unit, b'{"id": "on", "state": true}')
        hold.release()
        response = unit.sheet.response("a")
        assert response.error is not None
        assert response.error.code == "offline"
        assert response.result.state is False  # type: ignore[union-attr]
        assert unit.driver.writes == [OFF_1]


def test_an_off_that_waits_for_a_connection_that_is_not_made_is_refused() -> None:
    with Unit() as unit:
        hold = connecting_successor(unit)
        submit(unit, b'{"id": "a", "state": false}')
        hold.release(LinkError("no route"))
        response = unit.sheet.response("a")
        assert response.error is not None
        assert (response.error.code, "no route" in response.error.message) == ("offline", True)


def test_offs_that_come_between_a_unit_and_its_successor_are_done() -> None:
    with Unit() as unit:
        for index in (1, 2):
            unit.set_at_the_panel(index, state=True)
        before = unit.supply
        before.stop("its configuration has changed", is_replaced=True)
        assert before.join(5)
        submit(unit, b'{"id": "a", "state": false}')
        with pytest.raises(Refusal, match="is not served any more"):
            submit(unit, b'{"id": "on", "state": true}', 3)
        unit.succeed()
        after, unit.supply = unit.supply, before
        submit(unit, b'{"id": "b", "state": false}', 2)  # by a thread that has still the old one
        unit.supply = after
        assert unit.sheet.response("a").ok
        assert unit.sheet.response("b").ok
        assert not any(unit.driver.readings[index].state for index in (1, 2))


@pytest.mark.parametrize("is_replaced", [True, False])
def test_offs_that_wait_for_a_unit_that_hangs_go_to_its_successor(is_replaced: bool) -> None:
    with Unit() as unit:
        for index in (1, 2):
            unit.set_at_the_panel(index, state=True)
        hold = held(unit)
        submit(unit, b'{"id": "set", "voltage_limit": 1}', 3)
        submit(unit, b'{"id": "a", "state": false}')
        submit(unit, b'{"id": "b", "state": false}')
        submit(unit, b'{"id": "c", "state": false, "voltage_limit": 2}', 2)
        unit.supply.stop("its configuration has changed", is_replaced=is_replaced)
        assert not unit.supply.join(0)
        unit.supply.abandon()
        if not is_replaced:
            assert [unit.sheet.code(name) for name in ("set", "a", "b", "c")] == ["superseded"] * 4
            hold.release()
            return
        before = unit.supply
        hold.release()
        assert before.join(5)
        unit.driver.writes.clear()
        unit.succeed()
        assert [unit.sheet.code(name) for name in "ab"] == ["ok"] * 2
        assert [unit.sheet.code(name) for name in ("set", "c")] == ["superseded", "offline"]
        assert not any(unit.driver.readings[index].state for index in (1, 2))
        assert len(unit.sheet.responses) == 4


def broken(unit: Unit) -> tuple[Hold, Hold]:
    """A unit whose link breaks in a poll, which is under way; and its next connection."""
    poll = unit.driver.hold("poll")
    unit.supply.poll_now()
    poll.wait()
    return poll, unit.driver.hold("connect")


def test_an_off_that_comes_while_a_broken_link_is_opened_again_is_done() -> None:
    with Unit() as unit:
        unit.set_at_the_panel(1, state=True)
        poll, connecting = broken(unit)
        poll.release(LinkError("gone"))
        connecting.wait()
        submit(unit, b'{"id": "a", "state": false}')
        with pytest.raises(Refusal, match="offline: gone"):
            submit(unit, b'{"id": "on", "state": true}')
        connecting.release()
        assert unit.sheet.response("a").ok
        assert unit.driver.writes == [OFF_1]


@pytest.mark.parametrize("waits", [False, True])
def test_offs_that_came_until_a_link_could_not_be_opened_are_refused(waits: bool) -> None:
    """``waits``: another one came before the link broke."""
    with Unit() as unit:
        poll, connecting = broken(unit)
        if waits:
            submit(unit, b'{"id": "before", "state": false}')
        poll.release(LinkError("gone"))
        connecting.wait()
        submit(unit, b'{"id": "a", "state": false}', 2)
        unit.driver.script = Breaks(lambda call: call == "connect", times=10_000, reason="no route")
        connecting.release(LinkError("no route"))
        for name in ("a", "before") if waits else ("a",):
            assert unit.sheet.code(name) == "offline"
        with pytest.raises(Refusal, match="no route"):  # and nothing is kept for later
            submit(unit, b'{"id": "late", "state": false}')
        assert unit.driver.writes == []

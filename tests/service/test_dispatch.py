"""Dispatch alone: any message gets the responses that it asks for, and raises nothing."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import ChannelSettings
from agent.mqtt.incoming import Incoming
from agent.protocol.topics import Topics
from agent.service.dispatch import Dispatcher
from agent.timing import HoldUps, system_clock
from agent.unit.supply import Supply
from tests.properties import examples
from tests.unit.fakedriver import FakeDriver, Sheet, Unit, held_up

_topics = st.lists(
    st.sampled_from(["psu1", "psu2", "psu9", "all", "agents", "set", "get", "1", "3", "VDD", "state", "ramp", "id", ""])
    | st.text(max_size=6),
    min_size=1,
    max_size=4,
).map(lambda levels: "/".join(["psu", *levels]))
_payloads = st.binary(max_size=60) | st.sampled_from(
    [
        b"OFF",
        b"ON",
        b"1",
        b'{"state": true}',
        b'{"id": "x", "state": false}',
        b'{"ramp": 1, "voltage_limit": 2}',
        b"{",
        b"",
    ]
)


@given(
    st.builds(
        Incoming,
        topic=_topics,
        payload=_payloads,
        retain=st.booleans(),
        dup=st.booleans(),
        response_topic=st.none() | st.text(max_size=10) | st.sampled_from(["psu/all/set", "clients/me", "#"]),
        correlation=st.none() | st.binary(max_size=4),
        expiry=st.none() | st.integers(0, 100),
        stale=st.booleans(),
    )
)
@examples(300)
def test_any_message_gets_the_responses_that_it_asks_for_and_raises_nothing(incoming: Incoming) -> None:
    sheet = Sheet()
    topics = Topics("psu")
    channels = {1: ChannelSettings(name="VDD")}
    supplies = {
        name: Supply(name=name, agent="bench", driver=FakeDriver(), outlets=(sheet,), channels=channels)
        for name in ("psu1", "psu2")
    }
    seen = MagicMock()
    seen.is_duplicate.return_value = False
    Dispatcher(topics, lambda: supplies, seen, sheet, MagicMock()).handle(incoming)
    request = topics.parse(incoming.topic)
    if request is None or request.verb == "get":
        expected = []
    elif request.unit is None:
        expected = ["psu1", "psu2"]
    else:
        expected = [request.unit] if request.unit in supplies else []
    assert [response.psu for response in sheet.responses] == expected
    for response in sheet.responses:
        assert response.error is not None  # no unit is there
        response.to_json()


def test_copies_for_several_filters_get_one_response() -> None:
    sheet = Sheet()
    supply = Supply(name="psu1", agent="bench", driver=FakeDriver(), outlets=(sheet,))
    dispatcher = Dispatcher(Topics("psu"), lambda: {"psu1": supply}, MagicMock(), sheet, MagicMock())
    for payload, count in ((b"ON", 2), (b"OFF", 2), (b"OFF", 1), (b"ON", 1)):
        for _ in range(count):
            dispatcher.handle(Incoming("psu/psu1/set/set", payload, False, False))
    assert len(sheet.responses) == 4
    for _ in range(3):
        dispatcher.handle(Incoming("psu/psu1/set/state", b"x", False, False))
    assert len(sheet.responses) == 7


def test_a_response_topic_that_is_not_taken_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    sheet = Sheet()
    supply = Supply(
        name="psu1", agent="bench", driver=FakeDriver(), outlets=(sheet,), channels={1: ChannelSettings(name="VDD")}
    )
    incoming = Incoming("psu/psu1/VDD/set", b'{"state": false}', False, False, response_topic="psu/all/set")
    Dispatcher(Topics("psu"), lambda: {"psu1": supply}, MagicMock(), sheet, MagicMock()).handle(incoming)
    assert len(sheet.responses) == 1
    (told,) = [r.getMessage() for r in caplog.records if "Response Topic" in r.getMessage()]
    assert told == (
        "psu1: the Response Topic 'psu/all/set' can take no response; it went to psu/psu1/1/response; give a topic below "
        "psu/response/ or outside of psu/, without wildcards"
    )


def test_a_fault_at_one_unit_keeps_an_off_from_no_other(caplog: pytest.LogCaptureFixture) -> None:
    sheet = Sheet()
    broken = MagicMock()
    broken.name = "psu1"
    broken.submit.side_effect = KeyError("a fault of our own")
    well = Supply(name="psu2", agent="bench", driver=FakeDriver(), outlets=(sheet,))
    seen = MagicMock()
    seen.is_duplicate.return_value = False
    Dispatcher(Topics("psu"), lambda: {"psu1": broken, "psu2": well}, seen, sheet, MagicMock()).handle(
        Incoming("psu/all/set", b"OFF", False, False)
    )
    assert [response.psu for response in sheet.responses] == ["psu2"]  # it is offline, and says so
    assert "psu1: a command was not handled" in caplog.text
    assert "a fault of our own" in caplog.text


def test_a_refusal_for_an_unknown_channel_echoes_the_id() -> None:
    sheet = Sheet()
    supply = Supply(name="psu1", agent="bench", driver=FakeDriver(), outlets=(sheet,))
    for payload, identity in (
        (b'{"id": "42", "state": true}', "42"),
        (b'{"id": "42", "stat": true}', "42"),
        (b"{", None),
    ):
        Dispatcher(Topics("psu"), lambda: {"psu1": supply}, MagicMock(), sheet, MagicMock()).handle(
            Incoming("psu/psu1/9/set", payload, False, False)
        )
        response = sheet.responses[-1]
        assert response.error is not None
        assert (response.error.code, response.id) == ("unknown_channel", identity)


def test_a_command_is_as_old_as_its_message() -> None:
    """The process was stopped between the moment at which it came in and the one at which it became a job."""
    hold_ups = HoldUps()
    came = system_clock()
    seen = MagicMock()
    seen.is_duplicate.return_value = False
    with Unit(hold_ups=hold_ups) as unit:
        held_up(hold_ups)
        dispatcher = Dispatcher(Topics("psu"), lambda: {"psu1": unit.supply}, seen, unit.sheet, MagicMock())
        dispatcher.handle(Incoming("psu/psu1/1/set", b'{"id": "on", "state": true}', False, False, came=came))
        assert unit.sheet.code("on") == "expired"
        dispatcher.handle(Incoming("psu/psu1/1/set", b'{"id": "off", "state": false}', False, False, came=came))
        assert unit.sheet.code("off") == "ok"
        dispatcher.handle(Incoming("psu/psu1/1/set", b'{"id": "new", "state": true}', False, False))
        assert unit.sheet.code("new") == "ok"

"""Names stand in topics: what would change a topic's meaning is no name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.names import (
    RESERVED_CHANNELS,
    RESERVED_UNITS,
    check_agent_name,
    check_channel_name,
    check_unit_name,
)
from agent.protocol.topics import ChannelTopic, Request, Topics, UnitTopic
from tests.properties import examples

TOPICS = Topics("psu")


def accepted(check: Callable[[str], str], name: str) -> bool:
    """True if a check passes a name, unchanged."""
    try:
        return check(name) == name
    except ValueError:
        return False


@pytest.mark.parametrize("name", ["bench3", "bench-3.lab_a", "a" * 64])
def test_agent_names(name: str) -> None:
    assert accepted(check_agent_name, name)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "+", "é", "a" * 65, "a\n"])
def test_no_agent_names(name: str) -> None:
    assert not accepted(check_agent_name, name)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "psu.1", "#", "a" * 65, "psu1\n", "ALL", *sorted(RESERVED_UNITS)])
def test_no_unit_names(name: str) -> None:
    assert not accepted(check_unit_name, name)


@pytest.mark.parametrize(
    "name", ["", " VDD", "VDD ", "a/b", "+5V", "5#", "12", "a\x00b", "a" * 65, "Set", *sorted(RESERVED_CHANNELS)]
)
def test_no_channel_names(name: str) -> None:
    assert not accepted(check_channel_name, name)


@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), st.text(min_size=1, max_size=64))
@examples()
def test_topics_of_names_mean_what_they_were_built_for(unit: str, channel: str) -> None:
    if not accepted(check_unit_name, unit) or not accepted(check_channel_name, channel):
        return
    assert TOPICS.parse(TOPICS.set(unit, channel)) == Request("set", unit, channel)
    assert TOPICS.parse(TOPICS.set(unit, channel, "state")) == Request("set", unit, channel, "state")
    assert TOPICS.parse(TOPICS.get(unit, channel)) == Request("get", unit, channel)
    assert TOPICS.parse_published(TOPICS.response(unit, channel)) == ChannelTopic(unit, channel, "response")
    assert TOPICS.parse_published(TOPICS.status(unit)) == UnitTopic(unit, "status")

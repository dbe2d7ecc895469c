"""The topic tree: what is built is parsed back, and nothing else is a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from agent.protocol.topics import Request, Topics
from tests.properties import examples

TOPICS = Topics("lab3/psu")
_LEVELS = st.sampled_from(
    ["lab3", "psu", "psu1", "psu2", "all", "agents", "set", "get", "state", "response", "1", "VDD", "voltage_limit", "", "$SYS"]
) | st.text(max_size=8)  # fmt: skip
_ANY_TOPIC = st.lists(_LEVELS, min_size=1, max_size=7).map("/".join)


def test_the_tree_of_the_contract() -> None:
    topics = Topics("psu")
    assert [
        topics.state("psu1", 2),
        topics.backlog("psu1", 2),
        topics.event("psu1", 2),
        topics.response("psu1", 2),
        topics.response("psu1"),
        topics.status("psu1"),
        topics.info("psu1"),
        topics.agent_status("bench3"),
        topics.agent_info("bench3"),
        topics.agent_metrics("bench3"),
        topics.set("psu1", 2),
        topics.set("all"),
        topics.get("psu1"),
        topics.get("psu1", 2),
    ] == [
        "psu/psu1/2/state",
        "psu/psu1/2/backlog",
        "psu/psu1/2/event",
        "psu/psu1/2/response",
        "psu/psu1/response",
        "psu/psu1/status",
        "psu/psu1/info",
        "psu/agents/bench3/status",
        "psu/agents/bench3/info",
        "psu/agents/bench3/metrics",
        "psu/psu1/2/set",
        "psu/all/set",
        "psu/psu1/get",
        "psu/psu1/2/get",
    ]


@pytest.mark.parametrize(
    ("topic", "request_"),
    [
        ("all/set", Request("set", None)),
        ("psu1/set", Request("set", "psu1")),
        ("psu1/set/state", Request("set", "psu1", None, "state")),
        ("psu1/VDD/set", Request("set", "psu1", "VDD")),
        ("psu1/2/set/voltage_limit", Request("set", "psu1", "2", "voltage_limit")),
        ("psu1/get", Request("get", "psu1")),
        ("psu1/2/get", Request("get", "psu1", "2")),
        ("psu1/2/state", None),
        ("psu1/set/get", None),
        ("psu1/set/set", None),
        ("all/get", None),
        ("all/1/set", None),
        ("agents/bench/set", None),
        ("psu1//set", None),
        ("/set", None),
        ("psu1/2/set/state/", None),
        ("x" * 257 + "/set", None),
    ],
)
def test_requests(topic: str, request_: Request | None) -> None:
    assert TOPICS.parse(f"lab3/psu/{topic}") == request_


@given(_ANY_TOPIC)
@examples()
def test_any_topic_is_parsed_or_is_none_of_ours(topic: str) -> None:
    request = TOPICS.parse(topic)
    if request is None:
        return
    assert request.verb in ("set", "get")
    parts = [part for part in (request.unit or "all", request.channel, request.verb, request.field) if part is not None]
    assert topic == "/".join(["lab3/psu", *parts])
    assert all(parts)


@given(_ANY_TOPIC)
@examples()
def test_a_response_is_never_a_request_and_never_looks_like_what_the_agent_tells(topic: str) -> None:
    if not TOPICS.takes_responses(topic):
        return
    assert TOPICS.parse(topic) is None
    assert topic.isprintable()
    assert not set(topic) & set("+#")
    assert not topic.startswith("$")
    heard = TOPICS.subscriptions(["psu1", "psu2"])
    assert not any(topic_matches_sub(pattern, topic) for pattern in heard)
    for told in ("+/+/state", "+/+/event", "+/+/backlog", "+/status", "+/info", "agents/+/status", "agents/+/info"):
        assert not topic_matches_sub(f"lab3/psu/{told}", topic)


@pytest.mark.parametrize(
    "topic", ["clients/me", "lab3/answers", "lab3/psux/1/set", "lab3/psu/psu1/1/response/me", "a/state"]
)
def test_topics_that_take_responses(topic: str) -> None:
    assert TOPICS.takes_responses(topic)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "#",
        "a/+/b",
        "$SYS/broker",
        "$share/g/t",
        "lab3/psu",
        "lab3/psu/psu1/1/set",
        "lab3/psu/all/set",
        "lab3/psu/psu1/1/state",
        "lab3/psu/psu1/response/state",
        "lab3/psu/response",
        "a\x00b",
        "a\x1b[2Jb",
        "a\u202eb",
        "x" * 1025,
        "é" * 600,
    ],
)
def test_topics_that_take_none(topic: str) -> None:
    assert not TOPICS.takes_responses(topic)


def test_one_subscription_hears_each_request_once() -> None:
    filters = TOPICS.subscriptions(["psu1", "psu2"])
    for topic in ("all/set", "psu1/set", "psu1/set/state", "psu1/1/set", "psu2/1/set/state", "psu2/get", "psu2/1/get"):
        assert sum(topic_matches_sub(pattern, f"lab3/psu/{topic}") for pattern in filters) == 1
    for topic in ("psu3/set", "psu1/1/state", "agents/bench/status", "psu1/1/response"):
        assert not any(topic_matches_sub(pattern, f"lab3/psu/{topic}") for pattern in filters)

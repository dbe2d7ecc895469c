"""The topic tree: what is built is parsed back, and nothing else is a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from agent.protocol.fields import LEVELS
from agent.protocol.names import RESERVED_UNITS
from agent.protocol.topics import AgentTopic, ChannelTopic, Request, Topics, UnitTopic
from tests.properties import examples

TOPICS = Topics("lab3/psu")
_LEVELS = st.sampled_from(
    ["lab3", "psu", "psu1", "psu2", "all", "agents", "groups", "set", "get", "lease", "state", "status", "info", "response",
     "event", "metrics", "1", "VDD", "voltage_limit", "", "$SYS"]
) | st.text(max_size=8)  # fmt: skip
_UNITS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).filter(lambda name: name not in RESERVED_UNITS)
_AGENTS = st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)
_CHANNELS = st.integers(1, 99)
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
        topics.agent_log("bench3"),
        topics.value("psu1", 2, "voltage"),
        topics.value("psu1", 2, "state"),
        topics.set("psu1", 2),
        topics.set("all"),
        topics.get("psu1"),
        topics.get("psu1", 2),
        topics.lease("psu1"),
        topics.lease_set("psu1"),
        topics.lease_set("psu1", 2),
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
        "psu/agents/bench3/log",
        "psu/psu1/2/voltage",
        "psu/psu1/2/output",
        "psu/psu1/2/set",
        "psu/all/set",
        "psu/psu1/get",
        "psu/psu1/2/get",
        "psu/psu1/lease",
        "psu/psu1/lease/set",
        "psu/psu1/2/lease/set",
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
        ("psu1/set/get", Request("set", "psu1", None, "get", copies=2)),
        ("psu1/set/set", Request("set", "psu1", None, "set", copies=2)),
        ("psu1/1/set/set", Request("set", "psu1", "1", "set", copies=2)),
        ("psu1/1/set/get", Request("set", "psu1", "1", "get")),
        ("all/set/state", Request("set", None, None, "state")),
        ("all/1/set", Request("set", None, "1")),
        ("psu1//set", Request("set", "psu1", "")),
        ("psu1//set/state", Request("set", "psu1", "", "state")),
        ("psu1/2/set/state/", Request("set", "psu1", "2", "state", has_slash=True)),
        ("psu1/2/set/", Request("set", "psu1", "2", has_slash=True)),
        ("psu1/set//", Request("set", "psu1", has_slash=True)),
        ("all/set/", Request("set", None, has_slash=True)),
        ("psu1/2/set/state/x", Request("set", "psu1", "2", "state/x")),
        ("psu1/2/3/set", Request("set", "psu1", "2/3")),
        ("psu1/2/3/set/state", Request("set", "psu1", "2/3", "state")),
        ("psu1/" + "x" * 257 + "/set", Request("set", "psu1", "x" * 257)),
        ("psu1/lease/set", Request("lease", "psu1")),
        ("psu1/2/lease/set", Request("lease", "psu1", "2")),
        ("psu1/lease/set/", Request("lease", "psu1", has_slash=True)),
        ("psu1/lease/set/ttl", Request("lease", "psu1", None, "ttl")),
        ("psu1//lease/set", Request("lease", "psu1", "")),
        ("psu1/lease/lease/set", Request("lease", "psu1", "lease")),
        ("psu1/2/3/lease/set", None),
        ("psu1/set/lease/set", Request("set", "psu1", None, "lease/set", copies=2)),
        ("psu1/lease", None),
        ("psu1/2/lease", None),
        ("all/lease/set", Request("set", None, "lease")),
        ("psu1/get/", Request("get", "psu1")),
        ("psu1/2/get/foo", Request("get", "psu1", "2")),
        ("psu1/2/state", None),
        ("all/get", None),
        ("all/1/get", None),
        ("all/1/2/set", None),
        ("agents/bench/set", None),
        ("groups/bench/set", None),
        ("/set", None),
        ("psu1/1/2/3/set", None),
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
    assert request.verb in ("set", "get", "lease")
    verb = "lease/set" if request.verb == "lease" else request.verb
    parts = [part for part in (request.unit or "all", request.channel, verb, request.field) if part is not None]
    if request.verb != "get":
        assert topic.rstrip("/") == "/".join(["lab3/psu", *parts])
        assert topic.endswith("/") == request.has_slash
    else:
        assert f"{topic}/".startswith("/".join(["lab3/psu", *parts]) + "/")


@given(_ANY_TOPIC)
@examples(200)
def test_all_that_the_subscriptions_let_in_is_a_request(topic: str) -> None:
    """So that it is answered, and that no response is heard as a command."""
    if any(topic_matches_sub(pattern, topic) for pattern in TOPICS.subscriptions(["psu1"])):
        request = TOPICS.parse(topic)
        assert request is not None
        assert not TOPICS.takes_responses(topic)
        if request.verb != "get" and request.unit is not None:
            heard = [pattern for pattern in TOPICS.subscriptions(["psu1"]) if topic_matches_sub(pattern, topic)]
            assert request.copies == len(heard)


@given(_UNITS, _CHANNELS | st.sampled_from(["VDD", "5 V"]), st.sampled_from(["state", "voltage_limit"]))
@examples()
def test_a_request_that_is_built_is_parsed_back(unit: str, channel: int | str, field: str) -> None:
    for topics in (Topics("psu"), TOPICS):
        assert topics.parse(topics.set("all")) == Request("set", None)
        assert topics.parse(topics.set(unit)) == Request("set", unit)
        assert topics.parse(topics.set(unit, field=field)) == Request("set", unit, None, field)
        assert topics.parse(topics.set(unit, channel)) == Request("set", unit, str(channel))
        assert topics.parse(topics.set(unit, channel, field)) == Request("set", unit, str(channel), field)
        assert topics.parse(topics.get(unit)) == Request("get", unit)
        assert topics.parse(topics.get(unit, channel)) == Request("get", unit, str(channel))
        assert topics.parse(topics.lease_set(unit)) == Request("lease", unit)
        assert topics.parse(topics.lease_set(unit, channel)) == Request("lease", unit, str(channel), copies=1)


@given(_UNITS, _CHANNELS, _AGENTS)
@examples()
def test_a_published_topic_that_is_built_is_parsed_back(unit: str, channel: int, agent: str) -> None:
    number = str(channel)
    for topics in (Topics("psu"), TOPICS):
        assert topics.parse_published(topics.state(unit, channel)) == ChannelTopic(unit, number, "state")
        assert topics.parse_published(topics.backlog(unit, channel)) == ChannelTopic(unit, number, "backlog")
        assert topics.parse_published(topics.homeassistant(unit, channel)) == ChannelTopic(
            unit, number, "homeassistant"
        )
        assert topics.parse_published(topics.event(unit, channel)) == ChannelTopic(unit, number, "event")
        assert topics.parse_published(topics.response(unit, channel)) == ChannelTopic(unit, number, "response")
        assert topics.parse_published(topics.response(unit)) == UnitTopic(unit, "response")
        assert topics.parse_published(topics.status(unit)) == UnitTopic(unit, "status")
        assert topics.parse_published(topics.info(unit)) == UnitTopic(unit, "info")
        assert topics.parse_published(topics.lease(unit)) == UnitTopic(unit, "lease")
        assert topics.parse_published(topics.lease(unit, channel)) == ChannelTopic(unit, number, "lease")
        assert topics.parse_published(topics.agent_status(agent)) == AgentTopic(agent, "status")
        assert topics.parse_published(topics.agent_info(agent)) == AgentTopic(agent, "info")
        assert topics.parse_published(topics.agent_metrics(agent)) == AgentTopic(agent, "metrics")
        assert topics.parse_published(topics.agent_log(agent)) == AgentTopic(agent, "log")
        assert topics.parse_published(topics.agent_nowhere(agent)) is None
        for field in LEVELS:
            # Not for the fleet: the state tells it.
            assert topics.parse_published(topics.value(unit, channel, field)) is None
            assert topics.parse(topics.value(unit, channel, field)) is None


@given(_ANY_TOPIC)
@examples(200)
def test_any_topic_is_published_on_or_a_request_or_neither(topic: str) -> None:
    published = TOPICS.parse_published(topic)
    if published is None:
        return
    assert TOPICS.parse(topic) is None
    match published:
        case AgentTopic(agent, kind):
            levels = ["agents", agent, kind]
        case UnitTopic(unit, kind):
            levels = [unit, kind]
            assert unit not in RESERVED_UNITS
        case ChannelTopic(unit, channel, kind):
            levels = [unit, channel, kind]
            assert unit not in RESERVED_UNITS
    assert topic == "/".join(["lab3/psu", *levels])
    if published.kind != "response":
        assert not TOPICS.takes_responses(topic)


@pytest.mark.parametrize(
    "topic",
    [
        "groups/rails/state",
        "agents/bench/logs",
        "psu1/1/voltage",
        "all/status",
        "psu1/set/state",
        "psu1/1/lease/set",
        "psu1/state",
        "psu1",
    ],
)
def test_topics_on_which_this_agent_publishes_nothing(topic: str) -> None:
    assert TOPICS.parse_published(f"lab3/psu/{topic}") is None
    assert TOPICS.parse_published(topic) is None


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
    for told in (
        "+/+/state",
        "+/+/event",
        "+/+/backlog",
        "+/status",
        "+/info",
        "agents/+/status",
        "agents/+/info",
        "+/+/output",
        "+/+/voltage",
    ):
        assert not topic_matches_sub(f"lab3/psu/{told}", topic)


@pytest.mark.parametrize(
    "topic",
    [
        "clients/me",
        "lab3/answers",
        "lab3/psux/1/set",
        "lab3/psu/psu1/1/response/me",
        "lab3/psu/response/me",
        "lab3/psu/response/me/42",
        "a/state",
    ],
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
        "lab3/psu/psu1/response/output",
        "lab3/psu/agents/response/log",
        "lab3/psu/response",
        "lab3/psu/response/me/state",
        "lab3/psu/response/me/set",
        "lab3/psu/response/status",
        "lab3/psu/responses/me",
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
    for topic in ("all/set", "all/set/state", "all/1/set", "psu1/set", "psu1/set/state", "psu1/1/set", "psu2/1/set/state",
                  "psu2/get", "psu2/1/get", "psu1//set", "psu1/1/set/", "psu1/1/set/state/", "psu1/1/2/set"):  # fmt: skip
        assert sum(topic_matches_sub(pattern, f"lab3/psu/{topic}") for pattern in filters) == 1
    for topic in ("psu3/set", "psu1/1/state", "agents/bench/status", "psu1/1/response"):
        assert not any(topic_matches_sub(pattern, f"lab3/psu/{topic}") for pattern in filters)

"""Requests to serve a unit: who answers, and what is no request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.incoming import Incoming
from agent.protocol.errors import Refusal
from agent.protocol.topics import Topics
from agent.service.fleet.takeovers import Takeovers
from tests.unit.fakedriver import Sheet, Unit

TOPICS = Topics("lab/psu")


class Lab:
    """An agent's side: the units that it was asked to serve, and what it says to that."""

    def __init__(self) -> None:
        self.sheet = Sheet()
        self.taken: list[str] = []
        self.refusal: Refusal | None = None
        unit = Unit(online=False)
        self.takeovers = Takeovers(TOPICS, "bench2", lambda: {"psu1": unit.supply}, self.take_over, self.sheet)

    def take_over(self, unit: str) -> None:
        self.taken.append(unit)
        if self.refusal is not None:
            raise self.refusal

    def hear(self, payload: bytes = b"", topic: str = "lab/psu/psu1/takeover", **changed: Any) -> bool:
        return self.takeovers.handle(Incoming(topic, payload, **{"retain": False, "dup": False, **changed}))

    def codes(self) -> list[str]:
        return ["ok" if r.error is None else r.error.code for r in self.sheet.responses]


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.mark.parametrize("payload", [b"", b"bench2", b" bench2\n"])
def test_it_is_done_and_answered(lab: Lab, payload: bytes) -> None:
    assert lab.hear(payload, response_topic="clients/x", correlation=b"42")
    assert lab.taken == ["psu1"]
    (report,) = lab.sheet.reports
    assert report.response is not None
    assert (report.response.ok, report.response.psu, report.response.index) == (True, "psu1", None)
    assert (report.reply_to.topic, report.reply_to.correlation) == ("clients/x", b"42")


@pytest.mark.parametrize("topic", [None, "lab/psu/psu1/1/set", "lab/psu/psu1/takeover", "+/x"])
def test_a_response_goes_nowhere_else_than_it_may(
    lab: Lab, topic: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert lab.hear(response_topic=topic)
    assert lab.sheet.reports[0].reply_to.topic == "lab/psu/psu1/response"
    told = [record.getMessage() for record in caplog.records if "Response Topic" in record.getMessage()]
    assert ["it went to lab/psu/psu1/response" in text for text in told] == ([] if topic is None else [True])


def test_an_agent_that_still_serves_it_is_named(lab: Lab) -> None:
    lab.refusal = Refusal("conflict", "agent bench1 on host1 still serves it; stop it first")
    assert lab.hear()
    assert lab.codes() == ["conflict"]


def test_another_agent_keeps_silent(lab: Lab) -> None:
    assert lab.hear(b"bench1")
    assert lab.hear(topic="lab/psu/psu2/takeover")
    assert (lab.taken, lab.sheet.reports) == ([], [])


@pytest.mark.parametrize(
    ("changed", "code"),
    [({"retain": True}, "retained"), ({"stale": True}, "expired"), ({"payload": b"no name"}, "bad_payload")],
)
def test_what_is_not_done(lab: Lab, changed: dict[str, Any], code: str) -> None:
    assert lab.hear(**{"payload": b"", **changed})
    assert (lab.taken, lab.codes()) == ([], [code])


@pytest.mark.parametrize(
    "topic",
    [
        "lab/psu/psu1/takeover/x",
        "lab/psu/all/takeover",
        "lab/psu/agents/takeover",
        "psu1/takeover",
        "lab/psu/psu1/1/takeover",
    ],
)
def test_other_topics(lab: Lab, topic: str) -> None:
    assert not lab.hear(topic=topic)
    assert TOPICS.parse(topic) is None


@given(st.binary(max_size=80))
def test_no_payload_raises(payload: bytes) -> None:
    lab = Lab()
    assert lab.hear(payload)
    assert len(lab.taken) == (payload.decode(errors="ignore").strip() in ("", "bench2") and lab.codes() == ["ok"])

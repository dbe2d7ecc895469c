"""Leases of a unit that another agent serves: none is given, and nothing is published on topics that are the other's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.protocol.errors import Refusal
from agent.protocol.leases import LONGEST_LEASE, LeaseRequest
from agent.protocol.messages import LeaseState
from agent.protocol.topics import Topics
from agent.service.fleet.retained import LINGERING
from agent.service.leases.leases import CORRECTING, Leases
from agent.store.leases import LeaseRecord, LeaseRecords
from agent.store.part import Shared
from agent.unit.standing import ALONE, Part, Standing

TAKE = LeaseRequest(holder="ci-42", ttl=60.0)
OTHERS = Standing(
    Part.YIELDS_NAME, "agent other on host b serves psu1; give one of the two another name", is_muted=True
)


@dataclass
class Broker:
    """The session's side: what is retained, and removals that no broker has confirmed yet."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    pending: set[str] = field(default_factory=set)

    def keep(self, topic: str, payload: bytes) -> None:
        self.messages.append((topic, payload))
        self.pending.add(topic)

    def is_pending(self, topic: str) -> bool:
        return topic in self.pending


class Lab:
    """Leases with a clock, standings and records of the test's own."""

    def __init__(self, saved: dict[Any, LeaseRecord] | None = None) -> None:
        self.now = 0.0
        self.broker = Broker()
        self.standings: dict[str, Standing] = {"psu1": ALONE}
        self.records = LeaseRecords(Shared())
        self.records.is_loaded = True
        self.records._known, self.records._late = dict(saved or {}), dict(saved or {})
        self.leases = Leases(
            "bench",
            topics=Topics("psu"),
            publisher=self.broker,
            records=self.records,
            standing=self.standings.get,
            clock=lambda: self.now,
            boot="boot",
        )

    def tick(self, seconds: float = 2 * CORRECTING) -> list[tuple[str, Any]]:
        """What is published when so much time has passed: topics with the holder; ``gone`` for a removal."""
        self.now += seconds
        before = len(self.broker.messages)
        self.leases.tick(self.now)
        return [self.shown(message) for message in self.broker.messages[before:]]

    @staticmethod
    def shown(message: tuple[str, bytes]) -> tuple[str, Any]:
        return message[0], json.loads(message[1])["holder"] if message[1] else "gone"

    def hear(self, payload: bytes, channel: str | None = None) -> None:
        self.leases.heard("psu1", channel, [1, 2, 3], payload)


def test_a_lease_is_told_once_and_ends_by_itself() -> None:
    lab = Lab()
    state = lab.leases.request("psu1", 2, TAKE, lab.now)
    assert state.holder == "ci-42"
    assert [lab.shown(message) for message in lab.broker.messages] == [("psu/psu1/2/lease", "ci-42")]
    assert lab.tick(30) == []
    assert lab.tick(31) == [("psu/psu1/2/lease", None)]
    assert lab.tick() == []


@pytest.mark.parametrize("part", [Part.UNDECIDED, Part.CONTESTED, Part.YIELDS_NAME, Part.YIELDS_SUPPLY])
def test_a_unit_that_is_not_served_takes_no_requests(part: Part) -> None:
    lab = Lab()
    lab.standings["psu1"] = Standing(part, "agent other serves it")
    for request in (TAKE, LeaseRequest(holder="ci-42", release=True, force=True)):
        with pytest.raises(Refusal, match="agent other serves it") as refused:
            lab.leases.request("psu1", None, request, lab.now)
        assert refused.value.code == "conflict"
    assert lab.broker.messages == []


def test_nothing_goes_to_topics_of_another_agent_and_all_of_it_follows_when_they_are_free_again() -> None:
    lab = Lab()
    lab.leases.request("psu1", None, TAKE, lab.now)
    lab.leases.request("psu1", 2, TAKE, lab.now)
    lab.standings["psu1"] = OTHERS
    assert lab.tick() == []
    # The other agent's own leases are no forgeries.
    lab.hear(b'{"holder": "ann"}')
    lab.hear(b'{"holder": "ann"}', "3")
    assert lab.tick() == lab.tick(100) == []  # nor is it told that they have ended
    lab.standings["psu1"] = ALONE
    assert sorted(lab.tick()) == [
        ("psu/psu1/2/lease", None),
        ("psu/psu1/3/lease", None),
        ("psu/psu1/lease", None),
    ]
    assert lab.tick() == []


def theirs(index: int | None = None, *, seconds: float = 60.0, **changes: Any) -> bytes:
    """What the agent that serves the unit tells of a lease."""
    now = datetime.now(UTC)
    told = {"time": now, "agent": "other", "psu": "psu1", "index": index, "holder": "ann", "since": now}
    told |= {"until": now + timedelta(seconds=seconds), **changes}
    return LeaseState.model_validate(told).to_json()


FREE: dict[str, Any] = {"holder": None, "since": None, "until": None}


def test_who_reserved_a_unit_at_the_agent_that_served_it_has_reserved_it_at_the_next_one() -> None:
    lab = Lab()
    for index in (1, 2, 3):
        lab.leases.request("psu1", index, TAKE, lab.now)
    lab.standings["psu1"] = OTHERS
    lab.tick()
    lab.hear(theirs())
    lab.hear(theirs(1, **FREE), "1")
    lab.hear(theirs(2), "2")
    lab.standings["psu1"] = Standing(Part.UNDECIDED, "not known yet")
    assert sorted(lab.tick(), key=str) == [
        ("psu/psu1/1/lease", None),
        ("psu/psu1/2/lease", "ann"),
        ("psu/psu1/3/lease", "ci-42"),  # of that one nothing was said
        ("psu/psu1/lease", "ann"),
    ]
    lab.standings["psu1"] = ALONE
    with pytest.raises(Refusal, match="psu1 is reserved for ann until"):
        lab.leases.request("psu1", 1, LeaseRequest(holder="bob", ttl=60.0), lab.now)
    assert lab.records._known["psu1", 2].holder == "ann"
    assert sorted(lab.tick(61)) == [("psu/psu1/2/lease", None), ("psu/psu1/3/lease", None), ("psu/psu1/lease", None)]


@pytest.mark.parametrize(
    "payload",
    [
        theirs(seconds=-1.0),
        theirs(2),
        theirs(psu="psu2"),
        theirs(holder="a\nb"),
        theirs(holder="x" * 65),
        theirs(since=datetime(1, 1, 1, tzinfo=UTC)),
        theirs(until=datetime.max.replace(tzinfo=UTC)),
        theirs(until=None),
        theirs().replace(b"time", b"moment"),
        b"",
        b"\xff",
    ],
)
def test_what_is_no_lease_that_holds_is_not_taken_over(payload: bytes) -> None:
    lab = Lab()
    lab.standings["psu1"] = OTHERS
    lab.hear(payload)
    lab.tick()
    lab.standings["psu1"] = ALONE
    assert lab.tick() == [("psu/psu1/lease", None)]


def test_nothing_is_taken_over_where_no_other_agent_was_heard_to_serve_the_unit() -> None:
    lab = Lab()
    lab.standings["psu1"] = Standing(Part.UNDECIDED, "not known yet")
    lab.hear(theirs())
    lab.standings["psu1"] = ALONE
    assert lab.tick() == [("psu/psu1/lease", None)]


def test_a_lease_that_is_taken_over_is_no_longer_than_one_that_is_given() -> None:
    lab = Lab()
    lab.standings["psu1"] = OTHERS
    lab.hear(theirs(seconds=30 * 86_400.0))
    lab.tick(0.0)
    lab.standings["psu1"] = ALONE
    assert lab.tick(0.0) == [("psu/psu1/lease", "ann")]
    assert lab.tick(LONGEST_LEASE + 1.0) == [("psu/psu1/lease", None)]


def test_what_an_earlier_run_has_left() -> None:
    record = LeaseRecord("ci-42", 0.0, 60.0, 60.0, "boot", 60.0)
    free = LeaseRecord(None, 0.0, 0.0, 0.0, "", 0.0)
    lab = Lab({("psu1", None): record, ("psu1", 1): free, ("psu9", None): record})
    assert sorted(lab.tick(0.0), key=str) == [("psu/psu1/1/lease", None), ("psu/psu1/lease", "ci-42")]
    assert lab.tick(LINGERING) == [("psu/psu9/lease", "gone")]
    assert ("psu9", None) in lab.records._known
    lab.broker.pending.clear()  # the broker has confirmed it
    lab.tick()
    assert ("psu9", None) not in lab.records._known
    muted = Lab({("psu1", None): record})
    muted.standings["psu1"] = OTHERS
    assert muted.tick(1.0) == []
    muted.standings["psu1"] = ALONE
    assert muted.tick(1.0) == [("psu/psu1/lease", "ci-42")]


def test_forgeries_are_corrected_but_not_faster_than_that() -> None:
    lab = Lab()
    lab.leases.request("psu1", None, TAKE, lab.now)
    own = lab.broker.messages[-1][1]
    lab.hear(b"before this agent's own has come back")
    assert lab.tick() == []
    lab.hear(own)
    for _ in range(3):
        lab.hear(b"mallory")
    assert lab.tick() == [("psu/psu1/lease", "ci-42")]
    lab.hear(lab.broker.messages[-1][1])
    lab.hear(b"mallory")
    assert lab.tick(CORRECTING / 2) == []
    assert lab.tick(CORRECTING / 2) == [("psu/psu1/lease", "ci-42")]
    for channel in ("9", "VDD", "", "02"):
        lab.hear(b"mallory", channel)
    assert lab.tick() == []
    lab.hear(b"", "2")  # nothing was there, and nothing is
    assert lab.tick() == []
    lab.hear(b"mallory", "2")
    assert lab.tick() == [("psu/psu1/2/lease", None)]


def test_without_its_file_an_agent_corrects_nothing_that_it_may_have_published() -> None:
    lab = Lab()
    lab.records.is_loaded = False
    lab.hear(b'{"holder": "ci-42"}')
    assert lab.tick() == []


def test_a_unit_that_leaves_and_comes_back() -> None:
    lab = Lab()
    lab.leases.request("psu1", 2, TAKE, lab.now)
    del lab.standings["psu1"]
    lab.leases.retire(["psu1"])
    assert lab.tick(LINGERING) == [("psu/psu1/2/lease", "gone")]
    lab.standings["psu1"] = ALONE
    assert lab.leases.request("psu1", 2, LeaseRequest(holder="ann", ttl=5.0), lab.now).holder == "ann"
    lab.broker.pending.clear()
    assert lab.tick(0.0) == []
    assert lab.records._known["psu1", 2].holder == "ann"


def test_a_unit_that_leaves_while_its_topics_are_another_agents_removes_nothing() -> None:
    lab = Lab()
    lab.leases.request("psu1", 2, TAKE, lab.now)
    lab.standings["psu1"] = OTHERS
    lab.tick()
    del lab.standings["psu1"]
    lab.leases.retire(["psu1"])
    assert lab.tick(LINGERING) == []
    assert lab.records._known == {}

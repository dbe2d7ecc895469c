"""The table of leases against a simple model of it: random requests, commands and pauses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.instruments.driver import Output
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.protocol.leases import LeaseRequest
from agent.service.leases.table import LeaseTable
from agent.store.leases import LeaseRecord
from agent.unit.job import Job
from agent.unit.limits.channel import Channel
from tests.properties import examples

CHANNELS = (1, 2, 3)
HOLDERS = st.sampled_from(["ann", "bob", "eve"])
INDICES = st.sampled_from([None, *CHANNELS])


def job(indices: tuple[int, ...], lease: str | None = None, received: float = 0.0) -> Job:
    channels = tuple(Channel("psu1", f"CH{index}", Output(index, f"CH{index}", 0.001, 0.001)) for index in indices)
    return Job(Command(voltage_limit=1.0, lease=lease), channels, received=received)


@dataclass
class Held:
    holder: str
    end: float


class Table(RuleBasedStateMachine):
    """The model: a dictionary of the places that are held, from which those that have ended are removed."""

    @initialize()
    def begin(self) -> None:
        self.now = 100.0
        self.table = LeaseTable(lambda: self.now)
        self.model: dict[int | None, Held] = {}

    def held(self) -> dict[int | None, Held]:
        self.model = {index: held for index, held in self.model.items() if held.end > self.now}
        return self.model

    def code(self, index: int | None, request: LeaseRequest) -> str | None:
        try:
            if request.release:
                self.table.release(("psu1", index), request)
            else:
                self.table.take(("psu1", index), request, self.now)
        except Refusal as refusal:
            return refusal.code
        return None

    @rule(index=INDICES, holder=HOLDERS, ttl=st.integers(1, 20), force=st.booleans())
    def take(self, index: int | None, holder: str, ttl: int, force: bool) -> None:
        held = self.held()
        own = index in held and held[index].holder == holder
        reached = list(held) if index is None else [index, None]
        others = [other for other in reached if other in held and held[other].holder != holder]
        code = self.code(index, LeaseRequest(holder=holder, ttl=float(ttl), force=force))
        if others and not own and not force:
            assert code == "claimed"
            return
        assert code is None
        if force and index is None:
            for other in others:
                held.pop(other, None)
        held[index] = Held(holder, self.now + ttl)

    @rule(index=INDICES, holder=HOLDERS, force=st.booleans())
    def release(self, index: int | None, holder: str, force: bool) -> None:
        held = self.held()
        code = self.code(index, LeaseRequest(holder=holder, release=True, force=force))
        if index not in held:
            by_unit = None in held and held[None].holder == holder
            assert code == ("unsupported" if by_unit else None)
        elif held[index].holder != holder and not force:
            assert code == "claimed"
        else:
            assert code is None
            del held[index]

    @rule(seconds=st.integers(1, 10))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        indices=st.lists(st.sampled_from(CHANNELS), min_size=1, unique=True).map(tuple),
        named=st.none() | HOLDERS,
    )
    def command(self, indices: tuple[int, ...], named: str | None) -> None:
        """A command that comes now."""
        held = self.held()
        deciding = [held.get(index, held.get(None)) for index in indices]
        refusal = self.table.refusal(job(indices, named, self.now), indices)
        others = any(one is not None and one.holder != named for one in deciding)
        own = any(one is not None and one.holder == named for one in deciding)
        assert (refusal is not None) == (others or (named is not None and not own))
        assert refusal is None or refusal.code == "claimed"

    @invariant()
    def tells_who_holds_what(self) -> None:
        if hasattr(self, "table"):
            for index in (None, *CHANNELS):
                held, lease = self.held().get(index), self.table.live(("psu1", index))
                assert (held is None) == (lease is None)
                if held is not None and lease is not None:
                    assert (lease.holder, lease.end) == (held.holder, held.end)


TestTable = Table.TestCase
TestTable.settings = examples(30)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("came", "named", "force", "goes_on"),
    [
        (9.0, None, False, True),  # accepted before
        (9.0, None, True, False),
        (9.0, "bob", False, False),  # his own lease has ended, and ann has one now
        (9.0, "ann", False, True),
        (11.0, None, False, False),
    ],
)
def test_what_is_under_way_when_a_lease_is_taken(came: float, named: str | None, force: bool, goes_on: bool) -> None:
    table = LeaseTable(lambda: 12.0)
    table.take(("psu1", None), LeaseRequest(holder="ann", ttl=60.0, force=force), 10.0)
    assert (table.refusal(job((2,), named, came), (2,)) is None) == goes_on


@pytest.mark.parametrize(
    ("record", "holds"),
    [
        (LeaseRecord("ann", 0.0, math.inf, 60.0, "boot", 50.0), True),
        (LeaseRecord("ann", 0.0, math.inf, 60.0, "boot", 10.0), False),
        (LeaseRecord(None, 0.0, 0.0, 0.0, "", 0.0), False),
        (LeaseRecord("ann", 0.0, 1.0, 60.0, "other", 50.0), False),
    ],
)
def test_what_an_earlier_run_has_left(record: LeaseRecord, holds: bool) -> None:
    table = LeaseTable(lambda: 12.0)
    table.restore(("psu1", 2), record, "boot")
    assert (table.live(("psu1", 2)) is not None) == holds
    refusal = table.refusal(job((2,)), (2,))
    assert (refusal is not None) == holds
    if holds:
        table.take(("psu1", 2), LeaseRequest(holder="ann", ttl=1.0), 12.0)
        table.restore(("psu1", 2), LeaseRecord("eve", 0.0, math.inf, 60.0, "boot", 50.0), "boot")
        lease = table.live(("psu1", 2))
        assert lease is not None
        assert lease.holder == "ann"
    table.drop("psu1")
    assert table.refusal(job((2,)), (2,)) is None

"""A kill at any moment leaves no command that the broker was told is taken without its response, and none with two."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.mqtt.incoming import Incoming
from agent.mqtt.item import Item, Kind
from agent.mqtt.outbox import Outbox
from agent.mqtt.responses.receipts import HOLD, PATIENCE, Receipts
from agent.mqtt.responses.refusals import Refusals
from agent.mqtt.responses.suspects import Suspects
from agent.protocol.report import Ticket
from agent.protocol.topics import Topics
from agent.store.commands import OpenCommands
from agent.store.database import Database
from agent.store.part import Shared
from tests.mqtt.reports import response
from tests.properties import examples

LATER = HOLD * 1.1


def loaded(database: Database) -> OpenCommands:
    commands = OpenCommands(Shared())
    commands.load(database)
    return commands


class Desk:
    """Receipts on a real file, which is written when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.now = 100.0
        self.sent: list[Item] = []
        self.acknowledged: list[int] = []
        self.tickets: dict[int, list[Ticket]] = {}
        self.database = Database(folder / "bench.sqlite3")
        self.database.open()
        self.commands = loaded(self.database)
        self.receipts = Receipts(self.commands, self._put, lambda: None, lambda: self.now)
        self.receipts.begin(self.acknowledged.append)

    def _put(self, items: Sequence[Item]) -> None:
        self.sent += items

    def take(self, count: int = 1) -> int:
        """A message with so many commands comes, and is handled."""
        mid = len(self.tickets) + 1
        names = [f"{mid}.{number}" for number in range(count)]
        tickets = [Ticket("psu1", 1, "response", name.encode(), name) for name in names]
        self.tickets[mid] = tickets
        self.receipts.take(Incoming("psu/psu1/1/set", b"", retain=False, dup=False, mid=mid, tickets=list(tickets)))
        return mid

    def answer(self, ticket: Ticket) -> Item:
        item = Item(Kind.RESPONSE, ticket.topic, response(ticket.command_id or ""), ticket.correlation, ticket=ticket)
        self.sent += self.receipts.answer([item])
        return item

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.receipts.tick(self.now)

    def write(self, *, works: bool = True) -> None:
        """What the store's thread does."""
        if self.commands.is_dirty:
            self.database.change(self.commands.write) if works else self.commands.write(_Nowhere())  # type: ignore[arg-type]
            self.commands.finish(works)

    def later(self, item: Item) -> None:
        raise AssertionError(item)

    def kept(self) -> dict[str, bytes | None]:
        """What the next start would find: the id of each command, and its response."""
        return dict(self.database.select("SELECT id, payload FROM commands ORDER BY number"))


class _Nowhere:
    def executemany(self, query: str, rows: object) -> None: ...


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_command_that_is_answered_at_once_costs_the_disk_nothing(desk: Desk) -> None:
    mid = desk.take()
    item = desk.answer(desk.tickets[mid][0])
    assert desk.sent == [item]
    assert desk.acknowledged == []  # the broker may still lose the response
    desk.receipts.delivered(item)
    desk.pass_(0)
    assert desk.acknowledged == [mid]
    desk.pass_(LATER)
    assert not desk.commands.is_dirty


def test_a_command_that_takes_longer_is_kept_before_it_is_acknowledged(desk: Desk) -> None:
    mid = desk.take()
    desk.pass_(LATER)
    assert desk.acknowledged == []
    desk.write()
    desk.pass_(0)
    assert desk.acknowledged == [mid]
    assert desk.kept() == {"1.0": None}
    item = desk.answer(desk.tickets[mid][0])
    assert desk.sent == []  # or a kill would leave two responses
    desk.write()
    assert desk.sent == [item]
    assert desk.kept() == {"1.0": item.payload}
    desk.receipts.delivered(item)
    desk.write()
    assert desk.kept() == {}


def test_a_response_that_the_broker_does_not_acknowledge_in_time_is_kept(desk: Desk) -> None:
    mid = desk.take()
    item = desk.answer(desk.tickets[mid][0])
    desk.pass_(LATER)
    desk.write()
    desk.pass_(0)
    assert desk.acknowledged == [mid]
    assert desk.kept() == {"1.0": item.payload}
    assert [found.payload for found in desk.receipts.undelivered()] == [item.payload]
    assert item.number


def test_messages_are_acknowledged_in_the_order_in_which_they_came(desk: Desk) -> None:
    first, second, third = desk.take(), desk.take(), desk.take(0)
    item = desk.answer(desk.tickets[second][0])
    desk.receipts.delivered(item)
    desk.pass_(0)
    assert desk.acknowledged == []
    desk.pass_(LATER)
    desk.write()
    desk.pass_(0)
    assert desk.acknowledged == [first, second, third]


def test_a_disk_that_hangs_holds_up_nothing(desk: Desk) -> None:
    mid = desk.take()
    desk.pass_(LATER)
    desk.pass_(PATIENCE * 1.1)
    assert desk.acknowledged == [mid]
    item = desk.answer(desk.tickets[mid][0])
    assert desk.sent == [item]
    second = desk.take(2)
    desk.pass_(LATER)
    assert desk.acknowledged == [mid, second]  # it has been slow, so nothing waits for it
    desk.write()
    third = desk.take()
    desk.pass_(LATER)
    assert desk.acknowledged == [mid, second]  # it works again
    desk.write()
    desk.pass_(0)
    assert desk.acknowledged == [mid, second, third]


def test_a_response_waits_for_a_disk_only_so_long(desk: Desk) -> None:
    mid = desk.take()
    desk.pass_(LATER)
    desk.write()
    item = desk.answer(desk.tickets[mid][0])
    desk.pass_(PATIENCE * 0.9)
    assert desk.sent == []
    desk.pass_(PATIENCE * 0.2)
    assert desk.sent == [item]
    desk.write()
    assert desk.sent == [item]


def test_one_message_with_many_commands_waits_for_all_of_them(desk: Desk) -> None:
    mid = desk.take(3)
    for ticket in desk.tickets[mid][:2]:
        desk.receipts.delivered(desk.answer(ticket))
    desk.pass_(0)
    assert desk.acknowledged == []
    desk.pass_(LATER)
    desk.write()
    desk.pass_(0)
    assert desk.acknowledged == [mid]
    assert list(desk.kept()) == ["1.2"]


def test_a_response_that_was_refused_and_goes_elsewhere_is_kept_as_what_it_has_become(desk: Desk) -> None:
    mid = desk.take()
    item = desk.answer(desk.tickets[mid][0])
    outbox, sent = Outbox(), list[Item]()
    refusals = Refusals(
        Suspects(), desk.receipts, Topics("psu"), instead=outbox.put_first, later=desk.later, forget=desk.later
    )
    refusals.refused(item, 0x87)
    desk.pass_(LATER)
    desk.write()
    outbox.send(lambda one: sent.append(one) or 1, desk.now)  # type: ignore[func-returns-value]
    assert [one.topic for one in sent] == ["psu/psu1/1/response"]
    (kept,) = desk.receipts.undelivered()
    assert (kept.topic, kept.payload, kept.number) == (sent[0].topic, sent[0].payload, sent[0].number)
    assert outbox.undelivered() == []  # it would be sent twice
    desk.receipts.delivered(sent[0])
    desk.write()
    assert desk.kept() == {}


def test_a_start_answers_what_an_earlier_run_left(desk: Desk) -> None:
    mid = desk.take()
    desk.pass_(LATER)
    desk.write()
    again = loaded(desk.database)
    desk.commands, desk.receipts = again, Receipts(again, desk._put, lambda: None, lambda: desk.now)
    assert desk.receipts.recover() == 1
    assert desk.sent == []
    desk.write()
    (item,) = desk.sent
    assert (item.topic, item.correlation) == ("response", b"1.0")
    assert b'"uncertain"' in item.payload
    assert desk.kept() == {f"{mid}.0": item.payload}
    assert loaded(desk.database).take_unanswered() == []


@examples(150)
class ReceiptsMachine(RuleBasedStateMachine):
    """Commands come, are answered, delivered and written in any order, and the process may be killed after any step."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.desk = Desk(self.folder)
        self.open: list[Ticket] = []
        self.delivered: dict[str | None, bytes] = {}

    def teardown(self) -> None:
        self.desk.database.close()
        shutil.rmtree(self.folder)

    @rule(count=st.integers(0, 3))
    def take(self, count: int) -> None:
        self.open += self.desk.tickets[self.desk.take(count)]

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        ticket = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.desk.answer(ticket)

    @precondition(lambda self: self.desk.sent)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        item = self.desk.sent.pop(data.draw(st.integers(0, len(self.desk.sent) - 1)))
        assert item.correlation is not None
        assert item.correlation.decode() not in self.delivered
        self.delivered[item.correlation.decode()] = item.payload
        self.desk.receipts.delivered(item)

    @rule(seconds=st.sampled_from([0, HOLD / 2, LATER]), works=st.booleans())
    def write(self, seconds: float, works: bool) -> None:
        self.desk.pass_(seconds)
        self.desk.write(works=works)
        self.desk.write()  # within `PATIENCE`
        self.desk.pass_(0)

    @invariant()
    def a_kill_leaves_none_without_a_response(self) -> None:
        kept = self.desk.kept()
        for mid in self.desk.acknowledged:
            for ticket in self.desk.tickets[mid]:
                assert ticket.command_id in kept or ticket.command_id in self.delivered

    @invariant()
    def a_kill_leaves_none_with_two(self) -> None:
        """What was sent may be there, and what the file has will be sent."""
        sent = {item.correlation.decode(): item.payload for item in self.desk.sent if item.correlation}
        for name, payload in self.desk.kept().items():
            for given in (sent, self.delivered):
                assert name not in given or given[name] == payload

    @invariant()
    def each_is_acknowledged_once_and_in_order(self) -> None:
        acknowledged = self.desk.acknowledged
        assert acknowledged == list(range(1, len(acknowledged) + 1))


TestReceipts = ReceiptsMachine.TestCase

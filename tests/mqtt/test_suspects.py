"""A message that a broker ends the connection for is found, and a link that breaks by itself accuses nobody."""

from __future__ import annotations

from collections import deque

import pytest

from agent.mqtt.item import Item, Kind
from agent.mqtt.outbox import Outbox
from agent.mqtt.responses.suspects import CAUTION, MOST_ENDS, Suspects


def message(name: str) -> Item:
    return Item(Kind.MESSAGE, f"topic/{name}", name.encode())


class Broker:
    """Ends the connection when it comes to certain messages, and acknowledges all before them."""

    def __init__(self, *bad: str, says_why: bool) -> None:
        self.bad = bad
        self.says_why = says_why
        self.suspects = Suspects()
        self.taken: list[str] = []
        self.given_up: list[str] = []
        self.connections = 0
        self._now = 0.0

    def serve(self, items: list[Item]) -> None:
        """As many connections as it takes."""
        while items:
            items = self._connection(items)

    def _connection(self, items: list[Item]) -> list[Item]:
        """One connection; what is left when it ends."""
        self.connections += 1
        outbox, sent, done = Outbox(self.suspects, self._now), list[Item](), 0

        def publish(item: Item) -> int:
            sent.append(item)
            return len(sent)

        outbox.take(deque(items), self._now)
        for _ in range(3 * len(items) + 3):
            outbox.send(publish, self._now)
            self._now += CAUTION / 2
            while done < len(sent):
                done += 1
                name = sent[done - 1].payload.decode()
                if name in self.bad:
                    self.suspects.connection_ended(outbox.in_flight, with_reason=self.says_why)
                    return outbox.undelivered()
                assert outbox.acknowledged(done, self._now) is sent[done - 1]
                self.taken.append(name)
        self.given_up += [item.payload.decode() for item in outbox.take_rejected()]
        assert outbox.undelivered() == []
        return []


@pytest.mark.parametrize(("says_why", "connections"), [(True, 3), (False, 4)])
def test_the_one_that_the_broker_does_not_take_is_found_and_all_others_arrive(says_why: bool, connections: int) -> None:
    broker = Broker("m7", says_why=says_why)
    broker.serve([message(f"m{number}") for number in range(20)])
    assert sorted(broker.taken) == sorted(f"m{number}" for number in range(20) if number != 7)
    assert broker.given_up == ["m7"]
    assert broker.connections == connections


def test_several_are_found_one_after_the_other() -> None:
    broker = Broker("m2", "m3", "m9", says_why=True)
    broker.serve([message(f"m{number}") for number in range(12)])
    assert sorted(broker.given_up) == ["m2", "m3", "m9"]
    assert len(broker.taken) == 9
    assert broker.connections <= 5


def test_what_broke_once_and_passes_is_forgotten() -> None:
    suspects = Suspects()
    item = message("a")
    for _ in range(10):
        suspects.connection_ended([item], with_reason=True)
        assert suspects.exist
        assert suspects.wait(item, 0.0) == 0.0
        suspects.acquit(item)
        assert not suspects.exist
        assert not suspects.is_given_up(item)


def test_only_the_oldest_is_given_up() -> None:
    suspects = Suspects()
    first, second = message("a"), message("b")
    given_up = [suspects.connection_ended([first, second], with_reason=False) for _ in range(MOST_ENDS)]
    assert given_up == [None] * (MOST_ENDS - 1) + [first]
    assert suspects.is_given_up(first)
    assert not suspects.is_given_up(second)
    assert suspects.wait(second, 0.0) == CAUTION


def test_states_and_what_is_retained_are_suspected_by_nobody_here() -> None:
    """Each connection sends them again: `Caution` is for them."""
    suspects = Suspects()
    items = [
        Item(Kind.STATE, "state", b"{}"),
        Item(Kind.KEEP, "info", b"x" * 5000),
        Item(Kind.PASSING, "metrics", b"{}"),
    ]
    for _ in range(MOST_ENDS):
        assert suspects.connection_ended(items, with_reason=True) is None
    assert not suspects.exist


def test_the_memory_of_it_has_an_end() -> None:
    suspects = Suspects()
    suspects.connection_ended((message(f"{number}") for number in range(20_000)), with_reason=True)
    for number in range(20_000):
        suspects.avoid(f"{number}")
    assert len(suspects._ends) == len(suspects._bad_topics) == 5_000


def test_a_topic_of_the_backlog_is_given_up_if_nothing_on_it_was_ever_taken() -> None:
    suspects = Suspects()

    def sample(topic: str, row: int) -> Item:
        return Item(Kind.STATE, topic, b"{}", row=row, is_backlog=True)

    bad, good = [sample("bad", number) for number in (1, 2)], sample("good", 3)
    for _ in range(MOST_ENDS):
        assert not suspects.is_given_up(bad[1])
        suspects.connection_ended([good], with_reason=False)
        suspects.acquit(good)  # the next one is
        suspects.connection_ended([bad[0], good], with_reason=False)
    assert suspects.is_given_up(bad[1])
    assert not suspects.is_given_up(good)
    assert not suspects.is_given_up(Item(Kind.STATE, "bad", b"{}"))  # a present state

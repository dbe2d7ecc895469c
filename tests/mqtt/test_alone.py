"""A session without units, on a real broker: what it is told, and what it tells."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import Mqtt
from agent.local.broker import LocalBroker
from agent.mqtt import connection as connection_module
from agent.mqtt.incoming import Incoming
from agent.mqtt.item import Item
from agent.mqtt.session import Session
from agent.protocol.report import ReplyTo, Report, Stage, Ticket
from agent.store.store import Store
from agent.timing import system_clock
from tests.faults import proxy as ways
from tests.lab import PATIENCE, wait_until
from tests.mqtt.alone import TOPICS, Alone
from tests.mqtt.reports import event, info, response, state
from tests.store.disk import Disk

pytestmark = pytest.mark.usefixtures("quick")


def test_a_report_is_published_in_its_order(alone: Alone) -> None:
    alone.start()
    after = alone.observer.mark()
    alone.session.report(
        Report(
            info=info(),
            states=[state(1), state(1, 2)],
            events=[event()],
            response=response("a"),
            reply_to=ReplyTo("clients/x", b"42"),
        )
    )
    wait_until(lambda: len(alone.observer.received) >= after + 6, "all of it")
    found = alone.observer.received[after:]
    topics = [message.topic for message in found]
    assert sorted(topics) == sorted(
        ["psu/psu1/status", "psu/psu1/info", "psu/psu1/1/state", "psu/psu1/2/state", "clients/x", "psu/psu1/1/event"]
    )
    assert topics.index("psu/psu1/1/state") < topics.index("clients/x") < topics.index("psu/psu1/1/event")
    assert found[topics.index("clients/x")].correlation == b"42"


def test_who_listens_for_it_is_told_since_when_the_broker_has_been_gone(alone: Alone) -> None:
    assert alone.presence == []
    alone.way.stop()
    alone.session.start(alone.heard.append)
    wait_until(lambda: alone.presence, "the first call")
    assert alone.presence[0] == alone.session.gone_since is not None
    alone.way.start()
    wait_until(lambda: alone.presence[-1] is None, "the connection")
    alone.lost()
    wait_until(lambda: alone.presence[-1] is not None, "the loss")
    assert alone.presence[-1] == alone.session.gone_since
    alone.reconnected()
    wait_until(lambda: alone.presence[-1] is None, "the connection")


def test_a_broker_that_acknowledges_nothing_is_told_as_gone_and_as_back(alone: Alone) -> None:
    alone.start()
    held: list[bytes] = []

    def hold(data: bytes) -> Iterator[bytes]:
        held.append(data)
        yield from ()

    alone.way.down = hold
    alone.session.report(Report(states=[state(1)]))
    wait_until(lambda: alone.presence[-1] is not None, "the silence")
    assert alone.session.connected

    def release(data: bytes) -> Iterator[bytes]:
        alone.way.down = ways.straight
        yield b"".join(held) + data

    alone.way.down = release
    alone.session.report(Report(states=[state(2)]))
    wait_until(lambda: alone.presence[-1] is None, "the end of the silence")
    assert alone.session.reconnects == 0


def test_the_moment_after_which_the_broker_has_answered_stands_still_without_answers(alone: Alone) -> None:
    assert alone.session.heard == -math.inf
    alone.start()
    first = alone.session.heard
    assert first <= system_clock()
    wait_until(lambda: alone.session.heard > first, "the answer to a later PINGREQ")

    def swallow(data: bytes) -> Iterator[bytes]:
        del data
        yield from ()

    alone.way.down = swallow
    silent_since = system_clock()
    wait_until(lambda: alone.presence[-1] is not None, "the silence")
    assert alone.session.heard <= silent_since


def test_a_handler_that_raises_loses_neither_the_connection_nor_the_next_message(
    alone: Alone, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(incoming: Incoming) -> None:
        alone.heard.append(incoming)
        if incoming.payload == b"bad":
            raise RuntimeError("of the handler's")

    alone.start(handle)
    alone.observer.send("psu/psu1/1/set", b"bad")
    alone.observer.send("psu/psu1/1/set", b"good")
    wait_until(lambda: len(alone.heard) == 2, "both")
    assert alone.session.reconnects == 0
    assert "of the handler's" in caplog.text
    assert "Traceback" in caplog.text


def test_a_flood_leaves_time_for_everything_else(alone: Alone) -> None:
    """400 commands that take 15 ms each: what is sent meanwhile goes out, and the work is taken for no absence."""
    number = 400
    seen_after: list[int] = []

    def handle(incoming: Incoming) -> None:
        alone.heard.append(incoming)
        if len(alone.heard) == 1:
            alone.session.report(Report(response=response("first")))
        if not seen_after and alone.observer.count("psu/psu1/1/response"):
            seen_after.append(len(alone.heard))
        time.sleep(0.015)

    alone.start(handle)
    for _ in range(number):
        alone.observer.post("psu/psu1/1/set", b"x")
    wait_until(lambda: len(alone.heard) == number, "all of them")
    assert seen_after
    assert seen_after[0] < number // 2
    assert alone.session.reconnects == 0
    assert alone.presence[-1] is None


def test_a_listener_that_raises_does_not_end_the_session(alone: Alone) -> None:
    def raise_(_: float | None) -> None:
        raise RuntimeError("of the listener's")

    alone.session.on_presence(raise_)
    alone.start()
    alone.lost()
    alone.reconnected()
    assert alone.session.alive(PATIENCE)


def test_an_error_of_our_own_is_logged_and_the_session_goes_on(
    alone: Alone, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone.start()

    def fail(*_: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("of our own")

    monkeypatch.setattr(alone.session._exchange, "send", fail)
    alone.session.report(Report(states=[state(1)]))
    wait_until(lambda: alone.session.reconnects == 1 and alone.session.connected, "a new connection")
    assert alone.observer.wait_state("psu1")["seq"] == 1
    assert "of our own" in caplog.text


def test_what_is_said_without_a_broker_comes_once_it_is_there(alone: Alone) -> None:
    alone.start()
    alone.lost()
    after = alone.observer.mark()
    for seq in range(1, 6):
        alone.session.report(Report(states=[state(seq)]))
    alone.session.report(Report(events=[event()], response=response("a")))
    alone.session.passing("psu/agents/bench/metrics", state(0))
    alone.session.report(Report(info=info()))
    alone.reconnected()
    observer = alone.observer
    observer.wait("psu/psu1/1/response", after=after)
    observer.wait("psu/psu1/1/event", after=after)
    wait_until(lambda: observer.count("psu/psu1/1/backlog") >= 5, "the backlog")
    assert [m.json["seq"] for m in observer.on("psu/psu1/1/backlog")] == [1, 2, 3, 4, 5]
    assert observer.wait_state("psu1", after=after)["seq"] == 5
    assert [m.payload for m in observer.on("psu/psu1/status")] == [b"online"]
    assert observer.on("psu/agents/bench/metrics") == []
    wait_until(lambda: not alone.store.backlog.sample_count, "the acknowledgements")
    assert alone.store.backlog.message_count == 0


def test_what_a_unit_says_while_the_broker_takes_its_time_is_told_with_the_connection(alone: Alone) -> None:
    """A status that comes between CONNECT and SUBACK must be what the broker retains in the end."""
    alone.start()
    alone.lost()
    held: list[bytes] = []

    def hold(data: bytes) -> Iterator[bytes]:
        held.append(data)
        yield from ()

    alone.way.down = hold
    alone.way.start()
    wait_until(lambda: held, "the answer to CONNECT")
    alone.session.report(Report(info=info(online=True), states=[state(1)]))
    alone.session.report(Report(info=info(online=False), states=[state(2)]))
    alone.way.heal()
    alone.way.end_all()
    observer = alone.observer
    wait_until(lambda: observer.on("psu/psu1/status"), "the status")
    assert observer.on("psu/psu1/status")[-1].payload == b"offline"
    assert observer.wait_state("psu1")["seq"] == 2


def test_removals_are_pending_until_the_broker_has_confirmed_them(alone: Alone) -> None:
    alone.start()
    alone.session.keep("psu/psu1/info", b"{}")
    alone.lost()
    alone.session.keep("psu/psu1/info", b"")
    assert alone.session.is_pending("psu/psu1/info")
    alone.reconnected()
    wait_until(lambda: not alone.session.is_pending("psu/psu1/info"), "the confirmation")


def test_other_topics_are_listened_to_from_now_on(alone: Alone) -> None:
    alone.start()
    alone.session.resubscribe(add=TOPICS.subscriptions(["psu2"]), remove=["psu/psu1/set/#", "psu/all/set/#"])
    alone.session.report(Report(response=response("after the change")))
    alone.observer.wait("psu/psu1/1/response")
    for topic in ("psu/psu1/set", "psu/all/set", "psu/psu2/1/set"):
        alone.observer.send(topic, b"x")
    wait_until(lambda: alone.heard, "the last")
    assert [incoming.topic for incoming in alone.heard] == ["psu/psu2/1/set"]
    alone.lost()
    alone.reconnected()
    alone.observer.send("psu/all/set", b"x")
    alone.observer.send("psu/psu2/1/set", b"y")
    wait_until(lambda: len(alone.heard) == 2, "the last")
    assert alone.heard[-1].payload == b"y"


def test_a_disk_that_hangs_holds_up_nothing(alone: Alone) -> None:
    """Not what is live, and not what waited in memory for the broker."""
    alone.start()
    disk = Disk(alone.store)
    disk.works.clear()
    alone.lost()
    alone.session.report(Report(states=[state(1)]))
    assert disk.hangs.wait(PATIENCE)
    alone.session.report(Report(states=[state(2)], response=response("a")))
    alone.reconnected()
    observer = alone.observer
    observer.wait("psu/psu1/1/response")
    wait_until(lambda: observer.count("psu/psu1/1/backlog") >= 2, "the backlog")
    assert [m.json["seq"] for m in observer.on("psu/psu1/1/backlog")] == [1, 2]
    alone.session.report(Report(states=[state(3)], response=response("b")))
    observer.wait("psu/psu1/1/response", lambda found: found["id"] == "b")
    assert alone.session.stop(PATIENCE)
    observer.wait_agent(status="offline")
    assert not alone.store.close(0.05)
    disk.works.set()


def test_a_response_that_the_disk_takes_while_a_connection_begins_is_sent_once(
    alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = Ticket("psu1", 1, "psu/psu1/1/response", b"a", "a")
    alone.start(lambda incoming: incoming.tickets.append(ticket))
    alone.observer.send("psu/psu1/1/set", b"ON")
    wait_until(lambda: ticket.stage is Stage.KEPT and ticket.is_safe, "the command in the file")
    alone.lost()
    disk = Disk(alone.store)
    disk.works.clear()
    alone.session.report(Report(response=response("a"), reply_to=ReplyTo(ticket.topic, ticket.correlation, ticket)))
    inbox = alone.session._inbox
    begin_connection = inbox.begin_connection

    def begin_while_the_disk_takes_it(first: str) -> tuple[list[Item], list[Item]]:
        emptied = begin_connection(first)
        disk.works.set()
        wait_until(lambda: inbox.items, "the response")
        return emptied

    monkeypatch.setattr(inbox, "begin_connection", begin_while_the_disk_takes_it)
    alone.reconnected()
    alone.observer.wait(ticket.topic, lambda found: found["id"] == "a")
    alone.session.report(Report(response=response("b")))
    alone.observer.wait(ticket.topic, lambda found: found["id"] == "b")
    assert [message.json["id"] for message in alone.observer.on(ticket.topic)] == ["a", "b"]


def test_what_finds_no_broker_before_the_end_is_kept(broker: LocalBroker, tmp_path: Path) -> None:
    alone = Alone(broker, tmp_path)
    alone.start()
    alone.lost()
    alone.session.report(Report(states=[state(1)], events=[event()], response=response("a")))
    alone.close()
    store = Store(tmp_path / "bench.sqlite3", 1000)
    assert (store.backlog.sample_count, store.backlog.message_count) == (1, 2)
    store.close(PATIENCE)


def test_a_broker_that_never_answers_does_not_hold_up_the_end(tmp_path: Path, broker: LocalBroker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        alone = Alone(broker, tmp_path)
        session = Session(
            Mqtt(host="127.0.0.1", port=silent.getsockname()[1]),
            agent="other",
            topics=TOPICS,
            backlog=alone.store.backlog,
            commands=alone.store.commands,
            subscriptions=[],
        )
        session.start(alone.heard.append)
        connection, _ = silent.accept()
        session.report(Report(states=[state(1)]))
        assert not session._exchange._has_work()  # the thread sleeps meanwhile
        assert session.stop(PATIENCE)
        assert alone.store.backlog.sample_count == 1
        connection.close()
        alone.start()
        alone.close()


def test_what_waited_while_a_connecting_process_was_held_up_is_not_carried_out(
    alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between SUBSCRIBE and the moment at which the session takes its SUBACK."""
    offset = [0.0]
    monkeypatch.setattr(connection_module, "system_clock", lambda: system_clock() + offset[0])
    alone.start()
    alone.lost()
    held: list[bytes] = []

    def hold(data: bytes) -> Iterator[bytes]:
        if held or data[0] == 0x90:  # SUBACK, and what follows
            held.append(data)
        else:
            yield data

    def release(data: bytes) -> Iterator[bytes]:
        alone.way.down = ways.straight
        offset[0] += 60.0
        yield b"".join([*held, data])

    alone.way.down = hold
    alone.way.start()
    wait_until(lambda: held, "SUBACK")
    alone.observer.send("psu/psu1/1/set", b"old")
    wait_until(lambda: b"old" in b"".join(held), "the command")
    alone.way.down = release
    after = alone.observer.mark()
    alone.observer.send("psu/psu1/1/set", b"old, too")
    alone.observer.wait_agent(after=after)
    alone.observer.send("psu/psu1/1/set", b"fresh")  # the agent has said that it is online
    wait_until(lambda: alone.heard and alone.heard[-1].payload == b"fresh", "the fresh one")
    heard = [(incoming.payload, incoming.stale) for incoming in alone.heard]
    assert heard == [(b"old", True), (b"old, too", True), (b"fresh", False)]


def test_a_session_that_never_began_keeps_what_it_was_told(alone: Alone) -> None:
    alone.session.report(Report(states=[state(1)], response=response("a")))
    assert alone.session.stop(PATIENCE)
    assert (alone.store.backlog.sample_count, alone.store.backlog.message_count) == (1, 1)


def test_an_error_in_the_goodbye_loses_nothing(
    alone: Alone, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone.start()

    def fail(_: str) -> None:
        alone.session.report(Report(events=[event()]))
        raise RuntimeError("of our own")

    monkeypatch.setattr(alone.session._exchange, "say_goodbye", fail)
    assert alone.session.stop(PATIENCE)
    assert "of our own" in caplog.text
    assert alone.store.backlog.message_count == 1

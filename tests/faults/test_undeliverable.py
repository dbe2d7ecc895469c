"""Responses and other messages that the broker does not take: told, counted, and out of the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.local.broker import LocalBroker
from agent.protocol.messages import Response, utc_now
from agent.store.store import Store
from tests.faults.proxy import Proxy
from tests.faults.samples import MakeBench
from tests.lab import PATIENCE, Bench, Observer, wait_until
from tests.support.relay import Drop

pytestmark = pytest.mark.usefixtures("quick")

#: Mosquitto ends the connection of a client that publishes to more than 200 levels.
DEEP = "deep/" + "a/" * 250 + "z"
OWN = "psu/psu1/1/response"


def send(observer: Observer, command_id: str, **arguments: Any) -> None:
    observer.send("psu/psu1/1/set", {"id": command_id, "voltage_limit": 1}, **arguments)


def answered(observer: Observer, command_id: str, topic: str = OWN) -> Any:
    """The one response, as it was received."""

    def found() -> list[Any]:
        return [m for m in observer.on(topic) if m.json["id"] == command_id]

    wait_until(found, f"the response to {command_id}")
    (message,) = found()
    return message


def wait_counted(observer: Observer, least: int = 1) -> Any:
    return observer.wait("psu/agents/bench/metrics", lambda m: m["undeliverable"] >= least, after=observer.mark())


def kept_response(command_id: str) -> bytes:
    return Response(id=command_id, ok=True, time=utc_now(), psu="psu1", index=1).to_json()


def test_a_response_topic_that_no_broker_takes_is_not_used(make_bench: MakeBench, broker: LocalBroker) -> None:
    bench = make_bench(port=broker.port)
    # A broker of 200 levels refuses it from the sender, too: so it is the deepest that comes through.
    send(bench.observer, "deep", response_topic="a/" * 150 + "z")
    assert answered(bench.observer, "deep").json["ok"]
    assert bench.daemon.session.reconnects == 0


def test_a_response_that_is_too_large_for_the_broker_is_never_sent(
    make_bench: MakeBench, make_broker: Callable[..., LocalBroker], caplog: pytest.LogCaptureFixture
) -> None:
    broker = make_broker(conf="max_packet_size 3500", kind="mosquitto")
    bench = make_bench(port=broker.port)
    observer = bench.observer
    large = b"c" * 3200
    send(observer, "elsewhere", response_topic="clients/x", correlation=large)
    message = answered(observer, "elsewhere")
    assert message.json["ok"]
    assert message.correlation is None  # it is what was too large
    send(observer, "here", correlation=large + b"2")
    assert answered(observer, "here").correlation is None
    send(observer, "small", response_topic="clients/x", correlation=b"c")
    assert answered(observer, "small", "clients/x").correlation == b"c"
    assert wait_counted(observer, 2)["broker_reconnects"] == 0
    assert "it takes no packet of more than 3500 bytes" in caplog.text


def test_a_retained_message_that_is_too_large_is_told_and_left_out(
    make_bench: MakeBench, make_broker: Callable[..., LocalBroker], caplog: pytest.LogCaptureFixture
) -> None:
    """Home Assistant's discovery, of some tens of kilobytes, at a broker that takes 4."""
    broker = make_broker(conf="max_packet_size 4000", kind="mosquitto")
    bench = make_bench(port=broker.port, homeassistant=True)
    wait_until(lambda: "homeassistant/device" in caplog.text, "the complaint")
    assert bench.observer.ask("psu/psu1/1/set/voltage_limit", "1")["ok"]
    assert bench.daemon.session.reconnects == 0


@pytest.fixture
def spooled(tmp_path: Path) -> Callable[[list[tuple[str, bytes, bytes | None]]], None]:
    """Fill the file of an agent that is not running with events and responses."""

    def fill(messages: list[tuple[str, bytes, bytes | None]]) -> None:
        store = Store(tmp_path / "state" / "bench.sqlite3", 1000)
        store.backlog.add_messages(messages)
        assert store.close(PATIENCE)

    return fill


def left_over(tmp_path: Path) -> int:
    store = Store(tmp_path / "state" / "bench.sqlite3", 1000)
    count = store.backlog.message_count + len(store.commands)
    assert store.close(PATIENCE)
    return count


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_an_earlier_run_kept_can_not_hold_up_the_connection(
    make_bench: MakeBench,
    make_broker: Callable[..., LocalBroker],
    spooled: Callable[..., None],
    tmp_path: Path,
    protocol: str,
) -> None:
    broker = make_broker(kind="mosquitto")
    good = [("psu/psu1/1/event", b'{"number": %d}' % number, None) for number in range(20)]
    deep = [(DEEP, kept_response("a response"), b"1"), (f"{DEEP}/2", b"{}", None)]
    spooled([*good[:10], *deep, *good[10:]])
    bench = make_bench(port=broker.port, mqtt={"protocol": protocol})
    observer = bench.observer
    assert answered(observer, "a response").correlation == (b"1" if protocol == "5" else None)
    wait_until(lambda: observer.count("psu/psu1/1/event") >= 20, "the others")
    metrics = wait_counted(observer, 2)
    # One connection for each to be suspected on, and one or two to be tried alone.
    assert metrics["broker_reconnects"] <= (4 if protocol == "5" else 6)
    send(observer, "one more")
    assert answered(observer, "one more").json["ok"]
    bench.stop()
    assert left_over(tmp_path) == 0
    bench.start()
    send(observer, "and another")
    assert answered(observer, "and another").json["ok"]
    assert bench.daemon.session.reconnects == 0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_samples_that_an_earlier_run_kept_under_another_base_topic(
    make_bench: MakeBench, make_broker: Callable[..., LocalBroker], tmp_path: Path, protocol: str
) -> None:
    store = Store(tmp_path / "state" / "bench.sqlite3", 1000)
    for number in range(300):
        store.backlog.add_samples([(f"{DEEP}/backlog", b"{}"), ("psu/psu1/9/backlog", b'{"number": %d}' % number)])
    assert store.close(PATIENCE)
    bench = make_bench(port=make_broker(kind="mosquitto").port, mqtt={"protocol": protocol}, backlog={"samples": 1000})
    observer = bench.observer
    metrics = observer.wait("psu/agents/bench/metrics", lambda m: m["backlog"] == 0 and m["undeliverable"] >= 300)
    assert metrics["broker_reconnects"] <= 3
    numbers = [m.json["number"] for m in observer.on("psu/psu1/9/backlog")]
    assert sorted(set(numbers)) == list(range(300))
    send(observer, "one more")
    assert answered(observer, "one more").json["ok"]


def _closed_by(mark: bytes) -> Callable[[bytes], Iterator[bytes]]:
    """A broker that says nothing: it ends the connection of whoever publishes this."""

    def way(data: bytes) -> Iterator[bytes]:
        if mark in data:
            raise Drop
        yield data

    return way


def test_a_broker_that_ends_the_connection_without_a_word(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """As some do for a topic of more than eight levels."""
    bench = make_bench(port=way.port, observer_port=broker.port, poll_interval=0.05)
    observer = bench.observer
    way.up = _closed_by(b"nine/levels")
    send(observer, "first", response_topic="nine/levels")
    assert answered(observer, "first").json["ok"]
    reconnects = bench.daemon.session.reconnects
    assert reconnects <= 4
    for number in range(5):  # the topic is known now
        send(observer, f"again {number}", response_topic="nine/levels")
        assert answered(observer, f"again {number}").json["ok"]
    assert bench.daemon.session.reconnects == reconnects
    assert wait_counted(observer, 6)
    assert observer.on("nine/levels") == []


def test_a_link_that_breaks_loses_no_response(make_bench: MakeBench, broker: LocalBroker, way: Proxy) -> None:
    """It breaks in the moment at which the response passes, twice; that is no proof against the message."""
    bench = make_bench(port=way.port, observer_port=broker.port, poll_interval=60)
    breaks = iter(range(2))

    def breaking(data: bytes) -> Iterator[bytes]:
        if b"clients/here" in data and next(breaks, None) is not None:
            raise Drop
        yield data

    way.up = breaking
    send(bench.observer, "twice", response_topic="clients/here", correlation=b"c")
    assert answered(bench.observer, "twice", "clients/here").correlation == b"c"
    assert bench.observer.on(OWN) == []


def test_a_response_that_may_not_be_published_where_it_was_asked_for(
    make_bench: MakeBench, make_broker: Callable[..., LocalBroker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite psu/#\ntopic read #\n")
    bench: Bench = make_bench(port=make_broker(conf=f"acl_file {acl}", kind="mosquitto").port)
    observer = bench.observer
    for number in range(30):
        send(observer, f"{number}", response_topic=f"elsewhere/{number}", correlation=b"%d" % number)
        assert answered(observer, f"{number}").correlation == b"%d" % number
    observer.send("psu/psu1/set", {"id": "whole", "state": False}, response_topic="elsewhere/x")
    assert answered(observer, "whole", "psu/psu1/response").json["ok"]
    assert wait_counted(observer, 31)["broker_reconnects"] == 0
    refusals = [r for r in caplog.records if "it refused a message" in r.getMessage()]
    assert len(refusals) == 1  # strangers can't fill the log with it
    assert "went to psu/psu1/1/response instead" in refusals[0].getMessage()


def test_a_response_that_may_go_nowhere_is_dropped_and_its_command_forgotten(
    make_bench: MakeBench, make_broker: Callable[..., LocalBroker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite psu/#\ntopic read #\ntopic deny psu/+/+/response\n")
    bench = make_bench(port=make_broker(conf=f"acl_file {acl}", kind="mosquitto").port)
    send(bench.observer, "x", response_topic="elsewhere")
    assert wait_counted(bench.observer, 2)["broker_reconnects"] == 0
    wait_until(lambda: "let this user publish there; it is dropped" in caplog.text, "the complaint")
    bench.stop()
    assert left_over(tmp_path) == 0

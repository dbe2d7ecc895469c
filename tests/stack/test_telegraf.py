"""From contract messages through the real Mosquitto and the real Telegraf into the real InfluxDB, as shipped."""

from __future__ import annotations

import re
import signal
import socket
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT
from tests.support.waiting import wait_until

from .publisher import START, Channel, Publisher, info, metrics, milliseconds
from .services import Broker, Store, Telegraf, generate_secrets, stopping

#: Written for units that are heard of seldom alone (tests/stack/alerts/test_seldom.py).
SELDOM = ("silent_after", "cc", "current_share", "voltage_share")


@pytest.fixture(scope="module")
def telegraf(broker: Broker, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Telegraf]:
    telegraf = Telegraf(tmp_path_factory.mktemp("telegraf"), broker, store.url)
    telegraf.start()
    yield telegraf
    telegraf.stop()


def rows_of(store: Store, measurement: str, psu: str, number: int) -> list[dict[str, Any]]:
    text = f"SELECT * FROM {measurement} WHERE psu = '{psu}'"
    return rows_as_soon_as(store, text, number)


def rows_as_soon_as(store: Store, text: str, number: int) -> list[dict[str, Any]]:
    """The answer, as soon as it has so many rows."""
    rows: list[dict[str, Any]] = wait_until(
        lambda: len(found := store.rows(text)) >= number and found, f"{number} rows of {text}"
    )
    return rows


@pytest.mark.usefixtures("telegraf")
def test_every_field_arrives_with_its_type_tags_and_time(broker: Broker, store: Store) -> None:
    channel = Channel(psu="typed", index=2)
    with Publisher(broker) as publisher:
        publisher.state(channel.state(1))
        publisher.state(channel.state(2, state=False, mode="CC", tripped="OCP", current_protection=True))
        publisher.settle()
    first, second = rows_of(store, "psu_channel", "typed", 2)
    sent = channel.state(1)
    assert first.pop("time") == milliseconds(channel.time(1))
    assert first.pop("channel") == "2"
    assert first.pop("tripped") is None
    for field in SELDOM:  # of another test's unit
        first.pop(field, None)
    assert first == {key: value for key, value in sent.items() if key not in ("time", "index", "tripped")}
    assert (second["state"], second["mode"], second["tripped"], second["current_protection"]) == (
        False,
        "CC",
        "OCP",
        True,
    )

    types = {row["fieldKey"]: row["fieldType"] for row in store.rows("SHOW FIELD KEYS FROM psu_channel")}
    for field in SELDOM:
        assert types.pop(field, "float") == "float"
    numbers = (
        "voltage",
        "current",
        "power",
        "voltage_limit",
        "current_limit",
        "voltage_protection",
        "current_protection_level",
        "energy",
        "charge",
    )
    assert types == dict.fromkeys(numbers, "float") | {
        "seq": "integer",
        "online": "boolean",
        "state": "boolean",
        "current_protection": "boolean",
        "voltage_protection_state": "boolean",
        "mode": "string",
        "tripped": "string",
    }
    tags = {row["tagKey"] for row in store.rows("SHOW TAG KEYS FROM psu_channel")}
    assert tags == {"agent", "psu", "channel", "name", "model"}


@pytest.mark.usefixtures("telegraf")
def test_what_is_not_known_of_an_offline_unit_is_absent(broker: Broker, store: Store) -> None:
    channel = Channel(psu="lost")
    with Publisher(broker) as publisher:
        publisher.state(channel.offline(1))
        # Never seen since the agent started: not even the model is known.
        publisher.state(channel.offline(2) | {"model": None, "energy": None, "charge": None})
        publisher.settle()
    first, second = rows_of(store, "psu_channel", "lost", 2)
    assert first["online"] is second["online"] is False
    unknown = {"state", "voltage", "current", "power", "voltage_limit", "current_limit", "mode", "tripped"}
    assert {key for key in unknown if first[key] is not None or second[key] is not None} == set()
    assert first["energy"] == 0.0007
    assert second["energy"] is None
    assert store.rows("SELECT count(voltage) FROM psu_channel WHERE psu = 'lost'") == []


@pytest.mark.usefixtures("telegraf")
def test_backlog_and_repeated_states_land_on_the_same_points(broker: Broker, store: Store) -> None:
    channel = Channel(psu="again")
    with Publisher(broker) as publisher:
        for seq in range(50):
            publisher.state(channel.state(seq))
        for seq in range(40, 90):  # ten of them twice, as after a lost acknowledgement
            publisher.state(channel.state(seq), "backlog")
        publisher.state(channel.state(89))
        publisher.settle()
    rows = rows_of(store, "psu_channel", "again", 90)
    assert [row["seq"] for row in rows] == list(range(90))
    assert [row["time"] for row in rows] == [milliseconds(channel.time(seq)) for seq in range(90)]


@pytest.mark.usefixtures("telegraf")
def test_events_metrics_and_status(broker: Broker, store: Store) -> None:
    channel = Channel(psu="told", index=3)
    texts = {"voltage_limit": "voltage_limit 5 V → 3.3 V by command 42", "state": "state ON → OFF by the panel"}
    with Publisher(broker) as publisher:
        publisher.send("told/3/event", channel.event(1, "voltage_limit", texts["voltage_limit"]))
        publisher.send(
            "told/3/event", channel.event(1, "state", texts["state"], by="panel", **{"from": True, "to": False})
        )
        publisher.send("agents/bench7/metrics", metrics("bench7"))
        publisher.send("told/status", "offline", retain=True)
        publisher.send("agents/bench7/status", "online", retain=True)
        publisher.settle()
    events = rows_of(store, "psu_event", "told", 2)
    assert {(row["field"], row["by"], row["id"], row["text"], row["channel"]) for row in events} == {
        ("voltage_limit", "command", "42", texts["voltage_limit"], "3"),
        ("state", "panel", None, texts["state"], "3"),
    }
    assert {row["time"] for row in events} == {milliseconds(channel.time(1))}

    (unit,) = rows_of(store, "psu_unit", "told", 1)
    assert (unit["status"], unit["offline"]) == ("offline", 1)
    query = "SELECT * FROM psu_agent WHERE agent = 'bench7'"
    figures, status = rows_as_soon_as(store, query, 2)
    sent = metrics("bench7")
    assert figures["time"] == milliseconds(START)
    assert {key: figures[key] for key in sent if key != "time"} == {key: sent[key] for key in sent if key != "time"}
    assert (status["status"], status["offline"]) == ("online", 0)

    with Publisher(broker) as publisher:  # the unit is taken out of the configuration
        publisher.send("told/status", None, retain=True)
        publisher.settle()
    wait_until(
        lambda: store.rows("SELECT last(offline) FROM psu_unit WHERE psu = 'told'")[0]["last"] == 0,
        "the removed unit is no longer in trouble",
    )


@pytest.mark.usefixtures("telegraf")
def test_what_an_agent_says_of_a_unit_and_after_how_long_it_is_silent(broker: Broker, store: Store) -> None:
    rival = {"agent": "bench4", "instance": "i", "host": "h", "unit": "asked", "why": "name"}
    said: list[dict[str, Any]] = [
        {"poll_interval": 1.0},
        {"poll_interval": 20.0, "online": False, "reason": 'nobody answers at "192.0.2.7"'},
        {"poll_interval": 20.1, "serves": False, "conflict": rival},
        {"poll_interval": 1.0, "heartbeat": 60.0},
        {"poll_interval": 0.0, "heartbeat": 30.0},
    ]
    with Publisher(broker) as publisher:
        for second, changed in enumerate(said):
            publisher.send("asked/info", info("asked", START + timedelta(seconds=second), **changed), retain=True)
        publisher.settle()
    rows = rows_of(store, "psu_unit", "asked", 5)
    assert [row["time"] for row in rows] == [milliseconds(START + timedelta(seconds=second)) for second in range(5)]
    assert [row["silent_after"] for row in rows] == pytest.approx([60.0, 60.0, 60.3, 90.0, 60.0])
    assert [row["serves"] for row in rows] == [True, True, False, True, True]
    assert [row["reason"] for row in rows] == [None, 'nobody answers at "192.0.2.7"', None, None, None]
    assert [row["conflict"] for row in rows] == [None, None, "bench4", None, None]
    assert {row["agent"] for row in rows} == {"bench3"}
    assert {row["status"] for row in rows} == {None}


@pytest.mark.usefixtures("telegraf")
@pytest.mark.parametrize("payload", ["", "{", "[]", '{"time": "soon"}', '{"time": "2026-11-23T09:15:02Z"}', "\x00\xff"])
def test_a_message_that_is_none_harms_no_other(broker: Broker, store: Store, payload: str) -> None:
    psu = f"spoilt{abs(hash(payload))}"
    with Publisher(broker) as publisher:
        publisher.send(f"{psu}/1/state", payload)
        publisher.state(Channel(psu=psu).state(1))
        publisher.settle()
    (row,) = rows_of(store, "psu_channel", psu, 1)
    assert row["seq"] == 1


def test_names_with_every_sign_of_line_protocol(broker: Broker, store: Store, telegraf: Telegraf) -> None:
    name = 'MOTOR "A", 5 V = {{ x }} \\ µ😀'
    with Publisher(broker) as publisher:
        publisher.state(Channel(psu="named").state(1, name=name))
        publisher.settle()
    (row,) = rows_of(store, "psu_channel", "named", 1)
    assert row["name"] == name
    assert telegraf.health() == 200


@pytest.mark.usefixtures("telegraf")
def test_the_task_of_the_fleet_page_makes_means(broker: Broker, store: Store) -> None:
    """As docs/fleet.md has it: a bucket beside, filled by InfluxDB itself."""
    (task,) = re.findall(r"```flux\n(.*?)```", (ROOT / "docs" / "fleet.md").read_text(), re.DOTALL)
    minute = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=30)
    with Publisher(broker) as publisher:
        for seq in range(60):
            publisher.state(Channel(psu="means", start=minute).state(seq, voltage=float(seq)))
        publisher.settle()
    rows_of(store, "psu_channel", "means", 60)
    (bucket,) = (found for found in store.call("GET", "/api/v2/buckets")["buckets"] if found["name"] == "psu")
    two_years = {"type": "expire", "everySeconds": 2 * 365 * 86400}
    store.call(
        "POST", "/api/v2/buckets", {"orgID": bucket["orgID"], "name": "psu-means", "retentionRules": [two_years]}
    )
    made = store.call("POST", "/api/v2/tasks", {"orgID": bucket["orgID"], "flux": task})
    store.call("POST", f"/api/v2/tasks/{made['id']}/runs", {})
    query = urllib.parse.urlencode({"db": "psu-means", "q": "SELECT voltage FROM psu_channel WHERE psu = 'means'"})
    series = wait_until(lambda: store.call("GET", f"/query?{query}")["results"][0].get("series"), "the task's means")
    assert [value for _, value in series[0]["values"]] == [29.5]


def test_a_base_topic_of_several_levels(secrets: Path, store: Store, tmp_path: Path) -> None:
    users = tmp_path / "users.toml"
    users.write_text(
        'base_topic = "lab3/psu"\ndiscovery_prefix = "homeassistant"\n[users.agent]\nrole = "agent"\n'
        'name = "bench3"\nunits = ["deep"]\n[users.telegraf]\nrole = "telegraf"\n'
    )
    broker = Broker(tmp_path / "broker", generate_secrets(tmp_path / "secrets", users))
    telegraf = Telegraf(tmp_path / "telegraf", broker, store.url, base_topic="lab3/psu")
    with stopping(telegraf, broker):
        broker.start()
        telegraf.start()
        with Publisher(broker, base="lab3/psu") as publisher:
            publisher.state(Channel(psu="deep").state(1))
            publisher.send("deep/status", "online", retain=True)
            publisher.send("agents/bench3/status", "online", retain=True)
            publisher.settle()
        assert rows_of(store, "psu_channel", "deep", 1)[0]["seq"] == 1
        assert rows_of(store, "psu_unit", "deep", 1)[0]["status"] == "online"
        assert wait_until(lambda: store.rows("SELECT * FROM psu_agent WHERE agent = 'bench3'"), "the agent's status")


class Stack:
    """A broker, a store and a Telegraf of its own, for a test that breaks them."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        self.broker, self.store = Broker(folder / "broker", secrets), Store(folder / "store")
        self.telegraf = Telegraf(folder / "telegraf", self.broker, self.store.url)

    def number(self, psu: str) -> int:
        rows = self.store.rows(f"SELECT count(seq) FROM psu_channel WHERE psu = '{psu}'")
        return int(rows[0]["count"]) if rows else 0

    def sequence(self, psu: str) -> list[int]:
        return [row["seq"] for row in self.store.rows(f"SELECT seq FROM psu_channel WHERE psu = '{psu}'")]


@pytest.fixture
def stack(tmp_path: Path, secrets: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path, secrets)
    with stopping(stack.telegraf, stack.store, stack.broker):
        stack.broker.start()
        stack.store.start()
        stack.telegraf.start()
        yield stack


@pytest.mark.stack
def test_no_sample_is_lost_or_doubled_over_restarts_of_each(stack: Stack) -> None:
    """More samples than the broker's window at every step, so that a reader that stopped reading would show."""
    channel, seq = Channel(psu="kept"), 0

    def publish(number: int) -> None:
        nonlocal seq
        with Publisher(stack.broker) as publisher:
            for _ in range(number):
                publisher.state(channel.state(seq))
                seq += 1
            publisher.settle()

    def all_there() -> None:
        wait_until(lambda: stack.number("kept") >= seq, f"{seq} samples", 60)
        assert stack.sequence("kept") == list(range(seq))

    publish(500)
    stack.telegraf.stop()
    publish(500)
    stack.telegraf.start()
    all_there()

    stack.telegraf.stop(signal.SIGKILL)
    publish(500)
    stack.telegraf.start()
    all_there()

    stack.store.stop()
    publish(11_000)
    wait_until(lambda: stack.telegraf.health() == 503, "the full window shows in Telegraf's health")
    stack.store.start()
    all_there()
    wait_until(lambda: stack.telegraf.health() == 200, "Telegraf is well again")

    stack.broker.stop()
    wait_until(lambda: "connection lost" in stack.telegraf.text(), "Telegraf says that the broker is gone")
    # Long enough that reconnecting fails, several times for each of the connections: Telegraf 1.32 to 1.37 came back
    # from that, but stopped after one window of messages (influxdata/telegraf #16035, #18452).
    with socket.create_server(("127.0.0.1", stack.broker.port)) as nobody:
        for _ in range(10):
            nobody.accept()[0].close()
    stack.broker.start()
    publish(11_000)
    all_there()

    # All at once, and the broker again while Telegraf holds what it has not acknowledged.
    stack.store.stop(signal.SIGKILL)
    publish(1000)
    stack.broker.stop()
    stack.broker.start()
    publish(1000)
    stack.telegraf.stop(signal.SIGKILL)
    publish(1000)
    stack.telegraf.start()
    stack.store.start()
    all_there()
    publish(1)
    all_there()

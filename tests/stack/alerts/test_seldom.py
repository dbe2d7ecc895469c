"""What Telegraf writes with the samples of units that are heard of seldom, through the real Mosquitto into the real InfluxDB."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.stack.lines import seldom
from tests.stack.publisher import Channel, Publisher, info, metrics, stamp
from tests.stack.services import Broker, Store, Telegraf
from tests.stack.test_telegraf import SELDOM, rows_as_soon_as, rows_of

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module", autouse=True)
def telegraf(broker: Broker, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    telegraf = Telegraf(tmp_path_factory.mktemp("telegraf"), broker, store.url)
    telegraf.start()
    yield
    telegraf.stop()


def test_the_samples_of_a_unit_that_is_heard_of_seldom_say_so(broker: Broker, store: Store) -> None:
    """The last that came before the unit's info, too; not those of a unit that another agent would poll seldom."""
    now = datetime.now(UTC)
    with Publisher(broker) as publisher:
        for psu, seldom in (("hourly", {"poll_interval": 600.0}), ("quietly", {"heartbeat": 300.0}), ("often", {})):
            for seq in (1, 2):
                publisher.state(Channel(psu=psu).state(seq))
            publisher.settle()
            rows_of(store, "psu_channel", psu, 2)
            publisher.send(f"{psu}/info", info(psu, now, **{"poll_interval": 1.0} | seldom), retain=True)
            publisher.send(f"{psu}/info", info(psu, now, agent="other", poll_interval=3600.0, serves=False))
            publisher.settle()
            rows_of(store, "psu_unit", psu, 2)
            for seq in (3, 4):
                publisher.state(Channel(psu=psu).state(seq))
            publisher.settle()
            rows_of(store, "psu_channel", psu, 4)
        publisher.send("agents/bench3/metrics", metrics("bench3"))
        publisher.settle()
    (figure,) = rows_as_soon_as(store, "SELECT last(units_seldom) AS n FROM psu_agent WHERE agent = 'bench3'", 1)
    assert figure["n"] == 2
    heard = [row["heard_seldom"] for row in store.rows("SELECT heard_seldom FROM psu_agent WHERE agent = 'bench3'")]
    assert set(heard) == {1800.0, 450.0}
    with Publisher(broker) as publisher:
        publisher.send("quietly/status", None, retain=True)  # it is taken out of the configuration
        publisher.settle()
        rows_of(store, "psu_unit", "quietly", 3)
        publisher.send("agents/bench3/metrics", metrics("bench3") | {"time": stamp(now)})
        publisher.settle()
    figures = rows_as_soon_as(store, "SELECT units_seldom FROM psu_agent WHERE agent = 'bench3'", 2)
    assert [row["units_seldom"] for row in figures] == [2, 1]
    found = {
        psu: [row["silent_after"] for row in rows_of(store, "psu_channel", psu, 4)]
        for psu in ("hourly", "quietly", "often")
    }
    assert found == {
        "hourly": [None, 1800.0, 1800.0, 1800.0],
        "quietly": [None, 450.0, 450.0, 450.0],
        "often": [None, None, None, None],
    }


def test_a_sample_of_a_unit_that_is_heard_of_seldom_bears_what_rules_ask_of_it(broker: Broker, store: Store) -> None:
    """And nothing where it does not count, or is not known; as tests.stack.lines has it, which other tests write."""
    changes: list[dict[str, Any]] = [
        {},
        {"mode": "CC"},
        {"mode": None, "voltage_protection_state": True},
        {"state": False},
        {"current_limit": 0.0, "voltage_protection": None},
        {"voltage_protection_state": False},
        {"current": None, "voltage": None, "power": None, "mode": None, "state": None, "online": False},
    ]
    channel = Channel(psu="asked-of")
    with Publisher(broker) as publisher:
        publisher.send("asked-of/info", info("asked-of", datetime.now(UTC), poll_interval=600.0), retain=True)
        publisher.settle()
        rows_of(store, "psu_unit", "asked-of", 1)
        sent = [channel.state(seq, **changed) for seq, changed in enumerate(changes)]
        for sample in sent:
            publisher.state(sample)
        publisher.settle()
    found = rows_of(store, "psu_channel", "asked-of", len(changes))
    expected = [seldom(sample | {"silent_after": 1800.0}) for sample in sent]
    assert [{field: row.get(field) for field in SELDOM[1:] if row.get(field) is not None} for row in found] == expected

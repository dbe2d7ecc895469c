"""What a lab gets wrong, and what breaks: a message where it belongs, nothing lost, and it heals without a hand."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import urllib.error
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.waiting import wait_until

from .lines import line
from .publisher import Channel, Publisher
from .services import INPUTS, Broker, Store, Telegraf, stopping


def put(store: Store, psu: str, number: int) -> None:
    """Write a channel's sample of now with this sequence number."""
    store.write([line("psu_channel", {"psu": psu}, {"seq": number})])


def sequence(store: Store, psu: str) -> list[int]:
    return [row["seq"] for row in store.rows(f"SELECT seq FROM psu_channel WHERE psu = '{psu}'")]


def publish(broker: Broker, psu: str, *numbers: int) -> None:
    with Publisher(broker) as publisher:
        for seq in numbers:
            publisher.state(Channel(psu=psu).state(seq))
        publisher.settle()


def test_a_wrong_mqtt_password_is_told_by_telegraf_and_the_broker(broker: Broker, store: Store, tmp_path: Path) -> None:
    telegraf = Telegraf(tmp_path, broker, store.url, password="not-the-password")
    with stopping(telegraf):
        telegraf.start(wait=False)
        # It ends, and compose starts it again until the password is right.
        assert wait_until(telegraf.ended, "Telegraf gives up") == 1
    assert "not Authorized" in telegraf.text()
    assert "mqtt_consumer" in telegraf.text()
    assert "not-the-password" not in telegraf.text()
    wait_until(lambda: "not authorised" in broker.text(), "the broker to tell it, too: it refuses first")


def test_a_token_that_is_revoked_is_told_and_nothing_is_lost(broker: Broker, store: Store, tmp_path: Path) -> None:
    (bucket,) = (found for found in store.call("GET", "/api/v2/buckets")["buckets"] if found["name"] == "psu")
    resource = {"type": "buckets", "id": bucket["id"], "orgID": bucket["orgID"]}
    wanted = {"orgID": bucket["orgID"], "permissions": [{"action": "write", "resource": resource}]}
    made = store.call("POST", "/api/v2/authorizations", wanted)
    telegraf = Telegraf(tmp_path, broker, store.url, token=made["token"], environment={"PSU_CLIENT_ID": "token"})
    with stopping(telegraf):
        telegraf.start()
        publish(broker, "token", 1)
        wait_until(lambda: sequence(store, "token") == [1], "what is written with it")
        store.call("DELETE", f"/api/v2/authorizations/{made['id']}")
        publish(broker, "token", 2, 3)
        wait_until(lambda: "(401 Unauthorized): unauthorized" in telegraf.text(), "the refusal in the log")
        telegraf.stop()
    assert sequence(store, "token") == [1]
    right = Telegraf(tmp_path, broker, store.url, environment={"PSU_CLIENT_ID": "token"})
    with stopping(right):
        right.start()
        wait_until(lambda: sequence(store, "token") == [1, 2, 3], "what was refused")


def test_a_clock_that_is_wrong_costs_other_agents_nothing(broker: Broker, tmp_path: Path) -> None:
    """An hour ahead: stored at its own time. Far behind, as of a computer without a battery: refused, and told by name."""
    store, now = Store(tmp_path / "store"), datetime.now(UTC).replace(microsecond=0)
    telegraf = Telegraf(tmp_path / "telegraf", broker, store.url, environment={"PSU_CLIENT_ID": "clocks"})
    starts = {"right": now, "ahead": now + timedelta(hours=1), "behind": datetime(1970, 1, 1, 0, 10, tzinfo=UTC)}
    with stopping(telegraf, store):
        store.start()
        (bucket,) = (found for found in store.call("GET", "/api/v2/buckets")["buckets"] if found["name"] == "psu")
        retention = {"type": "expire", "everySeconds": 52 * 604800, "shardGroupDurationSeconds": 604800}
        store.call("PATCH", f"/api/v2/buckets/{bucket['id']}", {"retentionRules": [retention]})
        telegraf.start()
        with Publisher(broker) as publisher:
            for seq in range(20):
                for psu, start in starts.items():
                    publisher.state(Channel(agent=f"agent-{psu}", psu=psu, start=start).state(seq))
            publisher.settle()
        wait_until(lambda: "agent=agent-behind" in telegraf.text(), "the refused agent in Telegraf's log")
        assert "outside retention policy" in telegraf.text()
        for psu in ("right", "ahead"):
            wait_until(lambda psu=psu: sequence(store, psu) == list(range(20)), psu)  # type: ignore[misc]
        assert sequence(store, "behind") == []
        # Nothing of the refused waits to be refused again.
        publish(broker, "after", 1)
        wait_until(lambda: sequence(store, "after") == [1], "what comes after it")
        wait_until(lambda: telegraf.health() == 200, "Telegraf is well")
        # A question for the present finds that of the one, and takes the other's future for it, unless it has an end.
        question = "SELECT last(seq) FROM psu_channel WHERE psu =~ /^(right|ahead)$/ AND time > now() - 1h"
        rows = {end: store.rows(f"{question} {end} GROUP BY psu") for end in ("", "AND time <= now() + 10m")}
        assert [{row["psu"]: row["last"] for row in found} for found in rows.values()] == [
            {"right": 19, "ahead": 19},
            {"right": 19},
        ]


def test_everything_may_start_in_any_order(secrets: Path, tmp_path: Path) -> None:
    """Telegraf before the broker and the store: `startup_error_behavior = "retry"`."""
    broker, store = Broker(tmp_path / "broker", secrets), Store(tmp_path / "store")
    telegraf = Telegraf(tmp_path / "telegraf", broker, store.url)
    with stopping(telegraf, store, broker):
        telegraf.start(wait=False)
        wait_until(lambda: "connection refused; retrying" in telegraf.text(), "Telegraf says what is missing")
        broker.start()
        publish(broker, "early", 1)
        wait_until(lambda: telegraf.text().count("Connected [") == INPUTS, "Telegraf is there")
        publish(broker, "early", 2)
        store.start()
        wait_until(lambda: sequence(store, "early")[-1:] == [2], "the retained sample and the live one")
        assert telegraf.ended() is None


def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if os.getuid() != 0 or mounted.returncode != 0:
        pytest.skip("only root can mount a small file system to fill")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)  # also where a program that a failed test left is on it


@pytest.fixture
def brokers_disk(tmp_path: Path) -> Iterator[Path]:
    yield from small_disk(tmp_path / "small", "96k")


@pytest.fixture
def stores_disk(tmp_path: Path) -> Iterator[Path]:
    yield from small_disk(tmp_path / "small", "16m")


def test_a_store_with_a_full_disk_is_told_and_nothing_is_lost(
    broker: Broker, tmp_path: Path, stores_disk: Path
) -> None:
    store, filler = Store(stores_disk), stores_disk / "filler"
    telegraf = Telegraf(tmp_path / "telegraf", broker, store.url, environment={"PSU_CLIENT_ID": "full"})
    with stopping(telegraf, store):
        store.start()
        telegraf.start()
        publish(broker, "full", 1)
        wait_until(lambda: sequence(store, "full") == [1], "the first sample")
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))
        publish(broker, "full", *range(2, 500))  # more than the last page of its log has room for
        wait_until(lambda: "no space left on device" in telegraf.text(), "the reason in Telegraf's log")
        filler.unlink()
        # InfluxDB keeps the first error of its log's writer, and refuses until it is started again.
        with pytest.raises(urllib.error.HTTPError, match="500"):
            put(store, "other", 1)
        store.stop()
        store.start()
        wait_until(lambda: len(sequence(store, "full")) >= 499, "every sample")
        assert sequence(store, "full") == list(range(1, 500))


def test_a_store_that_is_killed_again_and_again_keeps_what_it_took(tmp_path: Path) -> None:
    """It would write on behind the torn end of its log, and read up to that at its next start (`influxdb/start.sh`)."""
    store, log = Store(tmp_path), tmp_path / "engine" / "wal"
    with stopping(store):
        store.start()
        for number in (1, 2):
            put(store, "power", number)
        store.stop(signal.SIGKILL)
        (segment,) = log.rglob("*.wal")
        os.truncate(segment, segment.stat().st_size - 7)  # so much of the second did not reach the disk
        for number in (3, 4):
            store.start()
            put(store, "power", number)
            store.stop(signal.SIGKILL)
        store.start()
        assert sequence(store, "power") == [1, 3, 4]
        put(store, "power", 5)
        store.stop()
        assert [path for path in log.rglob("*.wal") if path.stat().st_size] == [], "told to stop, it leaves no log"
        told = store.text().count("it takes over its log")
        store.start()
        assert sequence(store, "power") == [1, 3, 4, 5]
        assert store.text().count("it takes over its log") == told == 3


def test_a_broker_with_a_full_disk_goes_on_and_says_so(secrets: Path, tmp_path: Path, brokers_disk: Path) -> None:
    broker = Broker(tmp_path / "broker", secrets)
    text = broker.config.read_text().replace(f"{broker.data}/", f"{brokers_disk}/")
    broker.config.write_text(text.replace("autosave_interval 60", "autosave_interval 1"))
    with stopping(broker):
        broker.start()
        listening = [*broker.client("telegraf"), "-q", "1", "-c", "-i", "away", "-t", "psu/+/+/state", "-E"]
        subprocess.run(["mosquitto_sub", *listening], check=True, timeout=60)
        publish(broker, "disk", *range(500))
        wait_until(lambda: "Error: No space left on device" in broker.text(), "the broker says that it could not write")
        # It still has everything, and hands it on.
        listening = [
            *broker.client("telegraf"),
            "-q",
            "1",
            "-c",
            "-i",
            "away",
            "-t",
            "psu/+/+/state",
            "-C",
            "500",
            "-W",
            "60",
        ]
        done = subprocess.run(["mosquitto_sub", *listening], capture_output=True, text=True, timeout=90)
        assert len(done.stdout.splitlines()) == 500


def test_compose_says_which_secrets_are_missing() -> None:
    """Docker refuses to start a service whose bind has no source and names the path; without that it makes a folder."""
    import yaml

    for file in ("compose.yaml", "examples/prometheus/compose.yaml"):
        for name, service in yaml.safe_load((ROOT / file).read_text())["services"].items():
            for volume in service.get("volumes", []):
                if isinstance(volume, dict) and volume["type"] == "bind":
                    assert volume["bind"] == {"create_host_path": False}, name
                    assert volume["read_only"] is True, name

"""The cost of a sample behind the agent: bytes at the broker and in the store, processor of Mosquitto, Telegraf and InfluxDB.

The real agent with simulated supplies, the shipped mosquitto.conf and telegraf.conf, and InfluxDB 2. Writes ``measured.json``
beside this file, which `benchmarks.scaleparts.costs` computes with.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.rig import Agent, Subscriber, Units
from benchmarks.scaleparts.load import CHANNELS, cpu_of
from tests.stack.services import Broker, Store, Telegraf, generate_secrets, influxd, stopping
from tests.support.figures import machine
from tests.support.waiting import wait_until

FILE = Path(__file__).with_name("measured.json")
#: InfluxDB is to write what it has to its files, and to compact them, at once and not after hours.
_EAGER = {
    "INFLUXD_STORAGE_CACHE_SNAPSHOT_WRITE_COLD_DURATION": "2s",
    "INFLUXD_STORAGE_COMPACT_FULL_WRITE_COLD_DURATION": "2s",
}
#: s without a change after which the store's files count as final.
_QUIET = 12.0


def measure(units: int = 10, interval: float = 0.05, seconds: float = 90.0) -> dict[str, float | str]:
    """Send samples through all of it for some time (s)."""
    with tempfile.TemporaryDirectory(prefix="psu-agent-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        broker = Broker(folder / "broker", generate_secrets(folder / "secrets"))
        store = Store(folder / "store", _EAGER)
        telegraf = Telegraf(folder / "telegraf", broker, store.url)
        stack.enter_context(stopping(telegraf, store, broker))
        broker.start()
        store.start()
        telegraf.start()
        supplies = stack.enter_context(Units(units))
        mqtt = {
            "host": "127.0.0.1",
            "port": broker.port,
            "username": "agent",
            "password": broker.password("agent"),
        }
        agent = Agent(folder, broker.port, supplies.resources, poll_interval=interval, settings={"mqtt": mqtt})
        stack.enter_context(agent)

        def stored() -> int:
            rows = store.rows("SELECT count(seq) FROM psu_channel")
            return int(rows[0]["count"]) if rows else 0

        enough = 10 * units * CHANNELS
        agent.wait_until(lambda: stored() > enough, "samples are stored")
        parts = [cpu_of(pid) for pid in (broker.pid, telegraf.pid, store.pid)]
        before, start = stored(), time.perf_counter()
        time.sleep(seconds)
        count = stored() - before
        costs = [
            (cpu_of(pid) - part) / count for pid, part in zip((broker.pid, telegraf.pid, store.pid), parts, strict=True)
        ]
        rate = count / (time.perf_counter() - start)
        payload, packet = _bytes_of_a_state(folder, broker)
        agent.stop()
        size = _settled(folder / "store")
        total = stored()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "versions": ", ".join(
            (_version("mosquitto", "-h"), _version(telegraf.command[0], "version"), _version(influxd(), "version"))
        ),
        "samples": total,
        "samples_a_second": round(rate),
        "payload_bytes": payload,
        "packet_bytes": packet,
        "store_bytes": round(size / total, 1),
        "broker_seconds": costs[0],
        "telegraf_seconds": costs[1],
        "store_seconds": costs[2],
    }


def _bytes_of_a_state(folder: Path, broker: Broker) -> tuple[int, int]:
    """The median size of a state's payload, and of its MQTT packet with topic and header."""
    log = folder / "sizes"
    subscriber = Subscriber(log, broker.port, ("psu/+/+/state",), "%t %l")
    subscriber.command = [*subscriber.command, "-u", "reader", "-P", broker.password("reader")]
    with subscriber:
        wait_until(lambda: log.exists() and log.read_text().count("\n") > 300, "states")
    lines = [line.split() for line in log.read_text().splitlines()[:300]]
    payload = round(statistics.median(int(size) for _, size in lines))
    topic = round(statistics.median(len(topic) for topic, _ in lines))
    # Fixed header with a length of two bytes, length of the topic, packet identifier, no properties (MQTT 5, 3.3).
    return payload, payload + topic + 3 + 2 + 2 + 1


def _settled(folder: Path) -> int:
    """The bytes of the store's files, once they have not changed for some time."""
    size, since = -1, time.monotonic()
    while time.monotonic() - since < _QUIET:
        time.sleep(0.5)
        now = sum(path.stat().st_size for path in folder.rglob("*.tsm"))
        if now != size:
            size, since = now, time.monotonic()
    return size


def _version(program: str | Path, option: str) -> str:
    """The name of a program and its version."""
    done = subprocess.run([program, option], capture_output=True, text=True, env={"PATH": "/usr/bin:/usr/sbin"})
    found = re.search(r"(\w+) +(?:version +)?v?(\d[\w.]+)", done.stdout + done.stderr)
    return f"{found[1][0].upper()}{found[1][1:]} {found[2]}" if found else str(program)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--write", action="store_true", help="into measured.json")
    arguments = parser.parse_args()
    text = json.dumps(measure(seconds=arguments.seconds), indent=2) + "\n"
    print(text, end="")
    if arguments.write:
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""The Prometheus drop-in: the real Telegraf with it, scraped by the real Prometheus with the shipped rules."""

from __future__ import annotations

import json
import math
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.local.ports import free_port
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until

from .publisher import Channel, Publisher, metrics
from .services import Broker, Store, Telegraf, stopping, tool

EXAMPLE = ROOT / "examples" / "prometheus"
HINT = "install the Debian package prometheus"


class Prometheus(Process):
    def __init__(self, folder: Path, samples: int, status: int) -> None:
        folder.mkdir()
        self.port = free_port()
        text = (EXAMPLE / "server" / "prometheus.yml").read_text()
        for old, new in (
            ("telegraf:9273", f"127.0.0.1:{samples}"),
            ("telegraf:9274", f"127.0.0.1:{status}"),
            ("/etc/prometheus/rules.yml", str(EXAMPLE / "server" / "rules.yml")),
            ("scrape_interval: 5s", "scrape_interval: 1s"),
            ("evaluation_interval: 10s", "evaluation_interval: 1s"),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / "prometheus.yml").write_text(text)
        arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                     f"--web.listen-address=127.0.0.1:{self.port}"]  # fmt: skip
        super().__init__([tool("prometheus", HINT), *arguments], folder / "prometheus.log")

    def is_ready(self) -> bool:
        """True when it answers queries. It listens before that, and answers 503."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=10):
                return True
        except OSError:
            return False

    def ask(self, expression: str) -> dict[str, float]:
        """What an instant query gives: psu or agent, with index and mode if there are any, and the value."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query?{query}", timeout=10) as answer:
            found = json.load(answer)["data"]["result"]
        keys = ("psu", "index", "mode")
        return {
            " ".join(one["metric"][key] for key in keys if key in one["metric"]) or one["metric"]["agent"]: float(
                one["value"][1]
            )
            for one in found
        }


@pytest.fixture(scope="module")
def prometheus(broker: Broker, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    tool("prometheus", HINT)
    folder = tmp_path_factory.mktemp("prometheus")
    samples, status = free_port(), free_port()
    drop_in = EXAMPLE / "telegraf" / "prometheus.conf"
    listen = {"PSU_PROMETHEUS": f"127.0.0.1:{samples}", "PSU_PROMETHEUS_STATUS": f"127.0.0.1:{status}"}
    telegraf = Telegraf(folder / "telegraf", broker, store.url, drop_ins=[drop_in], environment=listen)
    prometheus = Prometheus(folder / "server", samples, status)
    with stopping(prometheus, telegraf):
        telegraf.start()
        prometheus.start()
        wait_until(prometheus.is_ready, "Prometheus to be ready")
        yield prometheus


def test_the_present_samples_under_the_names_that_psudaemon_gave(
    broker: Broker, store: Store, prometheus: Prometheus
) -> None:
    now = datetime.now(UTC).replace(microsecond=417000)
    present, old = Channel(psu="psu1", index=2, start=now), Channel(psu="old", start=now - timedelta(hours=1))
    with Publisher(broker) as publisher:
        publisher.state(present.state(0, mode="CC", state=True))
        publisher.state(Channel(psu="off", start=now).state(0, state=False, mode="OFF", tripped="OCP"))
        publisher.state(Channel(psu="lost", start=now).state(0))
        publisher.state(Channel(psu="lost", start=now).offline(1))
        publisher.state(old.state(0))
        publisher.state(present.state(-3600, voltage=99.0), "backlog")
        publisher.state(present.state(-1, voltage=98.0), "backlog")  # of a slow link: newer states came before it
        publisher.send("agents/bench3/metrics", metrics(time=now))
        publisher.send("lost/status", "offline", retain=True)
        publisher.send("agents/bench3/status", "online", retain=True)
        publisher.settle()

    expected = present.state(0)
    for field in (
        "voltage",
        "current",
        "voltage_limit",
        "current_limit",
        "power",
        "energy",
        "current_protection_level",
    ):
        wait_until(lambda f=field: prometheus.ask(f"channel_data_{f}").get("psu1 2") == expected[f], field)  # type: ignore[misc]
    # The store gets what it gets without the drop-in, the old samples too, and nothing of Prometheus's.
    wait_until(lambda: len(store.rows("SELECT seq FROM psu_channel")) == 7, "all samples are stored")
    measurements = {"psu_channel", "psu_agent", "psu_unit"}
    wait_until(lambda: {row["name"] for row in store.rows("SHOW MEASUREMENTS")} >= measurements, "statuses and figures")
    assert {row["name"] for row in store.rows("SHOW MEASUREMENTS")} == measurements
    # What was sent at once may be in two flushes of Telegraf's, and in two scrapes.
    wait_until(lambda: math.isnan(prometheus.ask("channel_data_voltage").get("lost 1", 0)), "what is no longer known")
    for query, values in (
        ("channel_data_tripped", {"psu1 2": 0, "off 1": 1, "lost 1": 0}),
        ("channel_data_mode == 1", {"psu1 2 CC": 1, "off 1 OFF": 1}),
        ("channel_data_online", {"psu1 2": 1, "off 1": 1, "lost 1": 0}),
        ("psu_agent_memory", {"bench3": 48_000_000}),
        ("psu_unit_offline", {"lost": 1}),
        ("psu_agent_offline", {"bench3": 0}),
    ):
        wait_until(lambda q=query, v=values: prometheus.ask(q) == v, query)  # type: ignore[misc]
    labels = 'channel_data_voltage{psu="psu1", index="2", name="CH2", model="E36313A", agent="bench3"}'
    assert prometheus.ask(labels) == {"psu1 2": pytest.approx(4.9998)}
    assert prometheus.ask("channel_data_state")["psu1 2"] == 1
    assert prometheus.ask("channel_data_state")["off 1"] == 0
    assert prometheus.ask("channel_data_voltage_protection_state")["psu1 2"] == 1
    assert "old 1" not in prometheus.ask("channel_data_voltage")

    rules = json.load(urllib.request.urlopen(f"http://127.0.0.1:{prometheus.port}/api/v1/rules", timeout=10))
    states = {rule["name"]: rule["health"] for rule in rules["data"]["groups"][0]["rules"]}
    wait_until(lambda: prometheus.ask('ALERTS{alertname="Trip"}') == {"off 1": 1}, "Trip fires")
    wait_until(lambda: prometheus.ask('ALERTS{alertname="UnexpectedCC"}') == {"psu1 2 CC": 1}, "CC is seen")
    assert len(states) == 8


def test_the_rules_are_right() -> None:
    tool("promtool", HINT)
    done = subprocess.run(
        ["promtool", "check", "rules", EXAMPLE / "server" / "rules.yml"], capture_output=True, text=True
    )
    assert (done.returncode, "8 rules found" in done.stdout) == (0, True), done

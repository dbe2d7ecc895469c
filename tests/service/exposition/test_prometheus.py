"""`psu-agent run --metrics` as it is used: by the real Prometheus, without a broker, over a reload, and what can go wrong."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.local.ports import accepts, free_port
from agent.simulator import Simulator
from tests.commandline import COMMAND, ROOT, Running, environment, psu_agent
from tests.support.processes import Process
from tests.support.waiting import wait_until


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt install prometheus)")
    return found


@pytest.fixture
def supply() -> Iterator[Simulator]:
    with Simulator("E36313A") as simulator:
        yield simulator


class Exposed(Running):
    """An agent without a broker, with its metrics on a port."""

    def __init__(self, folder: Path, supply: Simulator, *units: str) -> None:
        self.file = folder / "psu-agent.yaml"
        self.supply = supply
        self.port = free_port()
        self.write(*units)
        super().__init__("run", "--metrics", f"127.0.0.1:{self.port}", str(self.file))

    def write(self, *units: str, **channels: Any) -> None:
        entries = [{"name": name, "model": "E36313A", "uri": self.supply.resource, **channels} for name in units]
        entries.append({"name": "gone", "model": "E36313A", "uri": "TCPIP::127.0.0.1::1::SOCKET"})
        top = {"agent": "bench3", "poll_interval": 0.1, "state_dir": str(self.file.parent / "state")}
        data = {"settings": {**top, "mqtt": {"host": "127.0.0.1", "port": 1}}, "units": entries}
        self.file.write_text(yaml.safe_dump(data))

    def page(self) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
                text: str = answer.read().decode()
        except urllib.error.URLError:
            return ""
        return text


def test_the_real_prometheus_reads_it_over_a_reload(tmp_path: Path, supply: Simulator) -> None:
    server, port = program("prometheus"), free_port()
    with Exposed(tmp_path, supply, "psu1") as agent:
        scrape = {
            "job_name": "psu",
            "scrape_interval": "250ms",
            "static_configs": [{"targets": [f"127.0.0.1:{agent.port}"]}],
        }
        rules = ROOT / "examples" / "prometheus" / "server" / "rules.yml"
        (tmp_path / "prometheus.yml").write_text(
            yaml.safe_dump({"scrape_configs": [scrape], "rule_files": [str(rules)]})
        )
        command = [server, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
                   f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip

        def ask(expression: str) -> dict[str, float]:
            query = urllib.parse.urlencode({"query": expression})
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=30) as answer:
                    found = json.load(answer)["data"]["result"]
            except urllib.error.URLError:
                return {}
            return {
                " ".join(one["metric"].get(key, "") for key in ("psu", "index", "name")).strip(): float(one["value"][1])
                for one in found
            }

        with Process(command, tmp_path / "prometheus.log"):
            wait_until(lambda: ask("up") == {"": 1}, "the first scrape")
            wait_until(lambda: ask("channel_data_online").get("psu1 1 CH1") == 1, "the unit to be online")
            wait_until(lambda: "psu1 2 CH2" in ask("channel_data_voltage_limit"), "its values")
            supply.instrument.execute("VOLT 5,(@2);:OUTP 1,(@2)")
            wait_until(lambda: ask("channel_data_voltage_limit")["psu1 2 CH2"] == 5, "the setting")
            wait_until(lambda: ask("channel_data_state")["psu1 2 CH2"] == 1, "the state")
            assert ask("psu_unit_offline == 1") == {"gone": 1}
            assert ask('channel_data_online{psu="gone"}') == {f"gone {index} CH{index}": 0 for index in (1, 2, 3)}
            assert ask('channel_data_voltage{psu="gone"}') == {}
            assert ask("psu_agent_broker_connected") == {"": 0}
            wait_until(lambda: any(ask("rate(psu_agent_polls_total[10s]) > 1").values()), "the rate of polls")

            # Renamed: what had the old name is gone with the next scrape.
            agent.write("psu9", channels={2: {"name": "MOTOR"}})
            agent.signal(signal.SIGHUP)
            wait_until(lambda: "psu9 2 MOTOR" in ask("channel_data_voltage"), "the new name")
            wait_until(lambda: not ask('channel_data_online{psu="psu1"}'), "the end of the old name")
        assert agent.end(signal.SIGTERM) == 0
    assert not accepts(agent.port)


def test_promtool_finds_nothing_to_complain_of(tmp_path: Path, supply: Simulator) -> None:
    tool = program("promtool")
    with Exposed(tmp_path, supply, "psu1") as agent:
        wait_until(lambda: 'channel_data_voltage{agent="bench3"' in agent.page(), "the unit's values")
        done = subprocess.run([tool, "check", "metrics"], input=agent.page(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_clients_that_hang_keep_neither_polls_nor_the_end_waiting(tmp_path: Path, supply: Simulator) -> None:
    with Exposed(tmp_path, supply, "psu1") as agent:
        wait_until(lambda: 'channel_data_voltage{agent="bench3"' in agent.page(), "the unit's values")
        # By then each unit's thread has begun.
        wait_until(lambda: re.search(r'psu_unit_offline\{.*psu="gone".*\} 1', agent.page()), "the other link")
        threads = agent.thread_count()
        hanging = [socket.create_connection(("127.0.0.1", agent.port)) for _ in range(200)]
        try:
            for client in hanging[::2]:
                client.sendall(b"GET /metrics HTTP/1.1\r\nX-")

            def polls() -> float:
                line = next(one for one in agent.page().splitlines() if one.startswith("psu_agent_polls_total"))
                return float(line.rpartition(" ")[2])

            before = polls()
            wait_until(lambda: polls() > before + 5, "more polls")
            wait_until(lambda: agent.thread_count() <= threads, "no thread for each")
            assert agent.end(signal.SIGTERM) == 0
        finally:
            for client in hanging:
                client.close()


def test_a_port_that_is_taken_ends_it_before_anything_is_opened(tmp_path: Path, supply: Simulator) -> None:
    file = tmp_path / "psu-agent.yaml"
    file.write_text(
        f"settings: {{state_dir: {tmp_path}/state}}\nunits: [{{name: a, model: E36313A, uri: '{supply.resource}'}}]\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = psu_agent("run", str(file), PSU_AGENT_METRICS=f"127.0.0.1:{port}")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"psu-agent: --metrics 127.0.0.1:{port}: port {port} is taken by another program; give another port\n"
    )
    assert not (tmp_path / "state").exists()
    assert supply.instrument.log == []


def test_without_the_library_it_says_how_to_install_it(tmp_path: Path) -> None:
    file = tmp_path / "psu-agent.yaml"
    file.write_text("units: [{name: a, model: E36313A, uri: 'TCPIP::127.0.0.1::1::SOCKET'}]\n")
    script = (
        "import sys; sys.modules['prometheus_client'] = None; from agent.cli.main import main;"
        f"sys.argv = ['psu-agent', 'run', {str(file)!r}, *sys.argv[1:]]; sys.exit(main())"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, "--metrics", ":9100"],
        capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=60,
    )  # fmt: skip
    assert result.returncode == 2
    assert "--metrics needs prometheus_client: " in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert COMMAND[0] == sys.executable

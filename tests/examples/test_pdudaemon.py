"""The driver for pdudaemon, in the real daemon, which finds it by its entry point."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.local.broker import LocalBroker
from agent.local.ports import free_port
from tests.examples.conftest import EXAMPLES, FARM_TOOLS, holders, needs_farm_tools, states, wait_states
from tests.lab import PATIENCE, Bench, wait_until

pytestmark = needs_farm_tools
Environment = Callable[..., dict[str, str]]
DRIVER = EXAMPLES / "pdudaemon"


class Pdudaemon:
    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._log = log

    def ask(self, request: str, outlet: str = "2", **more: str) -> int:
        """The status of its answer to an HTTP request."""
        query = "&".join(f"{name}={value}" for name, value in {"hostname": "psu1", "port": outlet, **more}.items())
        url = f"http://127.0.0.1:{self.port}/power/control/{request}?{query}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE * 4) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    @property
    def log(self) -> str:
        return self._log.read_text()


def configured(folder: Path, broker: LocalBroker) -> tuple[Path, int]:
    """The file as shipped, but for addresses, and with one try alone."""
    text = (DRIVER / "pdudaemon.conf").read_text().replace("mqtt://localhost", f"mqtt://{broker.host}:{broker.port}")
    conf = json.loads(text)
    port = free_port()
    conf["daemon"]["port"] = port
    conf["pdus"]["psu1"]["retries"] = 1
    conf["pdus"]["psu1"]["retrydelay"] = 0
    file = folder / "pdudaemon.conf"
    file.write_text(json.dumps(conf))
    return file, port


@contextmanager
def running(folder: Path, broker: LocalBroker, environment: Environment) -> Iterator[Pdudaemon]:
    file, port = configured(folder, broker)
    daemon = Pdudaemon(port, folder / "pdudaemon.log")
    command = [str(FARM_TOOLS / "bin" / "pdudaemon"), "--conf", str(file), "--logfile", str(folder / "pdudaemon.log")]
    with subprocess.Popen(
        command,
        env=environment(PYTHONPATH=f"{DRIVER}:{EXAMPLES.parent}"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:

            def is_ready() -> bool:
                assert process.poll() is None, daemon.log
                try:
                    return daemon.ask("nothing") != 200
                except OSError:
                    return False

            wait_until(is_ready, "pdudaemon to listen", PATIENCE * 2)
            yield daemon
        finally:
            process.kill()


def test_it_switches_and_logs_volts_and_amperes(
    bench: Bench, broker: LocalBroker, environment: Environment, tmp_path: Path
) -> None:
    assert bench.observer.ask("psu/psu1/2/set", {"voltage_limit": 4})["ok"]
    with running(tmp_path, broker, environment) as daemon:
        assert daemon.ask("on", "DUT") == 200
        wait_states(bench, True)
        assert bench.observer.wait("psu/psu1/2/lease")["holder"] == "pdudaemon"
        assert daemon.ask("reboot", delay="0") == 200
        assert daemon.ask("off") == 200
        wait_states(bench, True, False, True, False)
        wait_until(lambda: holders(bench)[-1:] == [None], "the channel given back")
        log = daemon.log
    assert "psu1/DUT is on, 4" in log.replace("3.99", "4.00")
    assert " A, CV" in log
    assert "psu1/2 is off, " in log


def test_what_was_not_done_is_an_error_with_its_sentence(
    bench: Bench, broker: LocalBroker, environment: Environment, tmp_path: Path
) -> None:
    bench.simulator.instrument.execute("VOLT 20,(@2)")
    with running(tmp_path, broker, environment) as daemon:
        assert daemon.ask("on") == 500
        assert "12 V that channel 2 (DUT) of psu1 is limited to" in daemon.log
        assert daemon.ask("on", "7") == 500
        assert "psu1/7 on: " in daemon.log
        broker.kill()
        assert daemon.ask("on") == 500
        assert f"can't reach the broker mqtt://{broker.host}:{broker.port}" in daemon.log
        assert daemon.ask("off") == 500
    assert states(bench) == []


def test_the_state_can_be_asked_for(
    bench: Bench, broker: LocalBroker, environment: Environment, tmp_path: Path
) -> None:
    file, _ = configured(tmp_path, broker)
    command = [str(FARM_TOOLS / "bin" / "pdudaemon"), "--conf", str(file), "--drive", "--request", "get"]
    done = subprocess.run(
        [*command, "--hostname", "psu1", "--port", "2", "--retries", "1", "--retry-delay", "0"],
        env=environment(PYTHONPATH=f"{DRIVER}:{EXAMPLES.parent}"),
        capture_output=True,
        text=True,
        timeout=PATIENCE * 4,
    )
    assert "psu1/2 is off, " in done.stdout, done.stdout + done.stderr
    assert states(bench) == []

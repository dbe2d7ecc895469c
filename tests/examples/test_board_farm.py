"""The power hook: by itself, from a real labgrid, and from a real pdudaemon."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from agent.local.broker import LocalBroker
from agent.local.ports import free_port
from tests.examples.conftest import EXAMPLES, FARM_TOOLS, holders, needs_farm_tools, states, wait_states
from tests.lab import Bench, wait_until

FARM = EXAMPLES / "board-farm"
PYTHON = FARM_TOOLS / "bin" / "python"
Environment = Callable[..., dict[str, str]]


def power(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(FARM / "psu-power"), *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)


def test_on_off_cycle_status(bench: Bench, environment: Environment) -> None:
    assert bench.observer.ask("psu/psu1/2/set", {"voltage_limit": 5})["ok"]
    for arguments in (("on", "psu1/DUT"), ("cycle", "psu1/2", "0.1")):
        done = power(environment, *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert power(environment, "status", "psu1/2").stdout == "on\n"
    assert power(environment, "off", "psu1/2").returncode == 0
    assert power(environment, "status", "psu1/2").stdout == "off\n"
    wait_states(bench, True, False, True, False)


def test_it_reserves_the_channel_while_the_board_is_on(bench: Bench, environment: Environment) -> None:
    mine, other = partial(environment, PSU_AGENT_HOLDER="farm 1"), partial(environment, PSU_AGENT_HOLDER="farm 2")
    assert bench.observer.ask("psu/psu1/2/set", {"voltage_limit": 5})["ok"]
    assert power(mine, "-l", "2h", "on", "psu1/DUT").returncode == 0
    assert bench.observer.wait("psu/psu1/2/lease")["holder"] == "farm 1"
    for refused in (("-l", "2h", "on", "psu1/2"), ("cycle", "psu1/2", "0")):
        done = power(other, *refused)
        assert (done.returncode, done.stdout) == (1, "")
        assert "channel 2 of psu1 is reserved for farm 1" in done.stderr
    wait_states(bench, True)
    done = power(other, "-l", "2h", "off", "psu1/2")  # off is done, and the reservation is left to its holder
    assert done.returncode == 0
    assert "reserved for farm 1" in done.stderr
    wait_states(bench, True, False)
    assert power(mine, "-l", "2h", "off", "psu1/2").returncode == 0
    wait_until(lambda: holders(bench) == ["farm 1", None], "the channel given back")


def test_a_refusal_is_1_with_its_reason(bench: Bench, environment: Environment) -> None:
    assert bench.simulator.instrument.execute("VOLT 20,(@2)") is None  # at the front panel
    done = power(environment, "on", "psu1/2")
    assert done.returncode == 1
    assert "not turned on" in done.stderr
    assert "12 V that channel 2 (DUT) of psu1 is limited to" in done.stderr
    assert states(bench) == []


def test_nobody_there_and_wrong_usage_are_2(broker: LocalBroker, environment: Environment) -> None:
    done = power(environment, "on", "psu9/1")
    assert done.returncode == 2
    assert done.stderr
    wrong_ones = [(), ("on",), ("reboot", "psu1/1"), ("on", "psu1/1", "3"), ("on", "a b")]
    for wrong in (*wrong_ones, ("-l", "on", "psu1/1"), ("-l",), ("-l", "soon", "on", "psu1/1")):
        assert power(environment, *wrong).returncode == 2, wrong


_LABGRID = """
import sys
from labgrid import Environment
target = Environment(sys.argv[1]).get_target()
driver = target.get_driver("PowerProtocol")
driver.on(); driver.cycle(); driver.off()
"""


@needs_farm_tools
def test_labgrid_switches_a_board(bench: Bench, environment: Environment, tmp_path: Path) -> None:
    """The file as shipped, with a shorter cycle."""
    assert bench.observer.ask("psu/psu1/2/set", {"voltage_limit": 5})["ok"]
    place = tmp_path / "labgrid.yaml"
    place.write_text((FARM / "labgrid.yaml").read_text().replace("cycle psu1/2 2", "cycle psu1/2 0.1"))
    done = subprocess.run(
        [str(PYTHON), "-c", _LABGRID, str(place)],
        env=environment(FARM, PSU_AGENT_HOLDER="labgrid"),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    wait_states(bench, True, False, True, False)
    wait_until(lambda: len(holders(bench)) == 2, "the channel given back")
    assert holders(bench) == ["labgrid", None]


@needs_farm_tools
def test_labgrid_is_told_of_a_refusal(bench: Bench, environment: Environment) -> None:
    assert bench.simulator.instrument.execute("VOLT 20,(@2)") is None
    done = subprocess.run(
        [str(PYTHON), "-c", _LABGRID, str(FARM / "labgrid.yaml")],
        env=environment(FARM),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode != 0
    assert "ExecutionError" in done.stderr or "CalledProcessError" in done.stderr
    assert states(bench) == []


@needs_farm_tools
def test_pdudaemon_switches_a_board(
    bench: Bench, broker: LocalBroker, environment: Environment, tmp_path: Path
) -> None:
    """The real daemon with the file as shipped, but for addresses, asked by HTTP as a farm asks it."""
    assert bench.observer.ask("psu/psu1/2/set", {"voltage_limit": 5})["ok"]
    shipped = (FARM / "pdudaemon.conf").read_text().replace("mqtt://localhost", f"mqtt://localhost:{broker.port}")
    conf = json.loads(shipped)
    port = free_port()
    conf["daemon"] |= {"hostname": "127.0.0.1", "port": port}
    file = tmp_path / "pdudaemon.conf"
    file.write_text(json.dumps(conf))
    log = tmp_path / "pdudaemon.log"
    command = [str(FARM_TOOLS / "bin" / "pdudaemon"), "--conf", str(file), "--logfile", str(log)]

    def happened(number: int) -> bool:
        return len(states(bench)) == number

    with subprocess.Popen(
        command, env=environment(FARM), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as daemon:
        try:
            for number, request in enumerate(("on", "off"), 1):

                def accepted(request: str = request) -> bool:
                    url = f"http://127.0.0.1:{port}/power/control/{request}?hostname=psu1&port=2"
                    try:
                        with urllib.request.urlopen(url, timeout=60) as answer:
                            return bool(answer.status == 200)
                    except urllib.error.URLError:
                        assert daemon.poll() is None, log.read_text()
                        return False

                wait_until(accepted, "pdudaemon to accept it")
                wait_until(partial(happened, number), f"{request} to be carried out")
            wait_until(lambda: holders(bench) == ["pdudaemon", None], "the channel taken and given back")
        finally:
            daemon.terminate()
    assert states(bench) == [True, False]

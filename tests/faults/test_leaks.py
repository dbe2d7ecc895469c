"""Reconnecting leaves nothing behind: no thread, no descriptor, no memory to speak of, and costs no processor time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from agent.simulator import Simulator
from tests.faults import proxy as ways
from tests.faults.proxy import Proxy
from tests.lab import Bench, unit, wait_until


def test_some_dozens_of_reconnections_leave_nothing_behind() -> None:
    """In a process of its own, where nothing but the agent and what it talks to takes memory."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.leak", "15"], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("transport", ["socket", "vxi11", "hislip"])
@pytest.mark.parametrize("fault", [ways.drop, ways.swallow, ways.half, ways.drop_in_the_middle])
def test_a_broken_link_costs_no_processor_time(
    make_bench: Callable[..., Bench], transport: str, fault: ways.Way
) -> None:
    """pyvisa-py's own sessions wait for a peer that closed at full load."""
    simulator = Simulator(socket_port=0, vxi11_port=0, hislip_port=0).start()
    port = {"socket": simulator.socket_port, "vxi11": simulator.vxi11_port, "hislip": simulator.hislip_port}[transport]
    assert port is not None
    with Proxy(port) as link:
        uri = {
            "socket": f"TCPIP::127.0.0.1::{link.port}::SOCKET",
            "vxi11": f"TCPIP::127.0.0.1,{link.port}::inst0::INSTR",
            "hislip": f"TCPIP::127.0.0.1::hislip0,{link.port}::INSTR",
        }[transport]
        args = {"timeout": 600, "open_timeout": 600}
        bench = make_bench([simulator], [unit("psu1", simulator, uri=uri, pyvisa_args=args)])
        link.down = fault
        wall, cpu = time.monotonic(), time.process_time()
        bench.observer.wait_state("psu1", online=False)
        wait_until(lambda: time.monotonic() > wall + 0.8, "some tries")
        # The share of one core, of the agent with all that this test keeps running.
        assert (time.process_time() - cpu) / (time.monotonic() - wall) < 0.5

"""Does the agent grow when units and broker come and go: ``python -m tests.faults.leak [CYCLES]``, figures on stdout.

Exits with 1 if threads or descriptors have grown, or memory by more than a little a cycle.

Each cycle every unit's link and the broker's connection are broken, in turn by closing, resetting and silence, and wait to be
whole again.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.faults import proxy as ways
from tests.faults.proxy import Proxy
from tests.lab import Agent, settings, unit, wait_until
from tests.support import inside


@dataclass(frozen=True)
class Size:
    """Of this process, with its simulators and proxies: threads, file descriptors, bytes of resident memory."""

    threads: int
    descriptors: int
    memory: int


def size() -> Size:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    descriptors = len(os.listdir("/proc/self/fd")) - 1
    return Size(threading.active_count(), descriptors, pages * os.sysconf("SC_PAGE_SIZE"))


def settled() -> Size:
    """The smallest of some looks: what has just ended may be on its way out."""
    looks = []
    for _ in range(10):
        looks.append(size())
        time.sleep(0.05)
    return min(looks, key=lambda s: (s.threads, s.descriptors))


def settled_to(earlier: Size, patience: float = 20.0) -> Size:
    """The size once it has no more threads and descriptors than earlier, or after that many seconds: what leaked stays."""
    end = time.monotonic() + patience
    while (now := settled()).threads > earlier.threads or now.descriptors > earlier.descriptors:
        if time.monotonic() > end:
            break
    return now


def measure(cycles: int, folder: Path, told: Callable[[int, Size], None], every: int) -> tuple[Size, Size]:
    """Break and mend that many times; the size after the first tenth, when all caches are warm, and at the end."""
    inside.retry_soon(setattr, first=0.01, longest=0.05, jitter=0.0)
    inside.wait_little_for_instruments(setattr)
    with LocalBroker(folder) as broker, Proxy(broker.port) as broker_way:
        simulators = [Simulator(socket_port=0, vxi11_port=0, hislip_port=0).start() for _ in range(3)]
        ports: list[Any] = [simulators[0].socket_port, simulators[1].vxi11_port, simulators[2].hislip_port]
        links = [Proxy(port) for port in ports]
        uris = (
            f"TCPIP::127.0.0.1::{links[0].port}::SOCKET",
            f"TCPIP::127.0.0.1,{links[1].port}::inst0::INSTR",
            f"TCPIP::127.0.0.1::hislip0,{links[2].port}::INSTR",
        )
        args = {"timeout": 100, "open_timeout": 100}
        units = [unit(f"psu{n}", simulators[n - 1], uri=uri, pyvisa_args=args) for n, uri in enumerate(uris, 1)]
        data = settings(broker_way.port, units, folder / "state", poll_interval=0.02, backlog={"samples": 1000})
        with Agent(data) as agent:
            daemon = agent.daemon

            def well() -> bool:
                return inside.is_connected(daemon) and inside.are_online(daemon)

            wait_until(well, "the start")
            faults = itertools.cycle([ways.drop, ways.reset, ways.swallow, ways.garbage, ways.half])
            warm = settled()
            for cycle in range(1, cycles + 1):
                fault = next(faults)
                before = inside.errors(daemon)
                for link in links:
                    link.down = fault
                broker_way.end_all(reset=bool(cycle % 2))
                wait_until(
                    lambda: all(now > b for now, b in zip(inside.errors(daemon), before, strict=True)),  # noqa: B023
                    f"the fault of cycle {cycle}",
                )
                for link in links:
                    link.heal()
                wait_until(well, f"the healing of cycle {cycle}")
                if cycle == max(1, cycles // 10):
                    warm = settled()
                    told(cycle, warm)
                elif cycle % every == 0:
                    told(cycle, settled())
            end = settled_to(warm)
        for link in links:
            link.close()
        for simulator in simulators:
            simulator.stop()
    return warm, end


def main() -> int:
    logging.disable(logging.CRITICAL)
    cycles = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    begun = time.monotonic()
    print(f"{'cycles':>8} {'seconds':>8} {'threads':>8} {'descriptors':>12} {'memory/KiB':>12}", flush=True)

    def tell(cycle: int, now: Size) -> None:
        seconds = time.monotonic() - begun
        print(f"{cycle:8} {seconds:8.0f} {now.threads:8} {now.descriptors:12} {now.memory // 1024:12}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        warm, end = measure(cycles, Path(folder), tell, max(5, cycles // 10))
    counted = cycles - max(1, cycles // 10)
    grown = end.memory - warm.memory
    print(f"after the first tenth: {grown // 1024} KiB, {grown / counted:.0f} bytes a cycle of four reconnections")
    # What pyvisa keeps of each session that was closed was 2 to 3 KiB; caches take a few MiB to fill.
    leaks = end.threads > warm.threads or end.descriptors > warm.descriptors or grown > 4 * 1024 * 1024 + 1024 * counted
    return int(leaks)


if __name__ == "__main__":
    sys.exit(main())

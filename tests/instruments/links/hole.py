"""A network that drops every packet for a while, in a network namespace of its own: run under ``unshare --net``.

``python -m tests.instruments.links.hole TRANSPORT ENDING`` writes 5 V into the hole and ends the link by the ENDING: ``failure``,
``close``, or ``kill`` of the process that wrote. It mends the network, has 1 V confirmed on a new link, and prints the settings
that the unit got.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from agent.instruments.driver import LinkError
from agent.instruments.visa.session import VisaSession
from agent.simulator import Simulator

ARGUMENTS = {"timeout": 1000, "open_timeout": 3000}


def undelivered() -> int:
    """Bytes in the kernel that no peer has acknowledged, of all TCP connections of the namespace."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(int(row.split()[4].split(":")[0], 16) for row in rows if row.split()[3] != "0A")


def network(*, drops: bool) -> None:
    subprocess.run(["tc", "qdisc", "add" if drops else "del", "dev", "lo", "root", "blackhole"], check=True)


def write_into_the_hole(uri: str) -> VisaSession:
    session = VisaSession(uri, options=ARGUMENTS)
    session.open()
    assert session.ask("*IDN?")
    network(drops=True)
    with contextlib.suppress(LinkError):
        session.tell("VOLT 5,(@1)")
    return session


def main() -> None:
    transport, ending = sys.argv[1:]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with Simulator(socket_port=0, vxi11_port=0, hislip_port=0) as simulator:
        uri = simulator.resources[transport]
        if ending == "kill":
            victim = os.fork()
            if victim == 0:
                write_into_the_hole(uri)
                os.kill(os.getpid(), signal.SIGKILL)
            os.waitpid(victim, 0)
        else:
            session = write_into_the_hole(uri)
            if ending == "failure":
                with contextlib.suppress(LinkError):
                    session.ask("SYST:ERR?")
                assert not session.is_open
            session.close()
        network(drops=False)
        newer = VisaSession(uri, options=ARGUMENTS)
        newer.open()
        newer.tell("VOLT 1,(@1)")
        assert float(newer.ask("VOLT? (@1)")) == 1.0
        deadline = time.monotonic() + 5
        while undelivered() and time.monotonic() < deadline:
            time.sleep(0.02)
        got = [message for message in simulator.instrument.log if message.startswith("VOLT ")]
        newer.close()
        print(json.dumps(got))


if __name__ == "__main__":
    main()

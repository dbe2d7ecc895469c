from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.publish
import paho.mqtt.subscribe
import pytest
from paho.mqtt.client import MQTTv5, MQTTv311

from agent.local import ports
from agent.local.broker import LocalBroker, NoBrokerError
from tests.lab import needs, wait_until

KINDS = ["mosquitto", "iotcore"]


@pytest.mark.parametrize("kind", KINDS)
def test_both_protocols_meet_on_one_broker_that_comes_back_on_its_port(
    kind: str, make_broker: Callable[..., LocalBroker]
) -> None:
    broker = make_broker(kind=kind)
    for end in (broker.stop, broker.kill):
        paho.mqtt.publish.single("t/x", b"1", 1, True, broker.host, broker.port, protocol=MQTTv5)
        got = paho.mqtt.subscribe.simple(  # type: ignore[no-untyped-call]
            "t/x", hostname=broker.host, port=broker.port_311, protocol=MQTTv311
        )
        assert got.payload == b"1"
        end()
        assert ports.is_free(broker.port)
        broker.start()


def test_a_taken_port_is_told(tmp_path: Path, broker: LocalBroker) -> None:
    assert not ports.is_free(broker.port_311)
    with pytest.raises(NoBrokerError, match=f"port {broker.port_311} is taken"):
        LocalBroker(tmp_path, port=broker.port_311).start()


def test_a_broker_that_does_not_start_is_told_with_its_words(tmp_path: Path) -> None:
    needs("mosquitto")
    with pytest.raises(NoBrokerError, match=r"mosquitto ended by itself: .*nonsense"):
        LocalBroker(tmp_path, conf="nonsense here", kind="mosquitto").start()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import pathlib, signal, sys; from agent.local.broker import LocalBroker;"
        "b = LocalBroker(pathlib.Path(sys.argv[1])); b.start(); print(b.pid, flush=True); signal.pause()"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not _is_running(pid), "the broker's end")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False

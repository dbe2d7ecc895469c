"""A laboratory in a test: an agent on simulated supplies and a real broker, and a client that observes and commands over MQTT.

The parts are in `tests.support`; this module has the names that most tests use.
"""

from __future__ import annotations

import os
import shutil

import pytest

from tests.support.agents import Agent, AgentProcess
from tests.support.bench import IMPATIENT, Bench, settings, unit
from tests.support.observer import Observer, Received
from tests.support.waiting import PATIENCE, wait_until

__all__ = [
    "IMPATIENT",
    "PATIENCE",
    "Agent",
    "AgentProcess",
    "Bench",
    "Observer",
    "Received",
    "needs",
    "settings",
    "unit",
    "wait_until",
]


def needs(program: str) -> None:
    """Skip the test where a program of Mosquitto's is not installed; `.ci/run` sees to it that all are."""
    if (
        shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
        is None
    ):
        pytest.skip(f"{program} is not installed (Debian, Ubuntu: apt install mosquitto mosquitto-clients)")

"""A fixture that powers a device under test, and turns it off again whatever happens.

Copy it into your test suite's conftest.py, and psu.py from ../python beside it. The environment says where things are:
``DUT`` (``psu1/2``), ``DUT_VOLTAGE`` and ``DUT_CURRENT`` (V, A), ``MQTT_HOST``, ``MQTT_PORT``.
"""

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "python"))

from psu import Supplies


class Power:
    """The output that the device hangs on."""

    def __init__(self, supplies, target):
        self._supplies = supplies
        self.target = target

    def on(self, voltage, current):
        """Volts and amperes are set, and read back, before the output goes on."""
        return self._supplies.set(self.target, state=True, voltage_limit=voltage, current_limit=current)

    def off(self):
        return self._supplies.set(self.target, state=False)

    def cycle(self, seconds=1.0):
        return self._supplies.set(self.target, cycle=seconds, timeout=10 + seconds)

    @property
    def state(self):
        """The channel's state as the supply measures it: ``voltage``, ``current``, ``mode``, ``tripped``, …"""
        return self._supplies.state(self.target)

    def wait(self, condition, timeout=10.0):
        """Until the state fulfils a condition, such as ``lambda state: state["current"] > 0.1``."""
        deadline = time.monotonic() + timeout
        while not condition(state := self.state):
            assert time.monotonic() < deadline, f"{self.target} is {state}"
            time.sleep(0.05)
        return state


@pytest.fixture
def power():
    """The device's power, on. Off after the test: passed, failed, interrupted, or killed."""
    target = os.environ["DUT"]
    supplies = Supplies(os.environ.get("MQTT_HOST", "localhost"), int(os.environ.get("MQTT_PORT", "1883")))
    # If this process dies, kill -9 or power cut, the broker itself sends the command: MQTT's last will.
    supplies.will(target, "OFF")
    with supplies:
        dut = Power(supplies, target)
        try:
            dut.on(float(os.environ["DUT_VOLTAGE"]), float(os.environ["DUT_CURRENT"]))
            yield dut
        finally:
            dut.off()

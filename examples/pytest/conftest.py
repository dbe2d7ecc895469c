"""A fixture that powers a device under test, and turns it off again whatever happens.

Copy it into your test suite's conftest.py; psu-agent has to be installed there. The environment says where things are: ``DUT``
(``psu1/2``), ``DUT_VOLTAGE`` and ``DUT_CURRENT`` (V, A), and ``PSU_AGENT_BROKER`` (``mqtt://bench3``).
"""

import contextlib
import os

import pytest

from agent.client import NobodyAnsweredError, connect

#: s. Each test reserves the channel anew, so that nobody else sets it meanwhile; for longer than a test that is killed.
RESERVED = 600


@pytest.fixture
def psu():
    """The channel that the device hangs on, with power. Off after the test: passed, failed, interrupted, or killed.

    It has ``state()``, ``set()``, ``on()``, ``off()``, ``cycle()`` and ``wait()``: see docs/python.md.
    """
    target, volts, amperes = os.environ["DUT"], float(os.environ["DUT_VOLTAGE"]), float(os.environ["DUT_CURRENT"])
    # If this process dies, kill -9 or power cut, the broker itself turns it off.
    with connect(off_if_lost=target) as supplies:
        channel = supplies.channel(target)
        try:
            lease = channel.lease(RESERVED)  # refused if another one holds it: the test does not begin then
        except NobodyAnsweredError:
            lease = contextlib.nullcontext()  # this agent has none
        with lease:
            try:
                # Volts and amperes are set, and read back, before the output goes on.
                channel.set(voltage_limit=volts, current_limit=amperes, state=True)
                yield channel
            finally:
                channel.off()

"""simulate, for a model of each series that can be simulated."""

from __future__ import annotations

import os
import re
import signal
import socket

import pytest

from agent.cli.simulate import find_model, set_front_panel
from agent.simulator import SUPPLIES, make_supply, number_of_outputs
from tests.commandline import Running
from tests.simulator.lines import Wire
from tests.support.waiting import PATIENCE


@pytest.mark.parametrize(
    ("model", "identity"),
    [
        ("DP832A", b"RIGOL TECHNOLOGIES,DP832A,DP8B42,00.01.19\n"),
        ("Siglent Technologies,SPD3303X", b"Siglent Technologies,SPD3303X,DP8B42,1.01.01.01.02,V3.0\n"),
        ("cpx400dp", b"THURLBY THANDAR, CPX400DP, DP8B42, 3.00-4.12\r\n"),
    ],
)
def test_a_simulated_supply_answers_on_its_socket(model: str, identity: bytes) -> None:
    with Running("simulate", "--model", model, "--port", "0", "--outputs-on", "--serial-number", "DP8B42") as simulator:
        line = simulator.wait_for("# socket")
        found = re.search(r"TCPIP::127\.0\.0\.1::(\d+)::SOCKET", line)
        assert found, line
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=PATIENCE) as connection:
            connection.setblocking(True)
            assert Wire(connection.fileno()).ask(b"*IDN?\n") == identity
        assert simulator.end(signal.SIGTERM) == 0


def test_a_supply_with_serial_lines_alone_is_a_serial_port() -> None:
    with Running("simulate", "--model", "KA3005P", "--outputs-on") as simulator:
        line = simulator.wait_for("# serial")
        found = re.search(r"ASRL(/\S+)::INSTR", line)
        assert found, line
        assert not any("# socket" in told for told in simulator.output)
        descriptor = os.open(found[1], os.O_RDWR | os.O_NOCTTY)
        try:
            wire = Wire(descriptor)
            wire.send(b"*IDN?")
            assert wire.read(16) == b"KORADKA3005PV2.0"
        finally:
            os.close(descriptor)
        assert simulator.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("model", SUPPLIES)
def test_every_output_is_on_at_its_front_panel(model: str) -> None:
    assert find_model(model) == model
    supply = make_supply(model, noise=False)
    set_front_panel(supply)
    outputs = getattr(supply, "outputs", None) or supply.channels  # type: ignore[union-attr]
    assert [output.voltage > 1 for output in outputs.values()] == [True] * number_of_outputs(model)

"""Simulated instruments to test and demonstrate with, written from their manuals.

`Simulator` is one supply on the network, `Fleet` many of them. `scpi` is the grammar, `instrument` what all SCPI instruments
share, `e36300` the Keysight E36300 series, `loads` what is connected to their outputs. The transports are `lines`, `vxi11`
(with `rpc`) and `hislip`; `exchange` stands between them and an instrument, `reactor` is their event loop.
"""

from __future__ import annotations

from agent.simulator import loads
from agent.simulator.e36300 import E36300, MODELS
from agent.simulator.loads import Load
from agent.simulator.reactor import Reactor
from agent.simulator.scpi import Quirks, ScpiError
from agent.simulator.simulator import Fleet, NetworkInstrument, Simulator

__all__ = [
    "E36300",
    "MODELS",
    "Fleet",
    "Load",
    "NetworkInstrument",
    "Quirks",
    "Reactor",
    "ScpiError",
    "Simulator",
    "loads",
]

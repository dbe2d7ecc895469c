"""Simulated instruments to test and demonstrate with, written from their manuals.

`Simulator` is one E36300 on the network, `Fleet` many of them. `make_supply` makes a supply of any series, and
`NetworkInstrument` gives it transports. `base` is an instrument as its transports see it, `supply` outputs with loads
(`loads`) on them. `scpi` is the grammar, `instrument` what all SCPI instruments share. `families` lists the series,
each of which has a folder. The transports are `lines`, `vxi11` (with `rpc`) and `hislip`; `exchange` stands between
them and an instrument, `reactor` is their event loop.
"""

from __future__ import annotations

from agent.simulator import loads
from agent.simulator.e36300 import E36300, MODELS
from agent.simulator.families import SUPPLIES, make_supply, number_of_outputs
from agent.simulator.loads import Load
from agent.simulator.reactor import Reactor
from agent.simulator.scpi import Quirks, ScpiError
from agent.simulator.simulator import Fleet, NetworkInstrument, Simulator
from agent.simulator.supply import Supply

__all__ = [
    "E36300",
    "MODELS",
    "SUPPLIES",
    "Fleet",
    "Load",
    "NetworkInstrument",
    "Quirks",
    "Reactor",
    "ScpiError",
    "Simulator",
    "Supply",
    "loads",
    "make_supply",
    "number_of_outputs",
]

"""Simulated TDK-Lambda Genesys supplies with their GEN language, several on one serial line or behind one socket.

Written from the user manual of the 5 kW series, chapters 5 and 7. `GenesysUnit` is one supply, `GenesysLine` a line with some.
"""

from __future__ import annotations

from agent.simulator.genesys.line import GenesysLine
from agent.simulator.genesys.unit import GenesysUnit

__all__ = ["GenesysLine", "GenesysUnit"]

"""Supplies with one output that speak Modbus: Riden RD60xx and RDTech DPS, alone or several on one line.

Written from the Modbus application protocol 1.1b3, Modbus over serial line 1.02, and from what is public about the registers, as
the fact sheets have it.

Points that are not known for certain, and how they were decided:

- A register that the map does not have reads 0 and takes any number; the number of a setting that is out of range is refused with
  exception 3 and changes nothing.
- A question for more than 42 registers is not answered.
- The register of a trip keeps telling it until the output is on again.
- An RD6012P that is put into its 6 A range lowers a greater current limit to 6 A.

`frames` cuts and makes frames, `registers` the maps of the two series, `supply` is one unit, `line` several on one line.
"""

from __future__ import annotations

from agent.simulator.riden.line import Gateway, ModbusLine
from agent.simulator.riden.supply import DPS, Riden

__all__ = ["DPS", "Gateway", "ModbusLine", "Riden"]

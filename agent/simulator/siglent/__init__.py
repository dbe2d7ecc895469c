"""The Siglent SPD3303 series: one hexadecimal register tells of the whole unit, and a third output that nothing tells of.

Written from the SPD3303X and SPD3303X-E user manual's chapter on remote control, and from what is public about units, as
the fact sheet has them.

Points that are not known for certain, and how they were decided:

- A setting out of range is refused and changes nothing; its error has the number that SCPI has for it.
- In series and in parallel output 2 has the settings and the switch of output 1.
- An output that is off says CV in the register.
- A message that comes sooner than 10 ms after the one before is lost, which the maker advises to avoid.

`supply` holds it all.
"""

from __future__ import annotations

from agent.simulator.siglent.supply import SPD3303

__all__ = ["SPD3303"]

"""The Korad KA3005P and its rebrands: no terminators, answers of known lengths, one raw byte for the status, a pause needed.

Written from "Series Protocol V2.0 of Remote Control", as it is cited, and from what is public about units, as the fact sheet
has them.

Points that are not known for certain, and how they were decided:

- A message ends with a pause of 5 ms. Two that come without one are no message, and are lost.
- A setting out of range is dropped. ``KA3005P(clamps=True)`` sets the nearest one that is in range instead.
- The sixth byte of ``ISET1?`` is the first one of the last ``*IDN?`` answer, and NUL before there was one.
- Bit 5 of the status is the over-current protection's switch. The bit of an output that is off tells its last mode.
- There is no level for over-voltage: nothing but `Supply.trip` trips it.

`supply` holds it all.
"""

from __future__ import annotations

from agent.simulator.korad.supply import KA3005P

__all__ = ["KA3005P"]

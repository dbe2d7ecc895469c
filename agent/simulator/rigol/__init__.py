"""The Rigol DP800 series: outputs by suffix (``:SOUR2:VOLT``) or as an argument (``:OUTP CH2,ON``), words for switches.

Written from the DP800 Programming Guide, PGH03109-1110, and from what is public about units, as the fact sheet has them.

Points that are not known for certain, and how they were decided:

- A tripped output answers OFF to ``:OUTP?``, and cannot be switched on before its trip is cleared. An output that is off
  says CV to ``:OUTP:MODE?``: the guide has no fourth word.
- Several queries in one message are answered in one line with ``;`` between them, as SCPI has it. It was not seen on a
  unit: ``DP800(quirks=Quirks(compound_messages=False))`` refuses such messages.
- A setting out of range is error -222, and changes nothing.
- Tracking copies a voltage that is set on one output to the other of the pair, and switches both where ``:SYST:ONOFFS`` is
  on, which it is not after ``*RST``.

`outputs` holds the outputs and what they share, `commands` is the guide's list, `supply` puts the two together.
"""

from __future__ import annotations

from agent.simulator.rigol.supply import DP800

__all__ = ["DP800"]

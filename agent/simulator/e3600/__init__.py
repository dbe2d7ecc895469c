"""Two of the Agilent E3600 family: the E3631A, whose switch acts on three outputs, and the E3640A to E3649A with two ranges.

Written from the E3631A User's Guide, E3631-90002, and the E364xA guides, E3640-90001 and E3646-90001, and from bench notes that
are public, as the fact sheets have them.

Points that are not known for certain, and how they were decided:

- On RS-232 every command but ``SYST:REM``, ``SYST:RWL`` and ``SYST:LOC`` gives error 550 in local; questions are answered.
- E364xA: a change of range lowers a setting that the new range does not have, and turns off both outputs of a dual model, and
  none of a single one (notes disagree).
- The steps of the settings are not simulated.

`common` is what they share, `e3631a` and `e364x` are the two.
"""

from __future__ import annotations

from agent.simulator.e3600.e364x import E364X
from agent.simulator.e3600.e3631a import E3631A

__all__ = ["E364X", "E3631A"]

"""The Aim-TTi CPX series: numbers inside the words (``V1O?``), headers and units in the answers, event registers for modes.

Written from the CPX400DP instruction manual, 48511-1480, chapter remote operation, and from what is public about units, as the
fact sheet has them.

Points that are not known for certain, and how they were decided:

- A trip opens the output's switch, which answers 0, and ``TRIPRST`` leaves it open.
- Settings go up to 60 V and 20.202 A, of which the latter was seen on a unit. An output gives 420 W at most.
- While the outputs track, output 2 has the voltage of output 1 by the ratio, whatever is sent for it.
- A message of several commands is carried out one by one, and each question answered with a line of its own.

`supply` holds it all.
"""

from __future__ import annotations

from agent.simulator.tti.supply import CPX

__all__ = ["CPX"]

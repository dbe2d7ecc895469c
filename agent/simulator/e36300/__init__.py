"""The Keysight E36311A, E36312A and E36313A triple-output supplies.

Written from the E36300 Series Programming Guide, E36311-90008 ("the guide"), as far as its contents could be had; where
they could not, from what else is public, and a comment says so. Nothing here is taken from the agent's own model files:
a command that they get wrong has to fail here.

Points that are not known for certain, and how they were decided:

- E36311A, output 3: programmed from 0 down to -25.75 V, as libsigrok's table has it and as users of
  ``APPL N25V,-1`` do it; its protection level and measured current are positive.
- Clearing a trip restores the output to the state before it. The guides of the E3632A and of the N6900 series say so
  word for word; for this series it is assumed, as the more dangerous of the two.
  ``E36300(restore_after_clear=False)`` is the other. ``OUTP?`` answers 0 while an output is tripped.
- Bits 9 (OV) and 10 (OC) of the instrument summary, after the E3600 family; sources disagree. Bits 0 (CC), 1 (CV) and 4
  (temperature) are libsigrok's, tried on an E36312A; neither CC nor CV is off or unregulated.
- The remote inhibit, after the N6700 series' guide: while the signal is there ``OUTP?`` answers 0; LIVE restores the
  outputs when it goes, LATChing when the protection is cleared then. The E36311A has no digital port. ONCouple and
  OFFCouple are functions of a pin without an effect here, and so is LIST: there is one supply, and nothing runs a list.
- The over-current protection's delay is 0 s after ``*RST``, and resolution is 1 mV and 1 mA.

A reading is computed when it is asked for: a load's surge between two messages trips nothing.

`ratings` is the data sheet, `channel` one output, `outputs` the three together, `commands` the guide's commands, `panel`
the keys and knobs; `supply` puts these together as `E36300`.
"""

from __future__ import annotations

from agent.simulator.e36300.channel import SimulatedChannel
from agent.simulator.e36300.panel import FrontPanel
from agent.simulator.e36300.ratings import MODELS, Mode, OutputRating, Trip
from agent.simulator.e36300.supply import E36300

__all__ = ["E36300", "MODELS", "FrontPanel", "Mode", "OutputRating", "SimulatedChannel", "Trip"]

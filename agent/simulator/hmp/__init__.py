"""The Rohde & Schwarz (HAMEG) HMP series: a selected output, a switch of its own for each and one for all, an electronic fuse.

Written from the attributes and commands of the maker's IVI driver and from what is public about units, as the fact sheet has
them; the programmer's manual could not be had.

Points that are not known for certain, and how they were decided:

- ``OUTP 1`` arms the selected output, as ``OUTP:SEL 1`` does, and leaves the master switch as it is; ``OUTP?`` tells whether
  the output is armed. ``HMP(output_closes_master=True)`` is the other reading: ``OUTP 1`` closes the master switch too, which
  energises every armed output, and ``OUTP?`` looks at both.
- A trip disarms its output. Arming it again clears the fuse's trip; one by over-voltage lasts until ``VOLT:PROT:CLE``.
- ``CURR 0`` is refused, since the least is 1 mA. The delay of the fuse has no effect, and there are no links between fuses.

`supply` holds it all.
"""

from __future__ import annotations

from agent.simulator.hmp.supply import HMP

__all__ = ["HMP"]

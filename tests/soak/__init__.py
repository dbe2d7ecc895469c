"""A fleet of simulated units, random commands, random faults of units and broker, and rules that are watched all the time.

``python -m tests.soak --minutes 5``; `tests/soak/README.md` lists the rules and how they are checked.
"""

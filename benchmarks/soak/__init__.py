"""A fleet of simulated units, random commands, random faults of units and broker, and rules that are watched all the time.

``python -m benchmarks.soak --minutes 5``; see the README beside.
"""

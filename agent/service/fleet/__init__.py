"""Several agents on one broker: who serves a unit, and what an agent that does not serve it keeps to itself."""

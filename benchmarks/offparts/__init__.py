"""The parts of the benchmark of an off: its cases, slow units, and the bare client beside it."""

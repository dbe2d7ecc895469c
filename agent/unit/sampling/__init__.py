"""Which samples of a unit are published."""

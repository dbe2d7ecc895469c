"""Brokers of all kinds, really run and measured, with the agent on them. ``python -m tests.brokers`` writes docs/brokers.md."""

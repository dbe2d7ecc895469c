"""Brokers of all kinds, really run: each is measured, and the agent is tried on it. ``python -m tests.brokers`` writes docs/brokers.md."""

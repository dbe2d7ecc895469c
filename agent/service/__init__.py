"""The daemon: puts the parts together, starts and ends them, dispatches commands."""

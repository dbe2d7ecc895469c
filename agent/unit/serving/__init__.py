"""Parts of the worker: how it answers, and how it leaves its supply to another agent."""

"""Free ports: one that was looked up is not looked up again before its server listens."""

from __future__ import annotations

from agent.local.ports import free_port


def test_ports_that_are_looked_up_one_after_the_other_are_different() -> None:
    """A broker looks up two: if they were the same one, its second listener could not start."""
    found = [free_port() for _ in range(300)]
    assert len(set(found)) == len(found)

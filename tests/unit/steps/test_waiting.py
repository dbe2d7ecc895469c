"""Waiting for delays that the unit counts: from the moment at which it has the command, not from when that was sent."""

from __future__ import annotations

import pytest

from agent.instruments.driver import Conditions, Reading, Write
from agent.protocol.commands import Command
from agent.unit import plans
from agent.unit.limits.channel import Channel
from agent.unit.steps import Look, Pause, Plan, Seen, waiting
from tests.unit.fakedriver import output

CHANNEL = Channel("psu1", "CH1", output(1))


def paused_until(plan: Plan, now: list[float], conditions: Conditions) -> float:
    """The end of the plan's first pause, on a unit of 0.3 s a message that does not go off, or on, before."""
    state = False
    step = next(plan)
    while not isinstance(step, Pause):
        now[0] += 0.3
        if isinstance(step, Look):
            reading = Reading(2.0, 0.0, 2.0, 0.5, state, 5.0, False, "OFF", None)
            step = plan.send(Seen({1: reading}, conditions))
            continue
        assert isinstance(step, tuple)
        assert isinstance(step[0], Write)
        if step[0].setting == "state":
            state = bool(step[0].value)
        now[0] -= 0.3  # sent, and nobody waits
        step = next(plan)
    return step.until


@pytest.mark.parametrize("command", [None, Command(state=False, current_limit=0.5), Command(state=True)])
def test_a_delay_counts_from_an_answer_of_the_unit(monkeypatch: pytest.MonkeyPatch, command: Command | None) -> None:
    now = [100.0]
    for module in (plans, waiting):
        monkeypatch.setattr(module, "system_clock", lambda: now[0])
    conditions = Conditions(rise_delay={1: 0.5}, fall_delay={1: 0.5})
    plan = plans.off((CHANNEL,)) if command is None else plans.apply(command, (CHANNEL,), lambda _: None)
    until = paused_until(plan, now, conditions)
    before = 0.3 if command is not None and command.state else 0.0  # the look before it is turned on
    assert until >= 100.0 + before + 0.3 + 0.5 - 1e-9

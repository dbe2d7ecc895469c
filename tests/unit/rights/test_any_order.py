"""A unit among agents, in any order of standings, commands and broken links."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.instruments.driver import LinkError, Write
from agent.protocol.errors import Refusal
from agent.protocol.messages import ChannelState, Conflict
from agent.unit import plans
from agent.unit.standing import ALONE, Part, Standing
from tests.lab import PATIENCE, wait_until
from tests.properties import examples
from tests.unit.fakedriver import Call, FakeDriver, Unit

pytestmark = pytest.mark.usefixtures("quick", "small_steps")

OTHER = Conflict(agent="bench2", instance="i2", host="host2", unit="psu7", why="supply")
#: Undecided alone: with another agent at the address a link that broke is opened again after half a minute.
STANDINGS = [
    ALONE,
    Standing(Part.UNDECIDED),
    *(
        Standing(part, f"bench2: {part.value}", OTHER)
        for part in (Part.CONTESTED, Part.YIELDS_NAME, Part.YIELDS_SUPPLY)
    ),
]
SETTINGS: list[dict[str, Any]] = [
    {"voltage_limit": 1},
    {"voltage_limit": 5, "current_limit": 1, "state": True},
    {"state": True},
    {"cycle": 0.02},
    {"voltage_limit": 6, "ramp": 100},
    {"voltage_limit": 2, "ramp": 5},
    {"clear_protection": True},
]
OFFS: list[dict[str, Any]] = [
    {"state": False},
    {"state": False, "voltage_limit": 1},
    {"state": False, "current_limit": 99},
]


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ramps take a step every 5 ms, so that one that goes on where it may not is seen at once."""
    monkeypatch.setattr(plans, "RAMP_INTERVAL", 0.005)


@examples(8)
class StandingMachine(RuleBasedStateMachine):
    """Its driver counts the settings that come while another agent may serve the unit. Offs are waited for; the rest runs on."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = FakeDriver()
        self.driver.script = self.see
        self.fault: str | None = None
        self.is_whole = True  # no link has broken since the unit was last seen at rest
        self.stray = 0  # settings since this agent serves the unit no more; one may have been on its way
        self.sent: list[str] = []
        self.numbers = itertools.count()
        self.unit = Unit(self.driver)
        self.unit.__enter__()

    def see(self, call: Call) -> None:
        if isinstance(call, Write) and (call.setting != "state" or call.value):
            self.stray += self.unit.supply.standing.part is not Part.SERVES
        kind = "write" if isinstance(call, Write) else call
        if kind == self.fault:
            self.fault = None
            raise LinkError("no answer: timeout")

    def rest(self) -> None:
        """Wait until the unit is where its standing has it, or a ramp or cycle keeps it from being left."""
        supply = self.unit.supply
        if supply.standing.part is Part.YIELDS_SUPPLY:
            wait_until(lambda: not supply.online and self.driver.calls[-1] == "close", "the closed link")
        else:
            wait_until(lambda: supply.online, "the link")

    def submit(self, channel: int | None, fields: dict[str, Any]) -> str | None:
        """Send a command; its id, None if it was refused at the door."""
        command_id = f"c{next(self.numbers)}"
        try:
            self.unit.send(channel, command_id, **fields)
        except Refusal:
            return None
        self.sent.append(command_id)
        return command_id

    @rule(standing=st.sampled_from(STANDINGS))
    def stand(self, standing: Standing) -> None:
        before = self.unit.supply.standing
        if before.part is Part.SERVES and standing.part is not Part.SERVES:
            self.stray = 0
        self.unit.supply.stand(standing)

    @rule(channel=st.sampled_from([1, 2]), fields=st.sampled_from(SETTINGS))
    def set(self, channel: int, fields: dict[str, Any]) -> None:
        serves = self.unit.supply.standing.part is Part.SERVES
        if self.submit(channel, fields) is not None:
            assert serves

    @rule(channel=st.sampled_from([1, 2, None]), fields=st.sampled_from(OFFS))
    def off(self, channel: int | None, fields: dict[str, Any]) -> None:
        if channel is None:
            fields = {"state": False}
        is_whole = self.is_whole and self.fault is None
        if is_whole:
            self.rest()
        command_id = self.submit(channel, fields)
        if is_whole:
            assert command_id is not None
        if command_id is None:
            return
        response = self.unit.sheet.response(command_id)
        if is_whole:
            assert response.ok or (
                response.error is not None and response.error.message.startswith("it was turned off")
            )
            result = response.result if isinstance(response.result, list) else [response.result]
            assert all(isinstance(state, ChannelState) and state.state is False for state in result)

    @rule(kind=st.sampled_from(["connect", "poll", "write"]))
    def breaks(self, kind: str) -> None:
        self.fault, self.is_whole = kind, False
        self.unit.supply.poll_now()

    @rule()
    def heals(self) -> None:
        self.fault = None
        self.rest()
        self.is_whole = True

    @rule(standing=st.sampled_from(STANDINGS))
    def a_ramp_meets(self, standing: Standing) -> None:
        """By chance alone a plan under way seldom meets a change."""
        self.stand(ALONE)
        self.heals()
        self.set(2, {"voltage_limit": 2, "ramp": 5})
        self.time_passes(0.02)
        self.stand(standing)
        self.time_passes(0.03)

    @rule(seconds=st.sampled_from([0.0, 0.005, 0.03]))
    def time_passes(self, seconds: float) -> None:
        time.sleep(seconds)

    @invariant()
    def nothing_is_set_for_another_agent(self) -> None:
        assert self.stray <= 1

    def teardown(self) -> None:
        self.unit.supply.stop()
        assert self.unit.supply.join(PATIENCE)
        answered = [response.id for response in self.unit.sheet.responses]
        assert sorted(self.sent) == sorted(str(command_id) for command_id in answered)


TestStandingMachine = StandingMachine.TestCase

"""A supply in memory that does what is written, and what a test has it do besides; and a verification of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.instruments.driver import Output, Profile, Reading, Write
from agent.service.verify.bench import Bench, Limits
from agent.service.verify.run import Result, Verification
from tests.unit.fakedriver import IDENTITY, TalkingDriver, after, output

#: V and A as they were found at the supply.
FOUND = Reading(0.0, 0.0, 5.0, 2.0, False, 6.0, True, "OFF", None)


class FakeSupply(TalkingDriver):
    """Outputs with an over-voltage trip. ``alter`` gets each reading after a write, and may change it."""

    def __init__(self, outputs: int = 1, found: Reading = FOUND, together: bool = False, **changed: Any) -> None:
        super().__init__(outputs=[output(index, **changed) for index in range(1, outputs + 1)])
        self.readings = dict.fromkeys(self.readings, found)
        self.alter: Callable[[int, Reading, Write], Reading] = lambda index, reading, write: reading
        if together:
            group = frozenset(self.readings)
            self.profile = Profile("FAKE3", self.profile.outputs, IDENTITY, "one message", together=(group,))

    def write(self, write: Write) -> None:
        complaint = self.answer(write)
        self._called(write)
        if complaint is not None:
            self.queue.append(complaint)
            return
        for index in write.channels:
            reading = after(self.readings[index], write)
            if reading.state and (reading.voltage or 0.0) > (reading.voltage_protection or 99.0):
                reading = reading._replace(state=False, voltage=0.0, mode="OFF", tripped="OVP")
            self.readings[index] = self.alter(index, reading, write)

    @property
    def outputs(self) -> tuple[Output, ...]:
        return self.profile.outputs

    @property
    def highest(self) -> float:
        """The highest voltage that was sent while the output was not just put back to its settings (V)."""
        return max(
            (abs(w.value) for w in self.writes if w.setting == "voltage_limit" and w.value != FOUND.voltage_limit),
            default=0,
        )


def verified(
    supply: FakeSupply,
    *,
    volts: float = 1.0,
    amps: float = 0.1,
    outputs: tuple[int, ...] = (),
    is_interrupted: Callable[[], bool] = lambda: False,
    **configured: Any,
) -> Result:
    """The result of a verification, which has no patience with a link that is gone."""
    bench = Bench(supply, Limits(volts, amps), configured.get("channels"), is_interrupted, patience=0.2)
    return Verification(bench, None, None, outputs).run(patience=0.0)


def verdicts(result: Result) -> dict[str, str]:
    """The verdict of each check by its name and output."""
    return {check.title: check.verdict for check in result.findings.checks}


def text_of(result: Result, title: str) -> str:
    """The sentence of a check."""
    (found,) = (check.text for check in result.findings.checks if check.title == title)
    return found

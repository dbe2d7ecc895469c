"""The gate: what reaches the driver is within the limits, in whatever order it is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.instruments.driver import Range, Reading, Write
from agent.protocol.errors import Refusal
from agent.protocol.quantities import LEVELS, Setting
from agent.unit.gate import WriteGate
from agent.unit.limits.channel import Channel
from tests.properties import examples
from tests.unit.fakedriver import OFF, FakeDriver, output
from tests.unit.steps.test_plans import CHANNELS, LIMITS, OUTPUTS, reading

ON = Write("state", (1,), True)


def made() -> tuple[WriteGate, list[Write]]:
    sent: list[Write] = []
    return WriteGate(sent.append, sent.append, CHANNELS), sent


def test_a_gate_that_was_not_shown_the_unit_lets_no_on_through() -> None:
    gate, sent = made()
    with pytest.raises(Refusal, match="not read before") as refusal:
        gate.send(ON)
    assert refusal.value.code == "uncertain"
    gate.saw({1: reading()})
    gate.check((ON,))
    gate.send(ON)
    for write in (ON, Write("state", (1, 2), True)):
        with pytest.raises(Refusal, match="not read before"):  # what it saw is old once something was written
            gate.send(write)
    gate.send(Write("state", (1,), False))
    assert sent == [ON, Write("state", (1,), False)]


def test_what_was_seen_is_old_even_if_the_link_breaks_in_the_write() -> None:
    def broken(write: Write) -> None:
        raise OSError

    gate = WriteGate(broken, broken, CHANNELS)
    gate.saw({1: reading()})
    with pytest.raises(OSError):
        gate.send(ON)
    with pytest.raises(Refusal, match="not read before"):
        gate.check((ON,))
    gate.saw({1: reading()})
    with pytest.raises(OSError):
        gate.send_checked(ON)
    with pytest.raises(Refusal, match="not read before"):
        gate.check((ON,))


@pytest.mark.parametrize(
    ("write", "code"),
    [
        (Write("voltage_limit", (1,), 5.001), "limit_exceeded"),
        (Write("voltage_limit", (1,), float("nan")), "limit_exceeded"),
        (Write("voltage_limit", (1, 2), 5.001), "limit_exceeded"),
        (Write("current_limit", (1,), 2.001), "limit_exceeded"),
        (Write("voltage_limit", (3,), -12.001), "limit_exceeded"),
        (Write("voltage_limit", (3,), 0.1), "out_of_range"),
        (Write("current_limit", (2,), 1.04), "out_of_range"),
        (Write("voltage_protection", (2,), 0.4), "out_of_range"),
        (Write("voltage_protection", (2,), float("nan")), "out_of_range"),
    ],
)
def test_the_gate_knows_limits_and_rating_by_itself(write: Write, code: str) -> None:
    gate, sent = made()
    with pytest.raises(Refusal) as refusal:
        gate.check((Write("voltage_limit", (2,), 1.0), write))
    assert refusal.value.code == code
    for send in (gate.send, gate.send_checked):
        with pytest.raises(Refusal) as refusal:
            send(write)
        assert refusal.value.code == code
    assert sent == []


def test_a_setting_that_the_output_has_not_does_not_pass() -> None:
    watched = Channel("psu1", "CH1", output(1, settings=frozenset(), voltage=None))
    unknown = Channel("psu1", "CH2", output(2, voltage=None))
    sent: list[Write] = []
    gate = WriteGate(sent.append, sent.append, {1: watched, 2: unknown})
    for write in (Write("state", (1,), False), Write("voltage_limit", (2,), 1.0), Write("state", (2, 1), False)):
        with pytest.raises(Refusal) as refusal:
            gate.send(write)
        assert refusal.value.code == "unsupported"
    assert sent == []


def test_the_units_own_rounding_at_the_limit_is_no_excess() -> None:
    gate, _ = made()
    gate.saw({1: reading(voltage_limit=5.0009, current_limit=2.0)})
    gate.check((ON,))
    gate.saw({1: reading(voltage_limit=5.002, current_limit=2.0)})
    with pytest.raises(Refusal, match=r"5.002 V is above the 5 V"):
        gate.check((ON,))


def test_an_output_whose_settings_are_not_told_is_not_turned_on_under_a_limit() -> None:
    gate, _ = made()
    gate.saw({1: reading()._replace(voltage_limit=None)})
    with pytest.raises(Refusal, match="does not tell the voltage_limit") as refusal:
        gate.send(ON)
    assert refusal.value.code == "limit_exceeded"


LIMITED = Channel("psu1", "CH1", replace(output(1), power_max=6.0))


def limited(voltage_limit: float | None, current_limit: float | None) -> WriteGate:
    """A gate to an output of 6 W that has these settings."""
    gate = WriteGate(lambda write: None, lambda write: None, {1: LIMITED})
    gate.saw({1: OFF._replace(voltage_limit=voltage_limit, current_limit=current_limit)})
    return gate


def test_the_envelope_holds_with_what_was_seen_and_sent() -> None:
    five_volts, two_amperes = Write("voltage_limit", (1,), 5.0), Write("current_limit", (1,), 2.0)
    with pytest.raises(Refusal, match="5 V with current_limit 2 A is 10 W, more than the 6 W") as refusal:
        limited(1.0, 2.0).send(five_volts)
    assert refusal.value.code == "out_of_range"
    gate = limited(1.0, 1.0)
    gate.send(five_volts)
    with pytest.raises(Refusal, match="10 W"):  # not read since, but sent
        gate.send(two_amperes)
    gate.saw({1: OFF._replace(voltage_limit=1.0, current_limit=1.0)})
    gate.send(two_amperes)


def test_writes_that_belong_together_are_checked_one_after_the_other() -> None:
    lower, raise_ = Write("current_limit", (1,), 1.0), Write("voltage_limit", (1,), 5.0)
    limited(1.0, 5.0).check((lower, raise_))
    with pytest.raises(Refusal, match="25 W"):
        limited(1.0, 5.0).check((raise_, lower))


def test_a_step_towards_the_envelope_is_allowed() -> None:
    limited(6.0, 5.0).send(Write("voltage_limit", (1,), 5.0))
    limited(None, 5.0).send(Write("current_limit", (1,), 5.0))


def test_a_switch_that_reaches_others_turns_on_all_or_none() -> None:
    together = frozenset((1, 2))
    pair = {index: Channel("psu1", f"CH{index}", output(index), together=together) for index in (1, 2)}
    sent: list[Write] = []
    gate = WriteGate(sent.append, sent.append, pair)
    gate.saw({1: OFF, 2: OFF})
    with pytest.raises(Refusal, match="has one switch with channel 2") as refusal:
        gate.send(ON)
    assert refusal.value.code == "unsupported"
    gate.send(Write("state", (1, 2), True))
    gate.send(Write("state", (1,), False))
    assert [write.channels for write in sent] == [(1, 2), (1,)]


@pytest.mark.parametrize(
    ("write", "rises"),
    [
        (Write("voltage_protection_state", (1,), False), True),
        (Write("voltage_protection_state", (1,), True), False),
        (Write("current_protection", (1,), False), True),
        (Write("current_protection_level", (1,), 3.0), True),
        (Write("current_protection_level", (1,), 2.0), False),
        (Write("voltage_protection", (1,), -9.0), True),
        (Write("voltage_protection", (1,), -7.0), False),
    ],
)
def test_what_makes_an_output_less_safe(write: Write, rises: bool) -> None:
    gate, _ = made()
    gate.saw({1: OFF._replace(voltage_protection=-8.0, current_protection_level=2.5)})
    assert gate.rises(write) is rises


def is_within(value: float, interval: Range | None) -> bool:
    assert interval is not None
    return interval.min - 1e-9 <= value <= interval.max + 1e-9


class GateMachine(RuleBasedStateMachine):
    """No sequence of writes, polls and changes at the panel gives an output a value beyond its limits, or an unseen on."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = FakeDriver(OUTPUTS.values())
        self.gate = WriteGate(self.driver.write, self.driver.write_checked, CHANNELS)
        self.seen: dict[int, Reading] | None = None

    @rule()
    def look(self) -> None:
        self.seen = self.driver.poll(lambda: False)
        assert self.seen is not None
        self.gate.saw(self.seen)

    @rule(index=st.sampled_from([1, 2, 3]), volts=st.floats(0, 26), amperes=st.floats(0, 6))
    def panel(self, index: int, volts: float, amperes: float) -> None:
        self.driver.readings[index] = self.driver.readings[index]._replace(
            voltage_limit=-volts if index == 3 else volts, current_limit=amperes
        )

    @rule(
        setting=st.sampled_from(LEVELS),
        channels=st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3, unique=True),
        value=st.floats(-30, 30) | st.floats(),
        is_checked=st.booleans(),
    )
    def set(self, setting: Setting, channels: list[int], value: float, is_checked: bool) -> None:
        self._send(Write(setting, tuple(channels), value), is_checked)

    @rule(
        channels=st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3, unique=True),
        on=st.booleans(),
        is_checked=st.booleans(),
    )
    def switch(self, channels: list[int], on: bool, is_checked: bool) -> None:
        self._send(Write("state", tuple(channels), on), is_checked)

    def _send(self, write: Write, is_checked: bool) -> None:
        count = len(self.driver.writes)
        seen, self.seen = self.seen, None
        try:
            (self.gate.send_checked if is_checked else self.gate.send)(write)
        except Refusal:
            assert len(self.driver.writes) == count
            self.seen = seen
            assert write.value is not False  # off always passes
            return
        if write.setting == "state" and write.value:
            assert seen is not None
            for index in write.channels:
                volts, amperes = LIMITS[index]
                assert abs(seen[index].voltage_limit or 0.0) <= volts + 0.002
                assert amperes is None or (seen[index].current_limit or 0.0) <= amperes + 0.001

    @invariant()
    def nothing_beyond_the_limits_was_written(self) -> None:
        for write in self.driver.writes[-1:]:
            for index in write.channels:
                volts, amperes = LIMITS[index]
                if write.setting == "voltage_limit":
                    assert abs(write.value) <= volts + 1e-9
                    assert is_within(write.value, OUTPUTS[index].range("voltage_limit"))
                if write.setting == "current_limit":
                    assert amperes is None or write.value <= amperes + 1e-9
                    assert is_within(write.value, OUTPUTS[index].range("current_limit"))


TestGateMachine = GateMachine.TestCase
TestGateMachine.settings = examples(100)  # type: ignore[assignment]

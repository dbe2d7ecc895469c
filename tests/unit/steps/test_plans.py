"""Plans through the gate: whatever is asked of an output in whatever state, nothing passes that should not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.instruments.driver import Conditions, Range, Reading, Write
from agent.protocol.commands import Command, parse_command
from agent.protocol.errors import Refusal
from agent.unit import plans
from agent.unit.gate import WriteGate
from agent.unit.limits.channel import Channel, DefaultSettings
from agent.unit.limits.checking import check
from agent.unit.plans import apply, off
from agent.unit.steps import Checked, Look, Pause, Seen, waiting
from tests.properties import examples
from tests.unit.fakedriver import after, output

#: As the E36311A's: the third is a negative output.
OUTPUTS = {
    1: output(1),
    2: output(
        2,
        voltage=Range(0, 25.75),
        current=Range(0, 1.03),
        voltage_protection=Range(0.5, 27.5),
        voltage_resolution=0.002,
    ),
    3: output(
        3,
        voltage=Range(-25.75, 0),
        current=Range(0, 1.03),
        voltage_protection=Range(0.5, 27.5),
        voltage_resolution=0.002,
    ),
}
LIMITS = {1: (5.0, 2.0), 2: (12.0, None), 3: (12.0, 0.5)}
CHANNELS = {
    number: Channel("psu1", f"CH{number}", OUTPUTS[number], DefaultSettings(voltage_max=v, current_max=a))
    for number, (v, a) in LIMITS.items()
}


def reading(
    *,
    state: bool = False,
    voltage_limit: float = 0.0,
    current_limit: float = 0.1,
    protection: float = 6.6,
    tripped: bool = False,
) -> Reading:
    on = state and not tripped
    return Reading(
        voltage=voltage_limit if on else 0.0,
        current=0.0,
        voltage_limit=voltage_limit,
        current_limit=current_limit,
        state=on,
        voltage_protection=protection,
        current_protection=False,
        mode="CV" if on else "OFF",
        tripped="OVP" if tripped else None,
    )


class Unit:
    """Outputs that do what the gate lets through, and what they went through."""

    def __init__(self, readings: Mapping[int, Reading]) -> None:
        self.readings = dict(readings)
        self.history: list[dict[int, Reading]] = [dict(readings)]
        self.sent: list[Write] = []
        self.conditions = Conditions()

    def take(self, write: Write) -> None:
        self.sent.append(write)
        for index in write.channels:
            self.readings[index] = after(self.readings[index], write)
        self.history.append(dict(self.readings))

    def told(self) -> dict[int, Reading]:
        """The readings as a poll tells them."""
        return dict(self.readings)


def carry_out(
    unit: Unit,
    command: Command,
    indices: tuple[int, ...],
    hold_up: Callable[[int], float] = lambda _: 0.0,
    told: Callable[[float], None] = lambda _: None,
    known: Mapping[int, Channel] = CHANNELS,
) -> Refusal | None:
    """As a worker does it, but time passes in pauses alone; ``hold_up`` makes the n-th longer."""
    gate = WriteGate(unit.take, unit.take, known)
    channels = tuple(known[index] for index in indices)
    moment = 1000.0
    pauses = 0
    plan = off(channels) if command.turns_off else apply(command, channels, lambda i: (unit.told()[i], moment))
    looked = None
    patch = pytest.MonkeyPatch()
    for module in (plans, waiting):
        patch.setattr(module, "system_clock", lambda: moment)
    try:
        for _ in range(20_000):
            step = plan.send(looked)  # type: ignore[arg-type]
            looked = None
            match step:
                case Look():
                    gate.saw(unit.told())
                    looked = Seen(unit.told(), unit.conditions)
                case Checked(write=write):
                    gate.check((write,))
                    gate.send_checked(write)
                    told(moment)
                case Pause(until=until):
                    pauses += 1
                    moment = max(moment, until) + hold_up(pauses)
                case writes:
                    gate.check(writes)
                    for write in writes:
                        gate.send(write)
                    told(moment)
        raise AssertionError("a plan without an end")
    except StopIteration:
        return None
    except Refusal as refusal:
        return refusal
    finally:
        patch.undo()


_volts = st.floats(-14, 14).map(lambda v: round(v, 3))
_amperes = st.floats(0, 3).map(lambda v: round(v, 3))
_fields: dict[str, st.SearchStrategy[object]] = {
    "state": st.booleans(),
    "voltage_limit": _volts,
    "current_limit": _amperes,
    "voltage_protection": st.floats(0, 28).map(lambda v: round(v, 3)),
    "current_protection": st.booleans(),
    "clear_protection": st.just(True),
    "cycle": st.floats(0, 3),
    "ramp": st.floats(0.5, 1000),
}
_some_commands = st.fixed_dictionaries({}, optional=_fields)


@st.composite
def _readings(draw: st.DrawFn) -> dict[int, Reading]:
    made = {}
    for index in (1, 2, 3):
        volts = draw(st.floats(0, 14)) * (-1 if index == 3 else 1)
        made[index] = reading(
            state=draw(st.booleans()),
            voltage_limit=round(volts, 3),
            current_limit=draw(_amperes),
            tripped=draw(st.booleans()),
            protection=round(max(0.5, abs(volts)) + draw(st.floats(0, 10)), 3),
        )
    return made


@given(_some_commands, _readings(), st.sampled_from([(1,), (2,), (3,)]))
@examples(120)
def test_nothing_passes_that_should_not(
    fields: dict[str, object], readings: dict[int, Reading], indices: tuple[int]
) -> None:
    try:
        command = parse_command(json.dumps(fields).encode())
        check(command, [CHANNELS[i] for i in indices])
    except Refusal:
        assume(False)
        raise
    unit = Unit(readings)
    refusal = carry_out(unit, command, indices)
    (index,) = indices
    limit_v, limit_a = LIMITS[index]
    before = readings[index]
    steps = [step[index] for step in unit.history]
    for earlier, later in itertools.pairwise(steps):
        assert later.voltage_limit is not None
        assert later.current_limit is not None
        # Writes are within the limits, whatever the settings were before.
        if later.voltage_limit != earlier.voltage_limit:
            assert abs(later.voltage_limit) <= limit_v + 1e-9
        if later.current_limit != earlier.current_limit and limit_a is not None:
            assert later.current_limit <= limit_a + 1e-9
        # On only with settings within the limits, and only if it was asked for.
        if later.state and not earlier.state:
            assert command.state or command.cycle is not None
            assert abs(later.voltage_limit) <= limit_v + 0.01
            assert limit_a is None or later.current_limit <= limit_a + 0.01
        # The trip level follows the voltage: nothing trips on the way.
        if later.state:
            assert abs(later.voltage_limit) <= (later.voltage_protection or 0.0) + 0.0011
        # On its way a live output never sees more than it had or was to have.
        if later.state:
            most = max(abs(before.voltage_limit or 0.0), abs(command.voltage_limit or 0.0))
            assert abs(later.voltage_limit) <= most + 1e-6
            assert later.current_limit <= max(before.current_limit or 0.0, command.current_limit or 0.0) + 1e-6
    # Other outputs are left alone.
    assert all(step[i] == readings[i] for step in unit.history for i in readings if i != index)
    if command.state is False:
        assert unit.sent[0] == Write("state", (index,), False)
    if command.state is False or (command.clear_protection and not (before.state and not before.tripped)):
        assert not steps[-1].state
    if refusal is not None and command.state is not False:
        assert unit.sent == []  # the first look had told the reason
    if refusal is None:
        after = steps[-1]
        assert command.voltage_limit is None or after.voltage_limit == pytest.approx(command.voltage_limit, abs=0.002)
        assert command.current_limit is None or after.current_limit == pytest.approx(command.current_limit, abs=0.002)
        if command.state is not None:
            assert after.state is command.state


@given(_readings())
@examples(100)
def test_off_is_one_write_and_always_gets_there(readings: dict[int, Reading]) -> None:
    unit = Unit(readings)
    assert carry_out(unit, Command(state=False), (1, 2, 3)) is None
    assert unit.sent == [Write("state", (1, 2, 3), False)]
    assert not any(r.state for r in unit.readings.values())


def test_clearing_a_whole_unit_leaves_alone_what_runs() -> None:
    unit = Unit({1: reading(state=True, voltage_limit=3), 2: reading(tripped=True), 3: reading()})
    assert carry_out(unit, Command(clear_protection=True), (1, 2, 3)) is None
    assert unit.readings[1].state
    assert unit.readings[2].tripped is None
    assert not unit.readings[2].state
    assert all(1 not in write.channels for write in unit.sent)


@given(st.floats(0.1, 1000), st.floats(0, 12), st.floats(0, 12))
@examples()
def test_a_ramp_is_never_faster_than_asked_for(rate: float, start: float, target: float) -> None:
    before = reading(state=True, voltage_limit=round(start, 3), protection=27.5)
    unit = Unit({1: reading(), 2: before, 3: reading()})
    moments: list[tuple[float, float]] = []

    def note(moment: float) -> None:
        moments.append((moment, unit.readings[2].voltage_limit or 0.0))

    command = Command(voltage_limit=round(target, 3), ramp=rate)
    # Now and then it is held up, and does not make up for it.
    assert carry_out(unit, command, (2,), hold_up=lambda number: 0.3 * (number % 3), told=note) is None
    assert unit.readings[2].voltage_limit == pytest.approx(target, abs=0.0011)
    for (t0, v0), (t1, v1) in itertools.pairwise(moments):
        assert abs(v1 - v0) <= rate * (t1 - t0) + 0.0021

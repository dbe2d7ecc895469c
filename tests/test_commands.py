"""Plans and the door: whatever is asked of an output in whatever state, nothing passes that should not."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.instruments.catalogue import Reading, candidates
from agent.protocol.commands import Command, parse_command
from agent.protocol.errors import Refusal
from agent.unit import commands
from agent.unit.commands import Channel, Door, Look, Pause, Settle, Write, apply, check, off
from tests.properties import examples

MODEL = candidates("E36311A")[0]
LIMITS = {1: (5.0, 2.0), 2: (12.0, None), 3: (12.0, 0.5)}
CHANNELS = {
    number: Channel("psu1", f"CH{number}", MODEL.channel(number), voltage_max=v, current_max=a)
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
    """Outputs that do what they are told, by the messages that the door let through, and what they went through."""

    def __init__(self, readings: Mapping[int, Reading], *, restores: bool = True) -> None:
        self.readings = dict(readings)
        self.history: list[dict[int, Reading]] = [dict(readings)]
        self.sent: list[str] = []
        self._restores = restores

    def take(self, message: str) -> None:
        self.sent.append(message)
        match = re.fullmatch(r"(?P<header>[A-Z:]+) (?:(?P<value>-?\d+(?:\.\d+)?),)?\(@(?P<list>[\d,]+)\)", message)
        assert match, message
        for index in map(int, match["list"].split(",")):
            before = self.readings[index]
            value = float(match["value"] or 0)
            changes: dict[str, object] = {
                "OUTP": {"state": bool(value) and not before.tripped, "mode": "CV" if value else "OFF"},
                "VOLT": {"voltage_limit": round(value, 3)},
                "CURR": {"current_limit": round(value, 3)},
                "VOLT:PROT": {"voltage_protection": value},
                "CURR:PROT:STAT": {"current_protection": bool(value)},
                "OUTP:PROT:CLE": {"tripped": None},
            }[match["header"]]  # type: ignore[assignment]
            self.readings[index] = before._replace(**changes)  # type: ignore[arg-type]
        self.history.append(dict(self.readings))


def carry_out(
    unit: Unit,
    command: Command,
    indices: tuple[int, ...],
    hold_up: Callable[[int], float] = lambda _: 0.0,
    told: Callable[[float], None] = lambda _: None,
) -> Refusal | None:
    """As a worker does it, but time passes in pauses alone; ``hold_up`` makes the n-th longer."""
    door = Door(MODEL.series, CHANNELS)
    channels = tuple(CHANNELS[index] for index in indices)
    moment = 1000.0
    pauses = 0
    plan = off(channels) if command.turns_off else apply(command, channels, lambda i: (unit.readings[i], moment))
    looked = None
    patch = pytest.MonkeyPatch()
    patch.setattr(commands, "system_clock", lambda: moment)
    try:
        for _ in range(20_000):
            step = plan.send(looked)  # type: ignore[arg-type]
            looked = None
            match step:
                case Look():
                    looked = dict(unit.readings)
                    door.saw(looked)
                case Settle():
                    pass
                case Pause(until=until):
                    pauses += 1
                    moment = max(moment, until) + hold_up(pauses)
                case writes:
                    for message in door.passes(writes):
                        unit.take(message)
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
        )
    return made


@given(_some_commands, _readings(), st.sampled_from([(1,), (2,), (3,)]))
@examples(250)
def test_nothing_passes_that_should_not(
    fields: dict[str, object], readings: dict[int, Reading], indices: tuple[int]
) -> None:
    try:
        command = parse_command(json.dumps(fields).encode())
        check(command, [CHANNELS[i] for i in indices], MODEL.series)
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
        # What is written is within the limits, whatever stood there before.
        if later.voltage_limit != earlier.voltage_limit:
            assert abs(later.voltage_limit) <= limit_v + 1e-9
        if later.current_limit != earlier.current_limit and limit_a is not None:
            assert later.current_limit <= limit_a + 1e-9
        # On only with settings within the limits, and only if it was asked for.
        if later.state and not earlier.state:
            assert command.state or command.cycle is not None
            assert abs(later.voltage_limit) <= limit_v + 0.01
            assert limit_a is None or later.current_limit <= limit_a + 0.01
        # On its way a live output never sees more than it had or was to have.
        if later.state:
            most = max(abs(before.voltage_limit or 0.0), abs(command.voltage_limit or 0.0))
            assert abs(later.voltage_limit) <= most + 1e-6
            assert later.current_limit <= max(before.current_limit or 0.0, command.current_limit or 0.0) + 1e-6
    # Other outputs are left alone.
    assert all(step[i] == readings[i] for step in unit.history for i in readings if i != index)
    if command.state is False:
        assert unit.sent[0] == f"OUTP 0,(@{index})"
    if command.state is False or (command.clear_protection and not (before.state and not before.tripped)):
        assert not steps[-1].state
    if refusal is None:
        after = steps[-1]
        assert command.voltage_limit is None or after.voltage_limit == pytest.approx(command.voltage_limit, abs=0.002)
        assert command.current_limit is None or after.current_limit == pytest.approx(command.current_limit, abs=0.002)
        if command.state is not None:
            assert after.state is command.state


@given(_readings())
@examples(100)
def test_off_is_one_message_and_always_gets_there(readings: dict[int, Reading]) -> None:
    unit = Unit(readings)
    assert carry_out(unit, Command(state=False), (1, 2, 3)) is None
    assert unit.sent == ["OUTP 0,(@1,2,3)"]
    assert not any(r.state for r in unit.readings.values())


def test_clearing_a_whole_unit_leaves_alone_what_runs() -> None:
    unit = Unit({1: reading(state=True, voltage_limit=3), 2: reading(tripped=True), 3: reading()})
    assert carry_out(unit, Command(clear_protection=True), (1, 2, 3)) is None
    assert unit.readings[1].state
    assert unit.readings[2].tripped is None
    assert not unit.readings[2].state
    assert all("1" not in message.partition("@")[2] for message in unit.sent)


def test_a_door_that_was_not_shown_the_unit_lets_no_on_through() -> None:
    door = Door(MODEL.series, CHANNELS)
    on = (Write("state", (1,), True),)
    with pytest.raises(Refusal, match="not read before"):
        door.passes(on)
    door.saw({1: reading()})
    assert door.passes(on) == ["OUTP 1,(@1)"]
    with pytest.raises(Refusal, match="not read before"):  # what it saw is old once something was written
        door.passes(on)
    assert door.passes((Write("state", (1,), False),)) == ["OUTP 0,(@1)"]


@pytest.mark.parametrize(
    ("write", "code"),
    [
        (Write("voltage_limit", (1,), 5.001), "limit_exceeded"),
        (Write("current_limit", (1,), 2.001), "limit_exceeded"),
        (Write("voltage_limit", (3,), -12.001), "limit_exceeded"),
        (Write("voltage_limit", (3,), 0.1), "out_of_range"),
        (Write("current_limit", (2,), 1.04), "out_of_range"),
        (Write("voltage_protection", (2,), 0.4), "out_of_range"),
    ],
)
def test_the_door_knows_limits_and_rating_by_itself(write: Write, code: str) -> None:
    door = Door(MODEL.series, CHANNELS)
    with pytest.raises(Refusal) as refusal:
        door.passes((Write("voltage_limit", (2,), 1.0), write))
    assert refusal.value.code == code


def test_the_units_own_rounding_at_the_limit_is_no_excess() -> None:
    door = Door(MODEL.series, CHANNELS)
    door.saw({1: reading(voltage_limit=5.0009, current_limit=2.0)})
    assert door.passes((Write("state", (1,), True),))
    door.saw({1: reading(voltage_limit=5.002, current_limit=2.0)})
    with pytest.raises(Refusal, match=r"5.002 V is above the 5 V"):
        door.passes((Write("state", (1,), True),))


@given(st.floats(0.1, 1000), st.floats(0, 12), st.floats(0, 12))
@examples()
def test_a_ramp_is_never_faster_than_asked_for(rate: float, start: float, target: float) -> None:
    unit = Unit({1: reading(), 2: reading(state=True, voltage_limit=round(start, 3)), 3: reading()})
    moments: list[tuple[float, float]] = []

    def note(moment: float) -> None:
        moments.append((moment, unit.readings[2].voltage_limit or 0.0))

    command = Command(voltage_limit=round(target, 3), ramp=rate)
    # Now and then it is held up, and does not make up for it.
    assert carry_out(unit, command, (2,), hold_up=lambda number: 0.3 * (number % 3), told=note) is None
    assert unit.readings[2].voltage_limit == pytest.approx(target, abs=0.0011)
    for (t0, v0), (t1, v1) in itertools.pairwise(moments):
        assert abs(v1 - v0) <= rate * (t1 - t0) + 0.0021

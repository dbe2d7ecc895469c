"""A try of a series file on a unit that speaks Modbus: what its registers mean, and the same as a test."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from agent.instruments.catalogue import Model, Series
from agent.instruments.driver import Profile, Reading
from agent.instruments.modbus.plan import RegisterPlan
from agent.instruments.recording import Exchanged


def understood(record: Sequence[Exchanged], model: Model) -> Iterator[tuple[Exchanged, str]]:
    """Each exchange with what the series file makes of it, for people."""
    language = model.series.modbus
    assert language is not None
    plan = RegisterPlan(model)
    names = {f"read {first}-{first + count - 1}": number for number, (first, count) in enumerate(plan.reads)}
    blocks: dict[int, tuple[int, ...]] = {}
    identity = language.identify
    for one in record:
        numbers = tuple(map(int, one.answers[0].split())) if one.answers and one.sent.startswith("read") else ()
        if one.problem is not None:
            yield one, one.problem
        elif one.sent == f"read {identity.first}-{identity.first + identity.count - 1}":
            signature = numbers[identity.model - identity.first]
            yield one, f"signature {signature}: {language.model_of(signature) or 'not known'}"
        elif (place := names.get(one.sent)) is not None:
            blocks[place] = numbers
            yield one, ", ".join(f"{name} = {value}" for name, value in plan.told_by(place, blocks))
        elif language.power_up is not None and one.sent.startswith(f"read {language.power_up.register_}-"):
            comes_back = numbers[0] in language.power_up.on
            yield one, "the output comes back after power returns" if comes_back else "the output stays off"
        else:
            yield one, ""


def as_test(
    record: Sequence[Exchanged], profile: Profile, readings: Mapping[int, Reading], series: Series, place: str
) -> str:
    """A test of the series file, from what the unit answered; without the unit's serial number."""
    name = re.sub(r"\W+", "_", series.name.casefold()).strip("_")
    lines = "\n".join(f"    ({one.sent!r}, {one.answer!r})," for one in record)
    shown = "\n".join(f"    {index}: {reading!r}," for index, reading in readings.items())
    return f'''"""Series {series.name}: a {profile.model}, recorded by `psu-agent series try`."""

from pathlib import Path

from agent.instruments.catalogue import models_of, read
from agent.instruments.driver import Reading, never
from agent.instruments.modbus.driver import ModbusDriver
from agent.instruments.modbus.recording import ReplayRegisters

FILE = {place}
LINES = [
{lines}
]
READINGS = {{
{shown}
}}


def test_{name}_as_recorded() -> None:
    unit = ReplayRegisters(LINES)
    driver = ModbusDriver(unit, models=models_of(read(FILE)))
    assert driver.connect().model == {profile.model!r}
    assert driver.poll(never) == READINGS
    driver.close()
    unit.check()
'''

"""A try of a series file on a unit that speaks Modbus: what its registers mean, and the same as a test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.instruments.catalogue import Model, Series
from agent.instruments.modbus.plan import RegisterPlan
from agent.instruments.recording import Exchanged
from agent.instruments.trial import Row, Trial, written_test


def rows(record: Sequence[Exchanged], model: Model) -> Iterator[Row]:
    """A row for each exchange of a record, with what the series file makes of its numbers."""
    for one, text in understood(record, model):
        yield Row(one.sent, one.answer, text, one.seconds * 1000, is_fault=one.problem is not None)


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


def as_test(trial: Trial, series: Series, place: str) -> str:
    """A test of the series file, from what the unit answered; without the unit's serial number.

    :param place: the series file, as an expression of Python
    """
    return written_test(
        trial,
        series,
        place,
        imports="from agent.instruments.modbus.driver import ModbusDriver\n"
        "from agent.instruments.modbus.recording import ReplayRegisters",
        unit="ReplayRegisters",
        driver="ModbusDriver(unit, models=models_of(read(FILE)))",
        lines="\n".join(f"    ({one.sent!r}, {one.answer!r})," for one in trial.lines),
    )

"""The poll of a model that speaks Modbus: which registers are read, and which number of which block is which quantity.

It is made once, when the model is known. The answers of a poll are not read again while the numbers stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal
from typing import Any, NamedTuple, cast

from agent.instruments.catalogue import Model
from agent.instruments.catalogue.modbus import ModbusLanguage, MovingScale, RegisterField
from agent.instruments.driver import Range, Reading, Write
from agent.instruments.modbus.frames import RefusedError
from agent.protocol.quantities import BY_NAME, reported

Blocks = Sequence[Sequence[int]]
_LARGEST = 0xFFFF


class _Place(NamedTuple):
    """A number: the block of the poll that it stands in, and its place there."""

    block: int
    offset: int

    def of(self, blocks: Blocks) -> int:
        return blocks[self.block][self.offset]


class RegisterPlan:
    """For one unit.

    ``reads``: the first register and the number of registers of each exchange of a poll. ``outputs``: those of the model, with
    the quantities that a poll tells.
    """

    def __init__(self, model: Model) -> None:
        language = model.series.modbus
        assert language is not None
        self.reads = tuple((block.first, block.count) for block in language.reads)
        self._model = model
        self._voltage = language.models[model.name].voltage
        current = language.models[model.name].current
        self._moving = current if isinstance(current, MovingScale) else None
        self._fixed = None if isinstance(current, MovingScale) else current
        self._moved_by = None if self._moving is None else _place(language, self._moving.register_)
        fields = {name: field for name, field in language.quantities.items() if field.is_for(model.name)}
        self._fields: dict[str, tuple[_Place, RegisterField]] = {
            name: (_place(language, field.register_), field) for name, field in fields.items()
        }
        self.outputs = tuple(replace(output, tells=reported(fields)) for output in model.outputs)
        self._last: tuple[Blocks, Reading] | None = None
        identity = language.identify
        self._identity = tuple(
            (register, _place(language, register))
            for register in (identity.model, *identity.serial)
            if any(register in block for block in language.reads)
        )

    @property
    def scale_read(self) -> tuple[int, int] | None:
        """The exchange that tells the scale of currents; None where it never changes."""
        return None if self._moved_by is None else self.reads[self._moved_by.block]

    def identity(self, blocks: Blocks) -> dict[int, int]:
        """The registers of signature and serial number that a poll reads as well, with their numbers."""
        return {register: place.of(blocks) for register, place in self._identity}

    def identity_in(self, read: tuple[int, int], block: Sequence[int]) -> dict[int, int]:
        """The same of one exchange alone."""
        first, count = read
        return {
            register: block[register - first] for register, _ in self._identity if first <= register < first + count
        }

    def reading(self, blocks: Blocks) -> Reading:
        """The reading that the blocks of a poll tell."""
        if self._last is not None and self._last[0] == blocks:
            return self._last[1]
        scale = self._current_scale(None if self._moved_by is None else self._moved_by.of(blocks))
        values = {name: self._value(name, scale, blocks) for name in self._fields}
        if values.get("state") is False and "mode" in values:
            values["mode"] = "OFF"
        # The series file was checked for the values of each.
        reading = Reading(**{name: cast("Any", values.get(name)) for name in Reading._fields})
        self._last = blocks, reading
        return reading

    def told_by(
        self, block: int, blocks: Mapping[int, Sequence[int]]
    ) -> Iterator[tuple[str, float | bool | str | None]]:
        """The quantities that stand in a block of a poll, with their values.

        :param blocks: those that were read, by their numbers; that with the scale is one of them, if there is one
        """
        known = {number: blocks.get(number, ()) for number in range(len(self.reads))}
        moved = (
            None
            if self._moved_by is None or not known[self._moved_by.block]
            else self._moved_by.of(list(known.values()))
        )
        for name, (place, _) in self._fields.items():
            if place.block == block:
                yield name, self._value(name, self._current_scale(moved), list(known.values()))

    def _value(self, name: str, current_scale: float | None, blocks: Blocks) -> float | bool | str | None:
        place, field = self._fields[name]
        number = place.of(blocks)
        if field.values:
            return field.values.get(number)
        scale = self._voltage if BY_NAME[name].unit == "V" else current_scale
        return None if scale is None else number / scale

    def _current_scale(self, told: int | None) -> float | None:
        """By how much amperes are multiplied; None if the unit tells a range that the series file does not know."""
        if self._moving is None:
            return self._fixed
        found = None if told is None else self._moving.values.get(told)
        return None if found is None else found.scale

    def number(self, write: Write, scale_block: Sequence[int] = ()) -> tuple[int, int]:
        """The register of a setting and the number for it. A value between two steps becomes the lower one.

        :param scale_block: the registers of `scale_read`, read right before, where it is a current and there is such an exchange
        :raises RefusedError: the number is not known, or no register holds it
        """
        entry = self._model.register_for(write.setting)
        if entry is None or entry.register_ is None:
            raise RefusedError(f"{self._model.name} has no register for {write.setting}")
        if BY_NAME[write.setting].kind != "number":
            number = entry.on if write.value else entry.off
            if number is None:
                raise RefusedError(f"{self._model.name} has no number for {write.setting} off")
            return entry.register_, number
        scale: float | None = self._voltage
        if BY_NAME[write.setting].unit != "V":
            told = None if self._moved_by is None else scale_block[self._moved_by.offset]
            scale = self._current_scale(told)
            if scale is None:
                raise RefusedError(self.unknown_range(told))
        # In decimals: 2.3 * 100 is below 230 in floats, and 229 would be set. A step below is never more than was asked for.
        exact = Decimal(write.text) * Decimal(str(scale))
        if not 0 <= exact <= _LARGEST:
            raise RefusedError(f"{write.setting} {write.text} does not go into a register")
        return entry.register_, int(exact.to_integral_value(ROUND_FLOOR))

    def ranges(self, blocks: Blocks) -> Mapping[str, Range]:
        """The present ranges of the settings (V, A), by their names; none where the output has but one range."""
        if self._moved_by is None or self._moving is None:
            return {}
        found = self._moving.values.get(self._moved_by.of(blocks))
        if found is None:
            return {}
        box = self._model.channels[0].ranges[found.range]
        return {"voltage_limit": box.voltage, "current_limit": box.current}

    def bar(self, blocks: Blocks) -> str | None:
        """Why no current may be set at present; None if it may."""
        if self._moved_by is None:
            return None
        told = self._moved_by.of(blocks)
        return self.unknown_range(told) if self._current_scale(told) is None else None

    def unknown_range(self, told: int | None) -> str:
        """A sentence on a range that the series file does not know, with the remedy."""
        assert self._moving is not None
        known = " or ".join(one.range for one in self._moving.values.values())
        return (
            f"register {self._moving.register_} tells {told}, a range of currents that the series file does not know; choose "
            f"the range {known}"
        )


def _place(language: ModbusLanguage, register: int) -> _Place:
    for index, block in enumerate(language.reads):
        if register in block:
            return _Place(index, register - block.first)
    raise AssertionError("the series file was checked for that")

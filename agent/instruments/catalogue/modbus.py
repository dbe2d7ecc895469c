"""The language of a series that speaks Modbus: which registers are read, what each of them means, and which may be written.

Only the registers that stand in ``settings`` are ever written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from agent.instruments.catalogue.language import Applies, Strict
from agent.protocol.messages import Mode, Trip
from agent.protocol.quantities import BY_NAME, READ_NUMBERS, READ_SWITCHES, Setting


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, int) else value


Register = Annotated[int, Field(ge=0, le=0xFFFF)]
#: One register or number, or a list of them.
Registers = Annotated[
    tuple[Register, ...], BeforeValidator(_as_list, json_schema_input_type=Register | tuple[Register, ...])
]
#: The most registers that one answer holds (Modbus application protocol 1.1b3, 6.3).
MOST_REGISTERS = 125
#: The values that registers tell by a table. Numbers they tell by a scale.
_WORDS: Mapping[str, tuple[object, ...]] = {
    **dict.fromkeys(READ_SWITCHES, (True, False, None)),
    "mode": (*get_args(Mode), None),
    "tripped": (*get_args(Trip), None),
}
_Key = tuple[Any, ...]


class Block(Strict):
    """Registers that are read in one exchange: the first, and how many."""

    first: Register
    count: int = Field(ge=1, le=MOST_REGISTERS)

    def __contains__(self, register: object) -> bool:
        return isinstance(register, int) and self.first <= register < self.first + self.count


class RegisterIdentity(Block):
    """The registers that tell which unit it is.

    ``model``: the register of the signature. ``serial``: those of the serial number, the highest first; none where the unit has
    none. ``firmware``: that of the version, which is the number divided by ``firmware_scale``.
    """

    model: Register
    serial: Registers = ()
    firmware: Register | None = None
    firmware_scale: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _is_inside(self) -> RegisterIdentity:
        for register in (self.model, *self.serial, *([] if self.firmware is None else [self.firmware])):
            if register not in self:
                raise ValueError(f"register {register} is none of the {self.count} that are read from {self.first} on")
        return self


class RegisterField(Applies):
    """A quantity in a register: a number by the model's scale, else one of ``values``; one that is not listed is unknown."""

    register_: Register = Field(alias="register")
    values: dict[int, bool | str | None] = Field(default_factory=dict)


class RegisterSetting(Applies):
    """A setting in a register: a number by the model's scale, or for a switch the numbers of ``on`` and ``off``.

    ``unsupported``: instead of all these, a sentence why it can't be set remotely, and what to do.
    """

    register_: Register | None = Field(default=None, alias="register")
    on: Register | None = None
    off: Register | None = None
    unsupported: str | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> RegisterSetting:
        if (self.register_ is None) == (self.unsupported is None):
            raise ValueError("give one of register and unsupported")
        return self


class ScaleRange(Strict):
    """The scale while the unit is in one of its ranges. ``range``: the name of the range among the output's ``ranges``."""

    scale: PositiveFloat
    range: str


class MovingScale(Strict):
    """A scale that another register tells, by its values. Any other value there: the quantity is unknown, and is not set."""

    register_: Register = Field(alias="register")
    values: dict[int, ScaleRange] = Field(min_length=1)


class RegisterModel(Strict):
    """A model: the ``signatures`` that it tells, and by how much V and A are multiplied in its registers."""

    signatures: tuple[Register, ...] = Field(min_length=1)
    voltage: PositiveFloat
    current: PositiveFloat | MovingScale


class RegisterPowerUp(Applies):
    """The register that tells if the output comes back by itself after the mains return, and the numbers that mean so."""

    register_: Register = Field(alias="register")
    on: Registers
    text: str = "the output comes back by itself after power returns"


class ModbusLanguage(Strict):
    """A series that speaks Modbus. All its registers are holding registers; its units have one output.

    ``reads``: the exchanges of a poll. ``quantities``, ``settings``: by their names. ``models``: by the names that they have in
    the file's ``models``. ``timeout``: s that a unit may take for an answer.
    """

    identify: RegisterIdentity
    reads: tuple[Block, ...] = Field(min_length=1)
    quantities: dict[str, RegisterField]
    settings: dict[Setting, RegisterSetting]
    models: dict[str, RegisterModel]
    power_up: RegisterPowerUp | None = None
    timeout: float = Field(default=1.0, gt=0, le=60)

    def model_of(self, signature: int) -> str | None:
        """The model that tells that signature; None if no model does: its scales are not known."""
        return next((name for name, model in self.models.items() if signature in model.signatures), None)

    def faults(self, models: Mapping[str, Any]) -> Iterator[tuple[_Key, str]]:
        """All that is wrong with the names and the registers: the key of each, and a sentence.

        :param models: those of the series
        """
        yield from self._model_faults(models)
        if self.power_up is not None and self.identify.count == 1:
            yield ("identify", "count"), "reads one register, as `power_up` does: read two, to tell their answers apart"
        for index, block in enumerate(self.reads):
            # A late answer to one of them would have the form of the other, and be taken for it.
            if block.count == self.identify.count:
                yield (
                    ("reads", index, "count"),
                    f"`identify` reads {block.count} registers, too: read one more there, to tell their answers apart",
                )
        for name, field in self.quantities.items():
            yield from self._quantity_faults(name, field)
        for setting, entry in self.settings.items():
            yield from self._setting_faults(setting, entry)

    def _model_faults(self, models: Mapping[str, Any]) -> Iterator[tuple[_Key, str]]:
        for name in self.models.keys() - models.keys():
            yield ("models", name), "stands in no `models` of the file"
        for name in models.keys() - self.models.keys():
            yield ("models",), f"{name} is missing: its signatures and scales"
        seen: dict[int, str] = {}
        for name, model in self.models.items():
            for signature in model.signatures:
                if (other := seen.setdefault(signature, name)) != name:
                    yield ("models", name, "signatures"), f"{signature} is a signature of {other}, too"
            if isinstance(model.current, MovingScale) and name in models:
                yield from self._scale_faults(name, model.current, models[name])

    def _scale_faults(self, name: str, scale: MovingScale, model: Any) -> Iterator[tuple[_Key, str]]:
        key = ("models", name, "current")
        ranges = {one for channel in model.channels.values() for one in channel.ranges}
        for value, one in scale.values.items():
            if one.range not in ranges:
                yield (*key, "values", value, "range"), f"{one.range!r} is no range of {name}"
        if not any(scale.register_ in block for block in self.reads):
            yield (*key, "register"), f"register {scale.register_} is in none of `reads`"
        for quantity, field in self.quantities.items():
            if quantity in READ_NUMBERS and BY_NAME[quantity].unit == "A" and field.is_for(name):
                block = next((one for one in self.reads if field.register_ in one), None)
                if block is not None and scale.register_ not in block:
                    yield (
                        ("quantities", quantity, "register"),
                        f"the scale of {name} is in register {scale.register_}, which this exchange does not read: give `models`",
                    )

    def _quantity_faults(self, name: str, field: RegisterField) -> Iterator[tuple[_Key, str]]:
        if name not in READ_NUMBERS and name not in _WORDS:
            yield (
                ("quantities", name),
                f"is no quantity; known are {', '.join(sorted(READ_NUMBERS | _WORDS.keys()))}",
            )
            return
        if not any(field.register_ in block for block in self.reads):
            yield ("quantities", name, "register"), f"register {field.register_} is in none of `reads`"
        if name in READ_NUMBERS:
            if field.values:
                yield ("quantities", name, "values"), "is a number; it has no values"
            return
        if not field.values:
            yield ("quantities", name), "values are missing"
        for value, word in field.values.items():
            if word not in _WORDS[name]:
                yield (
                    ("quantities", name, "values", value),
                    f"{word!r} is no value of {name}; known are {', '.join(map(str, _WORDS[name]))}",
                )

    def _setting_faults(self, setting: Setting, entry: RegisterSetting) -> Iterator[tuple[_Key, str]]:
        if entry.unsupported is not None:
            return
        if BY_NAME[setting].kind == "number":
            if entry.on is not None or entry.off is not None:
                yield ("settings", setting), "is a number; it has no on and off"
        elif entry.on is None or (entry.off is None and setting != "clear_protection"):
            yield ("settings", setting), "is a switch: give the numbers of on and off"
        if setting != "clear_protection" and setting not in self.quantities:
            yield ("settings", setting), "is not among `quantities`: it could not be read back"

"""A supply that speaks Modbus."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from agent.instruments.catalogue import Model
from agent.instruments.claims import check_serial
from agent.instruments.driver import (
    WHAT_TO_CORRECT,
    Conditions,
    Driver,
    GiveWay,
    Identity,
    IdentityError,
    Inspection,
    LinkError,
    MalformedAnswerError,
    Profile,
    Reading,
    Write,
    never,
)
from agent.instruments.modbus.frames import RefusedError
from agent.instruments.modbus.line import ReopenedError
from agent.instruments.modbus.link import RegisterLink
from agent.instruments.modbus.plan import RegisterPlan
from agent.protocol.quantities import BY_NAME, SETTINGS, Setting

#: The serial number of a unit that tells none.
_NO_SERIAL = "0"
#: A setting beyond so many times its range belongs to another unit: scales differ by ten.
_FAR = 2


class ModbusDriver(Driver):
    """One unit with one output, of a series in the catalogue. It writes no register but those of the series' settings.

    :param models: the models that it may be, all of one series
    :param serial: the serial number that it must have, None for any
    """

    def __init__(self, link: RegisterLink, *, models: Sequence[Model], serial: str | None = None) -> None:
        language = models[0].series.modbus
        assert language is not None
        self.address = link.uri
        self._link = link
        self._models = tuple(models)
        self._language = language
        self._serial = serial
        self._identity: Identity | None = None
        self._told: dict[int, int] = {}  # the registers that told it
        self._checked: list[tuple[int, ...]] = []  # the blocks of the last poll, which are the unit's own
        self._plan: RegisterPlan | None = None
        self._complaints: list[str] = []

    @property
    def expected(self) -> Profile:
        """The first of the models that it may be, named if it is the only one."""
        return Profile(self._models[0].name if len(self._models) == 1 else None, self._models[0].outputs)

    def connect(self) -> Profile:
        """Open the link, ask for signature and serial number, and if the output comes back by itself. It writes nothing."""
        self.close()
        self._complaints.clear()
        try:
            try:
                registers = self._link.open(self._language.identify.first, self._language.identify.count)
            except RefusedError as error:
                raise MalformedAnswerError(f"the unit does not tell who it is: {error}") from None
            identity, model = self._recognized(registers)
            self.admit(identity)
            self._identity = identity
            self._told = dict(enumerate(registers, self._language.identify.first))
            self._plan = plan = RegisterPlan(model)
            power_up = self._power_up(model)
        except BaseException:
            self._link.close()
            raise
        count = len(plan.reads)
        effort = "one message" if count == 1 else f"{count} messages"
        return Profile(model.name, plan.outputs, identity, effort, power_up=power_up)

    def poll(self, give_way: GiveWay) -> dict[int, Reading] | None:
        """The reading of the output."""
        blocks = self._blocks(give_way)
        return None if blocks is None else {1: self._planned.reading(blocks)}

    def write(self, write: Write) -> None:
        """Write one register. An off that gets no answer is sent once more, on a link that was opened anew."""
        if write.channels != (1,):
            raise LinkError(f"not sent: {self.address} has output 1 only")
        is_off = write.setting == "state" and not write.value
        try:
            self._write(write, is_off=is_off)
        except LinkError:
            if not is_off or self._identity is None:
                raise
            self._reopen()
            self._write(write, is_off=is_off)

    def write_checked(self, write: Write) -> list[str] | None:
        """Write one register: the unit answers at once if it took it."""
        self.write(write)
        return None if write.setting == "state" and not write.value else self.complaints()

    def inspect(
        self, channels: Collection[int], give_way: GiveWay = never, settings: Collection[Setting] = SETTINGS
    ) -> Inspection:
        """A poll, the refusals before it, and the range that the output is in, where it has several."""
        complaints = self.complaints()
        blocks = None if give_way() else self._blocks(give_way)
        if blocks is None:
            return Inspection({}, complaints)
        plan = self._planned
        bar = plan.bar(blocks) if channels and any(BY_NAME[one].unit == "A" for one in settings) else None
        ranges = plan.ranges(blocks)
        conditions = Conditions(ranges={1: ranges}) if ranges else Conditions()
        return Inspection({1: plan.reading(blocks)}, complaints, [] if bar is None else [bar], [], conditions)

    def complaints(self) -> list[str]:
        """The writes that the unit refused since the last call, each with its exception of Modbus."""
        complaints, self._complaints = self._complaints, []
        return complaints

    def close(self) -> None:
        """Close the link."""
        self._link.close()

    def hurry(self, seconds: float) -> None:
        """Have every wait for an answer end within that time (s)."""
        self._link.hurry(seconds)

    # Identity.

    def _recognized(self, registers: Sequence[int]) -> tuple[Identity, Model]:
        """The unit that those registers tell of.

        :raises IdentityError: it is none of the models, or another unit
        """
        form, series = self._language.identify, self._models[0].series
        told = dict(enumerate(registers, form.first))
        number = 0
        for register in form.serial:
            number = number << 16 | told[register]
        version = ""
        if form.firmware is not None:
            raw = told[form.firmware]
            version = str(raw) if form.firmware_scale == 1 else f"{raw / form.firmware_scale:.2f}"
        name = self._language.model_of(told[form.model])
        serial = str(number) if form.serial else _NO_SERIAL
        identity = Identity(series.manufacturer, name or f"signature {told[form.model]}", serial, version)
        if name is None:
            raise IdentityError(
                f"at {self.address} is a unit with signature {told[form.model]}, which {series.name} does not know: its scales "
                "are not known, so it gets no commands",
                identity,
            )
        model = next((one for one in self._models if one.name == name), None)
        if model is None:
            wanted = " or ".join(one.name for one in self._models)
            raise IdentityError(
                f"at {self.address} is a {name}, not a {wanted}; it gets no commands; {WHAT_TO_CORRECT}", identity
            )
        pinned = self._serial
        if pinned is not None and _same_number(identity.serial, pinned):
            pinned = identity.serial
        check_serial(identity, pinned, self.address)
        return identity, model

    def _power_up(self, model: Model) -> str | None:
        """A sentence if the output comes back by itself; None if it stays off, or if the unit does not tell."""
        known = self._language.power_up
        if known is None or not known.is_for(model.name):
            return None
        try:
            (value,) = self._link.read(known.register_, 1)
        except RefusedError:
            return None
        except ReopenedError:
            raise LinkError("the line was opened anew meanwhile") from None
        return known.text if value in known.on else None

    # Exchanges.

    @property
    def _planned(self) -> RegisterPlan:
        if self._plan is None:
            raise LinkError("the unit is not connected")
        return self._plan

    def _blocks(self, give_way: GiveWay) -> list[tuple[int, ...]] | None:
        """The registers of a poll, block by block; None if it gave way."""
        blocks: list[tuple[int, ...]] = []
        for first, count in self._planned.reads:
            if blocks and give_way():
                return None
            blocks.append(self._read(first, count))
        if blocks != self._checked:
            self._check_told(self._planned.identity(blocks))
            self._check_scale(self._planned.reading(blocks))
            self._checked = blocks
        return blocks

    def _check_told(self, told: Mapping[int, int]) -> None:
        """Make sure that the registers which a poll read are those of the unit that was identified.

        A cable may be put into another unit between two polls: the same number has another scale there.
        """
        if any(self._told[register] != number for register, number in told.items()):
            self._link.close()
            raise IdentityError(f"at {self.address} is another unit now; it gets no commands", self._identity)

    def _check_scale(self, reading: Reading) -> None:
        """Make sure that the settings are some that the model can have: far beyond them they have another scale.

        A register of one series may hold, by chance, the number that is the signature of another one.
        """
        output = self._planned.outputs[0]
        for setting, value in (("voltage_limit", reading.voltage_limit), ("current_limit", reading.current_limit)):
            interval = output.range(setting)
            if value is not None and interval is not None and abs(value) > _FAR * max(map(abs, interval)):
                self._link.close()
                raise MalformedAnswerError(
                    f"the registers tell a {setting} of {value:g} {BY_NAME[setting].unit}, and the configured model takes up to "
                    f"{interval.max:g}: look if it is another unit; it gets no commands"
                )

    def _is_urgent(self) -> bool:
        """True while an off waits for this unit: it goes when the question under way is answered."""
        return self.off_waits()

    def _read(self, first: int, count: int) -> tuple[int, ...]:
        try:
            try:
                return self._link.read(first, count, self._is_urgent)
            except ReopenedError:
                self._look_again()
                return self._link.read(first, count, self._is_urgent)
        except ReopenedError:
            self._link.close()
            raise LinkError("the line was opened anew twice") from None
        except RefusedError as error:
            self._link.close()
            raise MalformedAnswerError(f"the unit refuses registers {first} to {first + count - 1}: {error}") from None

    def _write(self, write: Write, *, is_off: bool) -> None:
        plan = self._planned
        try:
            block: tuple[int, ...] = ()
            if BY_NAME[write.setting].unit == "A" and plan.scale_read is not None:
                block = self._read(*plan.scale_read)
                self._check_told(plan.identity_in(plan.scale_read, block))
            register, number = plan.number(write, block)
            try:
                self._link.write(register, number, is_urgent=is_off)
            except ReopenedError:
                self._look_again()
                self._link.write(register, number, is_urgent=is_off)
        except RefusedError as error:
            self._complaints.append(str(error))
        except ReopenedError:
            self._link.close()
            raise LinkError("not sent: the line was opened anew twice") from None

    def _reopen(self) -> None:
        form = self._language.identify
        try:
            registers = self._link.open(form.first, form.count)
        except RefusedError as error:
            self._link.close()
            raise LinkError(f"not sent again: the unit does not tell who it is: {error}") from None
        self._check_same(registers)

    def _look_again(self) -> None:
        """Make sure that the unit is still the same, on a line that was opened anew for another one."""
        form = self._language.identify
        self._check_same(self._link.identify(form.first, form.count))

    def _check_same(self, registers: Sequence[int]) -> None:
        try:
            identity, _ = self._recognized(registers)
            if identity != self._identity:
                raise IdentityError(f"at {self.address} is another unit now: number {identity.serial}", identity)
        except IdentityError:
            self._link.close()
            raise


def _same_number(told: str, wanted: str) -> bool:
    """True if two serial numbers are one: the unit tells a number, its label may have zeros before it."""
    return told.lstrip("0") == wanted.strip().lstrip("0")

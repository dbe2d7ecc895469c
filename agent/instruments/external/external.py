"""``model: external``: a unit that programs of the user speak for, behind the same worker, door and limits as any other.

``get_channels`` prints the channels as JSON, ``ping`` tells by its exit status whether the unit is there, ``set`` is given a
channel, a field and a value. They come from the configuration's ``commands``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from agent.config import UnitSettings
from agent.instruments.catalogue import (
    ChannelModel,
    Identification,
    IdentityError,
    MalformedAnswerError,
    Model,
    Range,
    Reading,
    external_model,
)
from agent.instruments.catalogue.schema import CommandField
from agent.instruments.external.programs import Outcome, ProgramError, Runner
from agent.instruments.visa.session import LinkError
from agent.protocol import names
from agent.protocol.messages import Mode, Trip
from agent.unit.supply import STOPPED, Supply

log = logging.getLogger(__name__)

_MOST_CHANNELS = 100
#: V and A: how far a setting may be read back from what was sent, where the channel does not say.
_RESOLUTION = 0.001
#: s that a program may still take when the agent stops.
_HURRY = 1.0
GET_CHANNELS = "get_channels"


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("takes a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("takes a number that is not as huge") from None


def _switch(value: object) -> object:
    if isinstance(value, bool):
        return value
    if type(value) is int and value in (0, 1):
        return value == 1
    raise ValueError("takes true or false, or 1 or 0")


def _range(value: object) -> object:
    if not (isinstance(value, list) and len(value) == 2):
        raise ValueError("takes a list of two numbers, the least and the most")
    low, high = (float(_number(part)) for part in value)  # type: ignore[arg-type]
    if not low < high:
        raise ValueError("takes the least before the most")
    return Range(low, high)


def _name(value: object) -> object:
    if not isinstance(value, str) or not value:
        raise ValueError("takes text")
    return names.check_channel_name(value)


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Interval = Annotated[Range, BeforeValidator(_range)]
Resolution = Annotated[Number, Field(gt=0)]
Text = Annotated[str, Field(max_length=100, pattern=r"^[ -~]*$")]


class ChannelAnswer(BaseModel):
    """One channel as ``get_channels`` prints it. V and A; null or left out for what it has not. Other keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    index: Annotated[int, Field(ge=0, le=999, strict=True)]
    name: Annotated[str, BeforeValidator(_name)] | None = None
    state: Switch
    voltage: Number | None = None
    current: Number | None = None
    voltage_limit: Number | None = None
    current_limit: Number | None = None
    mode: Mode | None = None
    tripped: Trip | None = None
    voltage_protection: Number | None = None
    current_protection: Switch | None = None
    voltage_range: Interval | None = None
    current_range: Interval | None = None
    voltage_protection_range: Interval | None = None
    voltage_resolution: Resolution = _RESOLUTION
    current_resolution: Resolution = _RESOLUTION

    def reading(self) -> Reading:
        return Reading(
            voltage=self.voltage,
            current=self.current,
            voltage_limit=self.voltage_limit,
            current_limit=self.current_limit,
            state=self.state,
            voltage_protection=self.voltage_protection,
            current_protection=self.current_protection,
            mode=self.mode if self.state else "OFF",
            tripped=self.tripped,
        )


class Answer(BaseModel):
    """All that ``get_channels`` prints: a list of channels, or an object that holds them and says who the unit is."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    channels: Annotated[list[ChannelAnswer], Field(min_length=1, max_length=_MOST_CHANNELS)]
    manufacturer: Text = "external"
    model: Text = "external"
    serial: Text = ""
    firmware: Text = ""


def read_answer(text: str) -> Answer:
    """Read what ``get_channels`` printed.

    :raises MalformedAnswerError: it is not what it should be; says where and what would be right
    """
    if not text.strip():
        raise MalformedAnswerError("get_channels printed nothing; it is to print a JSON list of channels")
    try:
        data = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise MalformedAnswerError(f"get_channels printed no JSON: {text.strip()[:60]!a}") from None
    try:
        answer = Answer.model_validate(data if isinstance(data, dict) else {"channels": data})
    except ValidationError as error:
        raise MalformedAnswerError(f"get_channels printed {_fault(error, text)}") from None
    seen: dict[int | str, int] = {}
    for channel in answer.channels:
        for key in (channel.index, channel.name):
            if key is not None and key in seen:
                raise MalformedAnswerError(f"get_channels printed two channels that are called {key!a}")
            if key is not None:
                seen[key] = channel.index
    return answer


def _fault(error: ValidationError, text: str) -> str:
    details = error.errors(include_url=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"]).lstrip(".")
    shown = ascii(text.strip()[:60])
    match details["type"]:
        case "missing":
            return f"no {where}"
        case "list_type":
            return f"no list of channels: {shown}"
        case "too_short":
            return "an empty list of channels"
    wrong = details["ctx"]["error"] if details["type"] == "value_error" else details["msg"].lower()
    return f"a {where} that is wrong: {wrong}, not {ascii(details['input'])[:60]}"


class ExternalLink:
    """The programs of one unit, as a link: `ask` runs ``get_channels``, `tell` runs ``set``."""

    def __init__(self, unit: UnitSettings, folder: Path) -> None:
        assert unit.commands is not None
        commands = unit.commands
        self.uri = unit.address
        self._unit = unit.name
        self._commands = commands
        self._runner = Runner(
            folder,
            timeout=commands.timeout,
            output_limit=commands.output_limit,
            environment=commands.environment,
        )
        self._open = False
        self._complaints: list[str] = []

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def can_set(self) -> bool:
        return self._commands.set is not None

    def open(self) -> None:
        self._open = True
        self._complaints.clear()

    def close(self) -> None:
        self._open = False

    def hurry(self) -> None:
        """From any thread: the agent stops and waits for nothing that hangs."""
        self._runner.hurry(_HURRY)

    def ask(self, message: str = GET_CHANNELS) -> str:
        """What ``get_channels`` prints, after ``ping`` has said that the unit is there.

        :raises LinkError: one of them did not end well
        """
        if self._commands.ping is not None:
            outcome = self._run(self._commands.ping)
            if outcome.status != 0:
                self._open = False
                raise LinkError(f"ping says that it is not there ({outcome.complaint})")
        outcome = self._run(self._commands.get_channels)
        if outcome.status != 0:
            self._open = False
            raise LinkError(f"{message} failed ({outcome.complaint})")
        try:
            return outcome.stdout.decode()
        except UnicodeDecodeError as error:
            self._open = False
            raise LinkError(f"{message} printed bytes that are not UTF-8: {outcome.stdout[:40]!a}") from error

    def ask_ahead(self, message: str) -> bool:
        """A program is run when its output is wanted, never ahead."""
        del message
        return False

    def hear(self) -> str:
        raise LinkError("nothing was asked ahead")

    def tell(self, message: str) -> None:
        """Run ``set`` once for each channel of a message that the door made, such as ``state (@1,2) 0``.

        A refusal of one keeps it from none of the others, and waits in `complaints`.

        :raises LinkError: it did not end by itself, so nobody knows what it did
        """
        field, channels, value = message.split(" ")
        failure: LinkError | None = None
        for channel in re.findall(r"\d+", channels):
            values = {"{unit}": self._unit, "{channel}": channel, "{field}": field, "{value}": value}
            assert self._commands.set is not None  # or no message would have passed the door
            command = [_filled_in(argument, values) for argument in self._commands.set]
            try:
                outcome = self._run(command)
            except LinkError as error:
                failure = error
                continue
            if outcome.status != 0:
                self._complaints.append(f"set failed for channel {channel} ({outcome.complaint})")
        if failure is not None:
            raise failure

    def complaints(self) -> list[str]:
        """What ``set`` refused since the last time."""
        complaints, self._complaints = self._complaints, []
        return complaints

    def _run(self, command: Sequence[str]) -> Outcome:
        if not self._open:
            raise LinkError("the link is closed")
        try:
            return self._runner.run(command)
        except ProgramError as error:
            self._open = False
            raise LinkError(str(error)) from error


def _filled_in(argument: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(?:unit|channel|field|value)\}", lambda match: values[match[0]], argument)


class _Questions:
    """A poll of an external unit: one question, and its answer has to have the channels that were there at the start."""

    messages = (GET_CHANNELS,)

    def __init__(self, indices: frozenset[int]) -> None:
        self._indices = indices

    def read(self, answers: Sequence[str]) -> dict[int, Reading]:
        found = {channel.index: channel.reading() for channel in read_answer(answers[0]).channels}
        if found.keys() != self._indices:
            raise MalformedAnswerError(
                f"get_channels printed channels {_listed(found)}, before {_listed(self._indices)}"
            )
        return found


class ExternalSupply(Supply):
    """A unit behind an `ExternalLink`. What it has it tells when it is connected to."""

    def __init__(self, *, session: ExternalLink, **arguments: Any) -> None:
        super().__init__(session=session, **arguments)
        self._link = session

    def stop(self, why: str = STOPPED) -> None:
        super().stop(why)
        self._link.hurry()

    def _get_acquainted(self) -> Identification:
        answer = read_answer(self._link.ask(GET_CHANNELS))
        indices = frozenset(channel.index for channel in answer.channels)
        identification = Identification(answer.manufacturer, answer.model, answer.serial, answer.firmware)
        if self._serial is not None and answer.serial != self._serial:
            raise IdentityError(f"get_channels tells the serial number {answer.serial!r}, not {self._serial!r}")
        if missing := self._settings.keys() - indices:
            raise IdentityError(
                f"get_channels printed channels {_listed(indices)}; the configuration has {_listed(missing)} besides"
            )
        self._adopt(identification, self._model_of(answer))
        names = [channel.name for channel in self.channels]
        if len(set(names)) < len(names):
            raise IdentityError(
                f"two channels would have the same name: {', '.join(sorted(names))}; name them differently"
            )
        self._poll_plan = _Questions(indices)
        return identification

    def _errors(self) -> list[tuple[int, str]]:
        return [(-200, complaint) for complaint in self._link.complaints()]

    def _model_of(self, answer: Answer) -> Model:
        """What the channels tell of themselves: a setting that is not read back, or without a known range, is none."""
        fields: list[CommandField] = []
        if self._link.can_set:
            fields = ["state", "voltage_limit", "current_limit", "voltage_protection"]
            if any(channel.current_protection is not None for channel in answer.channels):
                fields.append("current_protection")
            if any("tripped" in channel.model_fields_set for channel in answer.channels):
                fields.append("clear_protection")
        return external_model(
            answer.model,
            manufacturer=answer.manufacturer,
            commands={field: f"{field} {{list}} {{value}}" for field in fields},
            channels=tuple(self._channel_model(channel) for channel in answer.channels),
        )

    def _channel_model(self, channel: ChannelAnswer) -> ChannelModel:
        settings = self._channel_settings(channel.index)
        voltage = _settable(channel.voltage_limit, channel.voltage_range, settings.voltage_max)
        current = _settable(channel.current_limit, channel.current_range, settings.current_max)
        protection = None if channel.voltage_protection is None else channel.voltage_protection_range
        return ChannelModel(
            index=channel.index,
            own_name=channel.name or "",
            voltage=voltage if self._link.can_set else None,
            current=current if self._link.can_set else None,
            voltage_rating=_magnitude(channel.voltage_range),
            current_rating=_magnitude(channel.current_range),
            voltage_protection=protection if self._link.can_set else None,
            voltage_resolution=channel.voltage_resolution,
            current_resolution=channel.current_resolution,
        )


def _settable(present: float | None, interval: Range | None, most: float | None) -> Range | None:
    """The range of a setting: the channel's own, or as far as the configuration allows; None where neither is known."""
    if present is None:
        return None
    if interval is not None:
        return interval
    return Range(0.0, most) if most is not None else None


def _magnitude(interval: Range | None) -> float | None:
    return None if interval is None else max(abs(interval.min), abs(interval.max))


def _listed(indices: Any) -> str:
    return ", ".join(map(str, sorted(indices)))

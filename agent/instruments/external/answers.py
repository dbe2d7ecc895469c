"""The JSON that ``get_channels`` prints: its schema, and one sentence on the first fault in it."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from agent.instruments.driver import MalformedAnswerError, Range, Reading
from agent.protocol.messages import Mode, Trip
from agent.protocol.names import check_channel_name
from agent.protocol.numbers import decimal_comma, instead

_MOST_CHANNELS = 100
#: V and A: how far a setting may be read back from what was sent, where the channel does not say.
_RESOLUTION = 0.001


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        told = instead(value) if isinstance(value, str) else None
        raise ValueError("takes a number" if told is None else f"takes a number ({told})")
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
    return check_channel_name(value)


_Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
_Switch = Annotated[bool, BeforeValidator(_switch)]
_Interval = Annotated[Range, BeforeValidator(_range)]
_Resolution = Annotated[_Number, Field(gt=0)]
_Text = Annotated[str, Field(max_length=100, pattern=r"^[ -~]*$")]


class ChannelAnswer(BaseModel):
    """One channel as ``get_channels`` prints it, in V and A; unknown values are null or left out. Other keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    index: Annotated[int, Field(ge=0, le=999, strict=True)]
    name: Annotated[str, BeforeValidator(_name)] | None = None
    state: _Switch | None
    voltage: _Number | None = None
    current: _Number | None = None
    voltage_limit: _Number | None = None
    current_limit: _Number | None = None
    mode: Mode | None = None
    tripped: Trip | None = None
    voltage_protection: _Number | None = None
    current_protection: _Switch | None = None
    current_protection_level: _Number | None = None
    voltage_protection_state: _Switch | None = None
    voltage_range: _Interval | None = None
    current_range: _Interval | None = None
    voltage_protection_range: _Interval | None = None
    current_protection_level_range: _Interval | None = None
    voltage_resolution: _Resolution = _RESOLUTION
    current_resolution: _Resolution = _RESOLUTION

    def reading(self) -> Reading:
        """Its part of a poll."""
        return Reading(
            voltage=self.voltage,
            current=self.current,
            voltage_limit=self.voltage_limit,
            current_limit=self.current_limit,
            state=self.state,
            voltage_protection=self.voltage_protection,
            current_protection=self.current_protection,
            mode="OFF" if self.state is False else self.mode,
            tripped=self.tripped,
            current_protection_level=self.current_protection_level,
            voltage_protection_state=self.voltage_protection_state,
        )


class Answer(BaseModel):
    """All that ``get_channels`` prints: a list of channels, or an object with the channels and the unit's identity."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    channels: Annotated[list[ChannelAnswer], Field(min_length=1, max_length=_MOST_CHANNELS)]
    manufacturer: _Text = "external"
    model: _Text = "external"
    serial: _Text = ""
    firmware: _Text = ""


def read_answer(text: str) -> Answer:
    """Parse the output of ``get_channels``.

    :raises MalformedAnswerError: it has a fault; the text says where, and what would be right
    """
    if not text.strip():
        raise MalformedAnswerError("get_channels printed nothing; it is to print a JSON list of channels")
    try:
        data = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise MalformedAnswerError(
            f"get_channels printed no JSON: {_comma(text) or ascii(text.strip()[:60])}"
        ) from None
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


def _comma(text: str) -> str | None:
    """The sentence on a decimal comma, which programs print where the language of their environment has one."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return decimal_comma(error)
    except (ValueError, RecursionError):
        pass
    return None


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

"""Reads commands: every payload from outside is parsed here, and checked as far as that needs no unit."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from agent.protocol.errors import Refusal

#: A command is a few hundred bytes; what is larger is not read at all.
LARGEST_COMMAND = 16 * 1024
LONGEST_ID = 128

_ON_OFF = {"ON": True, "OFF": False, "TRUE": True, "FALSE": False, "1": True, "0": False}
#: What JSON calls a number, with the plus sign and the bare point that people and shells add.
_NUMBER = re.compile(r"[+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][+-]?\d{1,4})?", re.ASCII)


def _switch(value: object) -> object:
    if value is True or value is False:
        return value
    if type(value) is int and value in (0, 1):
        return value == 1
    if isinstance(value, str) and value.strip().upper() in ("ON", "OFF"):
        return _ON_OFF[value.strip().upper()]
    raise ValueError("takes true or false, 1 or 0, ON or OFF")


def _number(value: object) -> object:
    if type(value) is int or type(value) is float:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise ValueError("takes a number")


def _confirmation(value: object) -> object:
    if value is True:
        return value
    raise ValueError("takes true")


Switch = Annotated[bool, BeforeValidator(_switch)]
Number = Annotated[float, BeforeValidator(_number)]

#: RFC 3339, 5.6. Without an offset a time says nothing.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _rfc3339(value: object) -> object:
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        return value
    raise ValueError('takes an RFC 3339 time with its offset, such as "2026-11-23T09:15:02Z"')


class Command(BaseModel):
    """What may be asked of a channel. V, A, V/s, s; a field that was not sent is None."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Switch | None = None
    voltage_limit: Number | None = None
    current_limit: Number | None = None
    voltage_protection: Number | None = None
    current_protection: Switch | None = None
    clear_protection: Annotated[Literal[True], BeforeValidator(_confirmation)] | None = None
    cycle: Annotated[Number, Field(ge=0, le=3600)] | None = None
    ramp: Annotated[Number, Field(gt=0)] | None = None
    id: Annotated[str, Field(min_length=1, max_length=LONGEST_ID)] | None = None
    expires_at: Annotated[AwareDatetime, BeforeValidator(_rfc3339)] | None = None

    @property
    def fields(self) -> dict[str, float | bool]:
        """What it asks for, without its envelope (``id``, ``expires_at``), in the order of the contract's table."""
        values = {name: getattr(self, name) for name in COMMAND_FIELDS}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def turns_off(self) -> bool:
        """Nothing but off: the command that is always accepted and goes first."""
        return self.fields == {"state": False}


COMMAND_FIELDS = (
    "state",
    "voltage_limit",
    "current_limit",
    "voltage_protection",
    "current_protection",
    "clear_protection",
    "cycle",
    "ramp",
)
UNIT_FIELDS = frozenset({"state", "clear_protection"})
_SWITCHES = frozenset({"state", "current_protection", "clear_protection"})
_EXAMPLE = '{"state": true, "voltage_limit": 3.3}'


def parse_command(payload: bytes, scope: Literal["channel", "unit", "all"] = "channel") -> Command:
    """Read a command from the payload of a ``…/set`` message and check all of it that needs no unit.

    ``OFF`` alone stands for ``{"state": false}``: the one thing that is accepted in any form that is clear.

    :raises Refusal: ``bad_payload`` with the reason; ``unsupported`` where the scope has no such field
    """
    text = _decode(payload)
    if text.strip().upper() == "OFF":
        return Command(state=False)
    return _checked(_load_object(text), scope)


def parse_field(field: str, payload: bytes, scope: Literal["channel", "unit"] = "channel") -> Command:
    """Read a bare value from the payload of a ``…/set/{field}`` message.

    :raises Refusal: ``bad_payload`` with the reason; ``unsupported`` where the scope has no such field
    """
    if field not in COMMAND_FIELDS:
        raise Refusal("bad_payload", f"there is no field {_shorten(field)}; fields: {', '.join(COMMAND_FIELDS)}")
    text = _decode(payload).strip()
    if field in _SWITCHES:
        value: object = _ON_OFF.get(text.upper(), text)
        if field == "clear_protection" and value is not True:
            raise Refusal("bad_payload", f"clear_protection takes true or ON, not {_shorten(text)}")
    else:
        value = float(text) if _NUMBER.fullmatch(text) else text
    return _checked({field: value}, scope)


def _decode(payload: bytes) -> str:
    if len(payload) > LARGEST_COMMAND:
        raise Refusal("bad_payload", f"{len(payload)} bytes are too many; a command has at most {LARGEST_COMMAND}")
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("bad_payload", f"byte {error.start} is not UTF-8; a command is UTF-8 text") from None


def _load_object(text: str) -> dict[str, Any]:
    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            seen: set[str] = set()
            repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise Refusal("bad_payload", f"{_shorten(repeated)} stands there more than once; name each field once")
        return result

    def no_constant(name: str) -> NoReturn:
        raise Refusal("bad_payload", f"{name} is not a number; JSON has none such")

    try:
        data = json.loads(text, object_pairs_hook=without_repeats, parse_constant=no_constant)
    except RecursionError:
        raise Refusal("bad_payload", f"the JSON is nested too deeply; send a flat object such as {_EXAMPLE}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refusal("bad_payload", f"not JSON ({error.msg}, {where}); send an object such as {_EXAMPLE}") from None
    except ValueError:  # int() refuses thousands of digits
        raise Refusal("bad_payload", f"a number has too many digits; send an object such as {_EXAMPLE}") from None
    if not isinstance(data, dict):
        raise Refusal("bad_payload", f"{_shorten(text)} is not a JSON object; send one such as {_EXAMPLE}")
    return data


def _checked(data: dict[str, Any], scope: Literal["channel", "unit", "all"]) -> Command:
    command_id = data.get("id")
    usable = isinstance(command_id, str) and 0 < len(command_id) <= LONGEST_ID and _is_unicode(command_id)
    known_id = command_id if usable else None
    # A null says nothing about what is wanted: a template that found no value, most often.
    empty = [name for name, value in data.items() if value is None and name != "id"]
    if empty:
        raise Refusal("bad_payload", f"{_shorten(empty[0])} is null; leave out what is not to change", known_id)
    try:
        command = Command.model_validate(data)
    except ValidationError as error:
        raise Refusal("bad_payload", "; ".join(_faults(error)), known_id) from None
    _combination(command, scope, known_id)
    return command


def _combination(command: Command, scope: Literal["channel", "unit", "all"], known_id: str | None) -> None:
    fields = command.fields
    if not fields:
        raise Refusal("bad_payload", f"it asks for nothing; fields: {', '.join(COMMAND_FIELDS)}", known_id)
    if scope == "all" and fields != {"state": False}:
        raise Refusal("bad_payload", 'all units together take {"state": false} or OFF and nothing else', known_id)
    beyond = set(fields) - UNIT_FIELDS
    if scope == "unit" and beyond:
        raise Refusal(
            "unsupported",
            f"a whole unit takes state and clear_protection only; send {', '.join(sorted(beyond))} to a channel",
            known_id,
        )
    if command.clear_protection and command.state:
        raise Refusal(
            "bad_payload", "clear_protection leaves the output off; turn it on with a second command", known_id
        )
    if command.ramp is not None and command.voltage_limit is None:
        raise Refusal("bad_payload", "ramp needs a voltage_limit to go to", known_id)
    if command.ramp is not None and command.state is False:
        raise Refusal("bad_payload", "ramp can't go together with turning off; send one of the two", known_id)
    if command.cycle is not None:
        for other in ("state", "ramp", "clear_protection"):
            if getattr(command, other) is not None:
                raise Refusal("bad_payload", f"cycle can't go together with {other}; send one of the two", known_id)


def _faults(error: ValidationError) -> list[str]:
    faults = []
    for detail in error.errors(include_url=False, include_context=True)[:8]:
        name = str(detail["loc"][0]) if detail["loc"] else "the command"
        match detail["type"]:
            case "extra_forbidden":
                faults.append(
                    f"there is no field {_shorten(name)}; fields: {', '.join((*COMMAND_FIELDS, 'id', 'expires_at'))}"
                )
            case "value_error":
                faults.append(f"{name} {detail['ctx']['error']}, not {_shorten(detail['input'])}")
            case _ if name == "id":
                faults.append(f"id takes a string of 1 to {LONGEST_ID} characters, not {_shorten(detail['input'])}")
            case _ if name == "cycle":
                faults.append(f"cycle takes 0 to 3600 s, not {_shorten(detail['input'])}")
            case _ if name == "ramp":
                faults.append(f"ramp takes a rate above 0 V/s, not {_shorten(detail['input'])}")
            case _:
                faults.append(f"{name}: {detail['msg']}, not {_shorten(detail['input'])}")
    return faults


def _is_unicode(text: str) -> bool:
    """JSON can name half a surrogate pair, which no UTF-8 can carry back."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _shorten(value: object, limit: int = 60) -> str:
    """A value for a message to a person: as JSON in ASCII, so without control characters, and short."""
    if isinstance(value, str):
        text = json.dumps(value[: limit + 1])
    elif isinstance(value, dict | list):
        text = f"an {'object' if isinstance(value, dict) else 'array'}"
    else:
        text = json.dumps(value) if not isinstance(value, int) or abs(value) < 10**20 else "a huge number"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"

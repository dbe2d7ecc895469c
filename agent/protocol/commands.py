"""Parsing of commands: every payload from outside is parsed here, and checked as far as possible without a unit."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from agent.protocol.errors import Refusal
from agent.protocol.numbers import instead
from agent.protocol.offs import find_off, is_off, off_text
from agent.protocol.payloads import checked_holder, checked_id, decoded, finite, is_id, load_object, shorten
from agent.protocol.quantities import BY_NAME, COMMANDED, COMMANDED_OF_UNIT, Quantity

#: The target of a command: one channel, every channel of a unit, or every output of every agent.
Scope = Literal["channel", "unit", "all"]

_SWITCH_WORDS = {"ON": True, "OFF": False}
#: The words for on and off in a bare value, which has no JSON type.
_BARE_SWITCH_WORDS = {**_SWITCH_WORDS, "TRUE": True, "FALSE": False, "1": True, "0": False}
#: A JSON number; also with a plus sign or a bare point, as people and shells write it.
_NUMBER = re.compile(r"[+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][+-]?\d{1,4})?", re.ASCII)
#: RFC 3339, 5.6. A time without an offset is ambiguous.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_OF_UNIT = " and ".join(name for name in COMMANDED if name in COMMANDED_OF_UNIT)
_OF_ALL = 'all units together take {"state": false} or OFF and nothing else; turn on each unit or channel by itself'
_EXAMPLE = '{"state": true, "voltage_limit": 3.3}'


def _checked_time(value: object) -> object:
    if value is None or (isinstance(value, str) and _RFC3339.fullmatch(value)):
        return value
    raise ValueError('takes an RFC 3339 time with its offset, such as "2026-11-23T09:15:02Z"')


class Command(BaseModel):
    """A command for a channel. V, A, V/s, s; a field that was not sent is None.

    The fields but ``id``, ``expires_at`` and ``lease`` are checked against their rows in `agent.protocol.quantities`.
    ``lease``: the holder in whose name it is sent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: bool | None = None
    voltage_limit: float | None = None
    current_limit: float | None = None
    voltage_protection: float | None = None
    current_protection: bool | None = None
    current_protection_level: float | None = None
    voltage_protection_state: bool | None = None
    clear_protection: Literal[True] | None = None
    cycle: float | None = None
    ramp: float | None = None
    id: Annotated[str | None, BeforeValidator(checked_id)] = None
    expires_at: Annotated[AwareDatetime | None, BeforeValidator(_checked_time)] = None
    lease: Annotated[str | None, BeforeValidator(checked_holder)] = None
    # No field: a payload must not be able to set it.
    _fault: Refusal | None = PrivateAttr(None)

    @field_validator(*COMMANDED, mode="before")
    @classmethod
    def _check_value(cls, value: object, info: ValidationInfo) -> object:
        assert info.field_name is not None
        return None if value is None else _checked_value(BY_NAME[info.field_name], value)

    @property
    def fields(self) -> dict[str, float | bool]:
        """The quantities that it sets, without ``id``, ``expires_at`` and ``lease``, in the order of the contract's table."""
        values = {name: getattr(self, name) for name in COMMANDED}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def told(self) -> str:
        """What it sets, for people: ``state on, voltage_limit 3.3 V``."""
        return ", ".join(f"{name} {BY_NAME[name].shown(value)}" for name, value in self.fields.items())

    @property
    def turns_off(self) -> bool:
        """True if it asks for nothing but off: such a command is always accepted and goes first."""
        return self.state is False and len(self.fields) == 1

    @property
    def fault(self) -> Refusal | None:
        """Of an off: why the rest of what its sender asked for is not carried out; None if there is no such rest."""
        return self._fault

    def only_off(self, fault: Refusal) -> Self:
        """Nothing but the off of this command. ``fault``: why the rest is not carried out; an earlier fault stays."""
        off = self.model_copy(update={name: None for name in self.fields if name != "state"})
        if off._fault is None:  # noqa: SLF001 - it is of this class
            # Without its traceback, which would keep the payload in memory for as long as the command waits.
            off._fault = Refusal(fault.code, fault.message, fault.command_id)  # noqa: SLF001
        return off


def _checked_value(quantity: Quantity, value: object) -> float | bool:
    """A value out of JSON as the quantity's kind has it.

    :raises ValueError: it has another type or is out of bounds; the text says what the quantity takes
    """
    match quantity.kind:
        case "action":
            if value is True:
                return True
        case "switch":
            if isinstance(value, bool):
                return value
            if isinstance(value, int) and value in (0, 1):
                return value == 1
            # Word for word: blanks in a JSON string are no ON. An off may have them.
            if isinstance(value, str) and (switch := _SWITCH_WORDS.get(value.upper())) is not None:
                return switch
            if quantity.name == "state" and is_off(value):
                return False
        case _:
            number = finite(value)
            if number is not None and quantity.is_within(number):
                return number
            if number is not None:
                raise ValueError(f"takes {_bounds(quantity)}")
            if isinstance(value, str):
                raise ValueError(f"takes a number{_instead(value)}")
    raise ValueError(_TAKES[quantity.kind])


def _instead(text: str) -> str:
    """The end of the sentence on a text that is no number: what to write, as far as that is known."""
    told = instead(text) or ("write it without quotes" if _NUMBER.fullmatch(text.strip()) else None)
    return "" if told is None else f" ({told})"


_TAKES = {
    "action": "takes true",
    "switch": "takes true or false, 1 or 0, ON or OFF",
    "number": "takes a number",
}


def _bounds(quantity: Quantity) -> str:
    """``0 to 3600 s``, ``a number above 0 V/s``."""
    low, high, unit = quantity.minimum, quantity.maximum, quantity.unit
    if low is not None and high is not None and not quantity.above_minimum:
        return f"{low:g} to {high:g} {unit}"
    parts = [] if low is None else [f"{'above' if quantity.above_minimum else 'of at least'} {low:g} {unit}"]
    parts += [] if high is None else [f"up to {high:g} {unit}"]
    return f"a number {' and '.join(parts)}"


def parse_command(payload: bytes, scope: Scope = "channel") -> Command:
    """Read a command from the payload of a ``…/set`` message and check all of it that needs no unit.

    An off is read in every form that can mean nothing else, see `agent.protocol.offs`: its `Command.fault` says what else was
    wrong, and none of the rest is to be carried out. Any other command is read strictly.

    :raises Refusal: ``bad_payload`` with the reason; ``unsupported`` where the scope has no such field
    """
    try:
        return _strictly(payload, scope)
    except Refusal as refusal:
        off = _off(payload, refusal, scope)
        if off is None:
            raise
        return off


def parse_field(field: str, payload: bytes, scope: Scope = "channel") -> Command:
    """Read a bare value from the payload of a ``…/set/{field}`` message. An off is read as by `parse_command`.

    :raises Refusal: ``bad_payload`` with the reason; ``unsupported`` where the scope has no such field
    """
    try:
        return _field_strictly(field, payload, scope)
    except Refusal as refusal:
        if field.strip().casefold() != "state":
            raise
        off = _off(payload, refusal)
        if off is None:
            raise
        return off if field == "state" else off.only_off(refusal)


def _off(payload: bytes, fault: Refusal, scope: Scope | None = None) -> Command | None:
    """The off that a payload means which could not be read strictly, for the reason ``fault``; None if it means none.

    ``scope``: None where the topic asks for a bare value, so that an object is a fault by itself.
    """
    text = off_text(payload)
    if text is None:
        return None
    if is_off(text):
        return Command(state=False)
    if scope is not None and "\ufffd" not in text:
        try:
            command = _validated(load_object(text, _EXAMPLE), scope)
            if command.turns_off:  # nothing was wrong but NULs or a byte order mark around it
                return command
        except Refusal:
            pass
    found = find_off(text)
    if found is None:
        return None
    known_id = found.ids[0] if len(found.ids) == 1 and is_id(found.ids[0]) else fault.command_id
    expiries = {moment: text for text in found.expiries if (moment := _moment(text)) is not None}
    return Command.model_validate(
        {"state": False, "id": known_id, "expires_at": expiries[min(expiries)] if expiries else None}
    ).only_off(fault)


def _moment(text: str) -> datetime | None:
    try:
        return Command.model_validate({"expires_at": text}).expires_at
    except ValidationError:
        return None


def _strictly(payload: bytes, scope: Scope) -> Command:
    text = decoded(payload)
    bare = text.strip()
    if bare.upper() == "OFF":
        return Command(state=False)
    try:
        return _validated(load_object(text, _EXAMPLE), scope)
    except Refusal as refusal:
        bare = bare.strip('"')
        if bare.upper() not in _BARE_SWITCH_WORDS and not _NUMBER.fullmatch(bare):
            raise
        if scope == "all":
            raise Refusal("bad_payload", _OF_ALL) from None
        fields = (
            f"publish a bare value to …/set/FIELD, such as …/set/{'state' if bare[0].isalpha() else 'voltage_limit'}"
        )
        raise Refusal(
            refusal.code, f"{shorten(bare)} is no command; {fields}, or send an object such as {_EXAMPLE}"
        ) from None


def _field_strictly(field: str, payload: bytes, scope: Scope) -> Command:
    if field not in COMMANDED:
        raise Refusal("bad_payload", f"there is no field {shorten(field)}; fields: {', '.join(COMMANDED)}")
    kind = BY_NAME[field].kind
    text = decoded(payload).strip()
    if kind == "number":
        value: object = float(text) if _NUMBER.fullmatch(text) else text
    else:
        value = _BARE_SWITCH_WORDS.get(text.upper(), text)
    if kind == "action" and value is not True:
        raise Refusal("bad_payload", f"{field} takes true or ON, not {shorten(text)}")
    return _validated({field: value}, scope)


def _validated(data: dict[str, Any], scope: Scope) -> Command:
    known_id = data["id"] if is_id(data.get("id")) else None
    # A null is most often a template that found no value.
    empty = [name for name, value in data.items() if value is None and name != "id"]
    if empty:
        raise Refusal("bad_payload", f"{shorten(empty[0])} is null; leave out what is not to change", known_id)
    try:
        command = Command.model_validate(data)
    except ValidationError as error:
        raise Refusal("bad_payload", "; ".join(_faults(error)), known_id) from None
    _check_combination(command, scope, known_id)
    return command


def _check_combination(command: Command, scope: Scope, known_id: str | None) -> None:
    fields = command.fields
    if not fields:
        raise Refusal("bad_payload", f"it asks for nothing; fields: {', '.join(COMMANDED)}", known_id)
    if scope == "all" and fields != {"state": False}:
        raise Refusal("bad_payload", _OF_ALL, known_id)
    beyond = set(fields) - COMMANDED_OF_UNIT
    if scope == "unit" and beyond:
        raise Refusal(
            "unsupported",
            f"a whole unit takes {_OF_UNIT} only; send {', '.join(sorted(beyond))} to a channel",
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
                    f"there is no field {shorten(name)}; fields: {', '.join((*COMMANDED, 'id', 'expires_at', 'lease'))}"
                )
            case "value_error":
                faults.append(f"{name} {detail['ctx']['error']}, not {shorten(detail['input'])}")
            case _:
                faults.append(f"{name}: {detail['msg']}, not {shorten(detail['input'])}")
    return faults

"""Arguments of pyvisa's ``open_resource()``: which a link has, what each takes, and the form that pyvisa wants."""

from __future__ import annotations

import enum
import inspect
from typing import Any

from pyvisa import attributes, constants, resources

#: pyvisa's class of a resource, by the beginning and the end of its name.
_CLASSES: tuple[tuple[str, str, type[resources.Resource]], ...] = (
    ("ASRL", "", resources.SerialInstrument),
    ("GPIB", "", resources.GPIBInstrument),
    ("TCPIP", "::SOCKET", resources.TCPIPSocket),
    ("TCPIP", "::INSTR", resources.TCPIPInstrument),
    ("USB", "::RAW", resources.USBRaw),
    ("USB", "::INSTR", resources.USBInstrument),
)
#: Arguments of the function itself.
_OF_OPENING = ("access_mode", "open_timeout")
#: Those that are neither an attribute nor a property of pyvisa's class.
_PLAIN = ("chunk_size", "query_delay")
_STOP_BITS = {1: constants.StopBits.one, 1.5: constants.StopBits.one_and_a_half, 2: constants.StopBits.two}


def is_known(name: str, uri: str | None = None) -> bool:
    """True if a link to that resource has such an argument; if any link has it, where the resource is None or unknown."""
    if name in _OF_OPENING:
        return True
    text = (uri or "").upper()
    kinds = [kind for _, _, kind in _CLASSES]
    fitting = [kind for start, end, kind in _CLASSES if text.startswith(start) and text.endswith(end)]
    return any(_is_settable(kind, name) for kind in fitting or kinds)


def _is_settable(kind: type[resources.Resource], name: str) -> bool:
    found = inspect.getattr_static(kind, name, None)
    if isinstance(found, attributes.Attribute):
        return bool(found.write)
    if isinstance(found, property):
        return found.fset is not None and name != "session"
    return found is not None and name in _PLAIN


def right_values(name: str) -> str | None:
    """The values that an argument takes, for people; None if that is not known here."""
    attribute = _attribute(name)
    if name == "stop_bits":
        return "1, 1.5 or 2"
    if (kind := _enumeration(attribute)) is not None:
        *names, last = kind.__members__
        return f"{', '.join(names)} or {last}"
    match attribute:
        case attributes.BooleanAttribute():
            return "true or false"
        case attributes.CharAttribute():
            return "one character"
        case attributes.RangeAttribute(min_value=least, max_value=most):
            return f"a whole number, {least} to {most}"
    return None


def converted(name: str, value: Any) -> Any:
    """The value of an argument in the form that pyvisa takes: words and numbers of a file become members of its enumerations.

    :raises ValueError: it is none that the argument takes
    """
    attribute = _attribute(name)
    if isinstance(value, bool) and attribute is not None and not isinstance(attribute, attributes.BooleanAttribute):
        raise ValueError(name)
    if name == "stop_bits" and isinstance(value, int | float) and value in _STOP_BITS:
        return _STOP_BITS[value]
    if (kind := _enumeration(attribute)) is not None:
        return _member(kind, value)
    is_right = True
    match attribute:
        case attributes.BooleanAttribute():
            is_right = isinstance(value, bool)
        case attributes.CharAttribute():
            is_right = isinstance(value, str) and len(value) == 1
        case attributes.RangeAttribute(min_value=least, max_value=most, values=others):
            is_right = isinstance(value, int) and (least <= value <= most or value in (others or ()))
    if not is_right:
        raise ValueError(name)
    return value


def _member(kind: type[enum.IntEnum | enum.IntFlag], value: Any) -> enum.IntEnum | enum.IntFlag:
    if isinstance(value, str):
        try:
            return kind[value.strip().casefold()]
        except KeyError:
            raise ValueError(value) from None
    # A flag takes any number without complaint, also one that is no sum of its members.
    if not isinstance(value, int) or (issubclass(kind, enum.IntFlag) and not 0 <= value <= sum(kind)):
        raise ValueError(value)
    return kind(value)


def _attribute(name: str) -> attributes.Attribute[Any] | None:
    for _, _, kind in _CLASSES:
        found = inspect.getattr_static(kind, name, None)
        if isinstance(found, attributes.Attribute) and name != "timeout":  # pyvisa takes floats and infinity of it
            return found
    return None


def _enumeration(attribute: attributes.Attribute[Any] | None) -> type[enum.IntEnum | enum.IntFlag] | None:
    if isinstance(attribute, attributes.EnumAttribute | attributes.FlagAttribute):
        return attribute.enum_type
    return None

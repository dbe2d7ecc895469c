"""Parts of the parsing of requests: text, a flat JSON object, an id, a finite number. Commands and lease requests use them."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from agent.protocol.errors import Refusal
from agent.protocol.numbers import decimal_comma

#: bytes. A request has a few hundred; a larger payload is refused unread.
LARGEST_REQUEST = 16 * 1024
LONGEST_ID = 128
#: Characters of the name of a lease's holder.
LONGEST_HOLDER = 64


def is_id(value: object) -> bool:
    """True for a string that can be the id of a request."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_ID and _is_unicode(value)


def checked_id(value: object) -> object:
    """The id, or None where there is none.

    :raises ValueError: it is none; the text says what it takes
    """
    if value is None or is_id(value):
        return value
    raise ValueError(f"takes a string of 1 to {LONGEST_ID} characters")


def checked_holder(value: object) -> object:
    """The name of a lease's holder, or None where there is none. It never stands in a topic, so `/`, `+` and `#` are allowed.

    :raises ValueError: it is none; the text says what it takes
    """
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_HOLDER or not value.isprintable():
        raise ValueError(f"takes a name of 1 to {LONGEST_HOLDER} characters, none of them a control character")
    if value != value.strip():
        raise ValueError("takes a name that neither begins nor ends with a space")
    return value


def decoded(payload: bytes) -> str:
    """A payload as text.

    :raises Refusal: ``bad_payload``
    """
    if len(payload) > LARGEST_REQUEST:
        raise Refusal("bad_payload", f"{len(payload)} bytes are too many; a command has at most {LARGEST_REQUEST}")
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("bad_payload", f"byte {error.start} is not UTF-8; a command is UTF-8 text") from None


def load_object(text: str, example: str) -> dict[str, Any]:
    """The JSON object that a text is, each of its fields named once.

    :param example: one that would be right, for the refusal
    :raises Refusal: ``bad_payload``
    """

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = {}
        for name, value in pairs:
            if name in result:
                raise Refusal("bad_payload", f"{shorten(name)} stands there more than once; name each field once")
            result[name] = value
        return result

    def no_constant(name: str) -> NoReturn:
        raise Refusal("bad_payload", f"{name} is not a number in JSON; send a finite one")

    try:
        data = json.loads(text, object_pairs_hook=without_repeats, parse_constant=no_constant)
    except RecursionError:
        raise Refusal("bad_payload", f"the JSON is nested too deeply; send a flat object such as {example}") from None
    except json.JSONDecodeError as error:
        if comma := decimal_comma(error):
            raise Refusal("bad_payload", f"not JSON: {comma}") from None
        where = f"line {error.lineno}, column {error.colno}"
        raise Refusal("bad_payload", f"not JSON ({error.msg}, {where}); send an object such as {example}") from None
    except ValueError:  # int() refuses thousands of digits
        raise Refusal("bad_payload", f"a number has too many digits; send an object such as {example}") from None
    if not isinstance(data, dict):
        raise Refusal("bad_payload", f"{shorten(text)} is not a JSON object; send one such as {example}")
    return data


def finite(value: object) -> float | None:
    """A number of JSON as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def shorten(value: object, limit: int = 60) -> str:
    """A value for a message to a person: as JSON in ASCII, so without control characters, and short."""
    if isinstance(value, str):
        text = json.dumps(value[: limit + 1])
    elif isinstance(value, dict | list):
        text = f"an {'object' if isinstance(value, dict) else 'array'}"
    else:
        text = json.dumps(value) if not isinstance(value, int) or abs(value) < 10**20 else "a huge number"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _is_unicode(text: str) -> bool:
    """JSON can name half a surrogate pair, which no UTF-8 can carry back."""
    return not any("\ud800" <= character <= "\udfff" for character in text)

"""What is wrong with a series file, by the line and the key, in sentences for those who write it."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

#: The names and the numbers that lead to a place of a file.
Key = tuple[Any, ...]
Fault = tuple[Key, str]

_MAPPING = "should be a mapping, such as {key: value}"
_LIST = "should be a list, such as [one, another]"
_RANGE = "should be two numbers, the least and the greatest, such as [0, 30]"
#: Sentences by pydantic's names of errors.
_SENTENCES = {
    "missing": "missing",
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "frozen_set_type": _LIST,
    "string_type": "should be a text; put it in quotes",
    "named_tuple_type": _RANGE,
    "missing_positional_only_argument": _RANGE,
    "missing_argument": _RANGE,
    "unexpected_positional_argument": _RANGE,
    "recursion_loop": "holds itself (an anchor and its alias)",
}
#: Errors of the kind of a value: of the alternatives of a key all but the one that was meant have one.
_OF_KIND = ("dict_type", "model_type", "model_attributes_type", "tuple_type", "string_type")


def validation_faults(error: ValidationError, data: object) -> list[Fault]:
    """The faults that pydantic has found in the data of a file: one for a key, and none for alternatives that were not meant."""
    found: dict[Key, tuple[ErrorDetails, str]] = {}
    for one in error.errors(include_url=False):
        key = _key(one, data)
        known = found.get(key)
        if known is None or (known[0]["type"] in _OF_KIND and one["type"] not in _OF_KIND):
            found[key] = (one, _sentence(one, key))
    return [
        (key, text)
        for key, (one, text) in found.items()
        if one["type"] not in _OF_KIND or not any(len(other) > len(key) and other[: len(key)] == key for other in found)
    ]


def _key(error: ErrorDetails, data: object) -> Key:
    """The place of an error in the file, without pydantic's names of alternatives."""
    key: list[Any] = []
    location = error["loc"]
    for number, part in enumerate(location):
        if _holds(data, part):
            if isinstance(data, dict):
                part = next(name for name in data if name == part)  # noqa: PLW2901 - pydantic tells 1 for true
            data = data[part]  # type: ignore[index]
        elif not (error["type"] == "missing" and number == len(location) - 1 and isinstance(data, dict)):
            continue
        key.append(part)
    return tuple(key)


def _holds(data: object, part: int | str) -> bool:
    if isinstance(data, list):
        return isinstance(part, int) and part < len(data)
    return isinstance(data, dict) and part in data


def _sentence(error: ErrorDetails, key: Key) -> str:
    kind = error["type"]
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if error["loc"][-1:] == ("[key]",):
        if isinstance(key[-1], str):
            return _unknown(key)
        return "the key should be a text; put it in quotes"
    if kind == "extra_forbidden":
        return _unknown(key)
    if (
        kind == "namedtuple_type"
        or (kind == "too_long" and "amedTuple" in message)
        or error["loc"][-1:] in (("min",), ("max",))
    ):
        return _RANGE
    if (sentence := _SENTENCES.get(kind)) is not None:
        return sentence
    if kind == "literal_error" and isinstance(given := error["input"], str):
        right = str(error.get("ctx", {}).get("expected", ""))
        return f"{given!r} should be {right}{_nearest(given, right.replace(' or ', ', ').split(', '))}"
    return message[:1].lower() + message[1:]


def _unknown(key: Key) -> str:
    # The generator of JSON Schemas is nothing that an agent needs in its memory.
    from agent.instruments.catalogue.jsonschema import known_keys

    known = known_keys(key[:-1])
    near = _nearest(str(key[-1]), known)
    if near or not known:
        return f"unknown key{near}"
    return f"unknown key; known are {', '.join(known)}"


def _nearest(given: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(given, [one.strip("'") for one in known], n=1, cutoff=0.6)
    return f"; nearest: {found[0]}" if found else ""


def repeated_keys(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """The keys that stand twice in one mapping: the line of the second, and a sentence. YAML would take the last."""
    for mapping in _mappings(node, set()):
        first: dict[Hashable, yaml.Node] = {}
        for name, _ in mapping.value:
            if not isinstance(name, yaml.ScalarNode) or name.tag == "tag:yaml.org,2002:merge":
                continue
            known = first.setdefault((name.tag, name.value), name)
            if known is not name:
                where = known.start_mark.line + 1
                yield (
                    name.start_mark.line + 1,
                    f"{name.value}: stands twice, first in line {where}; take one of them out",
                )


def _mappings(node: yaml.Node | None, seen: set[int]) -> Iterator[yaml.MappingNode]:
    if node is None or id(node) in seen:  # an alias stands for the same node
        return
    seen.add(id(node))
    children: Iterable[yaml.Node] = ()
    if isinstance(node, yaml.MappingNode):
        yield node
        children = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        yield from _mappings(child, seen)


def unreadable_value(node: yaml.Node | None) -> tuple[int, str]:
    """The line of the first value that YAML can't read, such as a day that there is not, and the value."""
    for scalar in _scalars(node, set()):
        try:
            yaml.SafeLoader("").construct_object(scalar)
        except ValueError:
            return scalar.start_mark.line + 1, str(scalar.value)[:40]
    return 1, ""


def _scalars(node: yaml.Node | None, seen: set[int]) -> Iterator[yaml.ScalarNode]:
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _scalars(child, seen)
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for child in pair:
                yield from _scalars(child, seen)


def place(node: yaml.Node | None, key: Key) -> tuple[int, str]:
    """The line of a key, or of what is around it if it is not there; and the key as people read it: ``polls[0].ask``."""
    line, shown = 1, ""
    for part in key:
        found: yaml.Node | None = None
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            shown += f"[{part}]"
            if part < len(node.value):
                found = node.value[part]
                line = found.start_mark.line + 1
        else:
            name = str(part)
            if isinstance(node, yaml.MappingNode):
                for one, value in node.value:
                    if isinstance(one, yaml.ScalarNode) and _stands_for(one, part):
                        line, found, name = one.start_mark.line + 1, value, one.value
            shown += f".{name}" if shown else name
        node = found
    return line, shown or "the file"


def _stands_for(name: yaml.ScalarNode, part: object) -> bool:
    if isinstance(part, bool):
        return name.tag.endswith(":bool") and yaml.SafeLoader.bool_values[name.value.lower()] is part
    return str(name.value) == str(part)

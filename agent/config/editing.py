"""Change single values in a YAML text and nothing else of it: comments, order, quotes and spacing stay byte for byte.

A YAML library that reads and writes the file keeps comments, and lays everything else out anew. Here the library's parser says
where a value stands, and the text is changed there. Afterwards the result is read again: only the values that were to be changed
may differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from agent.config import source
from agent.config.scalars import plain
from agent.config.source import KeyPath


class EditError(ValueError):
    """The text can't be changed there without changing something else. One sentence that says why, and what to do."""


def set_values(text: str, changes: Mapping[KeyPath, str | float | bool]) -> str:
    """The text with these values at these paths; mappings that are missing on the way are made.

    :raises EditError: one of them can't be set
    """
    before = _data(text)
    wanted = plain(before)
    for path, value in changes.items():
        text = _set(text, path, value)
        _put(wanted, path, value)
    if _data(text) != wanted:
        raise EditError(
            "an alias or a merge key (&, *, <<) stands in the way; write the channels out where they are used"
        )
    return text


def _data(text: str) -> Any:
    """The data of a text, with each ``${NAME}`` unchanged."""
    unchanged = {name: f"${{{name}}}" for name in re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", text)}
    document = source.read(text.encode(), unchanged)
    if document.problems:
        raise EditError(f"line {document.problems[0].place.line}: {document.problems[0].message}")
    return plain(document.data)


def _put(data: Any, path: KeyPath, value: str | float | bool) -> None:
    for part in path[:-1]:
        key = _key(data, part) if isinstance(data, dict) else part
        if isinstance(data, dict) and data.get(key) is None:
            data[key] = {}
        data = data[key]
    data[_key(data, path[-1])] = value


def _key(data: Mapping[str | int, Any], part: str | int) -> str | int:
    """The key as the data has it: there a number may be text."""
    return next((known for known in data if str(known) == str(part)), part)


def _set(text: str, path: KeyPath, value: str | float | bool) -> str:
    root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None  # it has the units that are to be changed
    node = root
    for depth, part in enumerate(path):
        key, child = _child(node, part)
        if child is None:
            return _insert(text, node, path[depth:], value)
        if key is not None and child.start_mark.index < key.end_mark.index:
            raise EditError(f"{part} on line {key.start_mark.line + 1} is an alias; write it out there")
        is_empty = isinstance(child, yaml.ScalarNode) and not child.value and child.style is None
        if depth == len(path) - 1 and not isinstance(child, yaml.ScalarNode):
            raise EditError(f"{part} on line {child.start_mark.line + 1} holds more than one value")
        if depth == len(path) - 1 or is_empty:
            shown = _flow(path[depth + 1 :], value)
            start, end = child.start_mark.index, child.end_mark.index
            return f"{text[:start]}{' ' if is_empty and text[start - 1 : start] == ':' else ''}{shown}{text[end:]}"
        node = child
    raise EditError("there is nothing to set")


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    if isinstance(node, yaml.MappingNode):
        pairs: list[tuple[yaml.Node, yaml.Node]] = node.value
        return next(((key, value) for key, value in pairs if key.value == str(part)), (None, None))
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None, None


def _insert(text: str, node: yaml.Node, path: KeyPath, value: str | float | bool) -> str:
    """A new entry at the end of a mapping."""
    if not isinstance(node, yaml.MappingNode):
        raise EditError(f"line {node.start_mark.line + 1} holds no mapping that {path[0]} could be written into")
    if node.flow_style:
        at = _entry_end(text, *node.value[-1]) if node.value else node.end_mark.index - 1
        between = ", " if node.value else ""
        return f"{text[:at]}{between}{path[0]}: {_flow(path[1:], value)}{text[at:]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    indent = " " * node.start_mark.column
    entry = f"{indent}{path[0]}:"
    if len(path) > 2:
        entry += f"{newline}{indent}  {path[1]}: {_flow(path[2:], value)}"
    else:
        entry += f" {_flow(path[1:], value)}"
    at = _end(text, node)
    if at and text[at - 1] == "\n":  # behind a block scalar
        return f"{text[:at]}{entry}{newline}{text[at:]}"
    line_end = re.compile(r"\r?\n|\Z").search(text, at)
    assert line_end is not None
    return f"{text[: line_end.start()]}{newline}{entry}{text[line_end.start() :]}"


def _end(text: str, node: yaml.Node) -> int:
    """Where the last thing in a node ends. A block's own mark stands behind the comments that follow it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _entry_end(text, *node.value[-1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(text, node.value[-1])
    return int(node.end_mark.index)


def _entry_end(text: str, key: yaml.Node, value: yaml.Node) -> int:
    if value.start_mark.index >= key.end_mark.index:
        return _end(text, value)
    # An alias has the marks of what it stands for.
    alias = re.compile(r"\s*:\s*\*[^\s,\]}]+").match(text, key.end_mark.index)
    if alias is None:
        raise EditError(f"line {key.start_mark.line + 1} can't be edited; write the entry by hand")
    return alias.end()


def _flow(path: Sequence[str | int], value: str | float | bool) -> str:
    shown = _scalar(value)
    for part in reversed(path):
        shown = f"{{{part}: {shown}}}"
    return shown


def _scalar(value: str | float | bool) -> str:
    """A number, a boolean, or text in quotes: as plain text it could be taken for something else, and so could `${`."""
    if isinstance(value, str):
        return json.dumps(source.escaped(value), ensure_ascii=False)
    return json.dumps(value) if isinstance(value, bool) else repr(value)

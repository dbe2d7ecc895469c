"""The commands of an instrument by their headers, and the messages made of them.

A command error (SCPI-1999 volume 2, 21.8.9: -1xx) makes the rest of its message be discarded, since a parser that lost
its place does not know where the next unit begins; the units before it have been carried out, and their answers stay.
An execution error (21.8.10: -2xx) concerns its own unit alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from agent.simulator.scpi.data import MAX_MNEMONIC, forms, parse_datum
from agent.simulator.scpi.errors import ScpiError
from agent.simulator.scpi.parameters import Parameter

_WHITESPACE = "".join(map(chr, range(0x21)))  # IEEE 488.2 7.4.1.2: 0 to 32 without newline, which ends the message
_HEADER = re.compile(
    r"(?P<root>:?)(?P<nodes>[A-Za-z]\w*(?::[A-Za-z]\w*)*)(?P<query>\??)|(?P<common>\*[A-Za-z]+\??)", re.ASCII
)
_NODE_SUFFIX = re.compile(r"(.*?[^\d])(\d+)", re.ASCII)
_CACHED_MESSAGES = 512
_CACHED_LENGTH = 2048


class Call(NamedTuple):
    """The arguments of a handler, beside its instrument."""

    arguments: tuple[Any, ...] = ()  # one a parameter, None where an optional one was left out
    channels: tuple[int, ...] | None = None  # None: no list was given
    suffix: int = 1  # of the node that takes one, as in ISUMmary<n>
    numbered: bool = False  # a suffix was given


Handler = Callable[[Any, Call], str | None]


@dataclass(frozen=True, slots=True)
class Command:
    """One line of the manual. ``header`` is in its notation; handlers are called as ``handler(instrument, call)``.

    ``channels``: True if a channel list may follow: after a comma in a command and in a query with parameters,
    after a space where it is the only parameter.
    """

    header: str
    set: Handler | None = None
    query: Handler | None = None
    parameters: tuple[Parameter, ...] = ()
    query_parameters: tuple[Parameter, ...] = ()
    channels: bool = False


class MessageUnit(NamedTuple):
    """One program message unit (IEEE 488.2 7.3), ready to be run."""

    handler: Handler
    call: Call


@dataclass(frozen=True, slots=True)
class Quirks:
    """The ways in which a unit's firmware is narrower than the standard, so that fallbacks can be tested.

    ``compound_messages``: False refuses a message of several units with -103, and carries out none of it.
    ``channel_lists``: ``"single"`` takes one channel a list (-171 else), ``"none"`` takes no list at all (-108).
    ``missing``: headers, exactly as in the instrument's command table, that this firmware doesn't know (-113).
    ``read_only``: headers that it knows as a question alone (-113 for the command).
    ``resumes``: True goes on with the next unit of a message after a command error, as parsers do that look for its ``;``.
    """

    compound_messages: bool = True
    channel_lists: Literal["any", "single", "none"] = "any"
    missing: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    resumes: bool = False


class _Node:
    __slots__ = ("children", "command", "numbered")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.numbered: dict[str, tuple[_Node, int]] = {}  # mnemonics that take a suffix, with its maximum
        self.command: Command | None = None


class CommandTree:
    """Every command of an instrument, and the messages made of them.

    :raises ValueError: two commands have the same header
    """

    def __init__(self, commands: Iterable[Command], quirks: Quirks | None = None) -> None:
        self._quirks = quirks or Quirks()
        self._root = _Node()
        self._common: dict[str, Command] = {}
        self._compiled: dict[str, tuple[MessageUnit, ...]] = {}
        for command in commands:
            if command.header not in self._quirks.missing:
                self._add(replace(command, set=None) if command.header in self._quirks.read_only else command)

    def _add(self, command: Command) -> None:
        if command.header.startswith("*"):
            if command.header in self._common:
                raise ValueError(f"{command.header} is there twice")
            self._common[command.header.upper()] = command
            return
        for path in _expand(command.header):
            node = self._root
            for mnemonic in path:
                node = self._descend_or_create(node, mnemonic)
            if node.command is not None:
                raise ValueError(f"{command.header} and {node.command.header} are the same header")
            node.command = command

    @staticmethod
    def _descend_or_create(node: _Node, mnemonic: str) -> _Node:
        match = re.fullmatch(r"(\w+)<(\d+)>", mnemonic)
        short, long = forms(match[1] if match else mnemonic)
        if match:
            child, _ = node.numbered.get(long, (_Node(), 0))
            node.numbered[short] = node.numbered[long] = (child, int(match[2]))
            node.children[short] = node.children[long] = child
            return child
        child = node.children.get(long) or _Node()
        node.children[short] = node.children[long] = child
        return child

    def compile(self, message: str) -> tuple[MessageUnit, ...]:
        """The units of one message, which comes without its terminator. Errors are units too: running one raises `ScpiError`."""
        try:
            return self._compiled[message]
        except KeyError:
            pass
        units = tuple(self._units(message))
        # Polls repeat the same few messages; a flood of different ones must not fill the memory.
        if len(message) <= _CACHED_LENGTH:
            if len(self._compiled) >= _CACHED_MESSAGES:
                self._compiled.clear()
            self._compiled[message] = units
        return units

    def _units(self, message: str) -> Iterator[MessageUnit]:
        try:
            texts = [text for text in map(_strip, _split(message, ";")) if text]
            if len(texts) > 1 and not self._quirks.compound_messages:
                raise ScpiError(-103)
        except ScpiError as error:
            yield _failure(error)
            return
        path = self._root
        for text in texts:
            try:
                unit, path = self._unit(text, path)
            except ScpiError as error:
                yield _failure(error)
                if -200 < error.number <= -100 and not self._quirks.resumes:
                    return
                continue
            yield unit

    def _unit(self, text: str, path: _Node) -> tuple[MessageUnit, _Node]:
        if not text.isascii():
            raise ScpiError(-101)
        match = _HEADER.match(text)
        if match is None:
            raise ScpiError(-102 if text[0] in ":*?" else -101)
        rest = text[match.end() :]
        if rest and rest[0] not in _WHITESPACE:
            raise ScpiError(-102 if rest[0] in ":*?" else -111)
        suffix, numbered = 1, False
        if match["common"]:
            name = match["common"].upper()
            query = name.endswith("?")
            command = self._common.get(name.removesuffix("?"))
        else:
            query = bool(match["query"])
            node = self._root if match["root"] else path
            for mnemonic in match["nodes"].upper().split(":"):
                path = node
                node, number = _descend(node, mnemonic)
                suffix, numbered = number or suffix, numbered or number is not None
            command = node.command
        handler = None if command is None else command.query if query else command.set
        if command is None or handler is None:
            raise ScpiError(-113)
        try:
            return MessageUnit(handler, self._call(command, query, rest.strip(_WHITESPACE), suffix, numbered)), path
        except ScpiError as error:
            # The header was understood, so the path moves on even if the data can't be carried out.
            if error.number <= -200:
                return _failure(error), path
            raise

    def _call(self, command: Command, query: bool, data: str, suffix: int, numbered: bool) -> Call:
        parameters = command.query_parameters if query else command.parameters
        given = [parse_datum(_required(text)) for text in _split(data, ",")] if data else []
        channels: tuple[int, ...] | None = None
        if command.channels and given and given[-1].kind == "expression":
            channels = given.pop().value
            if self._quirks.channel_lists == "none":
                raise ScpiError(-108)
            if self._quirks.channel_lists == "single" and channels is not None and len(channels) > 1:
                raise ScpiError(-171)
        if len(given) > len(parameters):
            raise ScpiError(-108)
        arguments = [parameter.accept(datum) for parameter, datum in zip(parameters, given, strict=False)]
        for parameter in parameters[len(given) :]:
            if not parameter.optional:
                raise ScpiError(-109)
            arguments.append(None)
        return Call(tuple(arguments), channels, suffix, numbered)


def _failure(error: ScpiError) -> MessageUnit:
    number, text = error.number, error.text

    def fail(_instrument: Any, _call: Call) -> str | None:
        raise ScpiError(number, text)

    return MessageUnit(fail, Call())


def _descend(node: _Node, mnemonic: str) -> tuple[_Node, int | None]:
    child = node.children.get(mnemonic)
    if child is not None:
        return child, None
    match = _NODE_SUFFIX.fullmatch(mnemonic)
    if match:
        if match[1] in node.numbered:
            child, highest = node.numbered[match[1]]
            if 1 <= int(match[2][:4]) <= highest:
                return child, int(match[2])
            raise ScpiError(-114)
        if match[1] in node.children:
            raise ScpiError(-114)
    raise ScpiError(-112 if len(mnemonic) > MAX_MNEMONIC else -113)


def _expand(header: str) -> Iterator[tuple[str, ...]]:
    """Every spelling of a header in the manual's notation: with and without each optional node."""
    match = re.search(r"\[:?([^\[\]:]+):?\]", header)
    if match is None:
        yield tuple(node for node in header.split(":") if node)
        return
    yield from _expand(f"{header[: match.start()]}:{header[match.end() :]}".replace("::", ":"))
    yield from _expand(f"{header[: match.start()]}:{match[1]}:{header[match.end() :]}".replace("::", ":"))


def _split(text: str, separator: str) -> list[str]:
    """Split at separators that are neither in a string nor, for commas, in parentheses."""
    if "'" not in text and '"' not in text and (separator == ";" or "(" not in text):
        return text.split(separator)
    parts: list[str] = []
    start, quote, depth = 0, "", 0
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == separator and (separator == ";" or depth <= 0):
            parts.append(text[start:position])
            start = position + 1
        elif character in "()":
            depth += 1 if character == "(" else -1
    if quote:
        raise ScpiError(-151)
    parts.append(text[start:])
    return parts


def _strip(text: str) -> str:
    return text.strip(_WHITESPACE)


def _required(text: str) -> str:
    text = _strip(text)
    if not text:
        raise ScpiError(-109)
    return text

"""The SCPI grammar: what a message means, before any instrument is asked to do it.

Written from SCPI-1999 volume 1 (Syntax and Style) and IEEE 488.2-1992 (data formats). An instrument hands its commands
in the notation of its manual (``[SOURce:]VOLTage[:LEVel]``) to a `CommandTree`, which turns a message into a tuple of
`Unit`, each a handler and the arguments it is to be called with.

A command error (SCPI-1999 volume 2, 21.8.9: -1xx) makes the rest of its message be discarded, since a parser that is
lost does not know where the next unit begins; the units before it have been carried out, and their answers stay. An
execution error (21.8.10: -2xx) concerns its own unit alone.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

# SCPI-1999 volume 2, chapter 21.
ERROR_TEXTS: dict[int, str] = {
    0: "No error",
    -100: "Command error",
    -101: "Invalid character",
    -102: "Syntax error",
    -103: "Invalid separator",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -111: "Header separator error",
    -112: "Program mnemonic too long",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -121: "Invalid character in number",
    -123: "Exponent too large",
    -124: "Too many digits",
    -128: "Numeric data not allowed",
    -131: "Invalid suffix",
    -138: "Suffix not allowed",
    -141: "Invalid character data",
    -144: "Character data too long",
    -148: "Character data not allowed",
    -151: "Invalid string data",
    -158: "String data not allowed",
    -161: "Invalid block data",
    -168: "Block data not allowed",
    -171: "Invalid expression",
    -178: "Expression data not allowed",
    -200: "Execution error",
    -211: "Trigger ignored",
    -213: "Init ignored",
    -221: "Settings conflict",
    -222: "Data out of range",
    -223: "Too much data",
    -224: "Illegal parameter value",
    -241: "Hardware missing",
    -310: "System error",
    -330: "Self-test failed",
    -350: "Error queue overflow",
    -363: "Input buffer overrun",
    -410: "Query INTERRUPTED",
    -420: "Query UNTERMINATED",
    -430: "Query DEADLOCKED",
    -440: "Query UNTERMINATED after indefinite response",
}

_WHITESPACE = "".join(map(chr, range(0x21)))  # IEEE 488.2 7.4.1.2: 0 to 32 without newline, which ends the message
_HEADER = re.compile(
    r"(?P<root>:?)(?P<nodes>[A-Za-z]\w*(?::[A-Za-z]\w*)*)(?P<query>\??)|(?P<common>\*[A-Za-z]+\??)", re.ASCII
)
_NODE_SUFFIX = re.compile(r"(.*?[^\d])(\d+)", re.ASCII)
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:\s*[eE]\s*([+-]?\d+))?\s*([A-Za-z/][A-Za-z0-9/.-]*)?", re.ASCII)
_NON_DECIMAL = re.compile(r"#(?:[hH]([0-9A-Fa-f]+)|[qQ]([0-7]+)|[bB]([01]+))", re.ASCII)
_WORD = re.compile(r"[A-Za-z]\w*", re.ASCII)
_CHANNEL_ENTRY = re.compile(r"\s*(\d{1,4})\s*(?::\s*(\d{1,4})\s*)?", re.ASCII)

_MULTIPLIERS = {
    "EX": 1e18, "PE": 1e15, "T": 1e12, "G": 1e9, "MA": 1e6, "K": 1e3, "": 1.0,
    "M": 1e-3, "U": 1e-6, "N": 1e-9, "P": 1e-12, "F": 1e-15, "A": 1e-18,
}  # fmt: skip

_MAX_MNEMONIC = 12  # IEEE 488.2 7.6.1.4.1
_MAX_CHANNELS = 100
_CACHED_MESSAGES = 512
_CACHED_LENGTH = 2048


class ScpiError(Exception):
    """An error for the queue: ``number`` as in SCPI-1999 volume 2, chapter 21, or the instrument's own."""

    def __init__(self, number: int, text: str | None = None) -> None:
        self.number = number
        self.text = text if text is not None else ERROR_TEXTS.get(number, "Device-specific error")
        super().__init__(f'{number},"{self.text}"')


class ErrorQueue:
    """First in, first out; an error too many replaces the newest by -350 (SCPI-1999 volume 2, 21.8.1)."""

    def __init__(self, size: int = 20) -> None:
        self._size = size
        self._errors: deque[tuple[int, str]] = deque()

    def push(self, error: ScpiError) -> None:
        if len(self._errors) < self._size:
            self._errors.append((error.number, error.text))
        else:
            self._errors[-1] = (-350, ERROR_TEXTS[-350])

    def pop(self) -> tuple[int, str]:
        """The oldest error, or ``(0, "No error")``."""
        return self._errors.popleft() if self._errors else (0, ERROR_TEXTS[0])

    def clear(self) -> None:
        self._errors.clear()

    def __len__(self) -> int:
        return len(self._errors)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return iter(tuple(self._errors))


# --- data -------------------------------------------------------------------------------------------------------------

Kind = Literal["number", "word", "string", "expression"]


class Datum(NamedTuple):
    """One parameter as it was sent. ``value`` is a float, an upper-case word, a string or a tuple of channels."""

    kind: Kind
    value: Any
    suffix: str = ""


def parse_datum(text: str) -> Datum:
    """Read one parameter: a number, a word, a string (IEEE 488.2 7.7) or a channel list."""
    first = text[0]
    if first in "'\"":
        return Datum("string", _parse_string(text))
    if first == "(":
        return Datum("expression", parse_channel_list(text))
    if first == "#":
        match = _NON_DECIMAL.fullmatch(text)
        if match is None:
            raise ScpiError(-168 if text[1:2].isdigit() else -121)
        hexadecimal, octal, binary = match.groups()
        return Datum("number", float(int(hexadecimal or octal or binary, 16 if hexadecimal else 8 if octal else 2)))
    if first.isalpha():
        if _WORD.fullmatch(text) is None:
            raise ScpiError(-141)
        if len(text) > _MAX_MNEMONIC:
            raise ScpiError(-144)
        return Datum("word", text.upper())
    if first.isdigit() or first in "+-.":
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise ScpiError(-121)
        mantissa, exponent, suffix = match.groups()
        if exponent is not None and abs(int(exponent[:8])) > 32000:  # IEEE 488.2 7.7.2.4.1
            raise ScpiError(-123)
        if len(mantissa) > 255:
            raise ScpiError(-124)
        return Datum("number", float(f"{mantissa}e{exponent or 0}"), (suffix or "").upper())
    raise ScpiError(-101)


def _parse_string(text: str) -> str:
    quote, inside = text[0], text[1:-1]
    if len(text) < 2 or text[-1] != quote or inside.replace(quote * 2, "").count(quote):
        raise ScpiError(-151)
    return inside.replace(quote * 2, quote)


def parse_channel_list(text: str) -> tuple[int, ...]:
    """``(@1,3)`` and ``(@1:3)`` to channel numbers, in the order given (SCPI-1999 volume 1, 8.3.2)."""
    if not text.startswith("(@") or not text.endswith(")"):
        raise ScpiError(-171)
    channels: list[int] = []
    for entry in text[2:-1].split(","):
        match = _CHANNEL_ENTRY.fullmatch(entry)
        if match is None:
            raise ScpiError(-171)
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        channels.extend(range(first, last + 1) if first <= last else range(first, last - 1, -1))
        if len(channels) > _MAX_CHANNELS:
            raise ScpiError(-223)
    return tuple(channels)


def forms(mnemonic: str) -> tuple[str, str]:
    """``VOLTage`` to its short and long form, ``("VOLT", "VOLTAGE")``."""
    return "".join(c for c in mnemonic if not c.islower()), mnemonic.upper()


class Parameter(ABC):
    """What one parameter of a command has to be."""

    def __init__(self, *, optional: bool = False) -> None:
        self.optional = optional

    @abstractmethod
    def accept(self, datum: Datum) -> Any:
        """The argument that the handler gets. Raises `ScpiError` if the datum is of the wrong type or value."""


class Choice(Parameter):
    """One of the manual's words; the handler gets its short form."""

    def __init__(self, *words: str, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self._words = {form: forms(word)[0] for word in words for form in forms(word)}

    def accept(self, datum: Datum) -> str:
        if datum.kind == "number":
            raise ScpiError(-128)
        if datum.kind == "string":
            raise ScpiError(-158)
        if datum.kind == "expression":
            raise ScpiError(-178)
        try:
            return self._words[datum.value]
        except KeyError:
            raise ScpiError(-224) from None


class Numeric(Parameter):
    """A number with an optional unit, or one of the words; the handler gets a float or the word's short form."""

    def __init__(self, unit: str = "", words: Iterable[str] = (), *, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self._choice = Choice(*words)
        self._unit = unit.upper()

    def accept(self, datum: Datum) -> float | str:
        if datum.kind == "word":
            return self._choice.accept(datum)
        if datum.kind != "number":
            raise ScpiError(-104)
        value: float = datum.value
        if datum.suffix:
            if not self._unit:
                raise ScpiError(-138)
            if not datum.suffix.endswith(self._unit):
                raise ScpiError(-131)
            try:
                value *= _MULTIPLIERS[datum.suffix.removesuffix(self._unit)]
            except KeyError:
                raise ScpiError(-131) from None
        if not math.isfinite(value):
            raise ScpiError(-222)
        return value


class Integer(Parameter):
    """A whole number between two bounds; fractions are rounded (IEEE 488.2 5.3)."""

    def __init__(self, low: int, high: int, *, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self._low, self._high = low, high

    def accept(self, datum: Datum) -> int:
        if datum.kind != "number":
            raise ScpiError(-148 if datum.kind == "word" else -104)
        if datum.suffix:
            raise ScpiError(-138)
        if not self._low <= datum.value <= self._high:
            raise ScpiError(-222)
        return int(datum.value + 0.5) if datum.value >= 0 else -int(0.5 - datum.value)


class Boolean(Parameter):
    """ON, OFF or a number, where everything that rounds to something else than 0 is on (SCPI-1999 volume 1, 7.3)."""

    def accept(self, datum: Datum) -> bool:
        if datum.kind == "word":
            if datum.value not in ("ON", "OFF"):
                raise ScpiError(-224)
            return bool(datum.value == "ON")
        if datum.kind != "number":
            raise ScpiError(-104)
        if datum.suffix:
            raise ScpiError(-138)
        return bool(abs(datum.value) >= 0.5)


class Text(Parameter):
    """A quoted string of limited length."""

    def __init__(self, longest: int = 255, *, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self._longest = longest

    def accept(self, datum: Datum) -> str:
        if datum.kind != "string":
            raise ScpiError({"number": -128, "word": -148}.get(datum.kind, -104))
        if len(datum.value) > self._longest:
            raise ScpiError(-223)
        return str(datum.value)


# --- commands ---------------------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """What a handler is called with, beside its instrument."""

    arguments: tuple[Any, ...] = ()  # one a parameter, None where an optional one was left out
    channels: tuple[int, ...] | None = None  # None: no list was given
    suffix: int = 1  # of the node that takes one, as in ISUMmary<n>


Handler = Callable[[Any, Call], str | None]


@dataclass(frozen=True, slots=True)
class Command:
    """One line of the manual. ``header`` is in its notation; handlers are called as ``handler(instrument, call)``.

    ``channels`` tells whether a channel list may follow: after a comma in a command and in a query with parameters,
    after a space where it is the only parameter.
    """

    header: str
    set: Handler | None = None
    query: Handler | None = None
    parameters: tuple[Parameter, ...] = ()
    query_parameters: tuple[Parameter, ...] = ()
    channels: bool = False


class Unit(NamedTuple):
    """One program message unit, ready to be run."""

    handler: Handler
    call: Call


@dataclass(frozen=True, slots=True)
class Quirks:
    """In which ways a unit's firmware may be narrower than the standard, so that fallbacks can be tested.

    ``compound_messages``: False refuses a message of several units with -103, and carries out none of it.
    ``channel_lists``: ``"single"`` takes one channel a list (-171 else), ``"none"`` takes no list at all (-108).
    ``missing``: headers, exactly as in the instrument's command table, that this firmware doesn't know (-113).
    """

    compound_messages: bool = True
    channel_lists: Literal["any", "single", "none"] = "any"
    missing: tuple[str, ...] = ()


class _Node:
    __slots__ = ("children", "command", "numbered")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.numbered: dict[str, tuple[_Node, int]] = {}  # mnemonics that take a suffix, with its maximum
        self.command: Command | None = None


class CommandTree:
    """Every command of an instrument, and the messages made of them.

    Raises ValueError if two commands have the same header.
    """

    def __init__(self, commands: Iterable[Command], quirks: Quirks | None = None) -> None:
        self._quirks = quirks or Quirks()
        self._root = _Node()
        self._common: dict[str, Command] = {}
        self._compiled: dict[str, tuple[Unit, ...]] = {}
        for command in commands:
            if command.header not in self._quirks.missing:
                self._add(command)

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

    def compile(self, message: str) -> tuple[Unit, ...]:
        """The units of one message, without its terminator. Errors are units too: running one raises `ScpiError`."""
        try:
            return self._compiled[message]
        except KeyError:
            pass
        units = tuple(self._units(message))
        # Nearly every message comes again and again; a flood of different ones must not fill the memory.
        if len(message) <= _CACHED_LENGTH:
            if len(self._compiled) >= _CACHED_MESSAGES:
                self._compiled.clear()
            self._compiled[message] = units
        return units

    def _units(self, message: str) -> Iterator[Unit]:
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
                if -200 < error.number <= -100:
                    return
                continue
            yield unit

    def _unit(self, text: str, path: _Node) -> tuple[Unit, _Node]:
        if not text.isascii():
            raise ScpiError(-101)
        match = _HEADER.match(text)
        if match is None:
            raise ScpiError(-102 if text[0] in ":*?" else -101)
        rest = text[match.end() :]
        if rest and rest[0] not in _WHITESPACE:
            raise ScpiError(-102 if rest[0] in ":*?" else -111)
        suffix = 1
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
                suffix = number or suffix
            command = node.command
        handler = None if command is None else command.query if query else command.set
        if command is None or handler is None:
            raise ScpiError(-113)
        try:
            return Unit(handler, self._call(command, query, rest.strip(_WHITESPACE), suffix)), path
        except ScpiError as error:
            # The header was understood, so the path moves on even if the data can't be carried out.
            if error.number <= -200:
                return _failure(error), path
            raise

    def _call(self, command: Command, query: bool, data: str, suffix: int) -> Call:
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
        return Call(tuple(arguments), channels, suffix)


def _failure(error: ScpiError) -> Unit:
    number, text = error.number, error.text

    def fail(_instrument: Any, _call: Call) -> str | None:
        raise ScpiError(number, text)

    return Unit(fail, Call())


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
    raise ScpiError(-112 if len(mnemonic) > _MAX_MNEMONIC else -113)


def _expand(header: str) -> Iterator[tuple[str, ...]]:
    """Every way to write a header of the manual's notation: with and without each optional node."""
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

"""Reading YAML so that every value can be traced back to its line.

Aliases and merge keys are resolved within bounds. ``${NAME}`` in a value takes the value of an environment variable; ``$${`` is
the text ``${``. Dollar signs without a brace behind them stay as they are. `agent.config.scalars`: what a plain scalar means.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import yaml

from agent.config.scalars import WrittenFloat, WrittenInt, resolve
from agent.config.sentences.yamlfaults import explain

MAX_BYTES = 1024 * 1024
_MAX_DEPTH = 24
_MAX_NODES = 250_000

#: Keys and list indices from the root of a document to a value.
KeyPath = tuple[str | int, ...]

_PLAIN = "!plain"
_STANDARD = "tag:yaml.org,2002:"
#: Dollar signs before a brace: each two are one, and one that is left over begins a variable.
_VARIABLE = re.compile(r"(?<!\$)((?:\$\$)*)(?:\$\{([^}]*)(\}?)|(?<=\$)\{)")
_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: its line (from 1; 0: no file), its key path, its text before ``${NAME}``."""

    line: int
    key: str
    written: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of the YAML itself."""

    place: Place
    message: str


@dataclass
class Source:
    """A document: plain data, the place of every value in it, and the faults of its YAML."""

    data: object = None
    places: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    text: str = ""

    def is_commented_out(self, path: KeyPath) -> bool:
        """True if a comment stands where the value of `path` would be, as of ``password: #secret``."""
        line = self.place(path).line
        lines = self.text.splitlines()[line - 1 : line] if line else []
        return any(re.search(r":\s+#\S", shown) for shown in lines)

    def place(self, path: KeyPath) -> Place:
        """The place of `path`, or, where there is no such value, of the nearest thing around it."""
        known = path
        while known and known not in self.places:
            known = known[:-1]
        place = self.places.get(known, Place(1 if self.places else 0, ""))
        key = place.key
        for part in path[len(known) :]:
            key = child_key(key, part)
        return Place(place.line, key, place.written if known == path else None)


def child_key(key: str, part: str | int, *, index: bool = False) -> str:
    """The key path one level down: ``units[1].channels.2.name``."""
    if index:
        return f"{key}[{part}]"
    text = str(part)
    shown = text if text.isprintable() and len(text) <= 64 else ascii(text[:64])
    return f"{key}.{shown}" if key else shown


def read(content: bytes, environment: Mapping[str, str] | None = None) -> Source:
    """Read one YAML document. Never raises for what `content` holds: see `Source.problems`."""
    if len(content) > MAX_BYTES:
        return _broken(1, f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB: that is no configuration")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _broken(1, "the file is UTF-16: save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _broken(line, f"byte 0x{content[error.start]:02x} is not UTF-8: save the file as UTF-8")
    if stray := _NOT_YAML.search(text):
        line = text.count("\n", 0, stray.start()) + 1
        return _broken(line, f"character U+{ord(stray[0]):04X} is not allowed in YAML: take it out")
    try:
        if (deep := _too_deep(text)) is not None:
            return _broken(deep, f"nested deeper than {_MAX_DEPTH} levels: that is no configuration")
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        if "expected a single document" in str(getattr(error, "context", None)):
            line = error.problem_mark.line + 1  # type: ignore[attr-defined]  # of this error
            return _broken(
                line, "a second YAML document begins here: a configuration is one document, take the `---` out"
            )
        return _broken(*explain(error, text))
    if root is None:
        return Source(places={(): Place(1, "")})
    return _Reader(os.environ if environment is None else environment).read(root, text)


def escaped(text: str) -> str:
    """The text as it has to stand in a file, so that nothing of it begins an environment variable."""
    return re.sub(r"\$+(?=\{)", lambda match: match[0] * 2, text)


def as_yaml(data: Mapping[str, object]) -> str:
    """A file that holds these plain data, each text as it is."""
    return str(yaml.safe_dump(_escaped(data), sort_keys=False, allow_unicode=True, width=1000))


def _escaped(value: object) -> object:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return {name: _escaped(one) for name, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, list) else value


def from_data(data: object) -> Source:
    """A source of plain data that was never YAML text: its values have key paths and no lines."""
    source = Source(data)

    def walk(value: object, path: KeyPath, key: str) -> None:
        source.places[path] = Place(0, key)
        if isinstance(value, dict):
            for name, item in value.items():
                walk(item, (*path, name), child_key(key, name))
        elif isinstance(value, list | tuple):
            for i, item in enumerate(value):
                walk(item, (*path, i), child_key(key, i, index=True))

    walk(data, (), "")
    return source


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml where it is there: ten times faster
    # Gives every plain scalar a tag of its own, which tells it from a quoted one. `_Reader` resolves it.
    yaml_implicit_resolvers = {None: [(_PLAIN, re.compile(""))]}  # noqa: RUF012


def _broken(line: int, message: str) -> Source:
    return Source(problems=[Problem(Place(line, ""), message)])


def _too_deep(text: str) -> int | None:
    """The line on which nesting goes too deep for the recursive composer. The parser itself is a state machine."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                return _line(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _line(node: yaml.Node | yaml.Event) -> int:
    return node.start_mark.line + 1 if node.start_mark is not None else 1


class _Reader:
    """Makes a `Source` of one tree of YAML nodes. Used once."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._source = Source()
        self._open: set[int] = set()
        self._nodes = 0

    def read(self, root: yaml.Node, text: str) -> Source:
        line = _line(root)
        self._source.text = text
        try:
            self._source.data = self._value(root, (), Place(line, ""))
        except _TooManyValuesError:
            self._source = _broken(
                line, f"more than {_MAX_NODES} values once its aliases are resolved: use fewer of them"
            )
        return self._source

    def _problem(self, place: Place, message: str) -> None:
        self._source.problems.append(Problem(place, message))

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise _TooManyValuesError

    def _value(self, node: yaml.Node, path: KeyPath, place: Place) -> object:
        self._count()
        self._source.places[path] = place
        if isinstance(node, yaml.ScalarNode):
            self._source.places[path] = Place(place.line, place.key, node.value)
            return self._scalar(node, place)
        if id(node) in self._open:
            self._problem(place, "contains itself: an alias stands inside what it stands for; write it out")
            return None
        if len(path) > _MAX_DEPTH:
            self._problem(place, f"nested deeper than {_MAX_DEPTH} levels once its aliases are resolved")
            return None
        expected = _STANDARD + ("map" if isinstance(node, yaml.MappingNode) else "seq")
        if node.tag != expected:
            self._problem(place, f"tag {_tag(node)} is not supported: take it out")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path, place.key)
            return [
                self._value(item, (*path, i), Place(_line(item), child_key(place.key, i, index=True)))
                for i, item in enumerate(node.value)
            ]
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, key: str) -> dict[str | int, object]:
        result: dict[str | int, object] = {}
        seen: dict[str, int] = {}
        merged: list[yaml.Node] = []
        before: tuple[yaml.Node, yaml.Node] | None = None
        for name_node, value_node in node.value:
            line = _line(name_node)
            if before is not None and _is_behind_comma(node, name_node, value_node):
                name = self._key(before[0], key)
                self._problem(
                    Place(_line(before[1]), key if name is None else child_key(key, name)),
                    _comma(before[1], name_node, is_secret=name == "password"),
                )
                continue
            before = name_node, value_node
            if name_node.tag == _PLAIN and name_node.value == "<<":
                merged.append(value_node)
                continue
            name = self._key(name_node, key)
            if name is None:
                continue
            place = Place(line, child_key(key, name))
            if str(name) in seen:
                self._problem(place, f"stands here twice, first on line {seen[str(name)]}: take one of them out")
                continue
            seen[str(name)] = line
            result[name] = self._value(value_node, (*path, name), place)
        for source in merged:
            for name_node, value_node in self._merge(source, key):
                name = self._key(name_node, key)
                if name is not None and str(name) not in seen:
                    seen[str(name)] = _line(name_node)
                    place = Place(_line(name_node), child_key(key, name))
                    result[name] = self._value(value_node, (*path, name), place)
        return result

    def _merge(self, node: yaml.Node, key: str) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """The pairs that a merge key brings in, those that win first (https://yaml.org/type/merge.html)."""
        self._count()
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            self._count()
            if not isinstance(source, yaml.MappingNode):
                self._problem(Place(_line(source), key), "`<<` takes a mapping or a list of mappings")
                continue
            if id(source) in self._open:
                self._problem(Place(_line(source), key), "`<<` merges a mapping into itself")
                continue
            self._open.add(id(source))
            try:
                nested = []
                for name_node, value_node in source.value:
                    self._count()
                    if name_node.tag == _PLAIN and name_node.value == "<<":
                        nested.append(value_node)
                    else:
                        yield name_node, value_node
                for inner in nested:
                    yield from self._merge(inner, key)
            finally:
                self._open.discard(id(source))

    def _key(self, node: yaml.Node, key: str) -> str | int | None:
        place = Place(_line(node), key)
        if not isinstance(node, yaml.ScalarNode):
            self._problem(place, "a key is a list or a mapping here: a key is a word or a number")
            return None
        name: str = node.value
        number = resolve(name) if node.tag == _PLAIN else None
        if isinstance(number, WrittenInt):
            return int(number)
        if not name or _has_surrogate(name):
            self._problem(place, "a key is empty or no text here: a key is a word or a number")
            return None
        return name

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> object:
        text: str = node.value
        if node.tag not in (_PLAIN, *(_STANDARD + name for name in ("str", "int", "float", "bool", "null"))):
            self._problem(place, f"tag {_tag(node)} is not supported: take it out, or put the value in quotes")
            return None
        if _has_surrogate(text):
            self._problem(place, "half of a surrogate pair is no character: write the character itself")
            return None
        value, from_environment = self._interpolate(text, place)
        if from_environment:
            # A number from the environment is a number, quoted or not. A word stays a word: a password may be `true` or `~`.
            number = resolve(value)
            return number if isinstance(number, WrittenInt | WrittenFloat) else value
        return resolve(value) if node.tag != _STANDARD + "str" and value == text else value

    def _interpolate(self, text: str, place: Place) -> tuple[str, bool]:
        """The text with its variables replaced, and True if any of it came from the environment."""
        from_environment = False

        def replace(match: re.Match[str]) -> str:
            nonlocal from_environment
            dollars, name = match[1][: len(match[1]) // 2], match[2]
            if name is None:
                return f"{dollars}{{"
            if not match[3] or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                self._problem(place, "`${` begins an environment variable: write ${NAME}, or $${ for the text itself")
                return ""
            value = self._environment.get(name)
            if value is None:
                self._problem(
                    place, f"environment variable {name} is not set: set it, or write $${{ for the text itself"
                )
                return ""
            if _has_surrogate(value):
                self._problem(place, f"environment variable {name} is not UTF-8: set it to text")
                return ""
            from_environment = True
            return f"{dollars}{value}"

        return _VARIABLE.sub(replace, text), from_environment


class _TooManyValuesError(Exception):
    """Aliases that stand for aliases make more values than a configuration can need."""


def _is_behind_comma(mapping: yaml.MappingNode, name: yaml.Node, value: yaml.Node) -> bool:
    """True for the end of a value with a comma in it, which within braces becomes a key: ``{voltage_max: 5,5}``."""
    return bool(
        mapping.flow_style
        and isinstance(name, yaml.ScalarNode)
        and isinstance(value, yaml.ScalarNode)
        and not value.value
        and value.start_mark.index == name.end_mark.index
    )


def _comma(before: yaml.Node, behind: yaml.Node, *, is_secret: bool) -> str:
    if is_secret:
        return "a comma ends a value within braces: put the value in quotes"
    if not isinstance(before, yaml.ScalarNode):
        return f"{_short(behind)} stands behind it without a value; give it one, or take it out"
    whole = f"{_short(before)},{_short(behind)}"
    if re.fullmatch(r"[-+]?\d{0,20},\d{1,20}", whole):
        return f"{whole} has a decimal comma: write {whole.replace(',', '.')}"
    return f"a comma ends a value within braces: put '{whole}' in quotes"


def _short(node: yaml.Node) -> str:
    return ascii(node.value[:40])[1:-1]


def _tag(node: yaml.Node) -> str:
    return ascii(node.tag.replace(_STANDARD, "!!"))[1:-1][:60]


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)

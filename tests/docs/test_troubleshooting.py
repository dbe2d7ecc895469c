"""The page on troubles has messages in the program's words, and one for each reason and code that the program has."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from agent.protocol.errors import ErrorCode
from tests.docs.pages import ROOT, text_of

PAGE = text_of("docs/troubleshooting.md")
#: Modules whose every sentence stands on the page.
COVERED = (
    "agent/instruments/reasons.py",
    "agent/client/faults.py",
    "agent/mqtt/faults.py",
    "agent/service/fleet/sentences.py",
)
#: The shortest piece of a message that tells it from others.
SHORTEST = 8
#: A text that a function puts into a variable is a word in a sentence if it has fewer.
WORDS_OF_A_PART = 7
VARIABLE = "…"


def spans(cell: str) -> list[str]:
    """The code spans of a cell, of one or two backticks."""
    return [found[2].strip() for found in re.finditer(r"(?<!`)(`{1,2})(?!`)(.+?)(?<!`)\1(?!`)", cell)]


def rows() -> list[tuple[int, list[str]]]:
    """The code spans of each row's first cell, with the row's line."""
    found = []
    for number, line in enumerate(PAGE.splitlines(), 1):
        if line.startswith("| ") and (shown := spans(line.split("|")[1])):
            found.append((number, shown))
    return found


def pieces(message: str) -> list[str]:
    """What is fixed in a message, where it is long enough to be told from others."""
    parts = (part.lstrip(" ;,.:)").rstrip(" ;,.(") for part in message.split(VARIABLE))
    return [part for part in parts if len(part) >= SHORTEST]


def constants(node: ast.AST) -> Iterator[str]:
    """The texts below a node; of f-strings what stands between the values. Without docstrings."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value
        yield from constants(child)


def sentences(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The sentences, or parts of them, that a module's functions make and that its public constants are.

    The line of each, and its texts.
    """
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        made: list[ast.AST] = []
        if isinstance(node, ast.FunctionDef):
            made = [part for part in ast.walk(node) if isinstance(part, ast.Return | ast.Assign | ast.AnnAssign)]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and is_public(node):
            made = [node]
        for part in made:
            least = 3 if isinstance(part, ast.Return) else WORDS_OF_A_PART
            texts = [text for text in constants(part) if len(text.split()) >= least]
            if texts and isinstance(part, ast.stmt):
                yield part.lineno, texts


def is_public(node: ast.Assign | ast.AnnAssign) -> bool:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return isinstance(target, ast.Name) and not target.id.startswith("_")


ROWS = rows()
CODES = set(get_args(ErrorCode))
#: All texts of each module.
TEXTS = [
    "\0".join(constants(ast.parse(path.read_text(encoding="utf-8")))) for path in sorted((ROOT / "agent").rglob("*.py"))
]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("`a b c d e f`, ``has `x` in it``", ["a b c d e f", "has `x` in it"]),
        ("`one…two`: `three`", ["one…two", "three"]),
        ("no span", []),
    ],
)
def test_spans(message: str, expected: list[str]) -> None:
    assert spans(message) == expected


def test_every_message_is_in_the_program_s_words() -> None:
    wrong = [
        f"docs/troubleshooting.md:{line}: no module of the program says {message!r}"
        for line, shown in ROWS
        for message in shown
        if not any(all(piece in texts for piece in pieces(message)) for texts in TEXTS)
    ]
    assert len(ROWS) > 50
    assert not wrong, "\n".join(wrong)


def test_every_message_can_be_told_from_others() -> None:
    for line, shown in ROWS:
        for message in shown:
            assert message in CODES or pieces(message), f"docs/troubleshooting.md:{line}: {message!r}"


@pytest.mark.parametrize("module", COVERED)
def test_every_sentence_has_an_entry(module: str) -> None:
    """By a piece that stands in no other sentence of the module."""
    shown = {piece for _, messages in ROWS for message in messages for piece in pieces(message)}
    told = [
        (line, texts, {piece for piece in shown if any(piece in text for text in texts)})
        for line, texts in sentences(ROOT / module)
    ]
    times = Counter(piece for _, _, found in told for piece in found)
    missing = [
        f"{module}:{line}: {' … '.join(texts)}"
        for line, texts, found in told
        if all(times[piece] > 1 for piece in found)
    ]
    assert told
    assert not missing, "docs/troubleshooting.md has no entry for\n" + "\n".join(missing)


def test_every_code_has_an_entry() -> None:
    assert {message for _, shown in ROWS for message in shown} >= CODES

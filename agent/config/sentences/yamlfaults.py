"""The messages of the YAML parser in words for people, each with what to do."""

from __future__ import annotations

import re

import yaml

_CONFLICT = re.compile(r"(<{7}|={7}|>{7})( |$)")
_VARIABLE = re.compile(r"\$\{[^}\s]*\}?")
#: A key with a value and no space between: ``name:psu1``; not ``http://…``.
_NO_SPACE = re.compile(r"\s*(?:- )?\s*([A-Za-z_][\w-]*):([^\s/:].*)")
_KEY_AND_VALUE = re.compile(r"\s*(?:- +)*[^\s#'\"][^#]*?:\s+[^\s#]")
_QUOTES = "put the value in quotes"


def explain(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """The line of an error of the YAML parser, and a sentence on it."""
    lines = text.splitlines() or [""]
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    opened = getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    context = str(getattr(error, "context", None) or "")
    line = min(mark.line + 1, len(lines)) if mark is not None else 1
    column = mark.column if mark is not None and mark.line + 1 <= len(lines) else len(lines[line - 1])
    begins = line if opened is None else min(opened.line + 1, len(lines))
    for number, other in enumerate(lines, 1):
        if _CONFLICT.match(other):
            return number, "a merge conflict was left here: keep one of the two versions, and take the marks out"
    if told := _of_spaces(lines[line - 1], column):
        return line, f"not valid YAML: {told}"
    if line > 1 and (told := _of_spaces(lines[line - 2], 0)):
        return line - 1, f"not valid YAML: {told}"
    line, told = _of_place(lines, line, column, begins, problem, context)
    return line, f"not valid YAML: {told}" if told else _in_the_parser_s_words(line, begins, problem, context)


def _of_spaces(shown: str, column: int) -> str | None:
    indentation = shown[: len(shown) - len(shown.lstrip())]
    if "\t" in indentation:
        return "a tab in the indentation; indent with spaces"
    if indentation.strip(" "):
        return "a character in the indentation looks like a space and is none; indent with spaces"
    return "a tab where YAML takes spaces; write spaces" if shown[column : column + 1] == "\t" else None


def _of_place(
    lines: list[str], line: int, column: int, begins: int, problem: str, context: str
) -> tuple[int, str | None]:
    """The line that is to be mended and the sentence on it; None where this knows no better words than the parser's."""
    shown = lines[line - 1]
    before, here = shown[:column], shown[column : column + 1]
    if here == "{" and before.endswith("$"):
        found = _VARIABLE.match(shown, column - 1)
        variable = "${NAME}" if found is None else found[0]
        return line, f"within braces or brackets a variable has to stand in quotes: write '{variable}'"
    if "',' or '" in problem:
        closing = "]" if "']'" in problem else "}"
        opening = "[" if closing == "]" else "{"
        return begins, (
            f"`{opening}` begins something here that no `{closing}` ends, or a comma is missing in it; add that, or put a value "
            "with braces or brackets in quotes"
        )
    if "cannot start any token" in problem:
        return line, f"a value can't begin with {here!a}; {_QUOTES}"
    if "undefined alias" in problem:
        return line, f"a value that begins with `*` stands for another one in YAML; {_QUOTES}"
    if "quoted scalar" in context and "end of stream" in problem:
        return begins, "the quote that begins here is not closed; close it"
    if "escape" in problem:
        return line, "a backslash within double quotes needs a second one; write `\\\\`, or single quotes"
    if "mapping values are not allowed" in problem:
        return _of_second_colon(lines, line, before)
    if "expected ':'" in problem:
        return begins, _without_space(
            lines[begins - 1]
        ) or "this line is no `key: value`; put a `: ` into it, or take it out"
    if "sequence entries are not allowed" in problem:
        return line, f"`- ` begins a list, which takes a line of its own; {_QUOTES} if it is none"
    if "node content" in problem:
        return line, f"{here!a} is not expected here; {_QUOTES}"
    if any(expected in problem for expected in ("'-' indicator", "expected key", "<document start>", "<block end>")):
        if before.strip(" -") and "key" in problem:
            return (
                line,
                "text stands behind what was a whole value already; put all of it in quotes, or close a quote above",
            )
        return line, (
            "the indentation does not fit; lines of one list, or of one mapping, begin in the same column, and lines within them "
            "further to the right"
        )
    return line, None


def _of_second_colon(lines: list[str], line: int, before: str) -> tuple[int, str]:
    if _KEY_AND_VALUE.match(before):
        return line, f"a second `: ` stands in this line; {_QUOTES}, or begin a new line"
    above = next((number for number in range(line - 1, 0, -1) if lines[number - 1].strip()), None)
    if above is not None and (told := _without_space(lines[above - 1])):
        return above, told
    return line, (
        "this line is indented further than the one above it, which has a value already, or the one above lacks its `:`; "
        "indent lines of one mapping alike, and write `key: value`"
    )


def _without_space(shown: str) -> str | None:
    found = _NO_SPACE.fullmatch(shown)
    if found is None:
        return None
    value = "…" if "pass" in found[1] else found[2].strip()[:40]
    return f"a space is missing behind the `:`; write `{found[1]}: {value}`"


def _in_the_parser_s_words(line: int, begins: int, problem: str, context: str) -> str:
    sentence = f"not valid YAML: {problem}"
    if context:
        sentence += f" {context}"
    return sentence if begins == line else f"{sentence} that begins on line {begins}"

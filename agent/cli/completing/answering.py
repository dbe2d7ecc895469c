"""The answer to a shell that asks for completions: it sets `VARIABLE` to ``SHELL_complete``, and runs the program."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from click import Command
from click.shell_completion import CompletionItem, ShellComplete

from agent.cli.completing.line import Line

#: As click calls it, by the name of the program.
VARIABLE = "_PSU_AGENT_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
#: The line up to the cursor and the word that bash calls the current one; and the words as zsh and fish tell them, a line each.
_LINE, _WORD, _WORDS = "_PSU_AGENT_LINE", "_PSU_AGENT_WORD", "_PSU_AGENT_WORDS"


def script(shell: str) -> str:
    """The script by which a shell, one of `SHELLS`, asks."""
    return (files(__package__) / f"psu-agent.{shell}").read_text(encoding="utf-8")


def answer(command: Command, environment: Mapping[str, str]) -> str:
    """The text to be printed: for each completion a line with ``value``, the value and its description, between tabs.

    ``file`` or ``dir`` stand alone: the shell completes it. Nothing if the words make no sense.
    """
    shell, _, asked = environment[VARIABLE].partition("_")
    if shell not in SHELLS:
        return ""
    if asked == "source":
        return script(shell)
    try:
        if shell == "bash":
            lines = _of_bash(command, environment)
        else:
            *before, incomplete = environment[_WORDS].removesuffix("\n" if shell == "fish" else "").split("\n")
            if shell == "fish":  # it ends the last word, too, and leaves the quotation marks in it
                incomplete = Line.parse(incomplete).words[-1]
            lines = _of_words(command, before, incomplete)
    except Exception:  # noqa: BLE001  # nothing may be printed at a prompt, whatever the words are
        return ""
    return "".join(f"{line}\n" for line in lines)


def _of_bash(command: Command, environment: Mapping[str, str]) -> list[str]:
    line = Line.parse(environment[_LINE])
    typed = environment.get(_WORD, line.raw)
    lines = []
    for item in _items(command, line.words[1:]):
        if item.type != "plain":
            lines.append(item.type)
        else:
            # Where a quotation is open bash itself adds the mark, and a space behind it.
            lines.append(f"value\t{line.completed(item.value, typed)}{'' if line.quote else ' '}")
    return [*lines, *(["space"] if line.quote else [])]


def _of_words(command: Command, before: list[str], incomplete: str) -> list[str]:
    option, equals, _ = incomplete.partition("=")
    prefix = f"{option}=" if equals and option.startswith("--") else ""
    return [
        item.type if item.type != "plain" else f"value\t{prefix}{item.value}\t{_one_line(item.help)}".rstrip("\t")
        for item in _items(command, [*before, incomplete])
    ]


def _items(command: Command, words: list[str]) -> list[CompletionItem]:
    """The completions of the last word; those whose values hold a tab or a line's end are left out."""
    *before, incomplete = words
    context: dict[str, Any] = {}
    found = ShellComplete(command, context, "psu-agent", VARIABLE).get_completions(before, incomplete)
    return [item for item in found if str(item.value).isprintable()]


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())

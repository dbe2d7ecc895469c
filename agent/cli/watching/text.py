"""Lines of styled text, measured in the cells that they take on a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.cells import cell_len

from agent.cli.terminal import clean

# ECMA-48, 8.3.117: parameters of SGR. The sixteen colours that every terminal has.
PLAIN = ""
BOLD = "1"
DIM = "2"
RED = "31"
GREEN = "32"
YELLOW = "33"
BOLD_RED = "1;31"
BOLD_GREEN = "1;32"
BOLD_YELLOW = "1;33"
ON_RED = "1;37;41"
ON_YELLOW = "1;30;43"
CYAN = "36"
REVERSED = "7"


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text in one style. Its text can't act on the terminal: make it with `span`."""

    text: str
    style: str = PLAIN


Line = tuple[Span, ...]


def span(text: str, style: str = PLAIN) -> Span:
    """A piece of text, without the control characters that it may have from outside."""
    return Span(clean(text), style)


def plain(line: Line) -> str:
    """A line without its styles."""
    return "".join(piece.text for piece in line)


def cut(text: str, width: int, ellipsis: str) -> str:
    """The text in so many cells at most; what is left out is marked."""
    if cell_len(text) <= width:
        return text
    if width < 1:
        return ""
    kept, cells = [], 0
    room = width - cell_len(ellipsis)
    for character in text:
        cells += cell_len(character)
        if cells > room:
            break
        kept.append(character)
    return "".join(kept) + (ellipsis if room >= 0 else "")


def pad(text: str, width: int, *, right: bool = False) -> str:
    """The text in so many cells at least."""
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks


def fit(line: Iterable[Span], width: int, ellipsis: str) -> Line:
    """The line in so many cells at most."""
    found, room = [], width
    for piece in line:
        cells = cell_len(piece.text)
        if cells > room:
            found.append(Span(cut(piece.text, room, ellipsis), piece.style))
            break
        found.append(piece)
        room -= cells
    return tuple(found)


def reverse(line: Line, width: int) -> Line:
    """The line as the selected one, over the whole width."""
    blanks = width - sum(cell_len(piece.text) for piece in line)
    # A patchwork of colours is hard to read: of them only those that stand for trouble stay.
    loud = (ON_RED, ON_YELLOW)
    pieces = [piece if piece.style in loud else Span(piece.text, REVERSED) for piece in line]
    return (*pieces, Span(" " * blanks, REVERSED))


def wrap(text: str, width: int, most: int, ellipsis: str) -> list[str]:
    """The text on as many lines as it takes, at most so many; broken at blanks where that is possible."""
    text = clean(text)
    if cell_len(text) <= width:
        return [text]
    lines = [""]
    for word in text.split(" "):
        rest = word
        while cell_len(rest) > width and (part := cut(rest, width, "")):  # a word that is longer than a line
            lines += [part, ""]
            rest = rest[len(part) :]
        joined = f"{lines[-1]} {rest}" if lines[-1] else rest
        if cell_len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(rest)
    lines = [line for line in lines if line]
    if len(lines) > most:
        lines = [*lines[: most - 1], cut(" ".join(lines[most - 1 :]), width, ellipsis)]
    return lines or [""]

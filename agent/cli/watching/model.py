"""The choices of the user on the screen: the selected row, how far it is scrolled, the filter, and a question. Pure.

Keys go in; offs that the user has confirmed come out. There is no key that turns anything on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agent.cli.terminal import clean
from agent.cli.watching.rows import Row, UnitView, filtered, fitting, rows_of
from agent.client.request import Target

#: Characters of a filter.
_LONGEST_FILTER = 60

Tone = Literal["plain", "good", "bad"]


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the user at the screen's end, and how it is shown."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class View:
    """The part of the rows that is shown. ``above`` and ``below``: those that are not."""

    rows: tuple[Row, ...]
    above: tuple[Row, ...]
    below: tuple[Row, ...]
    selected: tuple[str, str] | None


class Model:
    """The choices of the user, and the rows that follow from them."""

    def __init__(self) -> None:
        self.filter = ""
        self.is_typing = False
        self.shows_help = False
        self.is_unfolded = False
        self.question: tuple[Target, str] | None = None
        self.notes: tuple[Note, ...] = ()
        self.has_ended = False
        self._selected: tuple[str, str] | None = None
        self._rows: list[Row] = []
        self._index = 0
        self._offset = 0
        self._page = 1
        self._follow = False  # the next drawing shows the selected row

    def view(self, units: Sequence[UnitView], room: int) -> View:
        """The rows to show.

        The selection stays with its row wherever that moves to. The part that is shown does not: what comes first is seen.

        :param room: lines; two of them may be taken to tell what is above and below
        """
        chosen = filtered(units, self.filter)
        self._rows = rows_of(chosen, 0) if self.is_unfolded else fitting(chosen, room)
        self._keep_selection()
        total = len(self._rows)
        if total <= room:
            self._offset, shown = 0, total
        else:
            self._offset, shown = self._part(max(1, room), total)
        self._page = max(1, shown)
        first = self._offset
        return View(
            tuple(self._rows[first : first + shown]),
            tuple(self._rows[:first]),
            tuple(self._rows[first + shown :]),
            self._selected,
        )

    def _keep_selection(self) -> None:
        places = {row.key: i for i, row in enumerate(self._rows)}
        if self._selected in places:
            self._index = places[self._selected]
        else:
            self._index = max(0, min(self._index, len(self._rows) - 1))
        self._selected = self._rows[self._index].key if self._rows else None

    def _part(self, room: int, total: int) -> tuple[int, int]:
        """The first row that is shown, and how many."""
        offset = self._offset
        if self._follow:
            if self._index < offset:
                offset = self._index if self._index > 1 else 0
            while self._index >= offset + _shown(offset, room, total):
                offset += 1
        self._follow = False
        offset = max(0, min(offset, total - 1))
        while offset > 0 and offset - 1 + _shown(offset - 1, room, total) >= total:
            offset -= 1
        return offset, _shown(offset, room, total)

    def press(self, key: str) -> Target | None:
        """Take one key. Returns what is to be turned off, if the user has just confirmed that."""
        if self.question is not None:
            return self._answer(key)
        if self.is_typing:
            self._type(key)
            return None
        if self.shows_help:
            self.shows_help = False
            if key not in ("o", "O", "A"):
                return None
        self.notes = ()
        match key:
            case "q":
                self.has_ended = True
            case "?" | "h":
                self.shows_help = True
            case "/":
                self.is_typing = True
            case "o":
                self._ask_off()
            case "O" | "A":
                self._ask_all()
            case "f":
                self.is_unfolded = not self.is_unfolded
            case "enter" if self._rows and self._rows[self._index].kind == "off":
                self.is_unfolded = True
            case "escape":
                self.filter = ""
            case _:
                self._move(key)
        return None

    def _move(self, key: str) -> None:
        step = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -self._page, "pagedown": self._page}.get(key)
        last = len(self._rows) - 1
        if key in ("home", "g"):
            step = -last
        elif key in ("end", "G"):
            step = last
        if step is None or last < 0:
            return
        at_top = self._index == 0
        self._index = max(0, min(self._index + step, last))
        self._selected = self._rows[self._index].key
        self._follow = True
        if self._index == 0 and (at_top or key in ("home", "g")):
            self._offset = 0

    def _type(self, key: str) -> None:
        if key == "enter":
            self.is_typing = False
        elif key == "escape":
            self.filter, self.is_typing = "", False
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif key == "kill":
            self.filter = ""
        elif len(key) == 1 and len(self.filter) < _LONGEST_FILTER:
            self.filter += key
        elif key in ("up", "down", "pageup", "pagedown"):
            self.is_typing = False
            self._move(key)

    def _ask_off(self) -> None:
        row = self._rows[self._index] if self._rows else None
        if row is None:
            self.notes = (Note("no channel is selected; O turns every output off", "bad"),)
        elif row.target is None and row.kind == "off":
            self.notes = (Note("these are off; Enter shows them one by one, O turns every output off"),)
        elif row.target is None:
            self.notes = (Note("nothing was sent: its agent is offline; O sends an off to everything else", "bad"),)
        else:
            self._follow = True
            if row.kind == "channel" or (row.kind == "refusal" and row.channels):
                name = f" {row.state.name}" if row.state is not None and row.state.name != row.name else ""
                self.question = row.target, clean(f"Turn off {row.target}{name}?")
            else:
                self.question = row.target, clean(f"Turn off every output of {row.target}?")

    def _ask_all(self) -> None:
        self.question = Target("all"), "Turn off EVERY output of EVERY agent?"

    def _answer(self, key: str) -> Target | None:
        assert self.question is not None
        target = self.question[0]
        if key in ("y", "Y"):
            self.question = None
            return target
        if key in ("n", "N", "escape", "q"):
            self.question = None
            self.notes = (Note("nothing was sent"),)
        elif key in ("O", "A"):
            self._ask_all()
        return None


def _shown(offset: int, room: int, total: int) -> int:
    """The rows that fit, where a line tells what is above, and one what is below."""
    shown = room - (1 if offset > 0 else 0)
    if offset + shown < total:
        shown -= 1
    return max(1, shown)

"""The whole screen as lines, for any size of terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from agent.cli.terminal import clean
from agent.cli.watching.agent_warnings import AgentWarning
from agent.cli.watching.columns import Trends, columns_for
from agent.cli.watching.glyphs import Glyphs
from agent.cli.watching.model import Model, View
from agent.cli.watching.rows import Level, Row, rows_of
from agent.cli.watching.snapshot import Counts, Snapshot
from agent.cli.watching.text import (
    BOLD,
    BOLD_GREEN,
    BOLD_RED,
    BOLD_YELLOW,
    DIM,
    GREEN,
    ON_RED,
    PLAIN,
    RED,
    REVERSED,
    YELLOW,
    Line,
    Span,
    fit,
    plain,
    reverse,
    span,
    wrap,
)
from agent.protocol.words import counted

#: Rows that instructions, warnings and details leave to the channels at least.
_LEAST_ROWS = 6
#: Lines of the screen from which on there are warnings and details of the selected row.
_ROOMY = 16
_HELP = (
    "Up Down j k    select a channel",
    "PgUp PgDn Home End    scroll",
    "o    turn the selected one off (asks)",
    "O A  turn EVERYTHING off (asks)",
    "/    filter: a name, trouble, on, off, cc",
    "Esc  ends the filter",
    "f    show what is folded one by one",
    "q    ends        Any key closes this.",
)
_LEVELS = {
    Level.TRIPPED: "tripped",
    Level.AWAY: "offline or old",
    Level.LIMITED: "limited",
    Level.REFUSED: "refused",
    Level.UNKNOWN: "unknown",
    Level.ON: "on",
    Level.OFF: "off",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that a screen shows. ``clock``: the time as text; ``has_keys``: the user can type.

    ``lost``: why the broker is gone, None while it is there. ``empty``: the sentence where there is nothing to show.
    """

    title: str
    clock: str
    snapshot: Snapshot
    trends: Trends
    glyphs: Glyphs
    has_keys: bool = True
    lost: str | None = None
    empty: str = "nothing was published yet"
    instructions: Sequence[str] = ()
    warnings: Sequence[AgentWarning] = ()


def draw(scene: Scene, model: Model, width: int, height: int) -> list[Line]:
    """The lines of the screen, at most `height` of at most `width` cells."""
    top = _top(scene, width)
    bottom = _status(scene, model, width)
    left = height - len(top) - len(bottom) - 1  # the line of headings
    instructions = [line for text in scene.instructions for line in wrap(text, width, 3, "")]
    if left - len(instructions) >= _LEAST_ROWS:
        top += [(span(line),) for line in instructions]
        left -= len(instructions)
    if model.filter and not model.is_typing:
        bottom.insert(0, _filter(model, scene))
        left -= 1
    if height >= _ROOMY:
        warnings = [_warning(warning) for warning in scene.warnings[-2:]]
        if left - len(warnings) - 1 >= _LEAST_ROWS:
            bottom = [*warnings, *bottom]
            left -= len(warnings)
    detailed = height >= _ROOMY and scene.has_keys and bool(scene.snapshot.units)
    view = model.view(scene.snapshot.units, max(1, left - detailed))
    selected = next((row for row in view.rows if row.key == view.selected), None)
    if detailed:
        bottom.insert(0, _detail(selected))
    lines = top
    lines += [(span(line),) for line in _HELP] if model.shows_help else _rows(scene, view, width, model)
    blanks = height - len(lines) - len(bottom)
    if detailed and blanks > 2 and selected is not None and selected.text is not None:
        # The whole sentence, which says at its end what to do.
        bottom[:1] = [(span(line, DIM),) for line in wrap(selected.text, width, 3, scene.glyphs.ellipsis)]
    lines += [()] * (height - len(lines) - len(bottom))
    lines = [*lines[: max(0, height - len(bottom))], *bottom][:height]
    return [fit(line, width, scene.glyphs.ellipsis) for line in lines]


def _top(scene: Scene, width: int) -> list[Line]:
    counts = scene.snapshot.counts
    right = f"{counts.power:.1f} W{'' if counts.power_is_whole else ' + ?'}  {scene.clock}"
    title = fit((span(scene.title, BOLD),), width - len(right) - 2, scene.glyphs.ellipsis)
    blanks = " " * max(2, width - cell_len(plain(title)) - len(right))
    lines: list[Line] = [(*title, Span(blanks), Span(right, BOLD))]
    if scene.lost is not None:
        lines.append((span(f"the broker is gone ({scene.lost}); connecting again", ON_RED),))
    lines.append(_counts(counts, width))
    return lines


def _counts(counts: Counts, width: int) -> Line:
    """The counts of channels and units; the least important are left out where there is no room."""
    whole = counts.units_online == counts.units
    parts = [  # what is left out first has the highest number
        (3, f"{counts.units_online} of {counted(counts.units, 'unit')} online", GREEN if whole else RED),
        (4, f"{counts.on} on", BOLD_GREEN if counts.on else DIM),
        (5, f"{counts.off} off", DIM),
        (2, f"{counts.limited} CC", BOLD_YELLOW) if counts.limited else None,
        (0, f"{counts.tripped} tripped", ON_RED) if counts.tripped else None,
        (1, f"{counts.offline} offline", BOLD_RED) if counts.offline else None,
        (1, f"{counts.old} old", BOLD_RED) if counts.old else None,
        (2, f"{counts.unknown} unknown", BOLD_YELLOW) if counts.unknown else None,
        (2, f"{counts.refused} refused", YELLOW) if counts.refused else None,
    ]
    shown = [part for part in parts if part is not None]
    if _length(shown) > width:
        shown[0] = (*shown[0][:1], f"{counts.units_online}/{counted(counts.units, 'unit')}", *shown[0][2:])
    while len(shown) > 1 and _length(shown) > width:
        shown.remove(max(shown, key=lambda part: part[0]))
    line: list[Span] = []
    for _, text, style in shown:
        if line:
            line.append(Span("  "))
        line.append(Span(text, style))
    return tuple(line)


def _length(parts: Sequence[tuple[int, str, str]]) -> int:
    return sum(len(text) + 2 for _, text, _ in parts) - 2


def _rows(scene: Scene, view: View, width: int, model: Model) -> list[Line]:
    rows = (*view.above, *view.rows, *view.below)
    if not rows:
        text = "no channel fits the filter" if model.filter and scene.snapshot.units else scene.empty
        return [(span(text, DIM),)]
    columns = columns_for(rows, width, scene.glyphs)
    lines = [columns.heading()]
    up, down = scene.glyphs.up, scene.glyphs.down
    if view.above:
        lines.append(_more(view.above, f"{up} PgUp: " if scene.has_keys else f"{up} ", width))
    for row in view.rows:
        line = fit(columns.row(row, scene.trends), width, scene.glyphs.ellipsis)
        lines.append(reverse(line, width) if scene.has_keys and row.key == view.selected else line)
    if view.below:
        lines.append(_more(view.below, f"{down} PgDn: " if scene.has_keys else f"{down} taller window: ", width))
    return lines


def _more(rows: Sequence[Row], begin: str, width: int) -> Line:
    """The line that tells of the rows that are not shown; the trouble among them first, and never cut off."""
    counts = channels_by_level(rows)
    style = BOLD_RED if any(level < Level.ON for level in counts) else DIM
    text = begin + ", ".join(f"{number} {_LEVELS[level]}" for level, number in sorted(counts.items()))
    if len(text) > width:
        trouble = sum(number for level, number in counts.items() if level < Level.ON)
        well = sum(counts.values()) - trouble
        text = begin + ", ".join([*([f"{trouble} in trouble"] if trouble else []), *([f"{well} more"] if well else [])])
    return (span(text, style),)


def channels_by_level(rows: Iterable[Row]) -> dict[Level, int]:
    """How many channels of each level these rows tell of; a row that tells of none, such as a unit without any, counts as one."""
    found: dict[Level, set[object]] = {}
    for row in rows:
        units = [("unit", name) for name in row.bare_units]
        found.setdefault(row.level, set()).update([*row.channels, *units] or [row.key])
    return {level: len(places) for level, places in found.items()}


def _detail(row: Row | None) -> Line:
    """More on the selected row than it has room for itself."""
    if row is None:
        return ()
    if row.state is None:
        return (span(row.text or "", DIM),)
    state = row.state
    parts = [f"{row.name} {state.name}", state.model or "model not known", f"agent {state.agent}"]
    if state.voltage_protection is not None:
        parts.append(f"OVP {state.voltage_protection:g} V")
    if state.current_protection is not None:
        parts.append(f"OCP {'on' if state.current_protection else 'off'}")
    if row.reserved:
        parts.append(f"reserved for {row.reserved}")
    if row.age is not None:
        parts.insert(1, "no state has come for longer than it should")
    return (span("  ".join(parts), DIM),)


def _warning(warning: AgentWarning) -> Line:
    return (span(warning.text, RED if warning.is_error else YELLOW),)


def _filter(model: Model, scene: Scene) -> Line:
    every = channels_by_level(rows_of(scene.snapshot.units, 0))
    trouble = sum(number for level, number in every.items() if level < Level.ON)
    return (
        span(f"filter: {model.filter}", BOLD),
        Span(f"  (Esc ends it; {trouble} in trouble in all)", BOLD_RED if trouble else DIM),
    )


def _status(scene: Scene, model: Model, width: int) -> list[Line]:
    """The last lines: a question, what became of an off, the filter that is being typed, or the keys."""
    ellipsis = scene.glyphs.ellipsis
    if model.question is not None:
        lines = wrap(f"{model.question[1]}  y/n", width, 3, ellipsis)
        return [(span(line, ON_RED),) for line in lines]
    if model.is_typing:
        return [(span(f"/{model.filter}", BOLD), Span(" ", REVERSED), Span("  Enter keeps it, Esc ends it", DIM))]
    if model.notes:
        styles = {"plain": PLAIN, "good": BOLD_GREEN, "bad": ON_RED}
        found = [
            (span(line, styles[note.tone]),) for note in model.notes for line in wrap(note.text, width, 3, ellipsis)
        ]
        return list(found[:4])
    if not scene.has_keys:
        return [(Span("Ctrl-C ends", DIM),)]
    keys = f"{scene.glyphs.arrows} select  o off  O all off  / filter  ? help  q quit"
    if len(keys) > width:
        keys = "o off  O all off  ? help  q quit"
    return [(Span(clean(keys), DIM),)]

"""States as people read them: a table on a terminal, a line elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from agent.client.fleet import Fleet
from agent.protocol.messages import ChannelState, LeaseState, Response

_MODE_STYLES = {
    "CV": "green",
    "CC": "bold black on yellow",
    "CP": "bold black on yellow",
    "UR": "bold white on red",
    "OFF": "dim",
}


def clean(text: str) -> str:
    """A text from outside, such as a name, without control characters that would act on the terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)


class _Console(Console):
    """Leaves it to `agent.cli.main` to end a command whose reader has gone: rich itself ends it as a failure."""

    def on_broken_pipe(self) -> None:
        """Called while the error is handled."""
        raise BrokenPipeError


def with_lease(state: ChannelState, lease: LeaseState | None) -> dict[str, Any]:
    """A channel's state as `get` and `watch` give it as JSON: with ``lease``, null if nobody has reserved it."""
    return {**json.loads(state.to_json()), "lease": None if lease is None else json.loads(lease.to_json())}


def conflict_of(fleet: Fleet, unit: str) -> dict[str, Any]:
    """The ``conflict`` that `get` adds to the JSON of a unit's channels; nothing where no other agent claims the unit."""
    known = fleet.units.get(unit)
    info = None if known is None else known.info
    if info is None or info.conflict is None:
        return {}
    return {"conflict": {**json.loads(info.conflict.to_json()), "text": info.reason or fleet.conflict(unit)}}


def json_text(message: Response | dict[str, Any]) -> str:
    """A message as JSON, all in ASCII where stdout can't take every character: a `?` in its place would be another value."""
    if isinstance(message, dict):
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    else:
        text = message.to_json().decode()
    if text.isascii() or (sys.stdout.encoding or "").lower().replace("-", "") == "utf8":
        return text
    return json.dumps(json.loads(text))


def console() -> Console:
    """Standard output. With colour on a terminal only, and not there either if NO_COLOR is set."""
    return _Console(highlight=False, markup=False, emoji=False, soft_wrap=False)


def channel_table(states: Sequence[ChannelState], *, several_agents: bool = False) -> Table:
    """A table with a row for each channel. It fits 80 columns."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", collapse_padding=True)
    # Where there is no room the names are cut.
    table.add_column("CHANNEL", max_width=24)
    table.add_column("NAME", max_width=16)
    table.add_column("OUT", no_wrap=True)
    for heading in ("V", "A", "W", "V set", "A set"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=8 if heading in "VA" else 7)
    table.add_column("MODE", no_wrap=True)
    if several_agents:
        table.add_column("AGENT", max_width=16)
    for state in states:
        cells: list[RenderableType] = [
            _name(f"{state.psu}/{state.index}"),
            _name(state.name),
            _switch(state),
            _number(state.voltage, 4, state),
            _number(state.current, 4, state),
            _number(state.power, 3, state),
            _number(state.voltage_limit, 3, state),
            _number(state.current_limit, 3, state),
            _mode(state),
        ]
        if several_agents:
            cells.append(_name(state.agent))
        table.add_row(*cells)
    return table


def _name(text: str) -> Text:
    return Text(clean(text), no_wrap=True, overflow="ellipsis")


def _switch(state: ChannelState) -> Text:
    if not state.online or state.state is None:
        return Text("-", style="dim")
    return Text("ON", style="bold green") if state.state else Text("off", style="dim")


def _number(value: float | None, digits: int, state: ChannelState) -> Text:
    if value is None:
        return Text("-", style="dim")
    # Adding 0.0 makes 0.0 of -0.0: the noise of an output that is off is no "-0.0000".
    text = f"{round(value, digits) + 0.0:.{digits}f}"
    return Text(text, style="dim" if state.state is False else "")


def _mode(state: ChannelState) -> Text:
    if not state.online:
        return Text("offline", style="bold red")
    if state.tripped is not None:
        return Text(f"{state.tripped} trip", style="bold white on red")
    return Text(state.mode or "-", style=_MODE_STYLES.get(state.mode or "", ""))


def lease_notes(fleet: Fleet, states: Sequence[ChannelState]) -> list[Text]:
    """A line for each lease on these channels or their units: who holds it, and until when."""
    found: dict[str, LeaseState] = {}
    for state in states:
        lease = fleet.lease_of(state.psu, state.index)
        if lease is not None:
            found[state.psu if lease.index is None else f"{state.psu}/{lease.index}"] = lease
    return [_note(f"{place} is {lease_text(lease)}", "yellow") for place, lease in found.items()]


def notes(fleet: Fleet, units: Iterable[str]) -> list[Text]:
    """A line for each of the units that is offline, or that another agent claims, too, with the reason."""
    lines = []
    for name in units:
        if (reason := fleet.why_absent(name)) is not None:
            lines.append(_note(f"{name} is offline: {reason}", "red"))
        elif (reason := fleet.conflict(name)) is not None:
            lines.append(_note(f"{name}: {reason}", "yellow"))
    return lines


def _note(text: str, style: str) -> Text:
    return Text(clean(text), style=style, no_wrap=True, overflow="ellipsis")


def state_line(state: ChannelState, *, with_time: bool = True, lease: LeaseState | None = None) -> str:
    """One channel on one line, for logs and pipes; with the holder of the lease on it, if there is one."""
    reserved = "" if lease is None else f", {lease_text(lease)}"
    begin = f"{state.time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} " if with_time else ""
    begin += clean(f"{state.psu}/{state.index} {state.name}:")
    if not state.online:
        return f"{begin} offline{reserved}"
    mode = f"{state.tripped} trip" if state.tripped else state.mode or "-"
    switch = "-" if state.state is None else "ON" if state.state else "off"
    return (
        f"{begin} {switch} {_value(state.voltage, 'V')} {_value(state.current, 'A')} "
        f"{_value(state.power, 'W')} {mode} (set {_value(state.voltage_limit, 'V')} {_value(state.current_limit, 'A')}){reserved}"
    )


def _value(value: float | None, unit: str) -> str:
    return f"- {unit}" if value is None else f"{round(value, 4) + 0.0:.4f} {unit}"


def lease_text(lease: LeaseState) -> str:
    """The holder of a lease and its end, in local time, for people."""
    if lease.holder is None:
        return "free"
    until = ""
    if lease.until is not None:
        try:
            until = f" until {lease.until.astimezone():%Y-%m-%d %H:%M:%S}"
        except (
            OverflowError,
            ValueError,
            OSError,
        ):  # another program's message, with a year that this host can't convert
            until = f" until {lease.until.isoformat()}"
    return f"reserved for {clean(lease.holder)}{until}"


def response_lines(response: Response, asked: str | None = None) -> list[str]:
    """A response to a command for people, a line for each channel.

    :param asked: what the command was sent to, for a refusal that names no channel, as the unit has none of that name
    """
    where = clean(response.psu if response.index is None else f"{response.psu}/{response.index}")
    also = [f"{clean(response.psu)}/{index} went off too" for index in response.also_off]
    if not response.ok:
        error = response.error
        why = "" if error is None else f": {clean(error.message)} ({error.code})"
        named = clean(asked) if asked is not None and response.index is None else where
        return [f"{named} refused{why}", *also]
    result = response.result
    if isinstance(result, LeaseState):
        return [f"{where}: {lease_text(result)}"]
    states = result if isinstance(result, list) else [] if result is None else [result]
    return [*([state_line(state, with_time=False) for state in states] or [f"{where}: done"]), *also]

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console, RenderableType

from agent.cli import terminal
from agent.protocol.messages import ChannelState, Response, ResponseError
from tests.client.test_fleet import state


def render(view: RenderableType, *, columns: int = 80, color: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=columns, force_terminal=color, color_system="standard" if color else None
    )
    console.print(view)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def channel(**changes: Any) -> ChannelState:
    return ChannelState.model_validate_json(state(current=0.1203, power=0.60147, current_limit=1.0, **changes))


def test_the_table_s_columns() -> None:
    text = render(terminal.channel_table([channel(), channel(index=2, state=False, mode="OFF", voltage=-0.00001)]))
    assert [line.split() for line in text.splitlines()] == [
        ["CHANNEL", "NAME", "OUT", "V", "A", "W", "V", "set", "A", "set", "MODE"],
        ["psu1/1", "CH1", "ON", "4.9998", "0.1203", "0.601", "5.000", "1.000", "CV"],
        ["psu1/2", "CH2", "off", "0.0000", "0.1203", "0.601", "5.000", "1.000", "OFF"],
    ]


@pytest.mark.parametrize("columns", [80, 120, 60])
def test_the_table_fits_with_long_names(columns: int) -> None:
    long = channel(psu="x" * 64, name="N" * 64, agent="a" * 64, voltage=-25.7501, mode="UR", tripped="OCP")
    text = render(terminal.channel_table([long, channel()], several_agents=True), columns=columns)
    assert max(map(len, text.splitlines())) <= columns
    if columns >= 80:
        assert "-25.7501" in text
        assert "OCP trip" in text


def test_trips_and_cc_stand_out_by_colour_only_where_there_is_any() -> None:
    states = [channel(), channel(index=2, mode="CC"), channel(index=3, mode="OFF", tripped="OVP", state=False)]
    plain = render(terminal.channel_table(states))
    assert "\x1b" not in plain
    assert "OVP trip" in plain
    colored = render(terminal.channel_table(states), color=True)
    styles = {line.split("psu1/")[1][0]: line for line in colored.splitlines() if "psu1/" in line}
    assert "43m" in styles["2"]  # a yellow ground
    assert "41m" in styles["3"]  # a red one
    assert "43m" not in styles["1"]
    assert "41m" not in styles["1"]


def test_what_is_offline() -> None:
    text = render(
        terminal.channel_table([channel(online=False, state=None, voltage=None, voltage_limit=None, mode=None)])
    )
    assert text.splitlines()[1].split()[:4] == ["psu1/1", "CH1", "-", "-"]
    assert text.splitlines()[1].rstrip().endswith("offline")


def test_names_from_outside_can_t_write_on_the_terminal() -> None:
    evil = channel(name="\x1b[2J\x07[red]x", psu="p\x9bq")
    text = render(terminal.channel_table([evil]))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\x9b" not in text
    assert "[red]x" in text
    assert terminal.state_line(evil).isprintable()
    response = Response.model_validate_json(
        json.dumps(
            {"id": "1", "ok": False, "time": "2026-11-23T09:15:02.417Z", "psu": "a\x1b", "index": 1}
            | {"error": {"code": "offline", "message": "\x1b]0;x\x07"}}
        )
    )
    assert all(line.isprintable() for line in terminal.response_lines(response))


def test_a_line() -> None:
    assert terminal.state_line(channel()) == (
        "2026-11-23T09:15:02Z psu1/1 CH1: ON 4.9998 V 0.1203 A 0.6015 W CV (set 5.0000 V 1.0000 A)"
    )
    assert terminal.state_line(channel(tripped="OVP", state=False), with_time=False).startswith("psu1/1 CH1: off ")
    assert "OVP trip" in terminal.state_line(channel(tripped="OVP", state=False))
    assert terminal.state_line(channel(online=False), with_time=False) == "psu1/1 CH1: offline"


def test_what_a_unit_cant_tell_is_shown_as_unknown() -> None:
    line = terminal.state_line(channel(state=None, mode=None, voltage=None), with_time=False)
    assert line.startswith("psu1/1 CH1: - - V ")
    assert " - (set " in line


def test_a_response_names_what_went_off_too() -> None:
    done = Response(
        id="a", ok=True, time=datetime.now(UTC), psu="psu1", index=1, result=channel(state=False), also_off=[2, 3]
    )
    assert terminal.response_lines(done)[1:] == ["psu1/2 went off too", "psu1/3 went off too"]
    failed = done.model_copy(update={"ok": False, "error": ResponseError(code="out_of_range", message="too much")})
    assert terminal.response_lines(failed) == [
        "psu1/1 refused: too much (out_of_range)",
        "psu1/2 went off too",
        "psu1/3 went off too",
    ]

"""Draws the pictures of the documentation from what users see: `make pictures`, with NAMES="watch fleet" for some. A terminal
takes a minute, the dashboards take eight minutes together.

Each command runs on a terminal, with a real broker, the real agent and simulated supplies; what a user would see there is the
picture. For another one add a function to `PICTURES` that returns its screen. The dashboards are drawn by tests/pictures.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyte
import yaml
from rich.color import ColorParseError
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agent.cli.simulate import changing_loads, set_front_panel  # noqa: E402
from agent.local.broker import LocalBroker  # noqa: E402
from agent.local.ports import free_port  # noqa: E402
from agent.simulator import E36300, NetworkInstrument, Reactor, loads, make_supply  # noqa: E402
from tests.cli.watching.terminal import Terminal  # noqa: E402
from tests.commandline import Running  # noqa: E402
from tests.pictures import documentation as dashboards  # noqa: E402

FOLDER = ROOT / "docs" / "images"
#: rich's, without the font from a server elsewhere: a picture in a page asks nobody for anything.
_FORM = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: DejaVu Sans Mono, Menlo, Consolas, monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
        font-variant-east-asian: full-width;
    }}
    .{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""
#: pyte's names of colours that rich has others for.
_COLOURS = {"brown": "yellow", "brightbrown": "bright_yellow", "brightblack": "bright_black", "default": None}


def svg(screen: pyte.Screen, title: str, name: str) -> str:
    """The screen as a picture, without the empty lines at its end."""
    lines = [Text.assemble(*_pieces(screen, y)) for y in range(screen.lines)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    console = Console(record=True, width=screen.columns, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    for line in lines:
        console.print(line, no_wrap=True, crop=True)
    return console.export_svg(title=title, code_format=_FORM, unique_id=name)


def _pieces(screen: pyte.Screen, y: int) -> list[tuple[str, Style]]:
    cells = [screen.buffer[y][x] for x in range(screen.columns)]
    alike = itertools.groupby(cells, key=lambda cell: cell._replace(data=""))
    looks = [("".join(cell.data for cell in group), _style(look)) for look, group in alike]
    # No piece begins with blanks: some programs that draw SVG leave them out.
    return [
        (part, style) for text, style in looks for part in re.split(r"(?<=[^ ])(?= {2})|(?<= )(?=[^ ])", text) if part
    ]


def _style(cell: Any) -> Style:
    colours: list[Any] = []
    for name in (cell.fg, cell.bg):
        wanted = _COLOURS.get(name, name)
        with contextlib.suppress(ColorParseError):
            colours.append(None if wanted is None else Style(color=wanted).color)
            continue
        colours.append(None)
    return Style(color=colours[0], bgcolor=colours[1], bold=cell.bold, reverse=cell.reverse)


def watch(folder: Path) -> Terminal:
    """A lab of twelve supplies: one has tripped, one is not there, one is in constant current, some are off."""
    names = {1: "LOGIC", 2: "MOTOR", 3: "LAMP"}
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(LocalBroker(folder))
        reactor = Reactor()
        reactor.start()
        stack.callback(reactor.stop)
        units, panels = [], {}
        for number in range(1, 13):
            kinds = dict(changing_loads("E36313A"))
            if number == 5:
                kinds[2] = loads.Resistor(12.0)
            supply = make_supply("E36313A", serial=f"MY610048{number:02}", loads=kinds, seed=number, log_size=10)
            assert isinstance(supply, E36300)
            set_front_panel(supply)
            panels[f"psu{number}"] = supply.panel
            for channel in {3: (2, 3), 8: (1, 2, 3), 10: (3,)}.get(number, ()):
                supply.panel.press_output(channel, on=False)
            uri = f"TCPIP::127.0.0.1::{free_port()}::SOCKET"
            if number != 9:
                simulator = stack.enter_context(NetworkInstrument(supply, socket_port=0, reactor=reactor))
                uri = simulator.resource
            channels = {channel: {"name": name} for channel, name in names.items()}
            units.append({"name": f"psu{number}", "model": "E36313A", "uri": uri, "channels": channels})
        file = folder / "psu-agent.yaml"
        mqtt = {"host": broker.host, "port": broker.port}
        settings = {"agent": "bench3", "poll_interval": 0.5, "state_dir": str(folder / "state"), "mqtt": mqtt}
        file.write_text(yaml.safe_dump({"settings": settings, "units": units}))
        url = f"mqtt://localhost:{broker.port}"
        terminal = stack.enter_context(Terminal("watch", "--broker", url, columns=90, lines=26))
        terminal.wait_for("nothing was published")
        stack.enter_context(Running("run", str(file)))
        terminal.wait_for("11 of 12 units online")
        _read(terminal, 45)
        panels["psu11"].knob_protection(2, 9.0)  # below the 12 V that it is set to; the agent would refuse that
        terminal.wait_for("OVP trip")
        _read(terminal, 18)
        terminal.type("j")
        _read(terminal, 1)
        return terminal


def demo(folder: Path) -> Terminal:
    """The demonstration, half a minute after its start."""
    del folder
    with Terminal("demo", columns=80, lines=24) as terminal:
        terminal.wait_for("1 of 1 unit online")
        _read(terminal, 40)
        terminal.type("\x03")
        return terminal


def scan(folder: Path) -> Terminal:
    """Three simulated supplies that announce themselves on this host."""
    with contextlib.ExitStack() as stack:
        for model in ("E36313A", "DP832", "SPD3303X"):
            stack.enter_context(Running("simulate", "--model", model, "--port", str(free_port()), cwd=folder)).wait_for(
                "uri:"
            )
        return _to_its_end(stack.enter_context(Terminal("scan", "--interface", "lo", columns=90, lines=50)))


def check(folder: Path) -> Terminal:
    """A lab with a supply that is another one than configured, and one that is switched off."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(LocalBroker(folder))
        units = []
        for number, model in enumerate(("E36313A", "E36312A", "E36313A"), 1):
            supply = make_supply(model, serial=f"MY610048{number:02}", seed=number, log_size=10)
            simulator = stack.enter_context(NetworkInstrument(supply, socket_port=0))
            entry: dict[str, Any] = {"name": f"psu{number}", "model": "E36313A", "uri": simulator.resource}
            if number == 1:
                entry["channels"] = {1: {"name": "VDD", "voltage_max": 5.5, "current_max": 1.0}}
            units.append(entry)
        units[2]["uri"] = f"TCPIP::127.0.0.1::{free_port()}::SOCKET"
        mqtt = {"host": broker.host, "port": broker.port}
        settings = {"agent": "bench3", "state_dir": str(folder / "state"), "mqtt": mqtt}
        (folder / "lab.yaml").write_text(yaml.safe_dump({"settings": settings, "units": units}))
        return _to_its_end(
            stack.enter_context(
                # Its folder is made here.
                Terminal("check", "--connect", "lab.yaml", columns=100, lines=60, shell=f'cd "{folder}"; exec "$@"')  # noqa: S604
            )
        )


def log(folder: Path) -> Terminal:
    """Some seconds of the demonstration, recorded."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        stack.enter_context(Running("demo", "--port", str(port))).wait_for("psu1/3")
        output = str(folder / "run.csv")
        return _to_its_end(
            stack.enter_context(
                Terminal("log", "-o", output, "--for", "20s", "--broker", f"localhost:{port}", columns=90, lines=40)
            )
        )


def _to_its_end(terminal: Terminal) -> Terminal:
    terminal.end()
    return terminal


def _read(terminal: Terminal, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        terminal.read()


#: The pictures: how the screen is made, and the title above it.
PICTURES: dict[str, tuple[Callable[[Path], Terminal], str]] = {
    "watch": (watch, "psu-agent watch"),
    "demo": (demo, "make demo"),
    "scan": (scan, "psu-agent scan"),
    "check": (check, "psu-agent check --connect"),
    "log": (log, "psu-agent log -o run.csv --for 20s"),
}


def main(names: list[str]) -> int:
    """Draw the pictures of these names, or all; 2 if there is none of a name, or something is missing here."""
    there = [*PICTURES, *dashboards.PICTURES]
    unknown = [name for name in names if name not in there]
    if unknown:
        print(f"there is no picture {unknown[0]!r}; there are {', '.join(there)}", file=sys.stderr)
        return 2
    for name in names or there:
        if name not in PICTURES:
            continue
        make, title = PICTURES[name]
        with tempfile.TemporaryDirectory(prefix="psu-agent-picture-") as folder:
            screen = make(Path(folder)).screen
        path = FOLDER / f"{name}.svg"
        path.write_text(svg(screen, title, name), encoding="utf-8")
        print(path.relative_to(ROOT))
    try:
        dashboards.draw([name for name in names or there if name not in PICTURES])
    except (dashboards.NotThere, dashboards.Failed) as error:
        print(f"the dashboards could not be drawn: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

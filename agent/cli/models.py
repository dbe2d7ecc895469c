"""`psu-agent models`: the supported supplies, for people, for programs, and for the documentation."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from agent.cli import terminal
from agent.instruments.catalogue import ChannelModel, Model, Series, all_models
from agent.instruments.text.polling import Batching, PollPlan
from agent.protocol.quantities import SETTINGS
from agent.protocol.words import counted

#: Short words for settings, in the order in which they are shown.
_SHORT = {
    "state": "on/off",
    "voltage_limit": "V",
    "current_limit": "A",
    "voltage_protection": "OVP",
    "voltage_protection_state": "OVP on/off",
    "current_protection": "OCP on/off",
    "current_protection_level": "OCP",
    "clear_protection": "clear",
}
_HEADINGS = ("series", "models", "outputs", "links", "messages a poll", "can set", "tried")
#: Characters of a line that is not shown on a terminal.
_ON_A_PIPE = 1000
_LINKS = {"socket": "LAN", "vxi11": "VXI-11", "hislip": "HiSLIP"}


@dataclass(frozen=True, slots=True)
class Facts:
    """A model as the tables show it, but for its name."""

    maker: str
    series: str
    outputs: str
    links: str
    messages: str
    settings: str
    tried: str

    @classmethod
    def of(cls, model: Model) -> Facts:
        """The facts of a model."""
        return cls(
            model.manufacturer,
            model.series.name,
            outputs(model),
            ", ".join(links(model.series)),
            messages(model),
            ", ".join(word for setting, word in _SHORT.items() if setting in settable(model)),
            "; ".join(tried(model)) or "not yet",
        )

    def cells(self, names: Iterable[str]) -> tuple[str, ...]:
        """The row of the models with these names, by `_HEADINGS`."""
        return (self.series, ", ".join(names), self.outputs, self.links, self.messages, self.settings, self.tried)


def outputs(model: Model) -> str:
    """The ratings of the outputs: ``2 × 30 V 3 A, 5 V 3 A``; those of equal ratings together."""
    if not model.channels:
        return "by its modules"
    found = Counter(_rating(channel) for channel in model.channels)
    return ", ".join(rating if count == 1 else f"{count} × {rating}" for rating, count in found.items())


def _rating(channel: ChannelModel) -> str:
    volts = channel.voltage_rating or (max(map(abs, channel.voltage)) if channel.voltage else None)
    amps = channel.current_rating or (channel.current.max if channel.current else None)
    sign = "−" if channel.voltage is not None and channel.voltage.max <= 0 else ""
    told = [*([f"{sign}{volts:g} V"] if volts else []), *([f"{amps:g} A"] if amps else [])]
    if channel.power is not None:
        told.append(f"{channel.power:g} W")
    return " ".join(told) or "on/off only"


def links(series: Series) -> list[str]:
    """The links of a series, with the port of its raw socket and the speed of its serial line."""
    link = series.link
    told = []
    if link.lan is not None:
        for protocol in link.lan.protocols:
            port = f" {link.lan.port}" if protocol == "socket" and link.lan.port else ""
            told.append(_LINKS[protocol] + port)
    if link.usb is not None:
        told.append("USB" if link.usb == "tmc" else "USB serial")
    if link.serial is not None:
        told.append(f"serial {link.serial.baud}")
    if link.gpib:
        told.append("GPIB")
    if series.bus is not None or series.modbus is not None:
        told.append("several on one line")
    return told


def message_counts(model: Model) -> list[int]:
    """The messages of a poll: the fewest, then the most where it is found out at the unit; none where its modules decide."""
    series = model.series
    if series.modbus is not None:
        return [len(series.modbus.reads)]
    if not model.channels:
        return []
    batchings = {"yes": (Batching.COMPOUND,), "no": (Batching.LISTS,), "probe": (Batching.COMPOUND, Batching.LISTS)}
    return sorted({PollPlan(model, batching).count for batching in batchings[series.link.compound]})


def messages(model: Model) -> str:
    """The same for people: ``1``, or ``1 or 11``."""
    return " or ".join(map(str, message_counts(model))) or "by its modules"


def settable(model: Model) -> frozenset[str]:
    """What can be set on any of its outputs."""
    if model.outputs:
        return frozenset().union(*(output.settings for output in model.outputs))
    return frozenset(SETTINGS.intersection(model.series.settings))


def tried(model: Model) -> list[str]:
    """The hardware on which a model was tried: firmware and date of each report."""
    return [f"firmware {one.firmware}, {one.date}" for one in model.series.tried if one.model == model.name]


def groups(models: Iterable[Model]) -> Iterator[tuple[Facts, list[str]]]:
    """Models that differ in nothing but their names, together."""
    for facts, same in groupby(((Facts.of(model), model.name) for model in models), key=lambda pair: pair[0]):
        yield facts, [name for _, name in same]


def as_data(model: Model) -> dict[str, Any]:
    """A model for JSON."""
    return {
        "manufacturer": model.manufacturer,
        "model": model.name,
        "also": list(model.entry.aka),
        "series": model.series.name,
        "sources": list(model.series.sources),
        "notes": list(model.series.notes),
        "tested": tried(model),
        "links": links(model.series),
        "messages_a_poll": message_counts(model),
        "settings": sorted(settable(model)),
        "channels": [
            {
                "index": channel.index,
                "voltage_rating": channel.voltage_rating,
                "current_rating": channel.current_rating,
                "voltage_range": channel.voltage,
                "current_range": channel.current,
                "voltage_protection_range": channel.voltage_protection,
                "current_protection_level_range": channel.current_protection_level,
                "power_max": channel.power,
            }
            for channel in model.channels
        ],
    }


def print_models(*, as_json: bool, as_markdown: bool, as_count: bool) -> None:
    """The supported models: a table, JSON, or Markdown for the documentation; or their count by maker."""
    found = all_models()
    if as_json:
        print(json.dumps([as_data(model) for model in found], indent=2))
    elif as_count:
        print(count_markdown(found), end="")
    elif as_markdown:
        print(markdown(found), end="")
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
        for heading in ("maker", *_HEADINGS):
            table.add_column(heading.upper(), overflow="fold")
        for facts, names in groups(found):
            table.add_row(*(Text(text) for text in (facts.maker, *facts.cells(names))))
        console = terminal.console()
        if not sys.stdout.isatty():
            console.width = _ON_A_PIPE  # a line for each, which other programs can search
        console.print(table)
        print(f"{counted(len(found), 'model')} of {len({model.series.name for model in found})} series")


def markdown(models: Iterable[Model]) -> str:
    """The whole table for `docs/supplies.md`, by maker."""
    found = sorted(models, key=lambda model: model.manufacturer.casefold())
    lines: list[str] = []
    for maker, own in groupby(groups(found), key=lambda pair: pair[0].maker):
        lines += ["", f"### {maker}", "", f"| {' | '.join(_HEADINGS)} |", f"|{'---|' * len(_HEADINGS)}"]
        for facts, names in own:
            lines.append(f"| {' | '.join(facts.cells(names))} |")
    return "\n".join(lines[1:]) + "\n"


def count_markdown(models: Iterable[Model]) -> str:
    """The count by maker for the README."""
    found = list(models)
    lines = ["| maker | models | series |", "|---|---|---|"]
    for maker in sorted({model.manufacturer for model in found}, key=str.casefold):
        own = [model for model in found if model.manufacturer == maker]
        lines.append(f"| {maker} | {len(own)} | {', '.join(dict.fromkeys(model.series.name for model in own))} |")
    count = sum(any(one.model == model.name for one in model.series.tried) for model in found)
    on_hardware = f"{count} of them tried on hardware" if count else "none of them tried on hardware yet"
    total = f"{counted(len(found), 'model')} of {len({model.series.name for model in found})} series, {on_hardware}."
    return f"{total}\n\n" + "\n".join(lines) + "\n"

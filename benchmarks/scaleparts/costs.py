"""Rates, bytes and costs of fleets of 10, 1,000 and 100,000 supplies, computed from what was measured.

Prints a table in Markdown; with ``--write`` it goes into docs/fleet.md. The measurements: `benchmarks.scaleparts.sizes` and
`benchmarks.scale`, each with ``--write``, which leave measured.json and scale.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

SIZES, SCALE = (Path(__file__).with_name(name) for name in ("measured.json", "scale.json"))
PAGE = ROOT / "docs" / "fleet.md"
SUPPLIES = (10, 1_000, 100_000)
_SECONDS_A_DAY, _DAYS_A_YEAR = 86_400, 365


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Everything in the table that is not measured."""

    channels: int = 3  # a supply
    interval: float = 1.0  # s between two polls; every sample is published (no `publish: changes_only`)
    units_an_agent: int = 100
    busy: float = 0.5  # the part of a core that a broker or a Telegraf is to use at most, for peaks and for catching up
    raw_days: int = 30  # samples as they come
    mean_seconds: int = 60  # afterwards one point for so many seconds, of as many bytes as a sample
    mean_days: int = 730


@dataclass(frozen=True, slots=True)
class Fleet:
    """The figures of one fleet. Bytes are in bytes, rates a second."""

    supplies: int
    samples: float
    traffic: float  # bytes a second into the broker; as many go out to Telegraf
    agents: int
    agent_cores: float  # of all agents together
    agent_memory: float  # of each agent
    brokers: int
    broker_cores: float
    telegrafs: int
    telegraf_cores: float
    store_cores: float
    series: int
    raw_year: float  # bytes, if nothing is thrown away
    kept: float  # bytes, by the two retentions


def fleet(supplies: int, sizes: dict[str, Any], scale: list[dict[str, Any]], assumed: Assumptions) -> Fleet:
    """Compute one fleet."""
    samples = supplies * assumed.channels / assumed.interval
    each = min(supplies, assumed.units_an_agent)
    agent = min(scale, key=lambda row: abs(math.log(row["units"] / each)))
    point = sizes["store_bytes"]
    a_day = samples * _SECONDS_A_DAY * point
    means = supplies * assumed.channels / assumed.mean_seconds * _SECONDS_A_DAY * point
    broker, telegraf = samples * sizes["broker_seconds"], samples * sizes["telegraf_seconds"]
    return Fleet(
        supplies=supplies,
        samples=samples,
        traffic=samples * sizes["packet_bytes"],
        agents=math.ceil(supplies / assumed.units_an_agent),
        agent_cores=supplies / assumed.interval * agent["processor"],
        agent_memory=agent["memory"],
        brokers=math.ceil(broker / assumed.busy),
        broker_cores=broker,
        telegrafs=math.ceil(telegraf / assumed.busy),
        telegraf_cores=telegraf,
        store_cores=samples * sizes["store_seconds"],
        series=supplies * assumed.channels,
        raw_year=a_day * _DAYS_A_YEAR,
        kept=a_day * assumed.raw_days + means * assumed.mean_days,
    )


def shown(value: float) -> str:
    """Bytes in the unit that suits."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} TB" if value < 1000 else f"{value:,.0f} TB"


def _cores(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


_ROWS: list[tuple[str, Callable[[Fleet], str]]] = [
    ("samples (messages) a second", lambda f: f"{f.samples:,.0f}"),
    ("into the broker, and out to Telegraf", lambda f: f"{shown(f.traffic)}/s each"),
    ("agents, each with", lambda f: f"{f.agents:,} × {shown(f.agent_memory)}"),
    ("processor of all agents, cores", lambda f: _cores(f.agent_cores)),
    ("Mosquitto (one thread each), cores of all", lambda f: f"{f.brokers:,} ({_cores(f.broker_cores)})"),
    ("Telegraf, cores of all", lambda f: f"{f.telegrafs:,} ({_cores(f.telegraf_cores)})"),
    ("InfluxDB's writes, cores of all", lambda f: _cores(f.store_cores)),
    ("series of `psu_channel`", lambda f: f"{f.series:,}"),
    ("store: a year of every sample", lambda f: shown(f.raw_year)),
]


def text(sizes: dict[str, Any], scale: list[dict[str, Any]], assumed: Assumptions) -> str:
    """The table, and what it is computed from."""
    fleets = [fleet(count, sizes, scale, assumed) for count in SUPPLIES]
    kept = f"store: {assumed.raw_days} days of every sample, {assumed.mean_days // 365} years of one a minute"
    rows = [*_ROWS, (kept, lambda f: shown(f.kept))]
    lines = [
        "| | " + " | ".join(f"{one.supplies:,} supplies" for one in fleets) + " |",
        "|---|" + "---|" * len(fleets),
        *(f"| {what} | " + " | ".join(cell(one) for one in fleets) + " |" for what, cell in rows),
    ]
    micro = {part: f"{sizes[f'{part}_seconds'] * 1e6:.0f} µs" for part in ("broker", "telegraf", "store")}
    agents = ", ".join(f"{row['processor'] * 1e3:.2f} ms with {row['units']:,}" for row in scale)
    measured = (
        f"Measured on {sizes['date']} ({sizes['machine']}; {sizes['versions']}), with {sizes['samples']:,} samples of an "
        f"agent at {sizes['samples_a_second']:,} a second: a state is {sizes['payload_bytes']} bytes, {sizes['packet_bytes']} as "
        f"an MQTT packet with its topic; a sample costs Mosquitto {micro['broker']} of processor time (in and out to one "
        f"reader), Telegraf {micro['telegraf']}, InfluxDB {micro['store']}, and {sizes['store_bytes']} bytes of its files. A "
        f"poll costs the agent, by its units: {agents}."
    )
    assumptions = (
        f"Assumed: {assumed.channels} channels a supply, one poll in {assumed.interval:g} s, every sample published; "
        f"{assumed.units_an_agent} supplies an agent; a broker and a Telegraf use {assumed.busy:.0%} of a core at most, so that "
        f"they catch up after an hour away; a mean a minute takes as many bytes as a sample. Not in it: backups, replicas, "
        "dashboards' queries, TLS, and brokers' queues for a reader that is away (some 800 bytes a sample)."
    )
    return "\n".join([*lines, "", measured, "", assumptions])


def computed() -> str:
    """The text from the measurements that are kept here."""
    sizes, scale = (json.loads(path.read_text(encoding="utf-8")) for path in (SIZES, SCALE))
    return text(sizes, scale, Assumptions())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put it into docs/fleet.md")
    found = computed()
    print(found)
    if parser.parse_args().write:
        part = re.compile(r"(?<=<!-- costs -->\n).*?(?=<!-- /costs -->)", re.DOTALL)
        PAGE.write_text(part.sub(lambda _: f"\n{found}\n\n", PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

"""The generated parts of docs/brokers.md: between two marks each, made of the results of the last runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.brokers.getting import CACHE
from tests.brokers.kinds import KINDS
from tests.brokers.measured import Result
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "brokers.md"
#: What the last runs found, one object a broker by its name.
RESULTS = CACHE / "results.json"
_KIB = 1024


def _yes(value: object) -> str:
    if value is None:
        return "–"
    return "yes" if value is True else "no" if value is False else str(value)


def _size(found: dict[str, Any]) -> str:
    told, passed, failed = found["told_largest_packet"], found["largest_passed"], found["smallest_failed"]
    if failed is not None:
        return f"{passed // _KIB} KiB pass, {failed // _KIB} KiB {_HOW[found['failed_how']]}"
    told_text = f"; it tells {told / _KIB / _KIB:.0f} MiB" if told else ""
    return f"{passed // _KIB} KiB and more{told_text}"


_HOW = {"closed": "close the connection", "refused": "are refused", "dropped": "are dropped"}


def _filters(found: dict[str, Any]) -> str:
    taken, failed = found["filters_taken"], found["filters_failed"]
    return f"{taken} and more" if failed is None else f"{taken}, not {failed}"


def _expiry(found: dict[str, Any]) -> str:
    passed, obeyed = found["expiry_passed_on"], found["expiry_obeyed"]
    if passed is None:
        return "–"
    return {
        (True, True): "yes",
        (True, False): "passed on, retained ones stay",
        (False, True): "obeyed, not passed on",
    }.get((passed, obeyed), f"passed on: {_yes(passed)}, obeyed: {_yes(obeyed)}")


Column = tuple[str, Callable[[Result], str]]

#: What a broker can do, as `psu-agent check --connect` measures it.
ABILITIES: tuple[Column, ...] = (
    ("Broker", lambda r: f"{r.title} {r.version}"),
    ("MQTT 5", lambda r: _yes(r.findings["mqtt_5"])),
    ("MQTT 3.1.1", lambda r: _yes(r.findings["mqtt_3_1_1"])),
    ("QoS 1", lambda r: _yes(r.findings["qos_1"])),
    ("Retained", lambda r: _yes(r.findings["retained"])),
    ("Will", lambda r: _yes(r.findings["will"])),
    ("Retain as published", lambda r: _yes(r.findings["retain_as_published"])),
    ("Message expiry", lambda r: _expiry(r.findings)),
    ("Response Topic", lambda r: _yes(r.findings["response_topic"])),
    ("Largest packet", lambda r: _size(r.findings)),
    ("Receive Maximum", lambda r: _yes(r.findings["receive_maximum"])),
    ("Filters a SUBSCRIBE", lambda r: _filters(r.findings)),
    ("Had from", lambda r: r.source),
    ("Date", lambda r: r.date),
)


def _went(name: str) -> Callable[[Result], str]:
    return lambda r: "no" if isinstance(r.trial[name], str) else _yes(r.trial[name])


def _restart(result: Result) -> str:
    samples, kept = _went("samples")(result), _went("kept")(result)
    lost = {"yes": "none", "–": "–"}.get(samples, "some")
    return f"{lost} lost; {'kept' if kept == 'yes' else 'forgotten'}"


#: What the agent does on it.
TRIALS: tuple[Column, ...] = (
    ("Broker", lambda r: f"{r.title} {r.version}"),
    ("Spoken", lambda r: f"MQTT {r.trial['protocol']}"),
    ("States arrive", _went("states")),
    (
        "Command and response",
        lambda r: f"{r.trial['milliseconds']:g} ms" if r.trial["milliseconds"] else _went("command")(r),
    ),
    ("Off", _went("off")),
    ("Retained command refused", _went("old_command")),
    ("A new client sees all units", _went("newcomer")),
    ("Broker killed and started: samples; what was retained", _restart),
    ("Agent killed: offline is told", _went("will")),
    ("Access control", lambda r: r.access_control),
    ("A denied command is", lambda r: r.trial["denied"] or "–"),
    ("and not carried out", _went("denial_holds")),
)


def table(columns: Sequence[Column], results: Sequence[Result]) -> str:
    """A Markdown table with a row for each broker."""
    rows = [[title for title, _ in columns], ["---"] * len(columns)]
    rows += [[cell(result).replace("|", "\\|") for _, cell in columns] for result in results]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def shortcomings(results: Sequence[Result]) -> str:
    """What each broker lacks, and what that costs, in the sentences of `psu-agent check --connect` and of the trial."""
    lines = []
    for result in results:
        told = [*result.missing, *(f"{fault[:1].lower()}{fault[1:]}" for fault in result.faults)]
        lines.append(f"- **{result.title}**: {'; '.join(told) or 'nothing is missing'}.")
    return "\n".join(lines)


PARTS: dict[str, Callable[[Sequence[Result]], str]] = {
    "abilities": lambda results: table(ABILITIES, results),
    "agent": lambda results: table(TRIALS, results),
    "shortcomings": shortcomings,
}


def marks(part: str) -> tuple[str, str]:
    """The lines between which a generated part stands."""
    return f"<!-- make brokers, {part}: begin -->\n", f"<!-- make brokers, {part}: end -->\n"


def written(text: str, part: str, content: str) -> str:
    """The page with one part as it has to be."""
    begin, end = marks(part)
    before, _, rest = text.partition(begin)
    assert rest, f"{PAGE.name} has no line {begin.strip()}"
    return f"{before}{begin}\n{content}\n\n{end}{rest.partition(end)[2]}"


def load() -> dict[str, Result]:
    """The results of the last runs, by the broker's name."""
    if not RESULTS.exists():
        return {}
    return {name: Result(**fields) for name, fields in json.loads(RESULTS.read_text()).items()}


def save(results: dict[str, Result]) -> None:
    """Keep the results, and write the page."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({name: asdict(result) for name, result in results.items()}, indent=1))
    write(PAGE, results)


def write(page: Path, results: dict[str, Result]) -> None:
    """Write the generated parts that are made of results."""
    text = page.read_text(encoding="utf-8")
    shown = [results[kind.name] for kind in KINDS if kind.name in results]
    for part, make in PARTS.items():
        text = written(text, part, make(shown))
    page.write_text(text, encoding="utf-8")

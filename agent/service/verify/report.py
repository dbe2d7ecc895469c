"""The report of a verification: JSON, and a page of text, made for an issue. It does not tell whose supply it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from agent import __version__
from agent.instruments.catalogue import Series
from agent.instruments.recording import Exchanged
from agent.service.verify.bench import Limits
from agent.service.verify.run import Result, shown_identity

#: The texts that stand in a report for a serial number and for an address.
SERIAL, ADDRESS = "SERIAL", "ADDRESS"
#: Characters of the shortest serial number that is told from a number that an answer may hold anyway.
_SHORTEST = 4


def hider(serial: str, uri: str) -> Callable[[str], str]:
    """A function that takes the serial number and the address out of a text, in whatever part of it they stand."""
    hidden: list[tuple[re.Pattern[str], str]] = []
    host = re.search(r"^TCPIP\d*::([^:,]+)", uri, re.IGNORECASE)
    for secret, stands in ((uri, ADDRESS), (host[1] if host else "", ADDRESS), (serial.strip(), SERIAL)):
        if len(secret) >= _SHORTEST:
            hidden.append((re.compile(re.escape(secret), re.IGNORECASE), stands))
        elif secret.strip("0"):  # a short one: only as a whole field of an answer
            hidden.append(
                (re.compile(rf"(?<=,)(\s*){re.escape(secret)}(?=\s*(,|$))", re.IGNORECASE), rf"\g<1>{stands}")
            )

    def hide(text: str) -> str:
        for pattern, stands in hidden:
            text = pattern.sub(stands, text)
        return text

    return hide


def link_kind(uri: str) -> str:
    """The kind of a link, with its port but without the address: ``TCPIP SOCKET 5025``."""
    parts = uri.split("::")
    kind = re.sub(r"[/\d].*", "", parts[0].upper())
    end = parts[-1].upper()
    if end == "SOCKET" and len(parts) >= 3:
        return f"{kind} SOCKET {parts[-2]}"
    name = re.sub(r"[\d,].*", "", parts[2]) if kind == "TCPIP" and len(parts) >= 4 else ""
    return " ".join(filter(None, (kind, name, end if end in ("INSTR", "RAW") else "")))


def as_data(
    result: Result,
    limits: Limits,
    series: Series | None,
    record: list[Exchanged],
    uri: str,
    *,
    moment: datetime | None = None,
) -> dict[str, Any]:
    """The report as plain data for JSON."""
    profile = result.profile
    identity = profile.identity
    hide = hider(identity.serial if identity else "", uri)
    moment = moment or datetime.now(UTC)
    data = {
        "report": "psu-agent verify",
        "version": __version__,
        "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "series": None if series is None else series.name,
        "model": profile.model,
        "identity": None
        if identity is None
        else {"manufacturer": identity.manufacturer, "model": identity.model, "firmware": identity.firmware},
        "link": link_kind(uri),
        "limits": {"voltage": limits.voltage, "current": limits.current},
        "verdict": "failed" if result.exit_code else "ok",
        "ended_early": result.problem,
        "left": {"output": result.ending.output, "text": result.ending.sentences},
        "tried": None
        if identity is None or result.exit_code
        else {
            "model": profile.model,
            "firmware": identity.firmware,
            "date": moment.strftime("%Y-%m-%d"),
            "report": "where this report can be read",
        },
        "checks": [
            {
                "name": check.name,
                "channel": check.channel,
                "claim": check.claim,
                "verdict": check.verdict,
                "text": check.text,
                **({"values": check.values} if check.values else {}),
                "lines": [check.first, check.last],
            }
            for check in result.findings.checks
        ],
        "transcript": [
            {
                "sent": one.sent,
                "answered": one.answers if len(one.answers) > 1 else one.answer,
                "ms": round(one.seconds * 1000, 2),
                **({"problem": one.problem} if one.problem else {}),
            }
            for one in record
        ],
    }
    hidden: dict[str, Any] = _hidden(data, hide)
    return hidden


def _hidden(value: Any, hide: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, dict):
        return {name: _hidden(item, hide) for name, item in value.items()}
    return [_hidden(item, hide) for item in value] if isinstance(value, list | tuple) else value


def as_text(data: dict[str, Any], result: Result) -> str:
    """The report as a page of text, from its data."""
    counts = {
        verdict: sum(check["verdict"] == verdict for check in data["checks"]) for verdict in ("ok", "failed", "skipped")
    }
    identity = data["identity"]
    shown = shown_identity(result.profile.identity) if identity else "unknown"
    lines = [
        f"psu-agent {data['version']} verify, {data['time']}",
        f"{data['series']}: {shown}, over {data['link']}",
        f"within {data['limits']['voltage']:g} V and {data['limits']['current']:g} A, with nothing connected",
        f"{counts['ok']} claims hold, {counts['failed']} failed, {counts['skipped']} not tried",
        *([f"ended early: {data['ended_early']}"] if data["ended_early"] else []),
        *(f"at the end: {text}" for text in data["left"]["text"]),
        *_tried_line(data["tried"]),
        "",
    ]
    for check in data["checks"]:
        where = "" if check["channel"] is None else f", output {check['channel']}"
        lines += [f"{check['verdict']:7} {check['name']}{where}: {check['claim']}", f"        {check['text']}"]
    lines += ["", "transcript (ms, sent, answered)"]
    for one in data["transcript"]:
        answered = one["answered"]
        tail = (
            ""
            if answered is None
            else f"  →  {_shown(answered if isinstance(answered, str) else ' | '.join(answered))}"
        )
        problem = f"  ({one['problem']})" if "problem" in one else ""
        lines.append(f"{one['ms']:9.2f}  {_shown(one['sent'])}{tail}{problem}")
    return "\n".join(lines) + "\n"


def _tried_line(tried: dict[str, str] | None) -> list[str]:
    """The line for the series file; none where a claim has failed."""
    if tried is None:
        return []
    shown = yaml.safe_dump([tried], default_flow_style=True, sort_keys=False, width=1000, allow_unicode=True).strip()
    return [f"for the series file: tried: {shown}"]


def _shown(text: str) -> str:
    return ascii(text)[1:-1]


def write(folder: Path, data: dict[str, Any], text: str) -> tuple[Path, Path]:
    """Write both into a folder, which is made where it is not there; their paths.

    :raises OSError: they can't be written
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = re.sub(r"[^A-Za-z0-9.-]+", "_", str(data["model"] or "supply"))
    stem = f"psu-agent-verify-{model}-{data['time'].replace(':', '').replace('-', '')}"
    paths = folder / f"{stem}.json", folder / f"{stem}.txt"
    paths[0].write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    paths[1].write_text(text, encoding="utf-8")
    return paths

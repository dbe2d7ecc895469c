"""Fleets for the screen: single ones by hand, and any by hypothesis."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from agent.cli.watching.glyphs import ASCII, UNICODE
from agent.cli.watching.layout import Scene, draw
from agent.cli.watching.model import Model
from agent.cli.watching.rows import Level
from agent.cli.watching.seen import Seen
from agent.cli.watching.snapshot import Refusals, Snapshot, snapshot
from agent.cli.watching.text import plain
from agent.client.fleet import Fleet
from agent.protocol.messages import Response
from agent.protocol.topics import Topics
from tests.client.test_fleet import TIME, agent_info, info, state

#: What a channel can be, and what its state has for it.
CONDITIONS: dict[str, dict[str, Any]] = {
    "on": {"current": 0.1, "power": 0.5},
    "off": {"state": False, "mode": "OFF", "voltage": 0.0},
    "tripped": {"state": False, "mode": "OFF", "tripped": "OVP"},
    "limited": {"mode": "CC", "voltage": 3.1, "current": 1.0},
    "cc": {"mode": "CC", "voltage": 4.99, "current": 1.0},
    "unregulated": {"mode": "UR", "voltage": 1.0},
    "unknown": {"state": None, "mode": None},
    "old": {},
    "refused": {},
}
LEVELS = {
    "on": Level.ON,
    "off": Level.OFF,
    "tripped": Level.TRIPPED,
    "limited": Level.LIMITED,
    "cc": Level.ON,
    "unregulated": Level.LIMITED,
    "unknown": Level.UNKNOWN,
    "old": Level.AWAY,
    "refused": Level.ON,
}
NOW = 1000.0


class Bench:
    """A fleet as its messages make it, at a time of its own."""

    def __init__(self) -> None:
        self.fleet = Fleet(Topics("psu"))
        self.seen = Seen()
        self.refusals = Refusals()
        self.lost: str | None = None

    def tell(self, topic: str, payload: bytes) -> None:
        self.fleet.update(f"psu/{topic}", payload)

    def agent(self, name: str, *units: str, status: bytes = b"online") -> None:
        self.tell(f"agents/{name}/status", status)
        self.tell(f"agents/{name}/info", agent_info(name, *units))

    def channel(self, unit: str, index: int, condition: str = "on", *, agent: str = "bench", **changes: Any) -> None:
        payload = state(unit, index, **{"agent": agent, "voltage_limit": 5.0, **CONDITIONS[condition], **changes})
        self.tell(f"{unit}/{index}/state", payload)
        seen = self.fleet.units[unit].states[index]
        self.seen.take(seen, NOW - (100 if condition == "old" else 0.1), retained=False)
        if condition == "refused":
            self.refuse(unit, index)

    def refuse(self, unit: str, index: int | None) -> None:
        error = {"code": "limit_exceeded", "message": "voltage_limit 9 V is above 5.5 V"}
        told = {"id": "1", "ok": False, "time": TIME, "psu": unit, "index": index, "error": error}
        self.refusals.take(Response.model_validate_json(json.dumps(told)), NOW - 1)

    def snapshot(self, now: float = NOW) -> Snapshot:
        return snapshot(self.fleet, self.seen, self.refusals, now, lost=self.lost)

    def scene(self, now: float = NOW, **changes: Any) -> Scene:
        values: dict[str, Any] = {
            "title": "psu-agent  mqtt://localhost:1883",
            "clock": "12:34:56",
            "snapshot": self.snapshot(now),
            "trends": lambda channel, cells: self.seen.trend(channel, now, cells, 5.0),
            "glyphs": UNICODE,
            "lost": self.lost,
        }
        return Scene(**values | changes)

    def screen(self, model: Model | None = None, width: int = 80, height: int = 24, **changes: Any) -> list[str]:
        return [plain(line) for line in draw(self.scene(**changes), model or Model(), width, height)]


def bench(**units: str) -> Bench:
    """A fleet of one agent: of each unit the conditions of its channels, or ``offline``."""
    found = Bench()
    found.agent("bench", *units)
    for unit, conditions in units.items():
        is_away = conditions == "offline"
        found.tell(f"{unit}/status", b"offline" if is_away else b"online")
        found.tell(f"{unit}/info", info(unit, online=not is_away, reason="No route to host" if is_away else None))
        for index, condition in enumerate(["on", "on"] if is_away else conditions.split(), start=1):
            found.channel(unit, index, condition)
    return found


@st.composite
def benches(draw_: st.DrawFn, names: st.SearchStrategy[str] | None = None) -> Bench:
    """Any fleet of up to forty units, on up to three agents which may be offline."""
    found = Bench()
    agents = draw_(st.lists(st.sampled_from(["bench1", "bench2", "rack"]), min_size=1, max_size=3, unique=True))
    for agent in agents:
        found.agent(agent, status=draw_(st.sampled_from([b"online", b"online", b"online", b"offline"])))
    for i in range(draw_(st.integers(0, 40))):
        unit, agent = f"u{i}", draw_(st.sampled_from(agents))
        status = draw_(st.sampled_from([b"online"] * 5 + [b"offline", None]))
        if status is not None:
            found.tell(f"{unit}/status", status)
        online = status == b"online"
        conflict = {"agent": "x", "instance": "i", "host": "h", "unit": unit, "why": "name"}
        conflict_or_none = conflict if draw_(st.integers(0, 9)) == 0 else None
        reason = None if online else "No route to host"
        found.tell(f"{unit}/info", info(unit, agent=agent, online=online, reason=reason, conflict=conflict_or_none))
        for index, condition in enumerate(draw_(st.lists(st.sampled_from(sorted(CONDITIONS)), max_size=4)), start=1):
            name = "CH" if names is None else draw_(names)
            found.channel(unit, index, condition, agent=agent, name=name)
    found.lost = draw_(st.sampled_from([None, None, None, "unspecified error"]))
    return found


scenery = st.fixed_dictionaries(
    {
        "glyphs": st.sampled_from([UNICODE, ASCII]),
        "has_keys": st.booleans(),
        "instructions": st.sampled_from([(), ("Try:", "  mosquitto_sub -v -t 'psu/#'", "Ctrl-C ends")]),
    }
)

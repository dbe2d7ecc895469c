"""A lab's points, up to :data:`tests.stack.grafana.NOW`, written as Telegraf writes them: one of each thing that may be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.stack.grafana import NOW
from tests.stack.lines import line, seldom
from tests.stack.publisher import milliseconds

OFF: dict[str, Any] = {"state": False, "mode": "OFF", "voltage": 0.0, "current": 0.0, "power": 0.0}
UNKNOWN: dict[str, Any] = dict.fromkeys(
    ("state", "voltage", "current", "power", "voltage_limit", "current_limit", "mode", "voltage_protection")
)

Lines = Iterator[str]


def point(measurement: str, ago: float, tags: dict[str, str], **fields: Any) -> str:
    """A line of line protocol; ``ago``: s before :data:`NOW`."""
    return f"{line(measurement, tags, fields)} {milliseconds(NOW) - round(ago * 1000)}"


def sample(place: str, ago: float, name: str = "", **changed: Any) -> str:
    """Of the channel ``agent/unit/channel``, on and in CV at 5 V."""
    agent, psu, channel = place.split("/")
    tags = {"agent": agent, "psu": psu, "channel": channel, "name": name or f"CH{channel}", "model": "E36313A"}
    fields = {
        "seq": 100_000 - round(ago),
        "online": True,
        "state": True,
        "voltage": 5.0,
        "current": 0.5,
        "power": 2.5,
        "voltage_limit": 5.0,
        "current_limit": 1.0,
        "mode": "CV",
        "voltage_protection": 27.5,
        "energy": 100.0 - round(ago) * 0.01,
        "charge": 20.0 - round(ago) * 0.002,
    }
    values = fields | changed
    return point("psu_channel", ago, tags, **values | seldom(values))


def event(place: str, ago: float, field: str, text: str, by: str = "unit", **fields: Any) -> str:
    agent, psu, channel = place.split("/")
    tags = {"agent": agent, "psu": psu, "channel": channel, "name": f"CH{channel}", "field": field, "by": by}
    return point("psu_event", ago, tags, text=text, **fields)


def status(kind: str, name: str, ago: float, word: str) -> str:
    return point(
        f"psu_{kind}", ago, {"psu" if kind == "unit" else "agent": name}, status=word, offline=int(word == "offline")
    )


def info(agent: str, psu: str, ago: float, silent_after: float = 60.0, **fields: Any) -> str:
    values = {"serves": True, "poll_interval": 1.0, "silent_after": silent_after}
    return point("psu_unit", ago, {"agent": agent, "psu": psu}, **values | fields)


def figures(agent: str, ago: float, **changed: Any) -> str:
    zero = ("late_polls", "errors", "reconnects", "backlog", "dropped_samples", "broker_reconnects")
    fields = {"version": "1.2.0", "uptime": 3600.0, "units": 2, "units_online": 2, "poll_rate": 2.0, "commands": 3}
    rest: dict[str, Any] = {"refusals": 1, "memory": 48_000_000} | dict.fromkeys(zero, 0) | fields
    return point("psu_agent", ago, {"agent": agent}, **rest | changed)


def well(agent: str = "bench3", psu: str = "psu1", channels: int = 2) -> Lines:
    """A unit that is all right: one channel on, the others off."""
    yield status("agent", agent, 3600, "online")
    yield from (figures(agent, ago) for ago in range(2, 122, 10))
    yield status("unit", psu, 3600, "online")
    yield info(agent, psu, 3600)
    for channel in range(1, channels + 1):
        yield from (sample(f"{agent}/{psu}/{channel}", ago, **(OFF if channel > 1 else {})) for ago in range(1, 121))


def wrong() -> Lines:
    """All that may be wrong, beside a unit that is well."""
    yield from well()
    # Two agents with a unit of one name and channels of equal names: 12 V at the second.
    yield from (sample("bench4/psu1/1", ago, voltage=12.0, power=6.0) for ago in range(1, 121))
    yield status("agent", "bench4", 3600, "online")
    yield from (
        figures("bench4", ago, backlog=0 if ago > 122 else 7, dropped_samples=int(ago <= 30))
        for ago in range(2, 142, 10)
    )
    # A unit that was lost, came back, and was lost again, and one that nobody ever reached.
    for ago, word in ((900, "online"), (800, "offline"), (700, "online"), (300, "offline"), (200, "offline")):
        yield status("unit", "lost", ago, word)
    yield info("bench3", "lost", 300, reason="no answer within 2 s")
    yield info("bench3", "lost", 240, reason="Connection refused; check the port")
    yield from (sample("bench3/lost/1", ago) for ago in range(301, 360))
    yield sample("bench3/lost/1", 300, online=False, **UNKNOWN)
    yield status("unit", "never", 600, "offline")
    yield info("bench3", "never", 600, reason="no such host")
    yield sample("bench3/never/1", 600, online=False, **UNKNOWN)
    # One that was taken out of the configuration while it was away.
    yield status("unit", "out", 600, "offline")
    yield status("unit", "out", 500, "")
    yield sample("bench3/out/1", 600, online=False, **UNKNOWN)
    # A trip now, after an earlier one that was cleared; and one that was cleared a moment ago.
    trip: dict[str, Any] = OFF | {"tripped": "OVP"}
    yield from (sample("bench3/psu2/1", ago, **(trip if ago <= 20 else {})) for ago in range(1, 121))
    yield event("bench3/psu2/1", 1000, "tripped", "tripped none → OVP by the unit itself")
    yield event("bench3/psu2/1", 950, "tripped", "tripped OVP → none by command 7", by="command", id="7")
    yield event("bench3/psu2/1", 20, "tripped", "tripped none → OVP by the unit itself")
    yield from (sample("bench3/psu2/2", ago, **(trip if ago > 1 else OFF)) for ago in range(1, 121))
    # In CC for ten minutes, meant to be, going to and fro, and for 30 s only.
    limited: dict[str, Any] = {"mode": "CC", "voltage": 3.1, "current": 1.0, "power": 3.1}
    yield from (sample("bench3/psu3/1", ago, **limited) for ago in range(1, 600))
    yield event("bench3/psu3/1", 600, "mode", "mode CV → CC by the unit itself")
    yield from (sample("bench3/psu3/2", ago, "LED CC", **limited) for ago in range(1, 121))
    yield from (sample("bench3/psu3/3", ago, **(limited if ago % 2 else {})) for ago in range(1, 121))
    yield from (event("bench3/psu3/3", ago, "mode", "mode CV → CC by the unit itself") for ago in range(2, 121, 2))
    yield from (sample("bench3/psu3/4", ago, **(limited if ago <= 30 else {})) for ago in range(1, 121))
    # Near the current limit, and near over-voltage protection; the same of a unit that is heard of seldom, and one in CC.
    near: list[dict[str, Any]] = [{"current": 0.95}, {"voltage_protection": 5.2}, limited]
    for channel, values in enumerate(near[:2], 1):
        yield from (sample(f"bench3/near/{channel}", ago, **values) for ago in range(1, 121))
    yield status("unit", "seldom", 3600, "online")
    yield info("bench3", "seldom", 3600, 1800.0, poll_interval=600.0)
    for channel, values in enumerate(near, 1):
        yield from (sample(f"bench3/seldom/{channel}", ago, silent_after=1800.0, **values) for ago in (1500, 900, 300))
    # Polled once in four hours: tripped at the last time, three hours ago.
    yield status("unit", "rare", 40_000, "online")
    yield info("bench3", "rare", 40_000, 43_200.0, poll_interval=14_400.0)
    yield sample("bench3/rare/1", 10_800, silent_after=43_200.0, **trip)
    # Renamed: the older name's last sample is as a live one's.
    yield from (sample("bench3/psu4/1", ago, "OLD") for ago in range(31, 121))
    yield from (sample("bench3/psu4/1", ago, "NEW") for ago in range(1, 31))
    # Gone before the store was made; killed three minutes ago.
    yield status("agent", "bench8", 7200, "offline")
    yield status("agent", "bench5", 3600, "online")
    yield status("agent", "bench5", 180, "offline")
    yield status("unit", "psu5", 3600, "online")
    yield from (sample("bench5/psu5/1", ago) for ago in range(181, 240))
    yield from (figures("bench5", ago) for ago in range(181, 240, 10))
    # Silent: nothing for six minutes, though agent and unit are there; and around the limits of a minute, of three
    # polls of 30 s, and of a heartbeat of 60 s.
    for psu, ago, silent_after in (
        ("quiet", 360, 60.0),
        ("edge-in", 59, 60.0),
        ("edge-out", 61, 60.0),
        ("slow-in", 89, 90.0),
        ("slow-out", 91, 90.0),
    ):
        yield status("unit", psu, 3600, "online")
        yield info("bench3", psu, 3600, silent_after)
        yield sample(f"bench3/{psu}/1", ago)
    # An hour ahead, and an agent whose clock was set right again.
    yield status("agent", "bench6", 3600, "online")
    yield from (sample("bench6/early/1", ago) for ago in range(-3600, -3540))
    yield from (sample("bench6/early/2", ago, **trip) for ago in range(-3600, -3540))
    yield from (figures("bench6", ago) for ago in range(-3600, -3540, 10))
    yield from (sample("bench3/mended/1", ago, voltage=1.0) for ago in range(-3600, -3590))
    yield from (sample("bench3/mended/1", ago) for ago in range(1, 30))
    # Claimed by a second agent, and no longer.
    yield info("bench3", "psu2", 400, conflict="bench9")
    yield info("bench3", "psu3", 400, conflict="bench9")
    yield info("bench3", "psu3", 300)
    # A counter that began anew: 10 Wh in all, then 2.
    yield from (
        sample("bench3/meter/1", ago, energy=float(20 - ago) if ago > 5 else float(5 - ago) / 2) for ago in range(1, 21)
    )
    yield event("bench3/psu1/1", 50, "voltage_limit", "voltage_limit 5 V → 3.3 V by command 42", by="command", id="42")
    yield event("bench3/psu1/1", 40, "state", "state on → off at the unit", by="panel")
    yield from changed()


def changed() -> Lines:
    """Faults that are over, and units that are elsewhere now: nothing is wrong here, but where a comment says so."""
    # A unit that another agent serves now, though the first is there (a takeover, or it was moved).
    yield info("bench4", "moved", 3600)
    yield from (sample("bench4/moved/1", ago) for ago in range(1000, 1060))
    yield info("bench4", "moved", 880, serves=False)
    # An agent that was given another name, and one that is gone with its unit; somebody cleared their statuses.
    yield from (sample("renamed/kept/1", ago) for ago in range(1000, 1060))
    yield from (sample("retired/scrapped/1", ago) for ago in range(1000, 1060))
    yield info("renamed", "kept", 3600)
    yield info("retired", "scrapped", 3600)
    for agent in ("renamed", "retired"):
        for ago, word in ((3600, "online"), (990, "offline"), (900, "")):
            yield status("agent", agent, ago, word)
    # Two agents claimed it; one no longer has it in its configuration. And one that neither has any more.
    yield info("bench4", "settled", 2000, conflict="bench3")
    yield info("bench4", "dropped", 2000, conflict="bench3")
    for psu in ("moved", "kept", "settled"):
        yield info("bench3", psu, 900)
        yield from (sample(f"bench3/{psu}/1", ago) for ago in range(1, 60))
    for psu in ("moved", "kept", "scrapped", "settled", "dropped"):
        yield status("unit", psu, 3600, "online")
    yield status("unit", "dropped", 1500, "")
    # A clock that somebody put an hour ahead ten minutes ago.
    yield status("agent", "jumper", 3600, "online")
    yield status("unit", "jumped", 3600, "online")
    yield info("jumper", "jumped", 3600)
    yield from (sample("jumper/jumped/1", ago) for ago in range(601, 660))
    yield from (sample("jumper/jumped/1", ago) for ago in range(-3600, -3540))
    yield from (figures("jumper", ago) for ago in (650, 640, -3560, -3570, -3580, -3590))
    # Heard of again after two hours without a broker, in which it lost samples.
    yield status("agent", "cutoff", 9000, "online")
    yield from (figures("cutoff", ago, dropped_samples=0 if ago > 300 else 500) for ago in (7310, 7300, 300, 290))
    # Nothing new was to be said for 40 days, of a unit with a heartbeat of 10 minutes and of one that is off.
    day = 86400
    yield status("unit", "steady", 40 * day, "online")
    yield info("bench3", "steady", 40 * day, 900.0)
    yield sample("bench3/steady/1", 400)
    yield status("unit", "put-away", 41 * day, "online")
    yield status("unit", "put-away", 40 * day, "offline")
    yield info("bench3", "put-away", 40 * day, reason="no answer within 2 s")
    yield status("unit", "forgotten", 40 * day, "online")
    yield info("bench3", "forgotten", 40 * day)

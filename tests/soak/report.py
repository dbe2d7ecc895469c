"""The results of a run, as a table."""

from __future__ import annotations

import statistics
from collections import Counter

from tests.soak.run import LONGEST_REST, LONGEST_STOP, MOST_GROWTH, Soak
from tests.support.figures import Figure


def figures(soak: Soak) -> list[Figure]:
    """The table, if the run came to its end."""
    ledger, counts = soak.ledger, soak.ledger.counts
    by_rule = Counter(violation.partition(":")[0] for violation in soak.violations)
    refused = ", ".join(f"{count} `{code}`" for code, count in ledger.outcomes.most_common() if code != "ok")
    agent_faults = {name: count for name, count in soak.faults.items() if name.startswith("agent")}
    unit_faults = {name: count for name, count in soak.faults.items() if not name.startswith(("agent", "broker"))}
    broker_faults = {name: count for name, count in soak.faults.items() if name.startswith("broker")}
    memory, threads, descriptors = soak.begin
    memory_after, threads_after, descriptors_after = soak.end
    growth = "" if soak.growth is None else f"; second quarter to last: {soak.growth / 1e6:+.1f} MB"

    def rule(number: int, what: str, seen: str = "") -> Figure:
        """How often the rule was broken, after how much was seen that it is about."""
        broken = by_rule[f"rule {number}"]
        return Figure(what, f"{seen}; {broken}" if seen else str(broken), "0", broken == 0)

    return [
        Figure("duration, units, seed", f"{soak.duration / 60:.1f} min, {len(soak.units)}, {soak.seed}"),
        Figure("faults of units", _listed(unit_faults)),
        Figure("faults of the broker", _listed(broker_faults)),
        Figure("faults of the agent's surroundings", _listed(agent_faults)),
        Figure(
            "commands delivered to units", f"{counts['deliveries']}, {counts['deliveries cut off']} of them cut off"
        ),
        rule(
            1,
            "responses; commands without exactly one",
            f"{counts['responses']}, {counts['responses sent again']} sent again after a lost connection",
        ),
        Figure("carried out; refused", f"{ledger.outcomes['ok']}; {refused}"),
        rule(6, "confirmed, but not done"),
        rule(
            2,
            "outputs turned on by the agent; without a command that was good for it",
            f"{counts['outputs turned on']}",
        ),
        rule(3, "setpoints received by units; above a limit", f"{counts['setpoints']}"),
        rule(4, "samples; missing, or two with one `seq`", f"{counts['samples']}, {counts['backlog']} by the backlog"),
        rule(5, "states that the unit did not answer at that time"),
        rule(7, "commands that came too late; carried out nevertheless", f"{counts['deliveries of old commands']}"),
        rule(8, "offs that were not done"),
        rule(9, "ramps and cycles ended by what was refused"),
        rule(
            10,
            "units watched in an outage; `on_broker_loss` not kept",
            f"{counts['outages that outputs were watched in']}",
        ),
        rule(11, "well units that were not polled"),
        *(
            Figure(f"delivered to answered, {kind}: median, 99 %", _percentiles(delays))
            for kind, delays in sorted(ledger.delays.items())
        ),
        Figure(
            "everything well again after the last fault, within",
            f"{soak.healing:.1f} s",
            f"{LONGEST_REST:g} s",
            by_rule["healing"] == 0,
        ),
        Figure("stopped within", f"{soak.stopping:.2f} s", f"{LONGEST_STOP:g} s", soak.stopping <= LONGEST_STOP),
        Figure(
            "memory at the beginning, at the end",
            f"{memory / 1e6:.0f} MB, {memory_after / 1e6:.0f} MB{growth}",
            f"≤ {MOST_GROWTH / 1e6:+.0f} MB",
            by_rule["memory"] == 0,
        ),
        Figure(
            "threads and descriptors at the beginning, at the end",
            f"{threads} and {descriptors}, {threads_after} and {descriptors_after}",
            "no more",
            by_rule["leaks"] == 0,
        ),
        Figure("violations in all", str(len(soak.violations)), "0", not soak.violations),
    ]


def _listed(counts: dict[str, int]) -> str:
    parts = ", ".join(f"{count} {name.removeprefix('broker ')}" for name, count in sorted(counts.items()))
    return f"{sum(counts.values())}: {parts}"


def _percentiles(delays: list[float]) -> str:
    if len(delays) < 2:
        return "–"
    return f"{statistics.median(delays) * 1e3:.0f} ms, {statistics.quantiles(delays, n=100)[98] * 1e3:.0f} ms"

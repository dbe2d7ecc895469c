"""One of Grafana's alert rules, evaluated as Grafana's documentation tells it.

Sources: grafana.com/docs/grafana/v12.1/alerting/fundamentals: alert-rule-evaluation, …/nodata-and-error-states,
…/stale-alert-instances; panels-visualizations/query-transform-data/expression-queries (reduce, threshold). For a state that is
kept (KeepLast): grafana/grafana #83940; for a classic condition that asks if there is no value: #58634.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

#: The tags of an instance.
Labels = frozenset[tuple[str, str]]
#: What InfluxDB answers to a query: its series. :raises QueryFailedError:
Ask = Callable[[str], list[dict[str, Any]]]

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class QueryFailedError(Exception):
    """The store did not answer, or refused."""


class State(Enum):
    """An instance's."""

    NORMAL = "Normal"
    PENDING = "Pending"
    ALERTING = "Alerting"
    RECOVERING = "Recovering"
    NO_DATA = "NoData"
    ERROR = "Error"


#: Those that somebody is told of.
FIRING = (State.ALERTING, State.RECOVERING, State.NO_DATA, State.ERROR)


class Outcome(Enum):
    """The result of one evaluation for one instance."""

    OK = "OK"
    BREACHED = "breached"
    NO_DATA = "NoData"
    ERROR = "Error"


def seconds(duration: str) -> float:
    """A duration such as `1m30s` in seconds."""
    parts = re.findall(r"(\d+)(ms|s|m|h|d)", duration)
    assert "".join(number + unit for number, unit in parts) == duration, duration
    return sum(int(number) * SECONDS[unit] for number, unit in parts)


@dataclass
class Instance:
    """One alert of a rule."""

    labels: Labels
    state: State = State.NORMAL
    since: float = 0.0
    becoming: State = State.ALERTING
    missing: int = 0
    value: float | None = None


@dataclass
class Evaluator:
    """Evaluates a rule whenever it is told to, and knows the state of each of its instances."""

    rule: dict[str, Any]
    instances: dict[Labels, Instance] = field(default_factory=dict)
    #: Why queries failed, since the start.
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._wait = seconds(self.rule.get("for", "0s"))
        self._keep_firing = seconds(self.rule.get("keep_firing_for", "0s"))
        self._most_missing = self.rule.get("missing_series_evals_to_resolve", 2)

    @property
    def title(self) -> str:
        """The rule's."""
        return str(self.rule["title"])

    def firing(self) -> set[str]:
        """The firing instances, each by its agent, psu and channel; `all` is one that has none of them."""
        return self.named(*FIRING)

    def pending(self) -> set[str]:
        """The pending instances, as `firing` names them."""
        return self.named(State.PENDING)

    def named(self, *states: State) -> set[str]:
        """The instances in one of these states."""
        return {name(instance.labels) for instance in self.instances.values() if instance.state in states}

    def evaluate(self, ask: Ask, now: float) -> None:
        """One evaluation at that time (s), which has to be later than that of the last one."""
        try:
            found = self._run(ask)
        except QueryFailedError as error:
            self.failures.append(str(error))
            self._all(Outcome.ERROR, now)
            return
        known = {labels: value for labels, value in found.items() if value[1] is not None}
        if not known:
            self._all(Outcome.NO_DATA, now)
            return
        for labels, (value, breached) in known.items():
            instance = self.instances.setdefault(labels, Instance(labels, since=now))
            instance.missing, instance.value = 0, value
            self._apply(instance, Outcome.BREACHED if breached else Outcome.OK, now)
        for labels in self.instances.keys() - known.keys():
            instance = self.instances[labels]
            instance.missing += 1
            if instance.missing >= self._most_missing:
                del self.instances[labels]  # Normal (MissingSeries), resolved and evicted

    # --- the condition

    def _run(self, ask: Ask) -> dict[Labels, tuple[float | None, bool | None]]:
        """For each instance its value, and if it is beyond the threshold; None: no value."""
        results: dict[str, dict[Labels, float | None]] = {}
        for part in self.rule["data"]:
            model = part["model"]
            kind = model.get("type", "query")
            if part["datasourceUid"] != "__expr__":
                results[part["refId"]] = reduced(ask(model["query"]))
            elif kind == "reduce":
                assert (model["reducer"], model["settings"]["mode"]) == ("last", "dropNN")
                results[part["refId"]] = results[model["expression"]]
            elif kind == "threshold":
                assert part["refId"] == self.rule["condition"]
                values = results[model["expression"]]
                return {labels: (value, self._breached(model, labels, value)) for labels, value in values.items()}
            else:
                assert (kind, part["refId"]) == ("classic_conditions", self.rule["condition"])
                return {frozenset(): (None, classic(model["conditions"], results))}
        raise AssertionError(f"{self.title} has no condition")

    def _breached(self, model: dict[str, Any], labels: Labels, value: float | None) -> bool | None:
        (condition,) = model["conditions"]
        if value is None:
            return None
        instance = self.instances.get(labels)
        if "unloadEvaluator" in condition and instance is not None and instance.state in (*FIRING, State.PENDING):
            return not compare(condition["unloadEvaluator"], value)
        return compare(condition["evaluator"], value)

    # --- states

    def _all(self, outcome: Outcome, now: float) -> None:
        """No data at all, or an error, concerns each instance that there is; or one of the rule's own."""
        if not self.instances:
            self.instances[frozenset()] = Instance(frozenset(), since=now)
        for instance in self.instances.values():
            self._apply(instance, outcome, now)

    def _apply(self, instance: Instance, outcome: Outcome, now: float) -> None:
        wanted = {
            Outcome.OK: "OK",
            Outcome.BREACHED: "Alerting",
            Outcome.NO_DATA: self.rule.get("noDataState", "NoData"),
            Outcome.ERROR: self.rule.get("execErrState", "Error"),
        }[outcome]
        if wanted == "KeepLast":
            # A pending instance goes on waiting, and fires in the end; what is normal, firing or recovering stays so.
            if instance.state is State.PENDING:
                self._rise(instance, instance.becoming, now)
        elif wanted == "OK":
            self._fall(instance, now, at_once=outcome is not Outcome.OK)
        else:
            self._rise(instance, State(wanted), now)

    def _rise(self, instance: Instance, to: State, now: float) -> None:
        if instance.state is to:
            return
        if instance.state in FIRING:
            instance.state, instance.since = to, now
            return
        if instance.state is not State.PENDING or instance.becoming is not to:
            instance.state, instance.since, instance.becoming = State.PENDING, now, to
        if now - instance.since >= self._wait:
            instance.state, instance.since = to, now

    def _fall(self, instance: Instance, now: float, at_once: bool) -> None:
        if instance.state is State.ALERTING and self._keep_firing and not at_once:
            instance.state, instance.since = State.RECOVERING, now
        elif instance.state is State.RECOVERING and now - instance.since < self._keep_firing and not at_once:
            pass
        elif instance.state is not State.NORMAL:
            instance.state, instance.since = State.NORMAL, now


def name(labels: Labels) -> str:
    """An instance's agent, psu and channel, as far as it has them; `all` if it has none."""
    tags = dict(labels)
    return " ".join(tags[tag] for tag in ("agent", "psu", "channel") if tag in tags) or "all"


def reduced(series: Iterable[dict[str, Any]]) -> dict[Labels, float | None]:
    """The last number of each series. A rule whose series have equal labels is refused by Grafana, and one of words."""
    found: dict[Labels, float | None] = {}
    for one in series:
        labels = frozenset((tag, value) for tag, value in one.get("tags", {}).items())
        assert labels not in found, f"two series of {dict(labels)}"
        assert len(one["columns"]) == 2, f"{one['columns']}: each column would be a series of its own"
        values = [row[1] for row in one["values"] if row[1] is not None]
        assert all(isinstance(value, int | float) and not isinstance(value, bool) for value in values), values
        found[labels] = float(values[-1]) if values else None
    return found


def compare(evaluator: dict[str, Any], value: float) -> bool:
    """Is the value beyond the threshold?"""
    low, *high = (float(param) for param in evaluator["params"])
    match evaluator["type"]:
        case "gt":
            return value > low
        case "lt":
            return value < low
        case "within_range":
            return low < value < high[0]
        case "outside_range":
            return value < low or value > high[0]
    raise AssertionError(evaluator)


def classic(conditions: list[dict[str, Any]], results: dict[str, dict[Labels, float | None]]) -> bool:
    """The conditions one after the other, without precedence.

    How a condition without data counts beside others differs with Grafana's version (grafana/grafana #57961), except for one
    that asks if there is no value (#58634). Where such a condition is met all the same, it is that or no data, so the rule's
    `noDataState` has to be Alerting; where not, a rule may not depend on it, and the test ends here.
    """
    firing, may_be_no_data = False, False
    for number, condition in enumerate(conditions):
        assert condition["reducer"]["type"] == "last"
        (ref,) = condition["query"]["params"]
        values = [value for value in results[ref].values() if value is not None]
        assert len(values) <= 1, f"{ref} has several series"
        if condition["evaluator"]["type"] == "no_value":
            met = not values
        else:
            met = bool(values) and compare(condition["evaluator"], values[0])
            may_be_no_data = may_be_no_data or not values
        either = number == 0 or condition["operator"]["type"] == "or"
        firing = firing or met if either else firing and met
    assert firing or not may_be_no_data, "it is up to the version of Grafana if this is no data or all is well"
    return firing

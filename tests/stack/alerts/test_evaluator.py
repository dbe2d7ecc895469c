"""The evaluator against what Grafana's documentation says, one statement a test."""

from __future__ import annotations

from typing import Any

import pytest

from .evaluator import Evaluator, Outcome, QueryFailedError, State, classic, seconds

N, P, A, R = State.NORMAL, State.PENDING, State.ALERTING, State.RECOVERING
#: What a query answers: the value of the series x, nothing at all, or an error.
Answer = float | None | Outcome


def rule(**settings: Any) -> dict[str, Any]:
    """Fires above 0."""
    threshold = {"type": "threshold", "expression": "B", "conditions": [{"evaluator": {"type": "gt", "params": [0]}}]}
    threshold["conditions"][0] |= settings.pop("condition", {})  # type: ignore[index]
    reduce = {"type": "reduce", "expression": "A", "reducer": "last", "settings": {"mode": "dropNN"}}
    data = [
        {"refId": "A", "datasourceUid": "psu", "model": {"query": "SELECT …"}},
        {"refId": "B", "datasourceUid": "__expr__", "model": reduce},
        {"refId": "C", "datasourceUid": "__expr__", "model": threshold},
    ]
    return {
        "title": "a rule",
        "condition": "C",
        "data": data,
        "noDataState": "OK",
        "execErrState": "KeepLast",
    } | settings


def series(psu: str, value: float | None) -> dict[str, Any]:
    return {"tags": {"psu": psu}, "columns": ["time", "last"], "values": [[0, 1.0], [1, value], [2, None]]}


def answer(*answers: tuple[str, Answer]) -> Any:
    def ask(_query: str) -> list[dict[str, Any]]:
        if any(value is Outcome.ERROR for _, value in answers):
            raise QueryFailedError("connection refused")
        return [series(psu, value) for psu, value in answers if isinstance(value, int | float)]

    return ask


def states(settings: dict[str, Any], answers: list[Answer], interval: float = 10.0) -> list[State]:
    """The instance's state after each evaluation."""
    evaluator = Evaluator(rule(**settings))
    found = []
    for number, value in enumerate(answers):
        evaluator.evaluate(answer(("x", value)), number * interval)
        (instance,) = evaluator.instances.values()
        found.append(instance.state)
    return found


E, NOTHING = Outcome.ERROR, None


@pytest.mark.parametrize(
    ("settings", "answers", "expected"),
    [
        pytest.param({"for": "0s"}, [0, 1, 0], [N, A, N], id="no pending period: fires at once"),
        # The documentation's example: 30 s and 90 s.
        pytest.param({"for": "30s"}, [0, 1, 1, 1, 1, 0, 0], [N, P, P, P, A, N, N], id="fires after the pending period"),
        pytest.param({"for": "30s"}, [1, 1, 1, 0, 1], [P, P, P, N, P], id="a break starts the pending period again"),
        pytest.param({"keep_firing_for": "20s"}, [1, 0, 0, 0], [A, R, R, N], id="keeps firing for a while"),
        pytest.param({"keep_firing_for": "20s"}, [1, 0, 1, 0], [A, R, A, R], id="a breach ends the recovery"),
        pytest.param({}, [1, NOTHING, NOTHING], [A, N, N], id="no data is normal"),
        pytest.param({"noDataState": "KeepLast"}, [1, NOTHING, 0], [A, A, N], id="no data keeps the state"),
        pytest.param({"noDataState": "Alerting"}, [0, NOTHING, 0], [N, A, N], id="no data fires"),
        pytest.param(
            {"noDataState": "Alerting", "for": "20s"}, [0, NOTHING, NOTHING, NOTHING], [N, P, P, A], id="no data waits"
        ),
        pytest.param({"noDataState": "NoData"}, [0, NOTHING], [N, State.NO_DATA], id="no data has a state of its own"),
        pytest.param({}, [0, E, 0], [N, N, N], id="an error keeps normal"),
        pytest.param({}, [1, E, E, 0], [A, A, A, N], id="an error keeps firing"),
        # grafana/grafana #83940: with for=2 evaluations, pending, then kept, then alerting.
        pytest.param({"for": "20s"}, [1, E, E], [P, P, A], id="an error keeps pending, and the period goes on"),
        pytest.param({"execErrState": "OK"}, [1, E], [A, N], id="an error is normal"),
        pytest.param(
            {"execErrState": "Alerting", "for": "20s"}, [0, E, 0, E, E, E], [N, P, N, P, P, A], id="an error fires"
        ),
        pytest.param(
            {"execErrState": "Error", "for": "10s"}, [0, E, E], [N, P, State.ERROR], id="an error has a state"
        ),
        pytest.param(
            {"condition": {"unloadEvaluator": {"type": "lt", "params": [-5]}}},
            [0, 1, 0, -6, 0],
            [N, A, A, N, N],
            id="a recovery threshold",
        ),
    ],
)
def test_a_state_after_each_evaluation(settings: dict[str, Any], answers: list[Answer], expected: list[State]) -> None:
    assert states(settings, answers) == expected


def test_the_documentations_example_of_a_pending_period() -> None:
    assert states({"for": "90s"}, [0, 1, 1, 1, 1, 0], interval=30) == [N, P, P, P, A, N]


@pytest.mark.parametrize(("most", "gone_after"), [(None, 2), (1, 1), (4, 4)])
def test_a_series_that_vanishes_beside_others_keeps_its_state_and_is_then_resolved(
    most: int | None, gone_after: int
) -> None:
    evaluator = Evaluator(rule() if most is None else rule(missing_series_evals_to_resolve=most))
    evaluator.evaluate(answer(("x", 1), ("y", 0)), 0)
    seen = []
    for number in range(1, gone_after + 1):
        assert evaluator.firing() == {"x"}
        evaluator.evaluate(answer(("y", 0)), 10 * number)
        seen.append(evaluator.firing())
    assert seen == [{"x"}] * (gone_after - 1) + [set()]
    assert len(evaluator.instances) == 1


def test_a_series_that_comes_back_in_time_was_never_gone() -> None:
    evaluator = Evaluator(rule(**{"for": "10s"}))
    for number, found in enumerate([("x", "y"), ("x", "y"), ("y",), ("x", "y"), ("y",), ("x", "y")]):
        evaluator.evaluate(answer(*((psu, 1) for psu in found)), 10 * number)
    assert evaluator.firing() == {"x", "y"}


def test_each_series_is_an_instance_with_a_state_of_its_own() -> None:
    evaluator = Evaluator(rule(**{"for": "10s"}))
    evaluator.evaluate(answer(("x", 1), ("y", 0)), 0)
    evaluator.evaluate(answer(("x", 1), ("y", 1)), 10)
    assert (evaluator.firing(), evaluator.pending()) == ({"x"}, {"y"})
    evaluator.evaluate(answer(("x", E)), 20)
    assert (evaluator.firing(), evaluator.pending()) == ({"x", "y"}, set())
    assert evaluator.failures == ["connection refused"]


def test_no_data_from_the_start_is_an_instance_without_labels() -> None:
    evaluator = Evaluator(rule(noDataState="Alerting"))
    evaluator.evaluate(answer(), 0)
    assert evaluator.firing() == {"all"}
    for number in (1, 2):
        evaluator.evaluate(answer(("x", 0)), 10 * number)
    assert evaluator.firing() == set()


def test_series_with_equal_labels_and_words_are_refused() -> None:
    for answers in ([series("x", 1), series("x", 1)], [series("x", "CC")]):  # type: ignore[arg-type]
        with pytest.raises(AssertionError):
            Evaluator(rule()).evaluate(lambda _, answers=answers: answers, 0)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("a", "b", "expected"), [(1, 1, False), (1, None, True), (0, None, False), (None, 1, True), (None, None, True)]
)
def test_a_classic_condition(a: float | None, b: float | None, expected: bool) -> None:
    """B has no value, and A is above 0; or A has no value."""

    def condition(ref: str, kind: str, *params: float, operator: str = "and") -> dict[str, Any]:
        evaluator = {"type": kind, "params": list(params)}
        return {
            "query": {"params": [ref]},
            "reducer": {"type": "last"},
            "operator": {"type": operator},
            "evaluator": evaluator,
        }

    conditions = [condition("B", "no_value"), condition("A", "gt", 0), condition("A", "no_value", operator="or")]
    results: Any = {ref: {} if value is None else {frozenset(): value} for ref, value in (("A", a), ("B", b))}
    assert classic(conditions, results) is expected
    if a is None:
        with pytest.raises(AssertionError, match="version"):
            classic(conditions[:2], results | {"B": {frozenset(): 1.0}})


def test_a_duration() -> None:
    assert (seconds("0s"), seconds("1m30s"), seconds("2h"), seconds("30d")) == (0, 90, 7200, 2592000)

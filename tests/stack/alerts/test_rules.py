"""The provisioned alert rules: checked against Grafana's schema, and every query against real samples."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from tests.stack.grafana import DASHBOARDS, GRAFANA, RULES, fill_in, leaves
from tests.stack.services import Store
from tests.stack.test_grafana import empty, lab  # noqa: F401


def firing(store: Store, rule: dict[str, Any]) -> set[str] | None:
    """The instances that the rule's query, reduced to its last value and compared, would fire for. None: no data."""
    query, reduce, threshold = (part["model"] for part in rule["data"])
    assert (reduce["reducer"], reduce["expression"], threshold["expression"]) == ("last", "A", "B")
    series = store.query(fill_in(query["query"]))
    if not series:
        return None
    evaluator = threshold["conditions"][0]["evaluator"]
    compare = {"gt": float.__gt__, "lt": float.__lt__}[evaluator["type"]]
    found = set()
    for one_series in series:
        values = [row[1] for row in one_series["values"] if row[1] is not None]
        assert all(isinstance(value, int | float) and not isinstance(value, bool) for value in values), rule["title"]
        if values and compare(float(values[-1]), float(evaluator["params"][0])):
            tags = one_series.get("tags", {})
            found.add(" ".join(tags[tag] for tag in ("agent", "psu", "channel") if tag in tags))
    return found


FIRING = {
    "Unit offline": {"psu3"},
    "Trip": {"bench4 psu2 3"},
    "Unexpected CC": {"bench4 psu2 1"},
    "Near the current limit": {"bench4 psu5 1"},
    "Near over-voltage protection": {"bench4 psu5 1"},
    "Agent gone": {"bench5"},
    "Backlog growing": {"bench4"},
    "Samples dropped": {"bench4"},
    "Nothing is stored": set[str](),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["title"])
def test_every_rule_fires_for_what_it_is_for_and_for_nothing_else(lab: Store, rule: dict[str, Any]) -> None:  # noqa: F811
    assert firing(lab, rule) == FIRING[rule["title"]]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["title"])
def test_an_empty_store_is_an_alert_of_one_rule_alone(empty: Store, rule: dict[str, Any]) -> None:  # noqa: F811
    assert firing(empty, rule) is None
    assert rule["noDataState"] == ("Alerting" if rule["title"] == "Nothing is stored" else "OK")


def test_a_label_that_a_text_names_is_a_tag_of_the_query() -> None:
    for rule in RULES:
        named = set(re.findall(r"\.Labels\.(\w+)", json.dumps(rule["annotations"])))
        grouped = set(re.findall(r'"(\w+)"', rule["data"][0]["model"]["query"].rpartition("GROUP BY")[2]))
        assert named <= grouped, rule["title"]


def test_no_dollar_sign_in_the_provisioned_rules() -> None:
    """Grafana would put an environment variable there."""
    assert "$" not in (GRAFANA / "provisioning" / "alerting" / "rules.yaml").read_text()


def test_rules_hold_nothing_that_grafanas_schema_does_not_know() -> None:
    sdk = pytest.importorskip("grafana_foundation_sdk.models.alerting", reason="pip install grafana-foundation-sdk")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    for rule in RULES:
        again = json.loads(json.dumps(sdk.Rule.from_json(rule), cls=JSONEncoder))
        lost = {path for path, value in leaves(rule).items() if leaves(again).get(path) != value}
        assert {path for path in lost if not path.startswith(".data")} == set(), rule["title"]


def test_everything_refers_to_something_that_is_there() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "influxdb.yaml").read_text())["datasources"]
    for rule in RULES:
        assert [part["datasourceUid"] for part in rule["data"]] == [source["uid"], "__expr__", "__expr__"]
        board = next(b for b in DASHBOARDS.values() if b["uid"] == rule["annotations"]["__dashboardUid__"])
        assert int(rule["annotations"]["__panelId__"]) in {panel["id"] for panel in board["panels"]}

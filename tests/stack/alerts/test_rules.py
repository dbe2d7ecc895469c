"""The file of the provisioned alert rules: Grafana's schema, and what it refers to."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests.stack.grafana import DASHBOARDS, GRAFANA, RULES, leaves
from tests.support.processes import ROOT

#: The dashboard and the panel that a rule's alerts link to: where more is told of it.
SHOWN = {
    "Unit offline": ("Fleet", "What is wrong"),
    "Trip": ("Fleet", "What is wrong"),
    "Unexpected CC": ("Fleet", "What is wrong"),
    "Near the current limit": ("Fleet", "Channels"),
    "Near over-voltage protection": ("Fleet", "Channels"),
    "Agent gone": ("Agents", "Agents"),
    "Backlog growing": ("Agents", "Backlog"),
    "Samples dropped": ("Agents", "Backlog"),
    "Nothing is stored": ("Agents", "Samples stored"),
}


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
        asked = {part["refId"] for part in rule["data"] if part["datasourceUid"] == source["uid"]}
        worked_out = {part["refId"] for part in rule["data"] if part["datasourceUid"] == "__expr__"}
        assert (rule["condition"], asked | worked_out) == ("C", {"A", "B", "C"})
        assert asked in ({"A"}, {"A", "B"}), rule["title"]
        board = next(b for b in DASHBOARDS.values() if b["uid"] == rule["annotations"]["__dashboardUid__"])
        (panel,) = (panel for panel in board["panels"] if panel["id"] == int(rule["annotations"]["__panelId__"]))
        assert (board["title"], panel["title"]) == SHOWN[rule["title"]]


def test_the_table_in_the_documentation_is_of_these_rules() -> None:
    text = (ROOT / "docs" / "stack.md").read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line.startswith("| **")
    ]
    assert [(row[0].strip("*"), row[1]) for row in rows] == [
        (rule["title"], rule["labels"]["severity"]) for rule in RULES
    ]
    assert {len(row) for row in rows} == {6}


def test_while_the_store_cannot_be_asked_one_rule_alone_says_so() -> None:
    states = {rule["title"]: (rule["noDataState"], rule["execErrState"]) for rule in RULES}
    assert states.pop("Nothing is stored") == ("Alerting", "Alerting")
    assert set(states.values()) == {("OK", "KeepLast")}
    assert len(states) == 8

"""The provisioned dashboards and alert rules, and their queries as Grafana fills them in."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import yaml

from tests.support.processes import ROOT

from .publisher import START, milliseconds

GRAFANA = ROOT / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
RULES = yaml.safe_load((GRAFANA / "provisioning" / "alerting" / "rules.yaml").read_text())["groups"][0]["rules"]
PANELS = {(name, panel["id"]): panel for name, board in DASHBOARDS.items() for panel in board["panels"]}
Rows = list[dict[str, Any]]


#: When somebody looks: after a minute of samples.
NOW = START + timedelta(seconds=60)


def fill_in(query: str, **variables: str) -> str:
    """What Grafana makes of a query: a range of a quarter of an hour up to :data:`NOW`, and the dashboard's variables."""
    values = {"timeFilter": "time > now() - 15m AND time <= now()", "__interval": "10s"} | variables
    values["__to"] = str(milliseconds(NOW))
    filled = re.sub(r"\$(?:([a-zA-Z_]\w*)|\{(\w+)\})", lambda match: values[match[1] or match[2]], query)
    return filled.replace("now()", f"'{NOW.isoformat()}'".replace("+00:00", "Z"))


ALL = {"agent": ".*", "psu": ".*", "channel": ".*"}


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every value that is in there, by its path."""
    if isinstance(value, dict):
        return {key: leaf for name, item in value.items() for key, leaf in leaves(item, f"{path}.{name}").items()}
    if isinstance(value, list):
        return {key: leaf for index, item in enumerate(value) for key, leaf in leaves(item, f"{path}[{index}]").items()}
    return {path: value}

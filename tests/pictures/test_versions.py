"""Dashboards are drawn with the components of the Grafana that compose.yaml brings up: its table became another one in 12.2."""

from __future__ import annotations

import json

import yaml

from tests.support.processes import ROOT


def test_the_components_are_of_the_stacks_grafana() -> None:
    """Patches of the two are not published together, so the first two numbers have to agree."""
    images = yaml.safe_load((ROOT / "compose.yaml").read_text())["x-images"]
    wanted = images["grafana"].rpartition(":")[2].split(".")[:2]
    package = json.loads((ROOT / "tests" / "pictures" / "package.json").read_text())["dependencies"]
    components = {name: version for name, version in package.items() if name.startswith("@grafana/")}
    assert len(components) == 3
    assert {name: version.split(".")[:2] for name, version in components.items()} == dict.fromkeys(components, wanted)

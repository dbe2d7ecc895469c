from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.lab import FleetLab, Site
from tests.lab import needs
from tests.support import namespaces

MakeFleet = Callable[..., FleetLab]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests to `make fleet`: they wait for several takeovers each."""
    if os.environ.get("PSU_AGENT_FLEET"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    needs("mosquitto")
    if (why := namespaces.missing()) is not None:
        pytest.skip(why)
    site = Site()
    yield site
    site.close()


@pytest.fixture
def make_fleet(site: Site, tmp_path: Path) -> Iterator[MakeFleet]:
    """A `FleetLab` on hosts of its own; the arguments are those of `FleetLab`."""
    fleets: list[FleetLab] = []

    def make(**arguments: Any) -> FleetLab:
        fleets.append(FleetLab(site, tmp_path, **arguments))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.close()


@pytest.fixture
def fleet(make_fleet: MakeFleet) -> FleetLab:
    return make_fleet()

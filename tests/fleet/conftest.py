from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.lab import FleetLab, Site
from tests.lab import needs
from tests.support import namespaces

MakeFleet = Callable[..., FleetLab]


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

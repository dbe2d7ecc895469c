from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.lab import Fleet, Site
from tests.lab import needs
from tests.support import namespaces

MakeFleet = Callable[..., Fleet]


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
    """A `Fleet` on hosts of its own; the arguments are those of `Fleet`."""
    fleets: list[Fleet] = []

    def make(**arguments: Any) -> Fleet:
        fleets.append(Fleet(site, tmp_path, **arguments))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.close()


@pytest.fixture
def fleet(make_fleet: MakeFleet) -> Fleet:
    return make_fleet()

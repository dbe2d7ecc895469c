from __future__ import annotations

import shutil

import pytest

from tests.pictures.drawing import is_fetched


@pytest.fixture(scope="package")
def drawable() -> None:
    """Skip where dashboards can't be drawn."""
    if not is_fetched():
        pytest.skip("Grafana's display components are not here: `make pictures` fetches them (620 MB)")
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not here: install the Debian package chromium")

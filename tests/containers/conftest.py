from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import images
from .engine import Engine, needed


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """Podman, with all images, and nothing else in it."""
    needed()
    if (why := images.lacking()) is not None:
        pytest.skip(why)
    # A short path: sockets lie in it.
    with images.made(), Engine(Path(tempfile.mkdtemp(prefix="psu-"))) as engine:
        yield engine.serve()

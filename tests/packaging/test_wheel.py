"""The wheel and the source distribution, built and installed as a user would, but without a network."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.local.broker import NoBrokerError, available_kind
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until

pytest.importorskip("hatch_vcs", reason="hatch-vcs is not installed (make sets it up)")

VERSION = "0.2.0"


def run(*command: object, folder: Path = ROOT, **variables: str) -> str:
    """Its output. The version is given, so that it is the same with git and without."""
    environment = os.environ | {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_PSU_AGENT": VERSION} | variables
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, from this tree."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder)
    assert {file.name for file in folder.iterdir()} == {
        f"psu_agent-{VERSION}-py3-none-any.whl",
        f"psu_agent-{VERSION}.tar.gz",
    }
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    folder = ROOT / "agent"
    wanted = {
        f"agent/{path.relative_to(folder)}"
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = contents(wheel)
    assert {name for name in held if ".dist-info/" not in name and ".data/" not in name} == wanted
    # The manual page, and completion where shells look for it.
    assert {name.partition(".data/data/share/")[2] for name in held if ".data/" in name} == {
        "man/man1/psu-agent.1",
        "bash-completion/completions/psu-agent",
        "zsh/site-functions/_psu-agent",
        "fish/vendor_completions.d/psu-agent.fish",
    }
    assert {name.rpartition("/")[2] for name in held if ".dist-info/" in name} == {
        "METADATA",
        "WHEEL",
        "RECORD",
        "LICENSE",
        "entry_points.txt",
    }
    assert {"agent/py.typed", "agent/instruments/catalogue/series/keysight/e36300.yaml"} <= held.keys()


def test_the_wheel_asks_for_no_package_that_nobody_owns(wheel: Path) -> None:
    """An extra that names psu-agent itself would be looked for on an index by some installers."""
    metadata = next(text for name, text in contents(wheel).items() if name.endswith("/METADATA")).decode()
    required = re.findall(r"^Requires-Dist: ([\w.-]+)", metadata, re.MULTILINE)
    assert "psu-agent" not in required
    assert "pydantic" in required
    assert f"\nVersion: {VERSION}\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert re.search(r"^License-File: LICENSE$", metadata, re.MULTILINE)


def test_the_source_distribution_builds_the_same_wheel(built: Path, wheel: Path, tmp_path: Path) -> None:
    packed = next(built.glob("*.tar.gz"))
    with tarfile.open(packed) as archive:
        names = archive.getnames()
    shutil.unpack_archive(packed, tmp_path)
    assert not [name for name in names if re.search(r"__pycache__|/\.[a-z_]+cache|/secrets/|/\.venv/", name)]
    # It knows its version by itself, as on a host without git.
    run(
        *(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist"),
        folder=tmp_path / f"psu_agent-{VERSION}",
        SETUPTOOLS_SCM_PRETEND_VERSION_FOR_PSU_AGENT="",
    )
    assert contents(tmp_path / "dist" / wheel.name) == contents(wheel)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The programs of a fresh environment with the wheel in it. What it depends on comes from this environment."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, symlinks=True)
    if shutil.which("uv"):
        run("uv", "pip", "install", "-q", "--offline", "--no-deps", "--python", folder / "bin" / "python", wheel)
    else:
        run(sys.executable, "-m", "pip", "--python", folder, "install", "-q", "--no-index", "--no-deps", wheel)
    site = next(folder.glob("lib/python*/site-packages"))
    # Behind its own packages; a folder that is named so has its own .pth files left out, the checkout's among them.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    yield folder / "bin"
    shutil.rmtree(folder)


def test_the_installed_program_is_complete(installed: Path, tmp_path: Path) -> None:
    """Run from a folder where no checkout can be imported by accident."""
    program = installed / "psu-agent"
    assert run(program, "--version", folder=tmp_path, PYTHONPATH="") == f"psu-agent, version {VERSION}\n"
    assert "E36313A" in run(program, "models", folder=tmp_path, PYTHONPATH="")
    where = "import agent.cli.main, pathlib; print(pathlib.Path(agent.__file__).parents[4])"
    assert Path(run(installed / "python", "-c", where, folder=tmp_path, PYTHONPATH="").strip()) == installed.parent


def test_the_installed_program_runs_the_demo(installed: Path, tmp_path: Path) -> None:
    try:
        available_kind()
    except NoBrokerError as error:
        pytest.skip(str(error))
    demo = Process(
        [installed / "psu-agent", "demo"],
        tmp_path / "demo.log",
        environment={"PYTHONPATH": "", "TMPDIR": str(tmp_path)},
        folder=tmp_path,
    )
    with demo:
        wait_until(lambda: "psu1/3" in demo.text() or demo.ended() is not None, "the demo's channels")
        assert demo.stop(signal.SIGINT) == 0, demo.text()

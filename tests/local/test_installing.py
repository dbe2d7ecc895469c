"""The command by which an optional part is added to a copy of psu-agent."""

from __future__ import annotations

import platform
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from agent.local import broker
from agent.local.broker import NoBrokerError, available_kind
from agent.local.installing import how_to_add, how_to_install


class Described:
    """A copy of psu-agent as its installed description tells of it."""

    def __init__(self, installer: str, requires: list[str]) -> None:
        self.installer, self.requires = installer, requires

    def read_text(self, name: str) -> str | None:
        return f"{self.installer}\n" if name == "INSTALLER" else None


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> Described:
    found = Described("pip", ["click>=8.1", "pymodbus<3.17,>=3.11; extra == 'modbus'", "x>=1; extra == 'other'"])
    monkeypatch.setattr(metadata, "distribution", lambda _: found)
    monkeypatch.setattr(metadata, "requires", lambda _: found.requires)
    return found


def test_it_names_packages_that_somebody_owns_for_the_pip_of_this_copy(
    described: Described, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pip").touch()
    assert shlex.split(how_to_install("modbus")) == [f"{tmp_path}/bin/pip", "install", "pymodbus<3.17,>=3.11"]


def test_a_package_of_no_extra_is_added_in_the_same_way(described: Described) -> None:
    assert how_to_add("pymodbus<3.17,>=3.11") == how_to_install("modbus")


def test_without_a_pip_of_its_own(described: Described, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment made by uv, or by ``venv --without-pip`` as in the image."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert shlex.split(how_to_install("modbus"))[:3] == ["pip", "--python", str(tmp_path)]
    described.installer = "uv"
    assert shlex.split(how_to_install("modbus"))[:4] == ["uv", "pip", "install", "--python"]


def test_markers_beside_the_extra_do_not_reach_the_command(described: Described) -> None:
    described.requires = ['y<2; (platform_machine != "armv7l") and extra == "demo"']
    assert shlex.split(how_to_install("demo"))[-1] == "y<2"


def test_a_debian_package_takes_no_additions(described: Described) -> None:
    described.installer = "dpkg"
    assert "the Debian package takes no additions" in how_to_install("modbus")


@pytest.mark.parametrize("is_installed", [True, False])
def test_an_extra_that_the_installed_description_does_not_know_is_the_checkouts(
    described: Described, monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    if not is_installed:
        for name in ("requires", "distribution"):
            monkeypatch.setattr(metadata, name, raise_not_found)
    root = Path(__file__).resolve().parents[2]
    assert shlex.split(how_to_install("newer"))[-1] == f"{root}[newer]"


def raise_not_found(name: str) -> None:
    raise metadata.PackageNotFoundError(name)


def test_the_command_is_one_that_pip_takes() -> None:
    """For this copy as it is here: pip resolves nothing yet, it reads what it was given."""
    command = shlex.split(how_to_install("modbus"))
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([*command, "--dry-run", "--no-index", "--no-deps", "-q"], capture_output=True, text=True)
    assert "Invalid requirement" not in done.stderr
    assert "usage" not in done.stderr.lower()


def test_the_broker_of_pip_is_not_named_where_it_has_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "_mosquitto", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(platform, "machine", lambda: "armv7l")
    with pytest.raises(NoBrokerError, match=r"apt install mosquitto\)$"):
        available_kind()
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(NoBrokerError, match="iotcore"):
        available_kind()

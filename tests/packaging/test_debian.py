"""The Debian package as it is built; `make package-test` installs it in a clean Debian tree."""

from __future__ import annotations

import configparser
import gzip
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.commandline import invoke
from tests.support.processes import ROOT
from tests.support.scripts import load

HERE = ROOT / "package" / "debian"

pytest.importorskip("hatch_vcs", reason="hatch-vcs is not installed (make sets it up)")

build_deb = load(HERE / "build.py")


@pytest.mark.parametrize(
    ("python", "debian"),
    [
        ("0.2.0", "0.2.0"),
        ("0.2.0rc1", "0.2.0~rc1"),
        ("0.2.1.dev3+gabc123.d20261126", "0.2.1~dev3+gabc123.d20261126"),
        ("0.1.dev0", "0.1~dev0"),
        ("0.1.dev884+g99405b233a1", "0.1~dev884+g99405b233a1"),
    ],
)
def test_versions(python: str, debian: str) -> None:
    assert build_deb.debian_version(python) == debian


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not installed")
@pytest.mark.parametrize(
    ("older", "newer"), [("0.2.0.dev3", "0.2.0rc1"), ("0.2.0rc1", "0.2.0"), ("0.2.0", "0.2.1.dev1")]
)
def test_debian_orders_versions_as_python_does(older: str, newer: str) -> None:
    versions = [build_deb.debian_version(version) for version in (older, newer)]
    assert subprocess.run(["dpkg", "--compare-versions", versions[0], "lt", versions[1]]).returncode == 0


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with one small dependency alone, and what is in it unpacked beside: `files`, `control`."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    folder = tmp_path_factory.mktemp("deb")
    dependencies = folder / "dependencies"
    for path in Path(sysconfig.get_path("purelib")).glob("tenacity*"):
        shutil.copytree(path, dependencies / path.name)
    file = build_deb.build(folder, "amd64", dependencies, "none")
    subprocess.run(["dpkg-deb", "--extract", file, folder / "files"], check=True)
    subprocess.run(["dpkg-deb", "--control", file, folder / "control"], check=True)
    return folder


def test_what_it_depends_on(package: Path) -> None:
    fields = dict(
        line.split(": ", 1) for line in (package / "control/control").read_text().splitlines() if line[0] != " "
    )
    assert "python3 (>= 3.11), python3 (<< 3.14)" in fields["Depends"]
    assert "libusb-1.0-0" in fields["Depends"]
    assert fields["Architecture"] == "amd64"
    assert all(len(line) <= 80 for line in fields["Description"].splitlines())


def test_nothing_is_configured_and_no_hardware_is_driven_by_an_installation(package: Path) -> None:
    assert list((package / "files/etc/psu-agent").iterdir()) == []
    assert not (package / "control/conffiles").exists()
    unit = (package / "files/usr/lib/systemd/system/psu-agent.service").read_text()
    assert "\nConditionPathExists=/etc/psu-agent/psu-agent.yaml\n" in unit
    scripts = [(package / "control" / name).read_text() for name in ("postinst", "prerm", "postrm")]
    assert not any(
        word in script for script in scripts for word in ("systemctl enable", "invoke start", "helper enable")
    )


def test_the_example_is_a_configuration_without_fault(package: Path) -> None:
    result = invoke("check", str(package / "files/usr/share/doc/psu-agent/examples/psu-agent.yaml"))
    assert result.exit_code == 0, result.output


def test_files_have_the_rights_of_a_package(package: Path) -> None:
    listed = subprocess.run(
        ["dpkg-deb", "--contents", next(package.glob("*.deb"))], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert {line.split()[1] for line in listed} == {"root/root"}
    modes = {line.split()[5]: line.split()[0] for line in listed}
    assert modes["./usr/lib/psu-agent/bin/psu-agent"] == "-rwxr-xr-x"
    assert modes["./usr/lib/systemd/system/psu-agent.service"] == "-rw-r--r--"
    assert all(mode[5] != "w" and mode[8] != "w" for mode in modes.values() if mode[0] != "l")
    assert not [name for name in modes if "__pycache__" in name or name.endswith(".pyc")]


def test_pip_is_told_that_the_packages_are_debians(package: Path) -> None:
    site = package / "files" / build_deb.SITE
    assert {path.read_text() for path in site.glob("*.dist-info/INSTALLER")} == {"dpkg\n"}
    assert not list(site.glob("*.dist-info/RECORD"))
    assert not (site / "bin").exists()
    assert (site / "agent/instruments/catalogue/series/keysight/e36300.yaml").exists()


def test_scripts_are_shell(package: Path) -> None:
    for name in ("postinst", "prerm", "postrm"):
        subprocess.run(["sh", "-n", package / "control" / name], check=True)
        assert os.access(package / "control" / name, os.X_OK)


def test_the_manual_and_completions_are_there(package: Path) -> None:
    share = package / "files/usr/share"
    assert gzip.decompress((share / "man/man1/psu-agent.1.gz").read_bytes()).startswith((b".TH", b'.\\"'))
    for place in ("bash-completion/completions/psu-agent", "zsh/vendor-completions/_psu-agent"):
        assert "_PSU_AGENT_COMPLETE" in (share / place).read_text()


def test_the_unit_is_the_one_of_the_examples_with_a_user_that_stays(package: Path) -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(package / "files/usr/lib/systemd/system/psu-agent.service")
    service = unit["Service"]
    assert service["User"] == service["Group"] == "psu-agent"
    assert "DynamicUser" not in service
    assert service["ExecStart"] == "/usr/bin/psu-agent run /etc/psu-agent/psu-agent.yaml"
    assert service["PrivateDevices"] == "no"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_no_fault_and_few_rights(package: Path, tmp_path: Path) -> None:
    file = tmp_path / "psu-agent.service"
    text = (package / "files/usr/lib/systemd/system/psu-agent.service").read_text()
    file.write_text(text.replace("/usr/bin/psu-agent", sys.executable))
    run = ["systemd-analyze", "--no-pager"]
    done = subprocess.run([*run, "verify", "--man=no", file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "psu-agent" not in done.stderr
    done = subprocess.run(
        [*run, "security", "--offline=true", "--threshold=25", file], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_dependencies_are_those_of_the_lock() -> None:
    """PyYAML alone is Debian's."""
    lock = (ROOT / "docker/requirements.lock").read_text()
    stanzas = build_deb.locked()
    assert lock.count("==") - 1 == len(stanzas) > 10
    assert all("--hash=sha256:" in stanza for stanza in stanzas.values())
    assert "pyyaml" not in stanzas
    assert "python3-yaml" in (HERE / "control.in").read_text()

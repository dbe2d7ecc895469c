"""Builds the Debian package of psu-agent: `make deb`, or `python package/debian/build.py --into dist [--arch arm64]`.

The package holds psu-agent and the packages that it needs, locked in docker/requirements.lock, in an environment of its own below
/usr/lib/psu-agent: nothing of Debian's Python is touched. The compiled parts are there for each Python of `PYTHONS`, so that one
file does for several releases. PyYAML alone comes from Debian, since it has no wheel for 32-bit ARM.

It takes dpkg-deb and the tools of `make dev`; no root, and a package of another architecture can be built.
"""

from __future__ import annotations

import argparse
import email.utils
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXAMPLES = ROOT / "examples" / "systemd"
#: The releases of Python that the package serves: of Debian 12, Ubuntu 24.04, Debian 13.
PYTHONS = ("3.11", "3.12", "3.13")
#: Debian's name of an architecture, and that in the names of wheels.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l"}
#: glibc of Debian 12; what was built for an older one runs, too.
GLIBC = range(17, 37)
HOME = Path("usr/lib/psu-agent")
SITE = HOME / "lib/python3/site-packages"


def debian_version(version: str) -> str:
    """A version of Python's as Debian orders it: what comes before a release sorts below it."""
    public, plus, local = version.partition("+")  # behind it stands a commit, in which a "b2" is no beta
    return re.sub(r"\.?(dev|a|b|rc)(?=\d)", r"~\1", public) + plus + local


def host_architecture() -> str:
    """As dpkg calls it."""
    done = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def build_wheel(folder: Path) -> Path:
    """The wheel of this tree, built without a network."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return next(folder.glob("psu_agent-*.whl"))


def locked() -> dict[str, str]:
    """What is installed, by name: its lines of the lock, with version and hashes. PyYAML is left to Debian."""
    lock = (ROOT / "docker" / "requirements.lock").read_text()
    stanzas = {match[1]: match[0] for match in re.finditer(r"^([\w.-]+)==.*\n(?:[ \t].*\n)*", lock, re.MULTILINE)}
    del stanzas["pyyaml"]
    return stanzas


def install_dependencies(site: Path, architecture: str, scratch: Path) -> None:
    """Install what is locked into a folder, for all of `PYTHONS`, each package checked by its hash."""
    stanzas = locked()
    machine = MACHINES[architecture]
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in GLIBC]
    requirements = scratch / "requirements.lock"
    for python in PYTHONS:
        requirements.write_text("".join(stanzas.values()))
        _pip(
            f"--target={scratch / python}",
            *(f"--python-version={python}", *platforms, f"--platform=manylinux2014_{machine}"),
            *("--only-binary=:all:", "--no-deps", "--require-hashes", f"--requirement={requirements}"),
        )
        shutil.copytree(scratch / python, site, dirs_exist_ok=True)
        # The rest is the same for all.
        stanzas = {name: stanzas[name] for name in _compiled(scratch / python)}


def _compiled(site: Path) -> list[str]:
    """The names of the packages with parts that were compiled for one release of Python."""
    wheels = [path for path in site.glob("*.dist-info/WHEEL") if "Root-Is-Purelib: false" in path.read_text()]
    return [path.parent.name.partition("-")[0].replace("_", "-") for path in wheels]


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*command, *arguments], check=True)


def fill(root: Path, wheel: Path, dependencies: Path | None, architecture: str) -> None:
    """Lay out the package's files below a folder.

    :param dependencies: a folder of installed packages to take instead of those of the lock
    """
    site = root / SITE
    site.mkdir(parents=True)
    if dependencies is None:
        with tempfile.TemporaryDirectory() as scratch:
            install_dependencies(site, architecture, Path(scratch))
    else:
        shutil.copytree(dependencies, site, dirs_exist_ok=True)
    _pip(f"--target={site}", "--upgrade", "--no-deps", "--no-index", str(wheel))
    shutil.rmtree(site / "bin", ignore_errors=True)
    for folder in list(site.rglob("__pycache__")):
        shutil.rmtree(folder)
    for info in site.glob("*.dist-info"):
        (info / "INSTALLER").write_text("dpkg\n")
        for name in ("RECORD", "REQUESTED", "direct_url.json"):
            (info / name).unlink(missing_ok=True)
    for python in PYTHONS:
        (root / HOME / "lib" / f"python{python}").symlink_to("python3")
    _write(root / HOME / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = true\n")
    (root / HOME / "bin").mkdir()
    (root / HOME / "bin" / "python3").symlink_to("/usr/bin/python3")
    _write(root / HOME / "bin" / "psu-agent", (HERE / "psu-agent").read_text(), 0o755)
    (root / "usr/bin").mkdir()
    (root / "usr/bin/psu-agent").symlink_to("../lib/psu-agent/bin/psu-agent")
    (root / "etc/psu-agent").mkdir(parents=True)
    _fill_system(root)
    _fill_documents(root, wheel.name.split("-")[1])


def _fill_system(root: Path) -> None:
    """The service, and the rights on USB and serial devices."""
    _write(root / "usr/lib/systemd/system/psu-agent.service", service())
    _write(root / "usr/lib/udev/rules.d/70-psu-agent.rules", (EXAMPLES / "70-psu-agent.rules").read_text())


def service() -> str:
    """The unit of examples/systemd with its drop-in for devices, as a package has it: a user that stays, no start unasked."""
    unit = (EXAMPLES / "psu-agent.service").read_text()
    head, _, body = unit.partition("[Unit]\n")
    assert head.startswith("#")
    changes = {
        "Documentation=man:systemd.exec(5)\n": "Documentation=man:psu-agent(1)\n"
        "# Nothing is served until a configuration was written.\nConditionPathExists=/etc/psu-agent/psu-agent.yaml\n",
        "/opt/psu-agent/bin/psu-agent": "/usr/bin/psu-agent",
        "DynamicUser=yes\n": "User=psu-agent\nGroup=psu-agent\n",
        "PrivateDevices=yes\n": "",
        "PrivateUsers=yes\n": "",
        "ProcSubset=pid\n": "",
    }
    for old, new in changes.items():
        assert old in body, f"{old!r} is not in the unit any more"
        body = body.replace(old, new)
    devices = (EXAMPLES / "psu-agent.service.d" / "devices.conf").read_text().partition("[Service]\n")[2]
    kept = "".join(line for line in devices.splitlines(True) if not line.startswith("SupplementaryGroups"))
    kept = kept.replace("# The rules give the devices to this group. A user namespace of its own would hide it.\n", "")
    body = body.replace("\n[Install]\n", f"\n# Supplies on USB and on serial ports.\n{kept}\n[Install]\n")
    return (
        f"# The agent as a service: systemctl enable --now psu-agent, once its configuration is there.\n[Unit]\n{body}"
    )


def _fill_documents(root: Path, version: str) -> None:
    documents = root / "usr/share/doc/psu-agent"
    _write(documents / "copyright", (HERE / "copyright").read_text() + _licence_text() + _licences(root / SITE))
    _write(documents / "README.Debian", (HERE / "README.Debian").read_text())
    _write(documents / "examples/psu-agent.yaml", (HERE / "psu-agent.yaml").read_text())
    _compress(documents / "CHANGELOG.md.gz", (ROOT / "CHANGELOG.md").read_text())
    _compress(documents / "changelog.gz", _changelog(version))
    for shell, place in {
        "bash": "usr/share/bash-completion/completions/psu-agent",
        "zsh": "usr/share/zsh/vendor-completions/_psu-agent",
        "fish": "usr/share/fish/vendor_completions.d/psu-agent.fish",
    }.items():
        _write(root / place, _psu_agent(_PSU_AGENT_COMPLETE=f"{shell}_source"))
    _compress(root / "usr/share/man/man1/psu-agent.1.gz", (ROOT / "docs/psu-agent.1").read_text())


def maintainer() -> str:
    """Who answers for the package: $DEBFULLNAME and $DEBEMAIL, as Debian's tools take them."""
    return (
        f"{os.environ.get('DEBFULLNAME', 'The psu-agent developers')} <{os.environ.get('DEBEMAIL', 'root@localhost')}>"
    )


def _changelog(version: str) -> str:
    """Debian's own, which points to the project's."""
    when = email.utils.formatdate(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()))
    head = f"psu-agent ({debian_version(version)}) unstable; urgency=medium"
    return f"{head}\n\n  * See CHANGELOG.md.\n\n -- {maintainer()}  {when}\n"


def _psu_agent(*arguments: str, **variables: str) -> str:
    """What the program of this tree prints."""
    run = "import sys; sys.argv[0] = 'psu-agent'; from agent.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", run, *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _licence_text() -> str:
    lines = (ROOT / "LICENSE").read_text().splitlines()
    return "".join(f" {line}\n" if line else " .\n" for line in lines)


def _licences(site: Path) -> str:
    """A stanza for each package that is held; its own text lies in its dist-info folder."""
    found = ["\n"]
    for info in sorted(site.glob("*.dist-info")):
        name = info.name.partition("-")[0]
        if name == "psu_agent":
            continue
        metadata = (info / "METADATA").read_text()
        told = re.search(r"^License-Expression: (.+)$", metadata, re.MULTILINE) or re.search(
            r"^Classifier: License :: .*:: (.+)$|^License: (.{1,40})$", metadata, re.MULTILINE
        )
        licence = next((group for group in told.groups() if group), "unknown") if told else "see its folder"
        found.append(
            f"Files: {SITE}/{name}*\nCopyright: its authors\nLicense: {name}\n"
            f" {licence}; the text is in /{SITE}/{info.name}.\n\n"
        )
    return "".join(found)


def control(version: str, architecture: str, root: Path) -> str:
    """The file DEBIAN/control."""
    size = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file()) // 1024
    last = f"3.{int(PYTHONS[-1].partition('.')[2]) + 1}"
    fields = {
        "VERSION": debian_version(version),
        "ARCHITECTURE": architecture,
        "SIZE": str(size),
        "PYTHON": f"python3 (>= {PYTHONS[0]}), python3 (<< {last})",
        "MAINTAINER": maintainer(),
    }
    return re.sub(r"@([A-Z]+)@", lambda match: fields[match[1]], (HERE / "control.in").read_text())


def build(into: Path, architecture: str, dependencies: Path | None = None, compression: str = "xz") -> Path:
    """The package, in a folder.

    :raises subprocess.CalledProcessError: a program failed; it has said why on stderr
    """
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root, wheel = Path(scratch, "root"), build_wheel(Path(scratch))
        version = wheel.name.split("-")[1]
        fill(root, wheel, dependencies, architecture)
        for path in root.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent == root / HOME / "bin" else 0o644)
        (root / "DEBIAN").mkdir()
        _write(root / "DEBIAN/control", control(version, architecture, root))
        for name in ("postinst", "prerm", "postrm"):
            _write(root / "DEBIAN" / name, (HERE / name).read_text(), 0o755)
        file = into / f"psu-agent_{debian_version(version)}_{architecture}.deb"
        command = ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", str(root), str(file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return file


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _compress(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def main() -> int:
    """Build, and print where the package is."""
    parser = argparse.ArgumentParser(description="Build the Debian package of psu-agent.")
    parser.add_argument("--into", type=Path, default=Path("dist"), help="folder for the package")
    parser.add_argument("--arch", choices=sorted(MACHINES), help="architecture; this host's if left out")
    arguments = parser.parse_args()
    if shutil.which("dpkg-deb") is None:
        print("dpkg-deb is not here: build on Debian or Ubuntu, or install the package dpkg", file=sys.stderr)
        return 1
    try:
        print(build(arguments.into, arguments.arch or host_architecture()))
    except subprocess.CalledProcessError as error:
        print(error.stderr or f"{error.cmd[0]} failed with code {error.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The images that compose.yaml names: that of the shipped Dockerfile, and stand-ins for those that are published.

They are made once and kept, until something changes that goes into them; layers that stay the same are not made again.
"""

from __future__ import annotations

import configparser
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.support.processes import ROOT

from .engine import IMAGES, Engine

_STAND_INS = Path(__file__).with_name("images")
_TREE = ROOT / ".cache" / "debian"
_TOOLS = ROOT / ".cache" / "tools"
#: What the stand-ins are made of, and who makes it.
PROGRAMS = ("telegraf", "influxd")
#: This host's certificates. Within a build they have another name, because a package writes its own there.
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
#: Under these names `docker compose` asks for images without a registry in their names.
_HUB = "docker.io/library/"
AGENT = f"{_HUB}psu-agent"


def lacking() -> str | None:
    """Which program the images can't be made without; None if all are there."""
    if missing := [name for name in PROGRAMS if not (_TOOLS / name).exists()]:
        return f"{' and '.join(missing)} not built: run .ci/stack-tools and .ci/influxdb-tools"
    return None


def services() -> dict[str, str]:
    """The published images, by the stand-in's name: `influxdb` to `influxdb:2.9.1`."""
    found = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].values()
    names = {service["image"] for service in found if "build" not in service}
    return {name.partition(":")[0].rpartition("/")[2]: name for name in sorted(names)}


def base() -> str:
    """The image that the Dockerfile begins with."""
    return next(
        line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("FROM debian")
    )


@contextmanager
def made() -> Iterator[None]:
    """All images are in `IMAGES`, and stay as they are within the context."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (IMAGES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        stamp, key = IMAGES / "made", _key()
        if not stamp.exists() or stamp.read_text() != key:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not stamp.exists() or stamp.read_text() != key:
                stamp.unlink(missing_ok=True)
                _make()
                stamp.write_text(key)
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _make() -> None:
    with Engine(IMAGES / "work", isolated=False, graph=IMAGES / "graph") as engine:
        _base(engine)
        build = ["build", "--pull=never", "--format", "docker", "--network=host", "--quiet"]
        build += [f"--volume={_pip_settings(engine.folder)}:/etc/pip.conf:ro"]
        if _CERTIFICATES.exists():
            build += [f"--volume={_CERTIFICATES}:/host.crt:ro"]
        # The first stage keeps its layers under a name of its own, or all packages would be fetched again next time.
        engine.podman(*build, "--target", "build", "--tag", "psu-agent-build", ROOT, timeout=900)
        engine.podman(*build, "--tag", AGENT, ROOT, timeout=900)
        context = engine.folder / "context"
        shutil.copytree(_STAND_INS, context)
        for name in PROGRAMS:
            shutil.copy(_TOOLS / name, context / name)
        wanted = {f"{AGENT}:latest", "localhost/psu-agent-build:latest", f"{_HUB}{base()}"}
        for target, name in services().items():
            tag = f"docker.io/{name}" if "/" in name else f"{_HUB}{name}"
            engine.podman(*build, "--target", target, "--tag", tag, context, timeout=600)
            wanted.add(tag)
        # Those that had these names before, and those of other versions.
        there = set(engine.podman("images", "--format", "{{.Repository}}:{{.Tag}}").split())
        if old := [name for name in there - wanted if "<none>" not in name]:
            engine.podman("rmi", *old)
        engine.podman("image", "prune", "--force")


def _pip_settings(folder: Path) -> Path:
    """A file for pip that has it fetch packages as it does on this host."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read("/etc/pip.conf")
    if not settings.has_section("global"):
        settings.add_section("global")
    if index := os.environ.get("PIP_INDEX_URL"):
        settings["global"]["index-url"] = index
    if _CERTIFICATES.exists():
        settings["global"]["cert"] = "/host.crt"
    with (folder / "pip.conf").open("w") as file:
        settings.write(file)
    return folder / "pip.conf"


def _base(engine: Engine) -> None:
    """The bare Debian tree under the name that the Dockerfile has for it."""
    name = f"{_HUB}{base()}"
    made_of = str((ROOT / ".cache" / "debian.ready").stat().st_mtime_ns)
    there = engine.podman("image", "inspect", "--format", '{{index .Labels "made-of"}}', name, fails=True)
    if there.strip() == made_of:
        return
    change = f"LABEL made-of={made_of}"
    with subprocess.Popen(["tar", "-C", _TREE, "-c", "."], stdout=subprocess.PIPE) as tar:
        done = subprocess.run(
            ["podman", "import", "--quiet", "--change", change, "-", name],
            stdin=tar.stdout,
            env=engine.environment,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr


def _key() -> str:
    """A digest of everything that the images are made of."""
    digest = hashlib.sha256(repr([services(), (ROOT / ".cache" / "debian.ready").stat().st_mtime_ns]).encode())
    allowed = [
        line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    for place in [ROOT / "Dockerfile", *(ROOT / name for name in allowed), _STAND_INS, Path(__file__)]:
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)} {file.stat().st_mode}".encode())
                digest.update(file.read_bytes())
    for name in PROGRAMS:
        digest.update(repr([(_TOOLS / name).stat().st_size, (_TOOLS / name).stat().st_mtime_ns]).encode())
    return digest.hexdigest()

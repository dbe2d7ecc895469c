"""Where brokers are had from: by the ordinary clients of package registries, into a folder that is kept."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.processes import ROOT

#: Builds and packages; kept from one run to the next.
CACHE = Path(os.environ.get("PSU_AGENT_BROKERS", ROOT / ".cache" / "brokers"))
_LONGEST = 1200.0  # s for a build


class NotHadError(RuntimeError):
    """A broker can't be had here. The message says why, and what would help."""


def found(name: str, hint: str) -> str:
    """The path of a program that is installed.

    :param hint: how to install it, for the message
    :raises NotHadError: it is not installed
    """
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/go/bin"]
    program = shutil.which(name, path=os.pathsep.join(places))
    if program is None:
        raise NotHadError(f"{name} is not installed ({hint})")
    return program


def go_program(module: str, version: str, name: str, *, build: bool) -> Path:
    """A program that the Go client builds.

    :param module: the import path of its main package
    :param name: of the file in the cache; the client calls it as the path's last part
    :param build: build it where the cache does not have it in this version
    :raises NotHadError: it is not in the cache, and can't be built or is not to be
    """
    folder = CACHE / "go" / f"{name}-{version}"
    program = folder / name
    if not program.exists():
        go = found("go", "Go 1.24 or newer")
        _only_if(build, name)
        _run(
            [go, "install", "-trimpath", "-ldflags", "-s -w", f"{module}@{version}"], environment={"GOBIN": str(folder)}
        )
        (folder / [part for part in module.split("/") if not _is_major(part)][-1]).rename(program)
    return program


def node_package(name: str, version: str, *, build: bool) -> Path:
    """The folder with a package of npm's, and the packages that it needs, in its ``node_modules``.

    :raises NotHadError: as for `go_program`
    """
    found("node", "Node.js 20 or newer")
    folder = CACHE / f"{name}-{version}"
    if not (folder / "node_modules" / name).exists():
        npm = found("npm", "Debian, Ubuntu: apt install npm")
        _only_if(build, name)
        folder.mkdir(parents=True, exist_ok=True)
        _run([npm, "install", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error", f"{name}@{version}"])
    return folder


def maven_classpath(artifact: str, *, build: bool) -> str:
    """The class path of an artifact, ``GROUP:NAME:VERSION``, with all that it needs.

    :raises NotHadError: as for `go_program`
    """
    group, name, version = artifact.split(":")
    folder = CACHE / f"{name}-{version}"
    listed = folder / "classpath"
    if not listed.exists():
        mvn = found("mvn", "Debian, Ubuntu: apt install maven")
        _only_if(build, name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pom.xml").write_text(
            "<project><modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>local</artifactId>"
            "<version>1</version><dependencies><dependency>"
            f"<groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>"
            "</dependency></dependencies></project>\n"
        )
        goal = "dependency:build-classpath"
        _run([mvn, "-q", "-B", "-f", folder / "pom.xml", goal, f"-Dmdep.outputFile={folder / 'classpath.new'}"])
        (folder / "classpath.new").rename(listed)
    return listed.read_text().strip()


def maven_archive(artifact: str, *, build: bool) -> Path:
    """The folder with the content of an archive, ``GROUP:NAME:VERSION:tar.gz:CLASSIFIER``.

    :raises NotHadError: as for `go_program`
    """
    _, name, version, kind, classifier = artifact.split(":")
    folder = CACHE / f"{name}-{version}"
    if not folder.exists():
        mvn = found("mvn", "Debian, Ubuntu: apt install maven")
        _only_if(build, name)
        CACHE.mkdir(parents=True, exist_ok=True)
        _run([mvn, "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={CACHE}"])
        archive = CACHE / f"{name}-{version}-{classifier}.{kind}"
        _run(["tar", "-xzf", archive, "-C", CACHE])
        archive.unlink()
    return folder


def python_program(package: str, version: str, name: str, *, build: bool) -> Path:
    """A program of a package of PyPI's, in an environment of its own.

    :raises NotHadError: as for `go_program`
    """
    folder = CACHE / f"{package}-{version}"
    program = folder / "bin" / name
    if not program.exists():
        _only_if(build, package)
        _run([found("python3", "Python 3.11 or newer"), "-m", "venv", "--clear", folder])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        _run([*pip, f"{package}=={version}"])
    return program


@functools.cache
def debian_version(package: str) -> str:
    """The version of a package of Debian's that is installed.

    :raises NotHadError: it is not
    """
    query = [found("dpkg-query", "this is no Debian"), "-W", "-f", "${Version}", package]
    done = subprocess.run(query, capture_output=True, text=True)
    if done.returncode or not done.stdout:
        raise NotHadError(f"{package} is not installed (Debian, Ubuntu: apt install {package})")
    return done.stdout


def _only_if(build: bool, name: str) -> None:
    if not build:
        raise NotHadError(f"{name} is not in {CACHE} (make brokers gets it)")


def _is_major(part: str) -> bool:
    return part.startswith("v") and part[1:].isdigit()


def _run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        ["nice", "-n", "10", *command],
        cwd="/",
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LONGEST,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-2:]
        raise NotHadError(f"{Path(command[0]).name} could not get it: {' / '.join(said)}")

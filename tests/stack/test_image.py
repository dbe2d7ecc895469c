"""The Dockerfile, step by step, in clean Debian trees: what `docker build` does, without Docker.

It takes root and the bare tree that .ci/stack-tools makes. Each stage starts from a copy of that tree, RUN is a chroot,
COPY copies what .dockerignore lets through, and the result runs as the image would: as its user, as process 1. As with
Docker, what the steps before the project's own files come to is kept and used again until one of them changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support import trees
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until

BASE = ROOT / ".cache" / "debian"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What makes the network work in a chroot as it does outside: names, certificates, and how pip gets its packages.
OF_THIS_HOST = {
    "/etc/resolv.conf": "/etc/resolv.conf",
    "/etc/hosts": "/etc/hosts",
    "/etc/pip.conf": "/etc/pip.conf",
    # Under another name, because a package in the tree writes its own.
    "/etc/ssl/certs/ca-certificates.crt": "/host.crt",
}

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(os.getuid() != 0, reason="chroot takes root"),
    pytest.mark.skipif(not BASE.with_suffix(".ready").exists(), reason="no bare Debian tree: run .ci/stack-tools"),
    pytest.mark.timeout(400),
]


def instructions() -> Iterator[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def _before_the_projects_files(step: tuple[str, str]) -> bool:
    word, rest = step
    return word in ("RUN", "WORKDIR") or (word == "COPY" and all(".lock" in source for source in rest.split()[:-1]))


class Image:
    """What the Dockerfile makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder
        self.environment: dict[str, str] = {}
        self.settings: dict[str, str] = {}
        self.entrypoint: list[str] = []
        self.command: list[str] = []
        self._stages: dict[str, Path] = {}
        self._directory = "/"
        steps = list(instructions())
        while steps:
            word, rest = steps.pop(0)
            if word == "FROM":
                head = list(itertools.takewhile(_before_the_projects_files, steps))
                kept = self._begin(rest, head)
                if kept.exists():
                    del steps[: len(head)]
                    continue
                for step in head:
                    self._do(*step)
                del steps[: len(head)]
                kept.parent.mkdir(exist_ok=True)
                subprocess.run(["cp", "-a", "--reflink=auto", self.tree, f"{kept}.new"], check=True)
                Path(f"{kept}.new").rename(kept)
            else:
                self._do(word, rest)

    def _begin(self, rest: str, head: list[tuple[str, str]]) -> Path:
        """A new stage's tree. Returns where its head is kept, or is to be."""
        base, _, name = rest.partition(" AS ")
        assert re.fullmatch(r"debian:12\.\d+-slim", base), "a pinned Debian 12: that is what the bare tree is"
        digest = hashlib.sha256(json.dumps([BASE.stat().st_mtime, head]).encode())
        for _, step in head:
            for source in step.split():
                if source.endswith(".lock") and (ROOT / source).exists():
                    digest.update((ROOT / source).read_bytes())
        kept = ROOT / ".cache" / "image" / digest.hexdigest()[:16]
        self.tree, self._directory, self.environment = self.folder / (name or "final"), "/", {}
        self._stages[name] = self.tree
        subprocess.run(["cp", "-a", "--reflink=auto", kept if kept.exists() else BASE, self.tree], check=True)
        for file, name_there in OF_THIS_HOST.items():
            if Path(file).exists():
                shutil.copy(file, self.tree / name_there[1:])
        if kept.exists():
            for word, step in head:
                if word == "WORKDIR":
                    self._directory = step
        return kept

    def _do(self, word: str, rest: str) -> None:
        if word == "WORKDIR":
            self._directory = rest
            self.inside(rest).mkdir(parents=True, exist_ok=True)
        elif word == "ARG":
            name, _, value = rest.partition("=")
            self.environment[name] = value
        elif word == "ENV":
            self.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "RUN":
            done = self.run(["sh", "-ec", rest], user=0, directory=self._directory)
            assert done.returncode == 0, f"{rest}\n{done.stdout}"
        elif word == "COPY":
            *sources, target = rest.split()
            origin = ROOT
            if sources[0].startswith("--from="):
                origin = self._stages[sources.pop(0).partition("=")[2]]
            self._copy(origin, sources, target)
        elif word == "ENTRYPOINT":
            self.entrypoint = json.loads(rest)
        elif word == "CMD":
            self.command = json.loads(rest)
        else:
            self.settings[word] = rest

    def inside(self, path: str) -> Path:
        return self.tree / os.path.join(self._directory, path).lstrip("/")

    def _copy(self, origin: Path, sources: list[str], target: str) -> None:
        for source in sources:
            path = origin / source.lstrip("/")
            into = self.inside(target)
            if origin == ROOT:
                assert any(source.startswith(allowed) for allowed in allowed_context()), f"{source}: see .dockerignore"
            if path.is_dir():
                shutil.copytree(
                    path, into, dirs_exist_ok=True, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                file = into / path.name if target.endswith("/") else into
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, file)

    def chroot(self, user: int) -> list[str]:
        environment = [f"{key}={value}" for key, value in ({"PATH": PATH} | self.environment).items()]
        host = [f"{key}={os.environ[key]}" for key in ("PIP_INDEX_URL", "https_proxy") if key in os.environ]
        if (self.tree / "host.crt").exists():
            host += ["PIP_CERT=/host.crt", "SSL_CERT_FILE=/host.crt"]
        return ["chroot", f"--userspec={user}:{user}", str(self.tree), "env", "-i", "HOME=/tmp", *host, *environment]

    def run(self, command: list[str], user: int = 10001, directory: str = "/") -> subprocess.CompletedProcess[str]:
        shell = ["sh", "-ec", f'cd {directory}; exec "$@"', "sh", *command]
        script = f"{trees.mounts(self.tree)}; exec {shlex.join([*self.chroot(user), *shell])}"
        return subprocess.run(
            ["unshare", "--mount", "sh", "-ec", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


def allowed_context() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    assert next(line for line in lines if line and not line.startswith("#")) == "*"
    return [line[1:].rstrip("/") for line in lines if line.startswith("!")]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if (reason := trees.missing()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("image")
    yield Image(folder)
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=True)


def test_the_image_runs_as_a_user_of_its_own_and_has_what_the_agent_needs(image: Image) -> None:
    assert image.settings["USER"] == "10001", "with a group behind it, it would not be in dialout"
    assert image.entrypoint == ["tini", "--", "psu-agent"]
    done = image.run(["psu-agent", "--version"])
    assert done.returncode == 0, done.stdout
    models = image.run(["psu-agent", "models"])
    assert "E36313A" in models.stdout
    assert image.run(["python", "-c", "import usb.core, serial; assert usb.core.find() or True"]).returncode == 0
    assert "ok" in image.run(["sh", "-c", "touch /var/lib/psu-agent/x && rm /var/lib/psu-agent/x && echo ok"]).stdout
    # Nothing else may be written to, and nothing to build with is left.
    written = image.run(
        ["sh", "-c", "find / -xdev -writable -type d -not -path '/proc/*' -not -path '/dev/*' 2>/dev/null"]
    )
    assert set(written.stdout.split()) <= {"/tmp", "/var/tmp", "/run/lock", "/var/lib/psu-agent", "/etc/psu-agent"}
    for missing in ("gcc", "pip", "git"):
        assert image.run(["sh", "-c", f"command -v {missing}"]).returncode != 0, missing
    assert not (image.tree / "src").exists()


def test_what_is_installed_is_what_is_locked(image: Image) -> None:
    program = "import importlib.metadata as m; print(*(f'{d.name.lower()}=={d.version}' for d in m.distributions()), sep='\\n')"
    installed = {line.replace("_", "-") for line in image.run(["python", "-c", program]).stdout.split()}
    lock = (ROOT / "docker" / "requirements.lock").read_text()
    # What has a marker is for another platform or Python.
    locked = set(re.findall(r"^([\w.-]+==[^ ;]+) \\$", lock, re.MULTILINE))
    assert {line for line in installed if not line.startswith("psu-agent==")} == locked
    assert lock.count("--hash=sha256:") > len(locked)


def test_process_1_ends_cleanly_and_buries_its_children(image: Image, tmp_path: Path) -> None:
    """The simulator, as compose.yaml runs it, in a PID namespace of its own: SIGTERM ends it with exit code 0."""
    simulator = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["simulator"]
    command = [*image.entrypoint, *simulator["command"]]
    # An orphan of the agent's: init has to reap it.
    shell = 'sh -c "sleep 0.2 & exit" & exec "$@"'
    inner = shlex.join([*image.chroot(10001), "sh", "-c", shell, "sh", *command])
    script = f"ip link set lo up; {trees.mounts(image.tree)}; exec {inner}"
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script]
    process = Process(unshare, tmp_path / "image.log")
    process.start()
    try:
        wait_until(lambda: "5025" in process.text() or process.ended() is not None, "the simulator is there")
        assert process.ended() is None, process.text()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (first,) = map(int, children)
        assert Path(f"/proc/{first}/comm").read_text().strip() == "tini"
        wait_until(lambda: not {"sleep", "Z"} & _what_runs(first), "the orphan to end and to be buried")
        check = simulator["healthcheck"]["test"]
        assert check[0] == "CMD"
        enter = ["nsenter", "--target", str(first), "--net", *image.chroot(10001), *check[1:]]
        assert subprocess.run(enter).returncode == 0
        os.kill(first, signal.SIGTERM)
        assert wait_until(lambda: process.ended() is not None, "it ends")
        assert process.ended() == 0, process.text()
    finally:
        process.stop(signal.SIGKILL)


def _what_runs(pid: int) -> set[str]:
    """The names and the states of all processes below one. One that ends meanwhile is left out."""
    found: set[str] = set()
    for each in _below(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            name, _, rest = Path(f"/proc/{each}/stat").read_text().partition("(")[2].rpartition(")")
            found |= {name, rest.split()[0]}
    return found


def _below(pid: int) -> list[int]:
    try:
        found = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        found = []
    return found + [each for one in found for each in _below(one)]

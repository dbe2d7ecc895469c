#!/usr/bin/env python3
"""Everything that the stack keeps, in one file, and back. Run by ``make backup`` and ``make restore``.

    backup.py save [FILE]             into FILE, or backups/psu-DATE.tar
    backup.py restore FILE            into an installation that has nothing yet; with --overwrite into any

A service stands still while its volume is copied, so that the copy is whole; samples wait at the broker meanwhile. What ran
is started again also when something fails. The file holds every secret of the stack, and is readable for its owner alone.

Exit code: 0 done, 1 it failed half-way and says what to do, 2 nothing was done.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.composing import Compose
from scripts.make_secrets import ROOT, Fault

#: Volumes that are copied together, and who stands still for it. The agent only for its own: nothing can be switched, off
#: included, while it does.
COPIES = (
    (("influxdb", "influxdb-setup", "tokens", "grafana"), ("grafana", "influxdb")),
    (("agent",), ("agent",)),
)
#: What people have written or `make secrets` has made, by its path from the project's folder.
FILES = ("secrets", "mosquitto/users.toml", ".env", "compose.override.yaml")
#: Of these, what a new checkout has: it gives no reason to refuse.
SHIPPED = ("mosquitto/users.toml", "examples/stack")
RUN = "run --rm -T backup"
#: The last member: without it the file is not whole.
END = "backup.json"


def settings(root: Path) -> dict[str, str]:
    """The lines of .env."""
    with contextlib.suppress(OSError):
        lines = (line.split("=", 1) for line in (root / ".env").read_text().splitlines() if "=" in line)
        return {key.strip(): value.strip().strip("\"'") for key, value in lines if not key.lstrip().startswith("#")}
    return {}


def kept_files(root: Path) -> list[str]:
    """Of `FILES`, and the folder of the agent's configuration, what is there."""
    folder = os.environ.get("PSU_AGENT_FOLDER") or settings(root).get("PSU_AGENT_FOLDER", "")
    names = list(FILES)
    if folder:
        path = (root / folder).resolve()
        if path.is_relative_to(root):
            names.append(path.relative_to(root).as_posix())
        else:
            print(f"{path} is outside of this folder, and so not in the backup", file=sys.stderr)
    return [name for name in names if (root / name).exists()]


@contextlib.contextmanager
def still(compose: Compose, services: list[str]) -> Iterator[None]:
    """These services stand still, and go on in any case."""
    try:
        for service in services:
            if compose.run(f"stop {service}") != 0:
                raise Fault(f"{service} could not be stopped")
        yield
    finally:
        if services and compose.run(f"start {' '.join(reversed(services))}") != 0:
            print(f"These services stand still: {compose.shown('up -d')} starts them", file=sys.stderr)


# -- into a file ----------------------------------------------------------------------------------------------------------


def save(compose: Compose, root: Path, to: Path) -> None:
    """Write the backup.

    :raises Fault: it could not be written; nothing is left of it
    """
    if to.exists():
        raise Fault(f"{to} is there already: give another name, TO=FILE")
    running = compose.running()
    to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = to.with_name(f"{to.name}.part")
    part.unlink(missing_ok=True)
    try:
        with open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+b") as file:
            names = kept_files(root)
            # What a link leads to: the certificates of an authority are often links to another folder.
            with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
                for name in names:
                    archive.add(root / name, f"files/{name}")
            for volumes, services in COPIES:
                with still(compose, [service for service in services if service in running]):
                    file.flush()
                    file.seek(0, os.SEEK_END)
                    if compose.run(f"{RUN} save {' '.join(volumes)}", stdout=file) != 0:
                        raise Fault("The volumes could not be copied: see above")
            file.seek(0, os.SEEK_END)
            with tarfile.open(fileobj=file, mode="w") as archive:
                end = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "files": names}
                text = json.dumps(end | {"volumes": [name for volumes, _ in COPIES for name in volumes]}).encode()
                member = tarfile.TarInfo(END)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text))
            os.fsync(file.fileno())
        content(part)
        part.rename(to)
    except OSError as error:
        raise Fault(f"{error.filename or to}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
    print(f"{to}: {to.stat().st_size / 1e6:.1f} MB. It holds every secret of the stack: keep it as you keep those")


def content(path: Path) -> dict[str, Any]:
    """What stands at the end of a backup, once all of it has been read.

    :raises Fault: it is no backup, or not whole
    """
    last: dict[str, Any] = {}
    volumes = set()
    try:
        with tarfile.open(path, "r:", ignore_zeros=True) as archive:
            for member in archive:
                last = {}
                if member.name == END and (file := archive.extractfile(member)):
                    last = json.loads(file.read())
                elif member.name.startswith("volumes/"):
                    volumes.add(member.name.split("/")[1])
    except OSError as error:
        raise Fault(f"{path}: {error.strerror or error}") from None
    except (tarfile.TarError, ValueError) as error:
        raise Fault(f"{path} is no backup of the stack, or damaged: {error}") from None
    if missing := set(last.get("volumes", ["all"])) - volumes:
        raise Fault(f"{path} is not whole: it lacks {', '.join(sorted(missing))}")
    return last


# -- and back ---------------------------------------------------------------------------------------------------------------


def put_back_files(path: Path, names: list[str], root: Path, aside: Path) -> None:
    """Write the files of a backup. What is there goes to ``aside``."""
    for name in names:
        if (root / name).exists():
            (aside / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.move(root / name, aside / name)
    with tarfile.open(path, "r:", ignore_zeros=True) as archive:
        for member in archive:
            name = member.name.removeprefix("files/")
            if name == member.name or ".." in name.split("/") or name.startswith("/"):
                continue
            target = root / name
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif member.isfile() and (source := archive.extractfile(member)):
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                    shutil.copyfileobj(source, file)
            else:
                continue
            target.chmod(member.mode & 0o777)


def restore(compose: Compose, root: Path, path: Path, *, overwrite: bool) -> None:
    """Put a backup back.

    :raises Fault: nothing was done, or what its text says
    """
    names = content(path)["files"]
    running = compose.running()
    if not overwrite:
        there = [name for name in names if name not in SHIPPED and (root / name).exists()]
        if there:
            raise Fault(f"{', '.join(there)}: there already. OVERWRITE=yes replaces them, and what the services keep")
        if compose.run(f"{RUN} empty") != 0:
            raise Fault("The volumes are not empty. OVERWRITE=yes replaces what the services keep")
    if running and compose.run("stop") != 0:
        raise Fault(f"The services could not be stopped. {compose.shown('up -d')} starts them again")
    with path.open("rb") as file:
        if compose.run(f"{RUN} restore", stdin=file) != 0:
            if running:
                compose.run(f"start {' '.join(sorted(running))}")
            raise Fault("The backup could not be put back: see above, then run this again", 1)
    aside = root / "backups" / time.strftime("replaced-%Y%m%dT%H%M%SZ", time.gmtime())
    put_back_files(path, names, root, aside)
    if aside.exists():
        print(f"What was there before is in {aside}")
    if running and compose.run("up -d") != 0:
        raise Fault("The backup is back, but not every service started: see above", 1)
    print("The backup is back." + ("" if running else f" {compose.shown('up -d')} starts the stack"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("save", "restore"))
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    arguments = parser.parse_args()
    # So that services that stand still are started also then.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        if arguments.what == "save":
            default = arguments.root / "backups" / time.strftime("psu-%Y%m%dT%H%M%SZ.tar", time.gmtime())
            save(Compose(), arguments.root, arguments.file or default)
        elif arguments.file is None:
            raise Fault("Which backup? make restore FROM=backups/psu-….tar")
        else:
            restore(Compose(), arguments.root, arguments.file, overwrite=arguments.overwrite)
    except Fault as fault:
        print(fault, file=sys.stderr)
        return fault.code
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

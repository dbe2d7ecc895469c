#!/usr/bin/env python3
"""Everything that the stack keeps, in one file, and back. Run by ``make backup`` and ``make restore``.

    backup.py save [FILE]             into FILE, or backups/psu-DATE.tar
    backup.py restore FILE            into an installation that has nothing yet; with --overwrite into any

A service stands still while its volume is copied, so that the copy is whole; samples wait at the broker meanwhile. Services that
ran are started again also when something fails. The file holds every secret of the stack, and is readable for its owner alone.

Exit code: 0 done, 1 it failed half-way and says what to do, 2 nothing was done.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.archive import Summed, content, refuse_newer, take_over, versions
from scripts.common import ROOT, Fault, finished, locked, say, told
from scripts.composing import Compose
from scripts.dotenv import configuration

#: Volumes that are copied together, and who stands still for it. The agent only for its own: nothing can be switched, off
#: included, while it does.
COPIES = (
    (("influxdb", "influxdb-setup", "tokens", "grafana"), ("grafana", "influxdb")),
    (("agent",), ("agent",)),
)
#: What people have written or `make secrets` has made, by its path from the project's folder.
FILES = ("secrets", "mosquitto/users.toml", ".env", "compose.override.yaml")
#: Of these, what a new checkout has: it gives no reason to refuse.
IN_CHECKOUT = ("mosquitto/users.toml", "examples/stack")
RUN = "run --rm -T backup"
#: Not `start`, which starts no agent while Mosquitto is not healthy, nor Grafana after influxdb-setup has failed (compose 2.40).
GO_ON = "up -d --no-deps --no-recreate"
#: The exit code of backup/volumes.py where there is something in a volume.
NOT_EMPTY = 3


def kept_files(root: Path) -> list[str]:
    """Of `FILES`, and the folder of the agent's configuration, what is there."""
    names = list(FILES)
    if path := configuration(root):
        if path.is_relative_to(root.resolve()):
            names.append(path.relative_to(root.resolve()).as_posix())
        else:
            print(f"{path} is outside of this folder, and so not in the backup", file=sys.stderr)
    return [name for name in names if (root / name).exists()]


@contextlib.contextmanager
def stopped(compose: Compose, services: list[str]) -> Iterator[None]:
    """These services stand still, and go on in any case."""
    try:
        if "agent" in services:
            say("While the agent stands still, outputs stay as they are, and nothing can be switched, off included")
        for service in services:
            # Interrupted it would go on without an end that can be waited for, and stop what has been started again.
            if compose.insist(f"stop {service}") != 0:
                raise Fault(f"{service} could not be stopped")
            if compose.interrupted:
                raise KeyboardInterrupt
        yield
    finally:
        started = not services
        try:
            started = started or compose.insist(f"{GO_ON} {' '.join(reversed(services))}") == 0
        finally:  # also where somebody is impatient
            if not started:
                starting = f"{compose.shown(GO_ON)} {' '.join(reversed(services))}"
                say(f"These services stand still: {starting} starts them", sys.stderr)
    if compose.interrupted:
        raise KeyboardInterrupt


# -- into a file ----------------------------------------------------------------------------------------------------------


def save_volumes(compose: Compose, names: tuple[str, ...], target: IO[bytes]) -> None:
    is_whole = False

    def take(source: IO[bytes]) -> None:
        nonlocal is_whole
        is_whole = take_over(source, target)

    if compose.read(f"{RUN} save {' '.join(names)}", take) != 0:
        raise Fault("The volumes could not be copied: see above")
    if not is_whole:  # as when the engine loses a part of a container's output
        raise Fault("The volumes could not be copied: what came from the container is not whole. Try again")


def save(compose: Compose, root: Path, to: Path) -> None:
    """Write the backup, and read it again.

    :raises Fault: it could not be written; nothing is left of it
    """
    if to.exists():
        raise Fault(f"{to} is there already: give another name, TO=FILE")
    running = compose.running()
    part = to.with_name(f"{to.name}.part")
    try:
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with Summed(part) as target:
            names = kept_files(root)
            # Links are followed: the certificates of an authority are often links to another folder.
            with tarfile.open(fileobj=target, mode="w|", dereference=True) as archive:
                for name in names:
                    archive.add(root / name, f"files/{name}")
            for volumes, services in COPIES:
                # The archive may be on a share that hangs, for which the agent is not to wait. The store can be large.
                is_apart = "agent" in services
                with tempfile.TemporaryFile(dir=root) if is_apart else contextlib.nullcontext(target) as copy:
                    with stopped(compose, [service for service in services if service in running]):
                        save_volumes(compose, volumes, copy)
                    if is_apart:
                        copy.seek(0)
                        shutil.copyfileobj(copy, target)
            target.end(
                {
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "files": names,
                    "images": versions(root),
                    "volumes": [name for volumes, _ in COPIES for name in volumes],
                }
            )
        content(part)
        part.rename(to)
    except OSError as error:
        raise Fault(f"{error.filename or to}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    say(f"{to}: {to.stat().st_size / 1e6:.1f} MB. It holds every secret of the stack: keep it as you keep those")


# -- and back ---------------------------------------------------------------------------------------------------------------


def refuse_others_files(names: list[str], root: Path) -> None:
    """
    :raises Fault: files that would have to be moved away, or the folder, belong to somebody else
    """
    # A folder takes the right to write into it to be moved, as its parent is noted in it.
    for path in (root, root / "backups", *(root / name for name in names)):
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
            raise Fault(f"{path} belongs to user {path.stat().st_uid}, and may not be written by this one: use sudo")


def put_back_files(path: Path, names: list[str], root: Path, aside: Path) -> None:
    """Write the files of a backup. Present ones are moved to ``aside``."""
    owner = root.stat()

    def own(target: Path) -> None:
        """With sudo, too, they are those of the one who owns the project's folder, and runs `make secrets`."""
        if os.geteuid() == 0:
            os.chown(target, owner.st_uid, owner.st_gid)

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
            own(target)


def restore(compose: Compose, root: Path, path: Path, *, overwrite: bool) -> None:
    """Put a backup back.

    :raises Fault: nothing was done, or what its text says
    """
    end = content(path)
    refuse_newer(end.get("images"), root)
    names = end["files"]
    refuse_others_files(names, root)
    running = compose.running()
    if not overwrite:
        there = [name for name in names if name not in IN_CHECKOUT and (root / name).exists()]
        if there:
            raise Fault(f"{', '.join(there)}: there already. OVERWRITE=yes replaces them, and what the services keep")
        if (code := compose.run(f"{RUN} empty")) == NOT_EMPTY:
            raise Fault("The volumes are not empty. OVERWRITE=yes replaces what the services keep")
        if code != 0:
            raise Fault("The volumes could not be looked at: see above")
    if running:
        print(
            "All services stand still until it is back: nothing can be switched, off included. Agents of other hosts lose "
            'Mosquitto meanwhile, and turn off their channels with on_broker_loss: "off"',
            flush=True,
        )
    is_stopped = not running or compose.insist("stop") == 0
    if not is_stopped or compose.interrupted:
        go_on = f"{GO_ON} {' '.join(sorted(running))}"
        still = "" if compose.insist(go_on) == 0 else f". Services stand still: {compose.shown(go_on)} starts them"
        why = "Interrupted" if is_stopped else "The services could not be stopped"
        raise Fault(f"{why}. Nothing was changed{still}")
    again = "Services stand still, and it is not all back: run this again, with OVERWRITE=yes"
    try:
        with path.open("rb") as file:
            if compose.run(f"{RUN} restore {end['sha256']}", stdin=file) != 0:
                if running:
                    compose.run(f"{GO_ON} {' '.join(sorted(running))}")
                raise Fault("The backup could not be put back: see above, then run this again", 1)
        aside = root / "backups" / time.strftime("replaced-%Y%m%dT%H%M%SZ", time.gmtime())
        put_back_files(path, names, root, aside)
    except OSError as error:
        raise Fault(f"{told(error)}. {again}", 1) from None
    except KeyboardInterrupt:
        raise Fault(f"Interrupted. {again}", 1) from None
    if aside.exists():
        say(f"What was there before is in {aside}")
    if running and compose.insist("up -d") != 0:
        raise Fault("The backup is back, but not every service started: see above", 1)
    say("The backup is back." + ("" if running else f" {compose.shown('up -d')} starts the stack"))


def save_into(compose: Compose, root: Path, to: Path | None) -> None:
    """A backup into this file, or under its date into this folder; without either, into backups/."""
    name = time.strftime("psu-%Y%m%dT%H%M%SZ.tar", time.gmtime())
    if to is None:
        save(compose, root, root / "backups" / name)
    else:
        save(compose, root, to / name if to.is_dir() else to)


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

    def work() -> None:
        with locked(arguments.root):
            if arguments.what == "save":
                save_into(Compose(), arguments.root, arguments.file)
            elif arguments.file is None:
                raise Fault("Which backup? make restore FROM=backups/psu-….tar")
            else:
                restore(Compose(), arguments.root, arguments.file, overwrite=arguments.overwrite)

    return finished(work)


if __name__ == "__main__":
    sys.exit(main())

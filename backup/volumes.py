#!/usr/bin/env python3
"""Reads and writes what the services keep in their volumes. Run by `make backup` and `make restore`, in the service `backup`.

volumes.py save NAME…       these volumes, to the standard output: a tar archive, then its SHA-256
volumes.py empty            exit code 0 if there is nothing in any of them, else 3
volumes.py restore SHA256   all of them, from the standard input, a file with this SHA-256. The present content goes only when
                            the new one is whole
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

VOLUMES = Path(os.environ.get("VOLUMES", "/volumes"))
#: Where a volume's new content grows beside the present one. Left over from a run that was killed it may go.
NEW = ".restoring"
#: Where the content of before is until all volumes have their new one. influxdb/start.sh does not start a store that has it.
OLD = ".replaced"
HALFWAY = "make restore was stopped halfway, and the volumes are not whole: run it again, with OVERWRITE=yes"
NOT_EMPTY = 3
#: For the names of files, and those in hard links. The targets of symbolic links stay as they are.
TRANSFORM = "--transform=flags=rSh;"
CHUNK = 1 << 20


def summed(source: IO[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        yield chunk


class AtWorkError(Exception):
    """Another container is at work in the volumes, as after a `make restore` that was killed: it goes on to its end by itself."""


@contextlib.contextmanager
def claimed() -> Iterator[None]:
    """
    :raises AtWorkError: by another container
    """
    with contextlib.ExitStack() as stack:
        for volume in volumes():
            opened = os.open(volume, os.O_RDONLY)
            stack.callback(os.close, opened)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AtWorkError from None
            except OSError:  # a file system that has no locks
                continue
        yield


def save(names: list[str]) -> int:
    if any((volume / OLD).exists() for volume in volumes()):
        print(HALFWAY, file=sys.stderr)
        return 1
    command = [
        "tar",
        "-C",
        str(VOLUMES),
        "--numeric-owner",
        f"--exclude=./*/{NEW}",
        f"{TRANSFORM}s,^\\./,volumes/,",
        "-cf",
        "-",
    ]
    digest = hashlib.sha256()
    with subprocess.Popen([*command, *(f"./{name}" for name in names)], stdout=subprocess.PIPE) as tar:  # noqa: S603
        assert tar.stdout is not None
        for chunk in summed(tar.stdout, digest):
            sys.stdout.buffer.write(chunk)
    if tar.returncode == 0:
        sys.stdout.buffer.write(digest.hexdigest().encode())
        sys.stdout.buffer.flush()
    return tar.returncode


def volumes() -> list[Path]:
    return [path for path in VOLUMES.iterdir() if path.is_dir()]


def contents(volume: Path) -> list[Path]:
    return [path for path in volume.iterdir() if path.name not in (NEW, OLD)]


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def unpack(expected: str) -> str | None:
    """Why the volumes' new content, `NEW`, is not whole; None if it is."""
    command = [
        "tar",
        "-C",
        str(VOLUMES),
        "--numeric-owner",
        "--ignore-zeros",
        "--wildcards",
        "--same-owner",
        "--same-permissions",
    ]
    command += [rf"{TRANSFORM}s,^volumes/\([^/]*\),\1/{NEW},", "-xf", "-", "volumes/*"]
    digest = hashlib.sha256()
    # A tar that fails reads no further; it has said why.
    with contextlib.suppress(BrokenPipeError), subprocess.Popen(command, stdin=subprocess.PIPE) as tar:  # noqa: S603
        assert tar.stdin is not None
        for chunk in summed(sys.stdin.buffer, digest):
            tar.stdin.write(chunk)
    if tar.returncode != 0:
        return "the archive could not be unpacked beside them"
    return None if digest.hexdigest() == expected else "the archive did not come in whole"


def settle(folder: Path) -> None:
    """See that all of it is on the disk: after a loss of power there are to be no names without their content."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink() and (path.is_file() or path.is_dir()):
            opened = os.open(path, os.O_RDONLY)
            os.fsync(opened)
            os.close(opened)


def swap(volume: Path) -> None:
    """Put the new content in the place of the present one, by renaming alone."""
    new, old = volume / NEW, volume / OLD
    old.mkdir(exist_ok=True)
    for path in contents(volume):
        if os.path.lexists(old / path.name):  # of a run that was killed: it is no whole content
            remove(path)
        else:
            path.rename(old / path.name)
    status = new.stat()
    for path in new.iterdir():
        path.rename(volume / path.name)
    new.rmdir()
    os.chown(volume, status.st_uid, status.st_gid)
    volume.chmod(status.st_mode & 0o7777)


def restore(expected: str) -> int:
    for volume in volumes():
        shutil.rmtree(volume / NEW, ignore_errors=True)
    if why := unpack(expected):
        for volume in volumes():
            shutil.rmtree(volume / NEW, ignore_errors=True)
        print(f"The volumes are as they were: {why}", file=sys.stderr)
        return 1
    for volume in volumes():
        settle(volume / NEW)
    for volume in volumes():
        if (volume / NEW).is_dir():  # else it was not saved
            swap(volume)
    for volume in volumes():
        if (volume / OLD).is_dir():
            (volume / OLD).rename(volume / NEW)
    for volume in volumes():
        shutil.rmtree(volume / NEW, ignore_errors=True)
    return 0


def is_empty() -> bool:
    return not any(contents(volume) or (volume / OLD).exists() for volume in volumes())


def main(words: list[str]) -> int:
    # Ctrl-C ends it, without a traceback in the terminal of whoever pressed it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        match words:
            case ["save", *names] if names:
                with claimed():
                    return save(names)
            case ["restore", expected]:
                with claimed():
                    return restore(expected)
            case ["empty"]:
                return 0 if is_empty() else NOT_EMPTY
    except AtWorkError:
        print("Another backup or restore is at work in the volumes: wait for its end, then try again", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'volumes.py'}: {error.strerror}", file=sys.stderr)
        if any((volume / OLD).exists() for volume in volumes()):
            print(HALFWAY, file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

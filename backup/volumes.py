#!/usr/bin/env python3
"""Reads and writes what the services keep in their volumes. Run by `make backup` and `make restore`, in the service `backup`.

volumes.py save NAME…     these volumes, to the standard output, as a tar archive
volumes.py empty          exit code 0 if there is nothing in any of them, else 3
volumes.py restore        all of them, from the standard input. The present content goes only when the new one is whole
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

VOLUMES = Path(os.environ.get("VOLUMES", "/volumes"))
#: Where a volume's new content grows beside the present one.
NEW = ".restoring"
NOT_EMPTY = 3
#: For the names of files, and those in hard links. What a symbolic link leads to stays as it is.
TRANSFORM = "--transform=flags=rSh;"


def save(names: list[str]) -> int:
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
    return subprocess.run([*command, *(f"./{name}" for name in names)], check=False).returncode  # noqa: S603


def contents(volume: Path) -> list[Path]:
    return [path for path in volume.iterdir() if path.name != NEW]


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def restore() -> int:
    volumes = [path for path in VOLUMES.iterdir() if path.is_dir()]
    for volume in volumes:
        shutil.rmtree(volume / NEW, ignore_errors=True)
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
    if subprocess.run(command, check=False).returncode != 0:  # noqa: S603
        for volume in volumes:
            shutil.rmtree(volume / NEW, ignore_errors=True)
        print("The volumes are as they were: the archive could not be unpacked beside them", file=sys.stderr)
        return 1
    for volume in volumes:
        new = volume / NEW
        if not new.is_dir():  # it was not saved
            continue
        for path in contents(volume):
            remove(path)
        status = new.stat()
        for path in new.iterdir():
            path.rename(volume / path.name)
        new.rmdir()
        os.chown(volume, status.st_uid, status.st_gid)
        volume.chmod(status.st_mode & 0o7777)
    return 0


def main(words: list[str]) -> int:
    match words:
        case ["save", *names] if names:
            return save(names)
        case ["restore"]:
            return restore()
        case ["empty"]:
            return NOT_EMPTY if any(contents(volume) for volume in VOLUMES.iterdir() if volume.is_dir()) else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

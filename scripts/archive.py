"""The file that `make backup` writes: several tar archives, one behind the other, and their checksum."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from scripts.common import Fault

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

#: The last member: without it the file is not whole. It has the SHA-256 of all that is before it, and of the rest of itself.
END = "backup.json"
#: The length of a SHA-256 behind what backup/volumes.py gives.
SUM = 64
CHUNK = 1 << 20


def versions(root: Path) -> dict[str, str]:
    """Of the services that keep files, the versions that compose.yaml starts."""
    with contextlib.suppress(OSError):
        text = (root / "compose.yaml").read_text(encoding="utf-8")
        return dict(re.findall(r"^  (influxdb|grafana): &\w+ \S+:v?(\d+(?:\.\d+)+)", text, re.MULTILINE))
    return {}


def refuse_newer(kept: object, root: Path) -> None:
    """
    :raises Fault: the files in a backup are a newer version's than the one that would read them
    """
    here = versions(root)
    for name, version in kept.items() if isinstance(kept, dict) else ():
        present = here.get(name, str(version))
        if [int(one) for one in re.findall(r"\d+", str(version))][:2] > [int(one) for one in present.split(".")][:2]:
            raise Fault(
                f"The backup is of {name} {version}, and this version of the project starts {present}, which may not read "
                "its files: take the version that the backup was made with, or a newer one"
            )


class Summed(io.BufferedWriter):
    """A new file, for its owner alone, that is written from its beginning to its end, and the SHA-256 of what was written."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"))
        self.digest = hashlib.sha256()

    def write(self, data: Buffer) -> int:
        self.digest.update(data)
        return super().write(data)

    def end(self, what: dict[str, Any]) -> None:
        """Write the last member, and all of it to the disk."""
        self.digest.update(json.dumps(what).encode())
        text = json.dumps(what | {"sha256": self.digest.hexdigest()}).encode()
        with tarfile.open(fileobj=self, mode="w|") as archive:
            member = tarfile.TarInfo(END)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
        self.flush()
        os.fsync(self.fileno())
        # So that who reads it, reads from the disk, or from the share.
        if hasattr(os, "posix_fadvise"):  # not on a Mac
            os.posix_fadvise(self.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def take_over(source: IO[bytes], target: IO[bytes]) -> bool:
    """Copy what backup/volumes.py gives, without the checksum behind it.

    :returns: whether it came in whole
    """
    digest, held = hashlib.sha256(), b""
    while chunk := source.read(CHUNK):
        held += chunk
        ready, held = held[:-SUM], held[-SUM:]
        digest.update(ready)
        target.write(ready)
    return held.decode(errors="replace") == digest.hexdigest()


def content(path: Path) -> dict[str, Any]:
    """The last member of a backup, after all of it has been read; its ``sha256`` is that of the whole file then.

    :raises Fault: it is no backup, not whole, or damaged
    """
    end: tuple[dict[str, Any], int, int] | None = None
    volumes = set()
    try:
        with tarfile.open(path, "r:", ignore_zeros=True) as archive:
            for member in archive:
                end = None
                if member.name == END and (file := archive.extractfile(member)):
                    found = json.loads(file.read())
                    end = (found if isinstance(found, dict) else {}, member.offset, member.offset_data + member.size)
                elif member.name.startswith("volumes/"):
                    volumes.add(member.name.split("/")[1])
        if end is None or not all(are_names(end[0].get(key)) for key in ("files", "volumes")):
            raise Fault(f"{path} is not whole, or no backup of the stack: it lacks its end")
        last, *bounds = end
        if missing := set(last["volumes"]) - volumes:
            raise Fault(f"{path} is not whole: it lacks {', '.join(sorted(missing))}")
        return last | {"sha256": checked(path, last, *bounds)}
    except OSError as error:
        raise Fault(f"{path}: {error.strerror or error}") from None
    except (tarfile.TarError, ValueError) as error:
        raise Fault(f"{path} is no backup of the stack, or damaged: {error}") from None


def are_names(given: object) -> bool:
    return isinstance(given, list) and all(isinstance(one, str) for one in given)


def checked(path: Path, last: dict[str, Any], begin: int, end: int) -> str:
    """The SHA-256 of a backup whose last member lies between these bytes.

    :raises Fault: something in it is not what was written
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(min(CHUNK, begin - file.tell())):
            digest.update(chunk)
        sum_of_data = digest.copy()
        rest = file.read()
        digest.update(rest)
    padding = rest[end - begin :]
    if len(padding) < 2 * tarfile.BLOCKSIZE or (begin + len(rest)) % tarfile.RECORDSIZE or any(padding):
        raise Fault(f"{path} is not whole: its end is not as it was written")
    known = dict(last)
    written = known.pop("sha256", None)
    sum_of_data.update(json.dumps(known).encode())
    if written is None and known.keys() <= {"time", "files", "images", "volumes"}:
        print(
            f"{path} has no checksum, as it was made before there were any: it is whole, but may be damaged", flush=True
        )
    elif written != sum_of_data.hexdigest():
        raise Fault(f"{path} is damaged: what is in it is not what was written. Take another backup")
    return digest.hexdigest()

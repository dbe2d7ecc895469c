"""The files of a recording: rows are appended whole, and what was taken but waits for its place is kept beside them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

#: How a file that exists is taken: not at all, with rows added at its end, or with all that was in it removed.
Existing = Literal["refuse", "append", "replace"]
#: Bytes at the end of a file that are read, to go on behind them: some 400,000 rows.
_TAIL = 64_000_000


class FileError(Exception):
    """A file can't be opened or written. One sentence that says why, and what to do."""


class RowFile:
    """A CSV file that only one process writes. Rows that `write` took outlive this process, however it ends."""

    def __init__(self, path: Path, header: str, existing: Existing) -> None:
        """Open it, and write the header into an empty one. A row at its end that was not written whole is removed.

        :raises FileError: it can't be written, exists (``refuse``), has other columns, or another process records into it
        """
        self.path = path
        self.is_new = True
        self.was_cut = False
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if existing == "refuse" else 0)
        try:
            self._file = os.open(path, flags, 0o666)
        except FileExistsError:
            raise FileError(f"{path} exists; add to it with --append, or replace it with --force") from None
        except OSError as error:
            raise FileError(f"{path} can't be written: {_why(error)}") from None
        try:
            self._begin(header, existing)
        except FileError:
            os.close(self._file)
            raise
        except OSError as error:
            os.close(self._file)
            raise FileError(f"{path} can't be written: {_why(error)}") from None

    def _begin(self, header: str, existing: Existing) -> None:
        if not os.path.isfile(self.path):
            raise FileError(f"{self.path} is no file; give the name of one, or leave -o out for standard output")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                pass  # a file system without locks
            else:
                raise FileError(f"another psu-agent log writes {self.path}; give another name") from None
        if existing == "replace":
            os.ftruncate(self._file, 0)
        self._size = os.fstat(self._file).st_size
        if self._size:
            self._go_on(header)
        else:
            self.write([header])

    def _go_on(self, header: str) -> None:
        first = os.pread(self._file, 65536, 0).split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
        if first.removeprefix("\ufeff") != header:
            raise FileError(
                f"{self.path} has other columns ({first[:200]}); give another file, or --fields with these columns"
            )
        self.is_new = False
        last = os.pread(self._file, 65536, max(0, self._size - 65536))
        if not last.endswith(b"\n"):
            end = last.rfind(b"\n") + 1
            self._size = self._size - len(last) + end
            os.ftruncate(self._file, self._size)
            self.was_cut = True
            if not self._size:
                self.write([header])

    def tail(self) -> list[str]:
        """The last rows, without the header: all of them, of a file of up to 64 MB."""
        begin = max(0, self._size - _TAIL)
        data = bytearray()
        while begin + len(data) < self._size:
            piece = os.pread(self._file, min(1 << 20, self._size - begin - len(data)), begin + len(data))
            if not piece:
                break
            data += piece
        return data.decode("utf-8", "replace").split("\n")[1:-1]  # the first is the header, or begins before

    def write(self, lines: Sequence[str]) -> None:
        """Append rows. Either all of them are in the file then, or none.

        :raises FileError: the disk is full, or gone
        """
        if not lines:
            return
        data = ("\n".join(lines) + "\n").encode("utf-8", "replace")
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self._size + written)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise FileError(f"{self.path} can't be written: {_why(error)}; the rows before are in it") from None
        self._size += written

    def close(self) -> None:
        """Have all of it on the disk, and close it.

        :raises FileError: the disk did not take it
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise FileError(f"{self.path} can't be written: {_why(error)}") from None
        finally:
            os.close(self._file)

    def abandon(self) -> None:
        """Close it after a fault."""
        with contextlib.suppress(OSError):
            os.close(self._file)


class HeldFile:
    """The samples that wait for their place, beside the rows, so that they outlive this process.

    It is there while the recording runs, and gone after its proper end: one that is found tells that a recording broke off.
    """

    def __init__(self, rows: Path) -> None:
        """Of the rows in ``rows``. ``was_there``: a recording of them broke off; ``found``: the samples that waited then."""
        self.path = rows.with_name(f"{rows.name}.held")
        self.was_there = self.path.exists()
        self._lines = 0
        try:
            content = self.path.read_bytes() if self.was_there else b""
            self.found = [line for line in content.split(b"\n") if line]
            # They stay in the file until the first `settle`: by then they are written, or wait again.
            self._file = self._opened(self.path)
            # The next one begins a line also behind one that was cut short.
            os.ftruncate(self._file, content.rfind(b"\n") + 1)
        except OSError as error:
            raise self._fault(error) from None

    @staticmethod
    def _opened(path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND, 0o666)

    def _fault(self, error: OSError) -> FileError:
        return FileError(f"{self.path} can't be written: {_why(error)}")

    def add(self, payloads: Collection[bytes]) -> None:
        """Keep samples, as JSON without an end of line in it.

        :raises FileError: the disk is full, or gone
        """
        if not payloads:
            return
        try:
            _write_all(self._file, payloads)
        except OSError as error:
            raise self._fault(error) from None
        self._lines += len(payloads)

    def settle(self, waiting: int, payloads: Iterable[bytes]) -> None:
        """Forget what does not wait any more: at once if nothing waits, else when most of the file is of that kind.

        :raises FileError: the disk is full, or gone
        """
        try:
            if not waiting:
                if self._lines or self.found:
                    os.ftruncate(self._file, 0)
                    self._lines, self.found = 0, []
            elif self._lines > 2 * waiting + 10_000:
                self._replace(list(payloads))
        except OSError as error:
            raise self._fault(error) from None

    def _replace(self, payloads: Collection[bytes]) -> None:
        """Keep these alone. Until they are all in the new file the old one stays: they were acknowledged to the broker."""
        path = self.path.with_name(f"{self.path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # of a process that was killed meanwhile
        new = self._opened(path)
        try:
            _write_all(new, payloads)
            path.replace(self.path)
        except OSError:
            os.close(new)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        os.close(self._file)
        self._file, self._lines = new, len(payloads)

    def close(self, *, is_over: bool) -> None:
        """Close it, and remove it if the recording has come to its proper end."""
        with contextlib.suppress(OSError):
            os.close(self._file)
            if is_over:
                self.path.unlink()


def _write_all(file: int, lines: Iterable[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    while data:
        data = data[os.write(file, data) :]


def _why(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "the disk is full"
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return "this user may not write there"
        case errno.ENOENT:
            return "there is no such folder"
        case errno.EISDIR:
            return "it is a folder"
        case errno.EFBIG:
            return "it would be larger than is allowed"
    return (error.strerror or str(error)).lower()

"""Where the rows of a recording go: a stream, a CSV file, or a Parquet file."""

from __future__ import annotations

import errno
import io
import select
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal, TextIO

from agent.client.recording import parquet
from agent.client.recording.files import Existing, FileError, HeldFile, RowFile
from agent.client.recording.rows import Key, keys, split

Form = Literal["csv", "parquet"]

#: s that a reader has for the rest, once the recording is to end.
_LAST_WAIT = 1.0
#: s between two looks at that while a reader takes nothing.
_LOOK = 0.1


class Output(ABC):
    """Takes rows. ``written``: the samples at the end of what is there already. ``held``: those that waited, as JSON.

    ``goes_on``: the recording that made it was not ended, but broke off.
    """

    written: Sequence[Key] = ()
    held: Sequence[bytes] = ()
    goes_on = False
    was_cut = False

    @abstractmethod
    def write(self, lines: Sequence[str]) -> None:
        """Append rows.

        :raises FileError: they can't be written
        """

    @abstractmethod
    def hold(self, payloads: Collection[bytes]) -> None:
        """Keep samples that wait for their place, in case this process ends.

        :raises FileError: they can't be written
        """

    @abstractmethod
    def settle(self, waiting: int, payloads: Iterable[bytes]) -> None:
        """Forget all samples that were held but those that still wait.

        :raises FileError: they can't be written
        """

    @abstractmethod
    def finish(self) -> None:
        """Come to the proper end: the file is complete.

        :raises FileError: it can't be written
        """

    @abstractmethod
    def abandon(self) -> None:
        """Come to an end after a fault: what is written stays, and can be gone on with."""


class StreamOutput(Output):
    """CSV to an open stream.

    :param is_ending: true once the recording is to end, also if the reader of the stream takes nothing
    """

    def __init__(self, stream: TextIO, header: str, is_ending: Callable[[], bool]) -> None:
        self._stream = stream
        self._is_ending = is_ending
        self._poll: select.poll | None = None
        try:
            number = stream.fileno()
        except io.UnsupportedOperation:  # a stream in memory
            pass
        else:
            self._poll = select.poll()
            self._poll.register(number, select.POLLOUT)
        self.write([header])

    def write(self, lines: Sequence[str]) -> None:
        """Append rows, and have the reader see them. An error of the stream is the caller's to tell.

        :raises OSError: of the stream; ``EIO`` also where its reader takes nothing, and the recording is to end
        """
        text = "".join(f"{line}\n" for line in lines)
        # In pieces that a pipe takes whole, as soon as it takes anything: a write that waits would outlast every signal. A
        # character has four bytes at most.
        most = select.PIPE_BUF // 4
        for begin in range(0, len(text), most):
            self._await_reader()
            self._stream.write(text[begin : begin + most])
            self._stream.flush()

    def _await_reader(self) -> None:
        deadline: float | None = None
        while self._poll is not None and not self._poll.poll(1000 * _LOOK):
            if not self._is_ending():
                continue
            deadline = deadline or time.monotonic() + _LAST_WAIT
            if time.monotonic() >= deadline:
                raise OSError(errno.EIO, "its reader takes nothing; the last rows were not written")

    def hold(self, payloads: Collection[bytes]) -> None:
        """Do nothing: what a reader has can't be gone on with."""

    def settle(self, waiting: int, payloads: Iterable[bytes]) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing: each row is out."""

    def abandon(self) -> None:
        """Do nothing."""


class CsvOutput(Output):
    """A CSV file, with the samples that wait beside it."""

    def __init__(self, path: Path, columns: Sequence[str], existing: Existing) -> None:
        """Open it.

        :raises FileError: see `RowFile`
        """
        self._rows = RowFile(path, ",".join(columns), existing)
        try:
            self._held = HeldFile(path)
        except FileError:
            self._rows.abandon()
            raise
        self.was_cut = self._rows.was_cut
        if existing == "append":
            self.goes_on = self._held.was_there
            self.held = self._held.found
            self.written = keys(self._rows.tail(), columns)
        else:
            self._held.settle(0, ())

    def write(self, lines: Sequence[str]) -> None:
        """Append rows.

        :raises FileError: the disk is full, or gone
        """
        self._rows.write(lines)

    def hold(self, payloads: Collection[bytes]) -> None:
        """Keep samples that wait.

        :raises FileError: the disk is full, or gone
        """
        self._held.add(payloads)

    def settle(self, waiting: int, payloads: Iterable[bytes]) -> None:
        """Forget those that do not wait any more.

        :raises FileError: the disk is full, or gone
        """
        self._held.settle(waiting, payloads)

    def finish(self) -> None:
        """Close it.

        :raises FileError: the disk did not take it
        """
        self._rows.close()
        self._held.close(is_over=True)

    def abandon(self) -> None:
        """Close it, and leave beside it what tells that the recording broke off."""
        self._rows.abandon()
        self._held.close(is_over=False)


class ParquetOutput(CsvOutput):
    """A Parquet file. Until its end the rows are in a CSV file beside it, as Parquet can't be read before its last byte."""

    def __init__(self, path: Path, columns: Sequence[str], existing: Existing) -> None:
        """Open the CSV file beside it.

        :raises FileError: see `RowFile`
        """
        parquet.check_available()
        self._path = path
        self._columns = tuple(columns)
        self._beside = rows_beside(path)
        self._keeps = existing == "append" and path.exists()
        if existing == "refuse" and path.exists():
            raise FileError(f"{path} exists; add to it with --append, or replace it with --force")
        if self._keeps and parquet.columns_of(path) != self._columns:
            raise FileError(f"{path} has other columns; give another file, or --fields with its columns")
        there = parquet.tail(path) if self._keeps else []
        # A recording that was killed in the moment between its end and the removal of its rows.
        has_rows = self._keeps and _last_key(self._beside, columns) in there
        super().__init__(self._beside, columns, "replace" if has_rows else existing)
        self.written = [*there, *self.written]

    def finish(self) -> None:
        """Write the Parquet file from the rows, and remove them.

        :raises FileError: it can't be written; the rows stay
        """
        self._rows.close()
        try:
            parquet.write(self._beside, self._path, self._columns, keep=self._keeps)
        except FileError:
            self._held.close(is_over=False)
            raise
        self._held.close(is_over=True)
        self._beside.unlink(missing_ok=True)


def _last_key(path: Path, columns: Sequence[str]) -> Key | None:
    """The last sample in a CSV file; None where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65536))
            found = keys(file.read().decode("utf-8", "replace").split("\n"), columns)
    except OSError:
        return None
    return found[-1] if found else None


def rows_beside(path: Path) -> Path:
    """The CSV file with the rows of a Parquet file that is not finished."""
    return path.with_name(f"{path.name}.rows.csv")


def columns_of(path: Path, form: Form) -> tuple[str, ...] | None:
    """The columns of a file that is to be gone on with; None where there is none yet.

    :raises FileError: it can't be read
    """
    if form == "parquet":
        parquet.check_available()
        if path.exists():
            return parquet.columns_of(path)
        path = rows_beside(path)
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            header = file.readline(65536)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(f"{path} can't be read: {(error.strerror or str(error)).lower()}") from None
    return tuple(split(header.rstrip("\r\n").removeprefix("\ufeff"))) if header.endswith("\n") else None

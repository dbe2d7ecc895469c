"""Parquet files, by pyarrow (optional extra ``parquet``). They are written at the end of a recording, from its rows as CSV."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.client.recording.files import FileError
from agent.client.recording.rows import IDENTITY, Key, cell_text, kind_of
from agent.local.installing import how_to_install

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Rows at the end of a file that are read, to go on behind them.
_TAIL = 400_000


def check_available() -> None:
    """Make sure that pyarrow is there.

    :raises FileError: it is not; the text says how to install it
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise FileError(f"Parquet needs pyarrow, which is not installed: {how_to_install('parquet')}, or record CSV")


def schema(columns: Sequence[str]) -> Any:
    """The schema of a file with these columns: times in UTC with milliseconds, all else as in docs/log.md."""
    import pyarrow as pa

    kinds = {
        "time": pa.timestamp("ms", tz="UTC"),
        "integer": pa.int64(),
        "number": pa.float64(),
        "switch": pa.bool_(),
        "text": pa.string(),
    }
    return pa.schema([(column, kinds[kind_of(column)]) for column in columns])


def columns_of(path: Path) -> tuple[str, ...]:
    """The columns of a file.

    :raises FileError: it is no Parquet file of a recording
    """
    with _opened(path) as file:
        found = tuple(file.schema_arrow.names)
        if not set(IDENTITY) <= set(found):
            raise FileError(f"{path} is no recording of psu-agent; give another file")
        return found


def tail(path: Path) -> list[Key]:
    """The samples of the last rows of a file.

    :raises FileError: it can't be read
    """
    with _opened(path) as file:
        names = [*IDENTITY, *(["agent"] if "agent" in file.schema_arrow.names else [])]
        groups: list[int] = []
        rows = 0
        for group in reversed(range(file.num_row_groups)):
            if rows >= _TAIL:
                break
            groups.insert(0, group)
            rows += file.metadata.row_group(group).num_rows
        table = file.read_row_groups(groups, columns=names).to_pydict()
        agents = table.get("agent", [""] * len(table["seq"]))
        return [
            Key(psu, index, agent or "", seq, round(time.timestamp() * 1000))
            for psu, index, agent, seq, time in zip(
                table["psu"], table["index"], agents, table["seq"], table["time"], strict=True
            )
        ]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise FileError(f"{path} can't be read as Parquet: {reason}; give another file, or --force") from None


def write(rows: Path, path: Path, columns: Sequence[str], *, keep: bool) -> None:
    """Write the rows of a CSV file as Parquet, behind those that the file has already if ``keep``. All of it or nothing.

    :raises FileError: it can't be written
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = schema(columns)
    new = path.with_name(f".{path.name}.new")
    try:
        with pq.ParquetWriter(new, wanted, compression="zstd") as writer:
            if keep and path.exists():
                with pq.ParquetFile(path) as old:
                    for batch in old.iter_batches():
                        writer.write_batch(batch.cast(wanted))
            for batch in _batches(rows, wanted):
                writer.write_batch(batch)
        with new.open("rb") as written:
            os.fsync(written.fileno())
        new.replace(path)
    except (OSError, pa.ArrowException) as error:
        with contextlib.suppress(OSError):
            new.unlink()
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise FileError(
            f"{path} can't be written: {reason.lower()}; the rows are in {rows}, the same command with --append goes on"
        ) from None


def _batches(rows: Path, wanted: Any) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import csv

    reader = csv.open_csv(
        rows,
        convert_options=csv.ConvertOptions(
            column_types=wanted, strings_can_be_null=True, null_values=[""], include_columns=wanted.names
        ),
    )
    for batch in reader:
        arrays = [
            pa.array([None if text is None else cell_text(text) for text in array.to_pylist()], pa.string())
            if pa.types.is_string(array.type) and _is_marked(array)
            else array
            for array in batch.columns
        ]
        yield pa.record_batch(arrays, schema=wanted)


def _is_marked(array: Any) -> bool:
    """True if a text has the mark that keeps spreadsheets from taking it for a formula; in Parquet there is none."""
    from pyarrow import compute

    return bool(compute.any(compute.starts_with(array, "'")).as_py())

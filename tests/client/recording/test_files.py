"""The files of a recording: whole rows, what is found again, and what a disk does not take."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.client.recording.events import EventFile
from agent.client.recording.files import FileError, HeldFile, RowFile
from agent.client.recording.outputs import CsvOutput, columns_of
from agent.client.recording.rows import DEFAULT, EVENT_COLUMNS, Format, cell_text, choose, keys, text_cell
from agent.protocol.messages import ChannelState, Event
from tests.client.test_fleet import TIME, state
from tests.properties import examples


def made(**changes: object) -> ChannelState:
    return ChannelState.model_validate_json(state("psu1", 1, **changes))


def event(**changes: object) -> Event:
    values = {
        "time": TIME,
        "agent": "bench",
        "psu": "psu1",
        "index": 1,
        "name": "VDD",
        "model": None,
        "field": "voltage_limit",
        "from": 3.0,
        "to": -5.0,
        "by": "command",
        "id": "=1",
        "text": "a, b",
    }
    return Event.model_validate(values | changes)


@given(st.text())
@examples()
def test_any_text_is_one_cell_of_one_line_that_starts_no_formula(text: str) -> None:
    cell = text_cell(text)
    line = f"a,{cell},b"
    assert line.splitlines() == [line]
    [[first, found, last]] = csv.reader([line])
    assert (first, last) == ("a", "b")
    assert not found.startswith(("=", "+", "-", "@"))
    assert cell_text(found) == "".join(c if c.isprintable() else " " for c in text)


def test_a_row_has_the_values_as_they_are_and_nothing_for_what_is_not_known() -> None:
    row = Format(DEFAULT).line(made(name="=SUM(A1),2", voltage=-0.5, state=False, power=None, energy=1e-05), late=True)
    assert row == (
        f'{TIME},psu1,1,"\'=SUM(A1),2",1,false,-0.5,,,5.0,,CV,,true,1e-05,,bench,true'  # no number is marked
    )


def test_the_columns_that_tell_a_sample_are_always_there() -> None:
    assert choose(["power", "index", "power", ""]) == ("time", "psu", "index", "seq", "power")
    with pytest.raises(ValueError, match="there is no field volts; there are time, psu"):
        choose(["volts"])


def test_a_file_is_found_again_with_its_samples(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    output = CsvOutput(path, DEFAULT, "refuse")
    output.write([Format(DEFAULT).line(made(seq=seq, agent="@a"), late=False) for seq in (1, 2)])
    output.hold([b'{"a": 1}', b'{"b": 2}'])
    output.abandon()
    again = CsvOutput(path, DEFAULT, "append")
    assert [(key.psu, key.index, key.agent, key.seq) for key in again.written] == [
        ("psu1", 1, "@a", 1),
        ("psu1", 1, "@a", 2),
    ]
    assert again.goes_on
    assert list(again.held) == [b'{"a": 1}', b'{"b": 2}']
    again.settle(0, ())
    again.finish()
    assert not (tmp_path / "run.csv.held").exists()
    last = CsvOutput(path, DEFAULT, "append")
    assert not last.goes_on
    last.finish()
    assert columns_of(path, "csv") == DEFAULT


@pytest.mark.parametrize("size", range(1, 12))
def test_a_row_that_was_not_written_whole_is_removed(tmp_path: Path, size: int) -> None:
    path = tmp_path / "run.csv"
    row = Format(DEFAULT).line(made(), late=False)
    whole = f"{','.join(DEFAULT)}\n{row}\n"
    path.write_text(whole + row[: size * 10])
    file = RowFile(path, ",".join(DEFAULT), "append")
    assert file.was_cut
    file.write([row])
    file.close()
    assert path.read_text() == f"{whole}{row}\n"


def test_a_header_that_was_not_written_whole_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("time,ps")
    assert columns_of(path, "csv") is None
    with pytest.raises(FileError, match="has other columns"):
        RowFile(path, ",".join(DEFAULT), "append")


def test_lines_that_are_no_rows_are_left_out(tmp_path: Path) -> None:
    del tmp_path
    good = Format(DEFAULT).line(made(seq=7), late=False)
    assert [key.seq for key in keys(["", "x", good.replace(",7,", ",seven,"), good, good[:40]], DEFAULT)] == [7]


def test_a_disk_that_is_full_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.csv"
    file = RowFile(path, "a,b", "refuse")
    file.write(["1,2"])
    real = os.pwrite

    def half(descriptor: int, data: bytes, offset: int) -> int:
        if len(data) > 3:
            return real(descriptor, data[:3], offset)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(FileError, match="the disk is full; the rows before are in it"):
        file.write(["3,4"])
    monkeypatch.undo()
    assert path.read_text() == "a,b\n1,2\n"
    file.write(["5,6"])
    file.close()
    assert path.read_text() == "a,b\n1,2\n5,6\n"


def test_what_is_held_does_not_grow_without_end(tmp_path: Path) -> None:
    held = HeldFile(tmp_path / "run.csv")
    for _ in range(30):
        held.add([b"{}"] * 1000)
        held.settle(10, [b"{}"] * 10)
    assert held.path.stat().st_size < 40_000
    held.settle(0, ())
    assert held.path.stat().st_size == 0
    held.close(is_over=True)


def test_an_event_that_comes_twice_is_one_row_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "run.events.csv"
    file = EventFile(path, "refuse")
    file.write([event(), event(), event(to=6.0)])
    file.write([event()])
    assert file.count == 2
    file.close()
    again = EventFile(path, "append")
    again.write([event(to=6.0), event(id=None)])
    again.close()
    assert again.count == 1
    with path.open(newline="") as rows:
        found = list(csv.DictReader(rows))
    assert tuple(found[0]) == EVENT_COLUMNS
    assert [(row["from"], row["to"], row["id"], row["text"]) for row in found] == [
        ("3.0", "-5.0", "'=1", "a, b"),
        ("3.0", "6.0", "'=1", "a, b"),
        ("3.0", "-5.0", "", "a, b"),
    ]


def test_parquet_has_texts_without_the_mark_and_nothing_for_what_is_not_known(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    from agent.client.recording.outputs import ParquetOutput

    path = tmp_path / "run.parquet"
    for seq, name in ((1, "=A,1"), (2, "'quoted' \"x\" ÄΩ")):
        output = ParquetOutput(path, DEFAULT, "append")
        output.write([Format(DEFAULT).line(made(seq=seq, name=name, power=None, tripped=None), late=False)])
        output.finish()
    found = pq.read_table(path).to_pylist()
    assert [row["name"] for row in found] == ["=A,1", "'quoted' \"x\" ÄΩ"]
    assert [(row["power"], row["tripped"], row["voltage"], row["mode"]) for row in found] == [
        (None, None, 4.9998, "CV")
    ] * 2
    empty = ParquetOutput(tmp_path / "empty.parquet", DEFAULT, "refuse")
    empty.finish()
    assert pq.read_table(tmp_path / "empty.parquet").num_rows == 0


def test_a_recording_killed_between_its_end_and_the_removal_of_its_rows_has_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    from agent.client.recording.outputs import ParquetOutput

    path = tmp_path / "run.parquet"
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    for number in (1, 3, 3):
        output = ParquetOutput(path, DEFAULT, "append")
        known = {key.seq for key in output.written}
        output.write(
            [Format(DEFAULT).line(made(seq=seq), late=False) for seq in (number, number + 1) if seq not in known]
        )
        output.finish()
    assert [row["seq"] for row in pq.read_table(path).to_pylist()] == [1, 2, 3, 4]


def test_what_is_held_is_there_at_each_moment_in_which_it_is_made_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was acknowledged to the broker, and a recording that was killed just then had lost it."""
    held = HeldFile(tmp_path / "run.csv")
    held.add([b"{}"] * 10_100)
    monkeypatch.setattr(os, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        held.settle(10, [b"{}"] * 10)
    monkeypatch.undo()
    assert len(HeldFile(tmp_path / "run.csv").found) == 10_100


def test_what_is_held_behind_a_line_that_was_cut_short_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "run.csv.held").write_bytes(b'{"a": 1}\n{"b"')
    held = HeldFile(tmp_path / "run.csv")
    held.add([b'{"c": 3}'])
    assert HeldFile(tmp_path / "run.csv").found == [b'{"a": 1}', b'{"c": 3}']


def test_a_file_that_is_no_parquet_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "run.parquet"
    path.write_text("no")
    with pytest.raises(FileError, match="can't be read as Parquet"):
        columns_of(path, "parquet")
    assert path.read_text() == "no"

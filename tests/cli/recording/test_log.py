"""`psu-agent log` on a real broker, agent and simulated supply: files, choices, refusals and summaries."""

from __future__ import annotations

import csv
import io
import json
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli.program import codes
from agent.client.recording.rows import ALL, DEFAULT
from tests.cli.lab import Lab
from tests.commandline import Running, called
from tests.lab import PATIENCE, wait_until


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def seqs(found: list[dict[str, str]], index: str = "1") -> list[int]:
    return [int(row["seq"]) for row in found if row["psu"] == "psu1" and row["index"] == index]


def record(lab: Lab, *arguments: str, cwd: Path, seconds: str = "1s") -> tuple[int, str, str]:
    done = called("log", "--for", seconds, *arguments, cwd=cwd, PSU_AGENT_BROKER=lab.url)
    return done.returncode, done.stdout, done.stderr


def test_a_file_has_each_sample_of_each_channel_and_a_summary_follows(lab: Lab, tmp_path: Path) -> None:
    code, out, err = record(lab, "psu1", "-o", "run.csv", "--summary", "json", cwd=tmp_path, seconds="2s")
    assert (code, out) == (0, "")
    found = rows(tmp_path / "run.csv")
    assert tuple(found[0]) == DEFAULT
    summary = json.loads(err)
    assert {(c["psu"], c["index"], c["name"]) for c in summary["channels"]} == {
        ("psu1", 1, "VDD"),
        ("psu1", 2, "CH2"),
        ("psu1", 3, "CH3"),
    }
    for channel in summary["channels"]:
        own = seqs(found, str(channel["index"]))
        assert own == list(range(own[0], own[0] + len(own)))
        assert channel["samples"] == len(own)
        assert channel["missing"] == 0
    assert summary["samples"] == len(found)
    times = [row["time"] for row in found if row["index"] == "1"]
    assert times == sorted(times)
    assert not (tmp_path / "run.csv.held").exists()


def test_standard_output_and_a_choice_of_channels_and_fields(lab: Lab, tmp_path: Path) -> None:
    code, out, err = record(lab, "psu1/VDD", "psu1/3", "--fields", "voltage, mode", cwd=tmp_path)
    assert code == 0
    found = list(csv.DictReader(io.StringIO(out)))
    assert list(found[0]) == ["time", "psu", "index", "seq", "voltage", "mode"]
    assert {row["index"] for row in found} == {"1", "3"}
    assert "psu1/1 VDD" in err
    assert max(map(len, err.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


def test_a_rate_gives_the_last_sample_of_each_interval_and_all_of_them_count(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    arguments = ("psu1/1", "-o", "r.csv", "--rate", "500ms", "--summary", "json")
    with Running("log", *arguments, cwd=tmp_path, PSU_AGENT_BROKER=lab.url) as log:

        def are_enough() -> bool:
            """Three intervals, with more samples than rows, however slow the polls are."""
            numbers = seqs(rows(path)) if path.exists() else []
            return len(numbers) > 3 and numbers[-1] - numbers[0] + 1 > len(numbers) + 5

        wait_until(are_enough, "rows")
        assert log.end(signal.SIGTERM) == 0
        summary = json.loads(log.text().splitlines()[-1])
    found = rows(path)
    intervals = [row["time"][:-4] + ("0" if int(row["time"][-4:-1]) < 500 else "5") for row in found]
    assert len(intervals) == len(set(intervals))
    assert summary["samples"] > len(found) + 5


def test_a_file_is_neither_overwritten_nor_mixed_up(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text("a,b\n1,2\n")
    code, _, err = record(lab, "-o", "run.csv", cwd=tmp_path)
    assert (code, err) == (1, "psu-agent: run.csv exists; add to it with --append, or replace it with --force\n")
    code, _, err = record(lab, "-o", "run.csv", "--append", cwd=tmp_path)
    assert (code, err) == (1, "psu-agent: run.csv is no recording of psu-agent; give another file\n")
    assert (tmp_path / "run.csv").read_text() == "a,b\n1,2\n"
    code, _, _ = record(lab, "psu1", "-o", "run.csv", "--force", cwd=tmp_path)
    assert code == 0
    assert len(rows(tmp_path / "run.csv")) > 0
    code, _, err = record(lab, "-o", "run.csv", "--append", "--fields", "power", cwd=tmp_path)
    assert code == 1
    assert "run.csv has other columns" in err


def test_a_file_of_events_that_exists_is_told_before_another_one_is_made(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "run.events.csv").write_text("x\n")
    code, _, err = record(lab, "-o", "run.csv", cwd=tmp_path)
    assert (code, err) == (1, "psu-agent: run.events.csv exists; add to it with --append, or replace it with --force\n")
    assert [file.name for file in tmp_path.iterdir()] == ["run.events.csv"]


def test_append_goes_on_without_a_sample_twice(lab: Lab, tmp_path: Path) -> None:
    for _ in range(2):
        code, _, err = record(lab, "psu1", "-o", "run.csv", "--append", "--summary", "json", cwd=tmp_path)
        assert code == 0
        assert json.loads(err)["missing"] == 0
    own = seqs(rows(tmp_path / "run.csv"))
    assert own == sorted(set(own))


def test_append_keeps_the_columns_of_the_file(lab: Lab, tmp_path: Path) -> None:
    for fields in (["--fields", "current"], []):
        code, _, _ = record(lab, "psu1", "-o", "run.csv", "--append", *fields, cwd=tmp_path)
        assert code == 0
    found = rows(tmp_path / "run.csv")
    assert list(found[0]) == ["time", "psu", "index", "seq", "current"]
    assert seqs(found) == sorted(set(seqs(found)))


def test_two_recordings_do_not_write_one_file(lab: Lab, tmp_path: Path) -> None:
    with Running("log", "psu1", "-o", "run.csv", cwd=tmp_path, PSU_AGENT_BROKER=lab.url) as log:
        wait_until(lambda: (tmp_path / "run.csv").exists() and rows(tmp_path / "run.csv"), "rows")
        for choice in ("--append", "--force"):
            code, _, err = record(lab, "psu1", "-o", "run.csv", choice, cwd=tmp_path)
            assert (code, err) == (1, "psu-agent: another psu-agent log writes run.csv; give another name\n")
        assert log.end() == 0
    assert seqs(rows(tmp_path / "run.csv"))


def test_events_tell_who_did_it(lab: Lab, tmp_path: Path) -> None:
    events = tmp_path / "run.events.csv"
    with Running("log", "psu1/VDD", "-o", "run.csv", cwd=tmp_path, PSU_AGENT_BROKER=lab.url) as log:
        wait_until(lambda: (tmp_path / "run.csv").exists() and rows(tmp_path / "run.csv"), "rows")
        # psu1/2 is not recorded.
        for target, volts in (("psu1/1", "2.5"), ("psu1/2", "3.5"), ("psu1/1", "1.5")):
            assert lab.call("set", target, "--voltage-limit", volts).exit_code == 0
        wait_until(lambda: len(rows(events)) >= 2, "two events")
        assert log.end(signal.SIGTERM) == 0
        assert "2 events of these channels." in log.text()
    found = rows(events)
    assert [(row["index"], row["field"], row["to"], row["by"]) for row in found] == [
        ("1", "voltage_limit", "2.5", "command"),
        ("1", "voltage_limit", "1.5", "command"),
    ]
    assert found[0]["id"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["psu9"], 1, "no agent has a unit psu9; the units are: psu1, psu2"),
        (["psu1/7"], 1, "psu1 has no channel 7; it has 1 (VDD), 2 (CH2), 3 (CH3)"),
        (["psu1/a/b"], 2, "names no channel"),
        (
            ["--for", "soon"],
            2,
            "'soon' is no duration; give a number with s, m, h or d behind it, such as 10m or 1h30m",
        ),
        (["--until", "yesterday"], 2, "'yesterday' is no time; give 18:00, 2026-11-26T18:00 or 2026-11-26T18:00Z"),
        (["--until", "2001-01-01T00:00Z"], 2, "is past"),
        (["--fields", "volts"], 2, f"--fields: there is no field volts; there are {', '.join(ALL)}"),
        (["--append"], 2, "--append needs a file; give -o FILE"),
        (["--format", "parquet"], 2, "Parquet needs a file; give -o FILE.parquet"),
        (["-o", "x.csv", "--append", "--force"], 2, "--append and --force exclude each other"),
        (["-o", "x.csv", "--events", "x.csv"], 2, "--events and -o name the same file; give two"),
        (["-o", "none/x.csv"], 1, "none/x.csv can't be written: there is no such folder"),
        (["-o", "."], 1, ". is no file; give the name of one, or leave -o out for standard output"),
        (["-o", "/dev/null"], 1, "/dev/null is no file"),
        (["--broker", "mqtt://127.0.0.1:1"], 2, "can't reach the broker"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(
    lab: Lab, tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    done = called("log", *arguments, cwd=tmp_path, PSU_AGENT_BROKER=lab.url)
    assert done.returncode == code
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_recorded_is_no_success(lab: Lab, tmp_path: Path) -> None:
    code, _, err = record(lab, "-o", "run.csv", "--base-topic", "elsewhere", cwd=tmp_path, seconds="0.2s")
    assert code == 1
    assert "nothing is published under elsewhere/ on" in err
    assert "nothing was recorded: no state came under elsewhere/ on" in err


def test_a_reader_that_goes_ends_it(lab: Lab, tmp_path: Path) -> None:
    with Running("log", cwd=tmp_path, PSU_AGENT_BROKER=lab.url) as log:
        log.wait_for("psu1")
        assert log.end() == 0
        assert "Traceback" not in log.text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_reader_that_hangs_does_not_keep_it_from_its_end(lab: Lab, number: int) -> None:
    import fcntl
    import subprocess

    from tests.commandline import COMMAND, environment

    command = [*COMMAND, "log", "psu1", "--summary", "none"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, env=environment(PSU_AGENT_BROKER=lab.url), text=True
    ) as log:
        assert log.stdout is not None
        assert log.stderr is not None
        fcntl.fcntl(log.stdout, fcntl.F_SETPIPE_SZ, 8192)
        poll = select.poll()  # of the end that it writes to
        end = os.open(f"/proc/self/fd/{log.stdout.fileno()}", os.O_WRONLY)
        poll.register(end, select.POLLOUT)
        wait_until(lambda: not poll.poll(0), "a full pipe")
        os.close(end)
        last = lab.get("psu1/1")["seq"]
        wait_until(lambda: lab.get("psu1/1")["seq"] > last + 3, "samples that find no room")
        log.send_signal(number)
        assert log.wait(PATIENCE) == codes.OUTPUT_ERROR
        assert log.stderr.read() == (
            "psu-agent: the output can't be written: its reader takes nothing; the last rows were not written\n"
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Callable[[], None]:
    """For a child process: no file of it gets larger than 20,000 bytes, as on a disk with no more room."""
    import resource

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    return limit


def test_a_full_disk_ends_it_with_a_sentence_and_leaves_whole_rows(
    lab: Lab, tmp_path: Path, small_disk: Callable[[], None]
) -> None:
    import subprocess

    from tests.commandline import COMMAND, environment

    done = subprocess.run(
        [*COMMAND, "log", "psu1", "-o", "run.csv", "--summary", "none", "--for", "60s"],
        cwd=tmp_path,
        env=environment(PSU_AGENT_BROKER=lab.url),
        capture_output=True,
        text=True,
        timeout=90,
        preexec_fn=small_disk,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "psu-agent: run.csv can't be written: it would be larger than is allowed; the rows before are in it\n"
    )
    text = (tmp_path / "run.csv").read_text()
    assert text.endswith("\n")
    own = seqs(rows(tmp_path / "run.csv"))
    assert own == list(range(own[0], own[0] + len(own)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(lab: Lab, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    code, _, err = record(lab, "-o", "run.csv", cwd=tmp_path)
    assert (code, err) == (1, "psu-agent: run.csv can't be written: this user may not write there\n")


def test_a_parquet_file_can_be_read_and_gone_on_with(lab: Lab, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "run.parquet"
    counts = []
    for choice in ([], ["--append"]):
        code, _, _ = record(lab, "psu1", "-o", "run.parquet", *choice, cwd=tmp_path)
        assert code == 0
        table = parquet.read_table(path)
        assert tuple(table.column_names) == DEFAULT
        assert str(table.schema.field("time").type) == "timestamp[ms, tz=UTC]"
        counts.append(table.num_rows)
    assert counts[0] < counts[1]
    found = [row for row in table.to_pylist() if row["index"] == 1]
    own = [row["seq"] for row in found]
    assert own == sorted(set(own))
    assert {row["name"] for row in found} == {"VDD"}
    assert all(row["online"] is True and row["late"] is False for row in found)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run.events.csv", "run.parquet"]
    code, _, err = record(lab, "psu1", "-o", "run.parquet", cwd=tmp_path)
    assert (code, err) == (1, "psu-agent: run.parquet exists; add to it with --append, or replace it with --force\n")

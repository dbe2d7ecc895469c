"""The recorder between a session and its files: what is acknowledged when, what is refused, and how it goes on."""

from __future__ import annotations

import csv
import queue
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest

from agent.client.recording import recorder as module
from agent.client.recording.events import EventFile
from agent.client.recording.outputs import CsvOutput
from agent.client.recording.recorder import Recorder, UnreadableError
from agent.client.recording.rows import DEFAULT
from agent.client.recording.selection import Selection
from agent.client.recording.session import Delivery, Link, RecordingSession
from agent.client.request import Target
from agent.protocol.topics import Topics
from tests.client.test_fleet import TIME, agent_info, state

PERIOD = 1_700_000_000_000  # before the samples' times


class Script:
    """A session that delivers what a test wants, and then says that the recording is over."""

    def __init__(self, file: Path, *items: Link | tuple[str, bytes]) -> None:
        self.inbox: queue.SimpleQueue[Delivery | Link] = queue.SimpleQueue()
        for number, item in enumerate(items):
            self.inbox.put(item if isinstance(item, Link) else Delivery(*item, False, number + 1, 1))
        self.file = file
        self.acknowledged: list[int] = []
        self.rows_then: list[int] = []

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        self.acknowledged += [delivery.mid for delivery in deliveries]
        self.rows_then.append(len(rows(self.file)))

    def is_over(self) -> bool:
        return self.inbox.empty()


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def sample(seq: int, **changes: Any) -> bytes:
    return state("psu1", 1, seq=seq, time=f"2026-11-23T09:15:{seq:02}.000Z", **changes)


def recording(folder: Path, *, existing: str = "append", target: str = "psu1") -> tuple[Recorder, Path]:
    file = folder / "run.csv"
    output = CsvOutput(file, DEFAULT, cast("Any", existing))
    events = EventFile(folder / "run.events.csv", "append")
    selection = Selection([Target.parse(target)])
    return Recorder(Topics("psu"), selection, output, events, columns=DEFAULT, began=PERIOD), file


def play(recorder: Recorder, script: Script) -> None:
    recorder.run(cast("RecordingSession", script), script.is_over, lambda _: None)


def test_a_sample_is_acknowledged_when_its_row_is_in_the_file(tmp_path: Path) -> None:
    recorder, file = recording(tmp_path)
    script = Script(file, ("psu/psu1/1/state", sample(1)), ("psu/psu1/1/state", sample(2)))
    play(recorder, script)
    assert script.acknowledged == [1, 2]
    assert script.rows_then == [2]
    recorder.finish()


def test_messages_of_others_are_acknowledged_and_left_out(tmp_path: Path) -> None:
    recorder, file = recording(tmp_path)
    script = Script(
        file,
        ("psu/psu1/1/state", b"no JSON"),
        ("psu/psu1/1/state", b""),
        ("psu/psu1/1/state", b'{"psu": "psu1"}'),
        ("psu/psu1/2/state", sample(1)),  # says that it is channel 1's
        ("psu/psu2/1/state", state("psu2", 1)),
        ("psu/psu1/1/event", b"[]"),
        ("psu/psu1/info", b"{}"),
        ("psu/agents/bench/info", b"\xff"),
        ("psu/psu1/1/voltage", b"3.3"),
        ("elsewhere", b""),
        ("", b"a topic that is no UTF-8"),
        ("psu/psu1/1/state", sample(1, name="a\u2028b")),
    )
    play(recorder, script)
    recorder.finish()
    assert script.acknowledged == list(range(1, 13))
    assert [row["name"] for row in rows(file)] == ["a b"]
    assert list(recorder.statistics) == [("psu1", 1)]


def test_a_channel_by_its_name(tmp_path: Path) -> None:
    recorder, file = recording(tmp_path, target="psu1/VDD")
    script = Script(file, ("psu/psu1/1/state", sample(1)), ("psu/psu1/1/state", sample(2, name="VDD")))
    play(recorder, script)
    recorder.finish()
    assert [row["seq"] for row in rows(file)] == ["2"]


def test_what_waits_is_acknowledged_as_it_is_kept_beside_the_file_and_taken_when_it_goes_on(tmp_path: Path) -> None:
    recorder, file = recording(tmp_path)
    script = Script(
        file, ("psu/psu1/1/state", sample(1)), ("psu/psu1/1/state", sample(4)), ("psu/psu1/1/state", sample(5))
    )
    play(recorder, script)
    assert script.acknowledged == [1, 2, 3]
    assert len(rows(file)) == 1
    assert recorder.counts.held == 2
    recorder.abandon()  # as after kill -9
    again, _ = recording(tmp_path)
    script = Script(
        file,
        ("psu/psu1/1/state", sample(5)),
        ("psu/psu1/1/backlog", sample(2)),
        ("psu/psu1/1/backlog", sample(3)),
        ("psu/psu1/1/state", sample(6)),
    )
    play(again, script)
    again.finish()
    assert [int(row["seq"]) for row in rows(file)] == [1, 2, 3, 4, 5, 6]
    assert {row["late"] for row in rows(file)} == {"false"}
    assert again.merger.missing() == {}
    assert not (tmp_path / "run.csv.held").exists()


def test_at_the_end_late_ones_are_taken_and_new_ones_are_not(tmp_path: Path) -> None:
    recorder, file = recording(tmp_path)
    play(recorder, Script(file, ("psu/psu1/1/state", sample(1)), ("psu/psu1/1/state", sample(3))))
    script = Script(file, ("psu/psu1/1/state", sample(4)), ("psu/psu1/1/backlog", sample(2)))
    recorder.wait_for_late(cast("RecordingSession", script), lambda: False, lambda _: None)
    recorder.finish()
    assert [int(row["seq"]) for row in rows(file)] == [1, 2, 3]


def test_the_end_does_not_wait_for_ever_without_a_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LAST_WAIT", 0.01)
    recorder, file = recording(tmp_path)
    script = Script(file, ("psu/psu1/1/state", sample(1)), ("psu/psu1/1/state", sample(3)), Link("gone"))
    play(recorder, script)
    recorder.wait_for_late(cast("RecordingSession", script), lambda: False, lambda _: None)
    recorder.finish()
    assert [int(row["seq"]) for row in rows(file)] == [1, 3]
    assert [gap.first for gap in recorder.merger.missing()["psu1", 1]] == [2]


def test_a_user_who_may_not_read_states_is_told_and_one_who_may_not_read_events_records(tmp_path: Path) -> None:
    recorder, file = recording(tmp_path)
    play(recorder, Script(file, Link(None, refused=("psu/psu1/+/event",)), ("psu/psu1/1/state", sample(1))))
    assert len(rows(file)) == 1
    with pytest.raises(UnreadableError, match=r"does not let this user read psu/psu1/\+/state"):
        play(recorder, Script(file, Link(None, refused=("psu/psu1/+/state", "psu/psu1/+/event"))))
    recorder.abandon()


def test_an_agents_question_if_another_one_has_its_name_is_no_start(tmp_path: Path) -> None:
    recorder, file = recording(tmp_path)
    question = (
        agent_info("bench")
        .replace(b'"version"', b'"asks": true, "version"')
        .replace(TIME.encode(), b"2026-11-23T09:15:02.500Z")
    )
    script = Script(
        file, ("psu/psu1/1/state", sample(2)), ("psu/agents/bench/info", question), ("psu/psu1/1/state", sample(3))
    )
    play(recorder, script)
    assert len(rows(file)) == 2
    recorder.finish()


def test_the_starts_of_agents_are_kept_with_what_waits(tmp_path: Path) -> None:
    """Two runs of an agent wait when the recording is killed, and the broker has the start of the last one only."""
    recorder, file = recording(tmp_path)

    def start(second: int) -> bytes:
        return agent_info("bench").replace(TIME.encode(), f"2026-11-23T09:15:{second:02}.000Z".encode())

    def at(seq: int, second: int) -> bytes:
        return state("psu1", 1, seq=seq, time=f"2026-11-23T09:15:{second:02}.000Z")

    script = Script(
        file,
        ("psu/psu1/1/state", at(7, 1)),
        ("psu/agents/bench/info", start(10)),
        ("psu/psu1/1/state", at(1, 11)),
        ("psu/agents/bench/info", start(20)),
        ("psu/psu1/1/state", at(2, 22)),
    )
    play(recorder, script)
    assert len(rows(file)) == 1
    recorder.abandon()
    again, _ = recording(tmp_path)
    play(again, Script(file, ("psu/agents/bench/info", start(30)), ("psu/psu1/1/backlog", at(1, 21))))
    again.finish()
    assert [(row["seq"], row["time"][17:19]) for row in rows(file)] == [
        ("7", "01"),
        ("1", "11"),
        ("1", "21"),
        ("2", "22"),
    ]

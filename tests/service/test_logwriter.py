"""The thread that writes the log: no reader, a slow one and none any more hold up nobody else, and gaps are told."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
import threading
from collections.abc import Callable, Iterator

import pytest

from agent.service import logwriter
from agent.service.logwriter import MOST_WAITING, LineWriter
from tests.lab import PATIENCE, wait_until

#: Bytes that a pipe takes without a reader, on Linux.
PIPE = 65536


class Pipe:
    """A pipe as stderr, which is read when the test says so."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.text = ""

    def read(self) -> str:
        """All that was written so far; waits for more."""
        self.text += os.read(self.reader, 10 * PIPE).decode()
        return self.text

    def unread(self) -> int:
        """Bytes that wait for the reader. A full pipe has a little less than `PIPE`, as no line lies in two pages."""
        return int.from_bytes(fcntl.ioctl(self.reader, termios.FIONREAD, bytes(4)), sys.byteorder)

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@pytest.fixture
def make(pipe: Pipe) -> Iterator[Callable[..., LineWriter[str]]]:
    writers: list[LineWriter[str]] = []

    def make(descriptor: int | None = None) -> LineWriter[str]:
        writer = LineWriter[str](
            pipe.writer if descriptor is None else descriptor,
            lambda line: f"{line}\n",
            lambda count: f"<{count} lost>\n",
        )
        writers.append(writer)
        return writer

    yield make
    for writer in writers:
        writer.close()
        while not writer.flush(0.05):
            pipe.read()


def test_a_reader_that_does_not_read_holds_up_nobody_and_finds_the_gap(
    pipe: Pipe, make: Callable[..., LineWriter[str]]
) -> None:
    writer = make()
    count = 5 * MOST_WAITING
    for number in range(count):  # would never end if one of them waited
        writer.put(f"{number} " + "x" * 500)
        if number == MOST_WAITING // 2:  # more than the pipe takes: from here on the writer waits for its reader
            wait_until(lambda: pipe.unread() > PIPE - 1500, "the full pipe")
    assert not writer.flush(0.05)
    lost = writer.dropped
    assert count - MOST_WAITING - PIPE // 500 <= lost < count
    before = lost
    while not writer.flush(0.05):
        pipe.read()
    writer.put("after")
    wait_until(lambda: "after" in pipe.read(), "the last line")
    lines = pipe.text.splitlines()
    assert lines.count(f"<{before} lost>") == 1
    numbers = [int(line.split()[0]) for line in lines if line[0].isdigit()]
    assert numbers == list(range(count - lost))  # those that came first, each once, none torn
    assert lines.index(f"<{lost} lost>") == count - lost
    assert lines[-1] == "after"


def test_a_pipe_that_does_not_block_is_waited_for(pipe: Pipe, make: Callable[..., LineWriter[str]]) -> None:
    """A program of the same terminal may have set it so."""
    flags = fcntl.fcntl(pipe.writer, fcntl.F_GETFL)
    fcntl.fcntl(pipe.writer, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    writer = make()
    for number in range(MOST_WAITING // 2):
        writer.put(f"{number} " + "x" * 500)
    while not writer.flush(0.05):
        pipe.read()
    pipe.read()
    assert [int(line.split()[0]) for line in pipe.text.splitlines()] == list(range(MOST_WAITING // 2))
    assert writer.dropped == 0


def test_a_reader_that_has_gone_and_a_closed_descriptor(make: Callable[..., LineWriter[str]]) -> None:
    reader, gone = os.pipe()
    os.close(reader)
    for descriptor in (gone, 10_000):
        writer = make(descriptor)
        for number in range(10):
            writer.put(str(number))
        assert writer.flush(PATIENCE)
        assert writer.dropped == 10
    os.close(gone)


def test_a_disk_without_room_costs_lines_that_are_counted(make: Callable[..., LineWriter[str]]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    writer = make(full)
    writer.put("lost")
    assert writer.flush(PATIENCE)
    assert writer.dropped == 1
    os.close(full)


def test_a_text_that_can_not_be_made_does_not_end_the_thread(pipe: Pipe) -> None:
    def form(item: str) -> str:
        if item == "bad":
            raise ValueError("of the formatter's")
        return f"{item}\n"

    writer = LineWriter[str](pipe.writer, form, str)
    for item in ("bad", "good", "\ud800"):
        writer.put(item)
    assert writer.flush(PATIENCE)
    pipe.read()
    assert pipe.text.splitlines()[0].endswith('ValueError("of the formatter\'s")')
    assert pipe.text.splitlines()[1:] == ["good", "\\ud800"]
    writer.close()


def test_the_thread_ends_when_it_is_closed(pipe: Pipe) -> None:
    writer = LineWriter[str](pipe.writer, str, str)
    writer.put("last\n")
    writer.close()
    wait_until(lambda: not writer._thread.is_alive(), "the end")
    pipe.read()
    assert pipe.text == "last\n"
    assert logwriter.MOST_WAITING == MOST_WAITING
    assert threading.current_thread().is_alive()

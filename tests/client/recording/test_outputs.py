"""Rows for the reader of a stream, who may be slow, or hang."""

from __future__ import annotations

import fcntl
import io
import os
import threading

import pytest

from agent.client.recording import outputs
from agent.client.recording.outputs import StreamOutput

ROWS = [f"psu1,1,{number},ä€🔌" for number in range(5000)]


def test_a_slow_reader_gets_every_row() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with open(reading, encoding="utf-8") as reader, open(writing, "w", encoding="utf-8") as stream:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.extend(reader))
        thread.start()
        # That it is to end is no reason to leave out what the reader still takes.
        output = StreamOutput(stream, "psu,index,seq,name", lambda: True)
        output.write(ROWS)
        stream.close()
        thread.join()
    assert found == ["psu,index,seq,name\n", *(f"{row}\n" for row in ROWS)]


def test_a_reader_that_hangs_is_given_up_at_the_end_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_LAST_WAIT", 0.05)
    monkeypatch.setattr(outputs, "_LOOK", 0.01)
    looks = iter([False] * 20)
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8"), open(writing, "w", encoding="utf-8") as stream:
        output = StreamOutput(stream, "psu,index,seq,name", lambda: next(looks, True))
        with pytest.raises(OSError, match="its reader takes nothing"):
            output.write(ROWS)
        assert next(looks, None) is None


def test_a_stream_in_memory() -> None:
    stream = io.StringIO()
    StreamOutput(stream, "a,b", lambda: False).write(["1,2"])
    assert stream.getvalue() == "a,b\n1,2\n"

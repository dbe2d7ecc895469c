from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.watching.keys import Keys
from tests.properties import examples


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"o", ["o"]),
        (b"oy", ["o", "y"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA", ["up"]),
        (b"\x1b[5~\x1b[6~", ["pageup", "pagedown"]),
        (b"\x1b[H\x1b[F\x1bOH\x1bOF\x1b[1~\x1b[4~", ["home", "end"] * 3),
        (b"\x1b[1;5A", ["up"]),
        (b"\x1b[5;2~", ["pageup"]),
        (b"\x1b[15~", []),  # F5
        (b"\x1b[200~O\x1b[201~", ["O"]),
        (b"\r\n", ["enter", "enter"]),
        (b"\x7f\x08", ["backspace", "backspace"]),
        ("ü€".encode(), ["ü", "€"]),
        (b"\x00\x01", []),
        (b"\x1bo", ["escape", "o"]),  # the escape key and an off, typed fast
        (b"\x1b\x1b[A", ["escape", "up"]),
        (b"\x1bOy", ["escape", "O", "y"]),  # no cursor key: an off of everything and its answer
    ],
)
def test_keys(data: bytes, keys: list[str]) -> None:
    whole, pieces = Keys(), Keys()
    assert whole.feed(data) == keys
    assert [key for byte in data for key in pieces.feed(bytes([byte]))] == keys
    assert not whole.is_waiting


@pytest.mark.parametrize(
    ("data", "keys"), [(b"\x1b", ["escape"]), (b"\x1bO", ["escape", "O"]), (b"\x1b[", ["escape", "["])]
)
def test_what_waited_in_vain(data: bytes, keys: list[str]) -> None:
    parser = Keys()
    assert parser.feed(data) == []
    assert parser.is_waiting
    assert parser.flush() == keys
    assert not parser.is_waiting
    assert parser.flush() == []


@given(st.lists(st.binary(max_size=12)))
@examples(100)
def test_any_bytes_in_any_pieces(pieces: list[bytes]) -> None:
    parser, whole = Keys(), Keys()
    keys = [key for piece in pieces for key in parser.feed(piece)]
    keys += parser.flush()
    assert all(key.isprintable() and key for key in keys)
    assert keys == whole.feed(b"".join(pieces)) + whole.flush()


@given(st.binary(max_size=20))
@examples(100)
def test_no_key_is_swallowed_behind_a_sequence(data: bytes) -> None:
    """An off that is typed after anything is found, if only what came before is complete."""
    parser = Keys()
    parser.feed(data)
    parser.flush()
    assert parser.feed(b"Oy")[-2:] == ["O", "y"]

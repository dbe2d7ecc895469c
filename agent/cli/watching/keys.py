"""The keys of a terminal, from the bytes that it sends. Pure."""

from __future__ import annotations

import codecs

#: Bytes after ESC, and the key that they mean (xterm, VT220, the Linux console, and both modes of the cursor keys).
_SEQUENCES = {
    b"[A": "up",
    b"[B": "down",
    b"[C": "right",
    b"[D": "left",
    b"OA": "up",
    b"OB": "down",
    b"OC": "right",
    b"OD": "left",
    b"[H": "home",
    b"[F": "end",
    b"OH": "home",
    b"OF": "end",
    b"[1~": "home",
    b"[7~": "home",
    b"[4~": "end",
    b"[8~": "end",
    b"[5~": "pageup",
    b"[6~": "pagedown",
    b"OM": "enter",
}
_CONTROLS = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\t": "tab", "\x15": "kill"}
#: Bytes of a sequence that has no end: a terminal sends none that long.
_LONGEST = 32


class Keys:
    """Tells keys from bytes that come in pieces. A key is its character, or a word such as ``up`` or ``escape``."""

    def __init__(self) -> None:
        self._pending = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def is_waiting(self) -> bool:
        """True if the bytes so far may be the begin of a longer sequence, or the escape key alone."""
        return bool(self._pending)

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete with these bytes."""
        self._pending += data
        keys: list[str] = []
        while self._pending:
            if self._pending[:1] == b"\x1b":
                length = _length(self._pending)
                if length is None:
                    break
                sequence, self._pending = self._pending[1:length], self._pending[length:]
                keys += ["escape"] if not sequence else _meaning(sequence)
                continue
            text, escape, rest = self._pending.partition(b"\x1b")
            self._pending = escape + rest
            keys += self._characters(text)
        return keys

    def flush(self) -> list[str]:
        """The keys that the bytes mean which have waited for more in vain: the escape key, and what was typed after it."""
        pending, self._pending = self._pending, b""
        if not pending:
            return []
        return ["escape", *self._characters(pending[1:])]

    def _characters(self, data: bytes) -> list[str]:
        return [
            _CONTROLS.get(character, character)
            for character in self._decoder.decode(data)
            if character in _CONTROLS or character.isprintable()
        ]


def _length(data: bytes) -> int | None:
    """The bytes of the sequence that begins with ESC, 1 for the escape key before another key; None if it may go on."""
    if len(data) == 1:
        return None
    if data[1:2] == b"O":
        return None if len(data) == 2 else 3 if data[1:3] in _SEQUENCES else 1
    if data[1:2] != b"[":
        return 1
    for i, byte in enumerate(data[2:_LONGEST], start=2):
        if 0x40 <= byte <= 0x7E:
            return i + 1
        if not 0x20 <= byte <= 0x3F:
            return i  # it breaks off
    return None if len(data) < _LONGEST else _LONGEST


def _meaning(sequence: bytes) -> list[str]:
    if (key := _SEQUENCES.get(sequence)) is not None:
        return [key]
    if sequence[:1] == b"[" and b";" in sequence:  # with Shift, Alt or Ctrl: ESC [ 1 ; 5 A
        first = sequence[1 : sequence.index(b";")]
        last = sequence[-1:]
        plain = b"[" + (last if last != b"~" else first + last)
        return [key] if (key := _SEQUENCES.get(plain)) is not None else []
    return []

"""SCPI errors: their numbers and texts, and the queue that `SYSTem:ERRor?` reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

# SCPI-1999 volume 2, chapter 21.
ERROR_TEXTS: dict[int, str] = {
    0: "No error",
    -100: "Command error",
    -101: "Invalid character",
    -102: "Syntax error",
    -103: "Invalid separator",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -111: "Header separator error",
    -112: "Program mnemonic too long",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -121: "Invalid character in number",
    -123: "Exponent too large",
    -124: "Too many digits",
    -128: "Numeric data not allowed",
    -131: "Invalid suffix",
    -138: "Suffix not allowed",
    -141: "Invalid character data",
    -144: "Character data too long",
    -148: "Character data not allowed",
    -151: "Invalid string data",
    -158: "String data not allowed",
    -161: "Invalid block data",
    -168: "Block data not allowed",
    -171: "Invalid expression",
    -178: "Expression data not allowed",
    -200: "Execution error",
    -211: "Trigger ignored",
    -213: "Init ignored",
    -221: "Settings conflict",
    -222: "Data out of range",
    -223: "Too much data",
    -224: "Illegal parameter value",
    -241: "Hardware missing",
    -310: "System error",
    -330: "Self-test failed",
    -350: "Error queue overflow",
    -363: "Input buffer overrun",
    -410: "Query INTERRUPTED",
    -420: "Query UNTERMINATED",
    -430: "Query DEADLOCKED",
    -440: "Query UNTERMINATED after indefinite response",
}


class ScpiError(Exception):
    """An error for the queue: ``number`` as in SCPI-1999 volume 2, chapter 21, or the instrument's own."""

    def __init__(self, number: int, text: str | None = None) -> None:
        self.number = number
        self.text = text if text is not None else ERROR_TEXTS.get(number, "Device-specific error")
        super().__init__(f'{number},"{self.text}"')


class ErrorQueue:
    """Errors, oldest first. In a full queue the newest is replaced by -350 (SCPI-1999 volume 2, 21.8.1)."""

    def __init__(self, size: int = 20) -> None:
        self._size = size
        self._errors: deque[tuple[int, str]] = deque()

    def push(self, error: ScpiError) -> None:
        """Add an error; in a full queue -350 takes the place of the newest."""
        if len(self._errors) < self._size:
            self._errors.append((error.number, error.text))
        else:
            self._errors[-1] = (-350, ERROR_TEXTS[-350])

    def pop(self) -> tuple[int, str]:
        """The oldest error, or ``(0, "No error")``."""
        return self._errors.popleft() if self._errors else (0, ERROR_TEXTS[0])

    def clear(self) -> None:
        """Forget every error, as `*CLS` does."""
        self._errors.clear()

    def __len__(self) -> int:
        return len(self._errors)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return iter(tuple(self._errors))

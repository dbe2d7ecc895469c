"""Why a command is not carried out: the codes of the contract, and the exception that carries one to the response."""

from __future__ import annotations

from typing import Literal

ErrorCode = Literal[
    "bad_payload",
    "unknown_channel",
    "unsupported",
    "out_of_range",
    "limit_exceeded",
    "retained",
    "expired",
    "duplicate",
    "offline",
    "superseded",
    "busy",
    "instrument_error",
    "readback_mismatch",
    "uncertain",
]


class Refusal(Exception):
    """A command that is not, or not wholly, carried out: a code for programs and a sentence for people.

    ``command_id`` is the id of the refused command where it could still be read.
    """

    def __init__(self, code: ErrorCode, message: str, command_id: str | None = None) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
        self.command_id = command_id

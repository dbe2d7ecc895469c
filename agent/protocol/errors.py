"""Why a command is not carried out: the codes for programs, and the exception that carries one to the response."""

from __future__ import annotations

from typing import Literal

#: In the order of the contract.
ErrorCode = Literal[
    "conflict",  # another agent serves this unit
    "claimed",  # another client holds the lease
    "bad_payload",
    "unknown_channel",
    "unsupported",
    "out_of_range",  # beyond the model's rating
    "limit_exceeded",  # beyond the configuration's limit
    "retained",
    "expired",
    "duplicate",
    "offline",
    "superseded",
    "busy",
    "instrument_error",
    "readback_mismatch",
    "uncertain",  # the link broke after it was sent: it may or may not have happened
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

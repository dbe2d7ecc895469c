"""The findings of a verification: each claim of the series file, and the verdict on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.instruments.driver import DriverError
from agent.instruments.recording import Exchanged
from agent.protocol.errors import Refusal

Verdict = Literal["ok", "failed", "skipped"]


@dataclass(slots=True)
class Check:
    """One claim and the verdict on it. ``first`` and ``last``: the part of the transcript that belongs to it."""

    name: str
    channel: int | None
    claim: str
    verdict: Verdict = "skipped"
    text: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    first: int = 0
    last: int = 0

    def ok(self, text: str, **values: Any) -> None:
        """It holds."""
        self.verdict, self.text, self.values = "ok", text, values

    def failed(self, text: str, **values: Any) -> None:
        """It does not hold."""
        self.verdict, self.text, self.values = "failed", text, values

    def skipped(self, text: str, **values: Any) -> None:
        """It was not tried; why."""
        self.verdict, self.text, self.values = "skipped", text, values

    @property
    def title(self) -> str:
        """Its name, with the output."""
        return self.name if self.channel is None else f"{self.name}, output {self.channel}"


class Findings:
    """The checks so far. ``record``: the transcript, empty where the driver has none."""

    def __init__(self, record: Sequence[Exchanged] = (), tell: Callable[[Check], None] = lambda check: None) -> None:
        """``tell``: called with each check when it has its verdict."""
        self.checks: list[Check] = []
        self.record = record
        self._tell = tell

    @contextmanager
    def checking(self, name: str, claim: str, channel: int | None = None) -> Iterator[Check]:
        """A check, which is given its verdict in the context. A setting that the gate refuses has failed.

        Where the context is left before there is a verdict, the check was not finished.

        :raises DriverError: the link broke: the check has failed, and so has what comes after it
        """
        check = Check(name, channel, claim, first=len(self.record))
        try:
            yield check
        except Refusal as refusal:
            check.failed(refusal.message)
        except DriverError as error:
            check.failed(f"the unit could not be served any more: {error}")
            raise
        finally:
            if not check.text:
                check.skipped("not finished: the verification was ended here")
            check.last = len(self.record)
            self.checks.append(check)
            self._tell(check)

    @property
    def has_failed(self) -> bool:
        """True if a claim does not hold."""
        return any(check.verdict == "failed" for check in self.checks)

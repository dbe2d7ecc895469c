"""A supply whose SCPI driver speaks with a unit on paper: the messages that its commands and polls come to, in order."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from agent.config import ChannelSettings
from agent.protocol.commands import parse_command
from agent.protocol.messages import ChannelState, Response
from agent.unit.job import Job
from agent.unit.supply import Supply
from tests.instruments.e36300 import make_driver
from tests.instruments.transcript import Line, Transcript
from tests.lab import wait_until
from tests.unit.fakedriver import Sheet


class Driven:
    """A supply on a transcript, as a context manager: it connects, carries commands out, and has read every line at the end."""

    def __init__(
        self, model: str, connecting: Iterable[Line], channels: dict[int, ChannelSettings] | None = None
    ) -> None:
        self.session = Transcript(connecting)
        self.sheet = Sheet()
        driver = make_driver(self.session, model)
        self.supply = Supply(
            name="psu1", agent="bench", driver=driver, outlets=(self.sheet,), poll_interval=3600.0, channels=channels
        )

    def __enter__(self) -> Self:
        self.supply.start()
        wait_until(lambda: (self.sheet.infos and self.sheet.infos[-1].online) or self.session.faults, "the connection")
        assert self.session.faults == [], self.session.faults
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.supply.stop()
        assert self.supply.join(10)
        if kind is None:
            self.session.check()

    def carry_out(self, payload: str, lines: Iterable[Line], channel: str | None = "1") -> Response:
        """Submit a command; its response, after exactly these lines."""
        self.session.expect(lines)
        answered = len(self.sheet.responses)
        channels = self.supply.channels if channel is None else (self.supply.channel(channel),)
        command = parse_command(payload.encode(), "unit" if channel is None else "channel")
        self.supply.submit(Job(command, channels, whole_unit=channel is None))
        wait_until(lambda: len(self.sheet.responses) > answered or self.session.faults, f"the response to {payload}")
        # What comes behind the response, the truth read back, belongs to it.
        wait_until(lambda: not self.session.left or self.session.faults, "the rest of the transcript")
        assert self.session.faults == [], self.session.faults
        return self.sheet.responses[answered]

    @property
    def latest(self) -> dict[int, ChannelState]:
        """The newest state of each channel."""
        return {state.index: state for state in self.sheet.states}

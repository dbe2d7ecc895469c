"""A supply whose unit is on paper: its worker, its driver, and a transcript in place of the link."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from agent.config import ChannelSettings
from agent.protocol.commands import parse_command
from agent.protocol.messages import ChannelState, Event, Response, UnitInfo
from agent.protocol.report import Report
from agent.unit.job import Job
from agent.unit.supply import Supply
from tests.instruments.e36300 import make_driver
from tests.instruments.transcript import Line, Transcript
from tests.lab import wait_until


class Sheet:
    """Keeps what a supply reports."""

    def __init__(self) -> None:
        self.all_states: list[ChannelState] = []
        self.events: list[Event] = []
        self.responses: list[Response] = []
        self.infos: list[UnitInfo] = []

    @property
    def congested(self) -> bool:
        return False

    def report(self, report: Report) -> None:
        if report.info is not None:
            self.infos.append(report.info)
        self.all_states += report.states
        self.events += report.events
        if report.response is not None:
            self.responses.append(report.response)


class Driven:
    """A supply on a transcript, as a context manager: it connects, carries commands out, and has read every line at the end."""

    def __init__(self, model: str, connecting: Iterable[Line], channels: dict[int, ChannelSettings] | None = None) -> None:
        self.session = Transcript(connecting)
        self.sheet = Sheet()
        self.supply = Supply(
            name="psu1",
            agent="bench",
            driver=make_driver(self.session, model),
            outlets=(self.sheet,),
            poll_interval=3600.0,
            channels=channels,
        )

    def __enter__(self) -> Self:
        self.supply.start()
        wait_until(lambda: self.supply.online or self.session.faults, "the connection")
        wait_until(lambda: self.sheet.all_states or self.session.faults, "the first states")
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
    def latest(self) -> dict[int, Any]:
        return {state.index: state for state in self.sheet.all_states}

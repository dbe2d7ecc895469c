"""A unit on paper: what it is to be sent, in order, and what it answers. A line left over or out of turn fails the test."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from agent.config import ChannelSettings
from agent.instruments.visa.session import LinkError
from agent.protocol.commands import parse_command
from agent.protocol.messages import ChannelState, Event, Response, UnitInfo
from agent.unit.supply import Job, Reply, Supply
from tests.lab import wait_until

#: (sent, answered). None: the message has no answer, or the unit gives none to a question.
Line = tuple[str, str | None]


class Transcript:
    """Stands where `agent.visa.Session` would."""

    uri = "TCPIP::192.0.2.1::5025::SOCKET"

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.sent: list[str] = []
        self._lines: list[Line] = []
        self._lock = threading.Lock()
        self.is_open = False

    def expect(self, lines: Iterable[Line]) -> None:
        with self._lock:
            self._lines += lines

    @property
    def left(self) -> list[Line]:
        with self._lock:
            return list(self._lines)

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def ask(self, message: str) -> str:
        answer = self._next(message)
        if answer is None:
            self.close()
            raise LinkError("no answer: timeout")
        return answer

    def tell(self, message: str) -> None:
        answer = self._next(message)
        if answer is not None:
            self.faults.append(f"{message} was sent and its answer {answer} is not read")

    def _next(self, message: str) -> str | None:
        with self._lock:
            self.sent.append(message)
            if not self._lines:
                self.faults.append(f"{message} was sent after the transcript's end")
                return None
            expected, answer = self._lines.pop(0)
            if expected != message:
                self.faults.append(f"{message} was sent instead of {expected}")
                self._lines.clear()
                return None
            return answer


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

    def flush(self) -> None:
        pass

    def states(self, states: list[ChannelState]) -> None:
        self.all_states += states

    def event(self, event: Event) -> None:
        self.events.append(event)

    def response(self, response: Response, reply: Reply) -> None:
        self.responses.append(response)

    def unit(self, info: UnitInfo) -> None:
        self.infos.append(info)


class Driven:
    """A supply on a transcript, as a context manager: it connects, carries commands out, and has read every line at the end."""

    def __init__(self, model: str, connecting: Iterable[Line], channels: dict[int, ChannelSettings] | None = None) -> None:
        self.session = Transcript()
        self.session.expect(connecting)
        self.sheet = Sheet()
        self.supply = Supply(
            name="psu1",
            agent="bench",
            model=model,
            session=self.session,  # type: ignore[arg-type]
            outlet=self.sheet,
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
            assert self.session.faults == []
            assert self.session.left == []

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

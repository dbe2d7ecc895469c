"""An instrument in memory behind the driver interface, with a script of what goes wrong; and a unit on it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from agent.instruments.driver import (
    Conditions,
    Driver,
    GiveWay,
    Identity,
    Inspection,
    LinkError,
    Output,
    Profile,
    Range,
    Reading,
    Write,
    never,
)
from agent.protocol.commands import parse_command
from agent.protocol.messages import ChannelState, Event, Response, UnitInfo
from agent.protocol.quantities import SETTINGS, Setting
from agent.protocol.report import ReplyTo, Report
from agent.timing import LONGEST_ABSENCE, HoldUps, system_clock
from agent.unit.job import Job
from agent.unit.supply import Supply
from tests.lab import PATIENCE, wait_until

ALL_SETTINGS: frozenset[Setting] = frozenset(
    {"state", "voltage_limit", "current_limit", "voltage_protection", "current_protection", "clear_protection"}
)
OFF = Reading(0.0, 0.0, 0.0, 0.1, False, 6.6, False, "OFF", None)


def output(index: int, **changed: Any) -> Output:
    made: dict[str, Any] = {
        "name": f"CH{index}",
        "voltage_resolution": 0.001,
        "current_resolution": 0.001,
        "voltage_rating": 6.0,
        "current_rating": 5.0,
        "settings": ALL_SETTINGS,
    }
    ranges = {
        "voltage_limit": Range(0.0, 6.18),
        "current_limit": Range(0.0, 5.15),
        "voltage_protection": Range(0.5, 6.6),
    }
    for short, setting in (("voltage", "voltage_limit"), ("current", "current_limit"), ("voltage_protection",) * 2):
        if short in changed:
            ranges[setting] = changed.pop(short)
    known = {setting: values for setting, values in ranges.items() if values is not None}
    return Output(index, ranges=known, **{**made, **changed})


OUTPUTS = (output(1), output(2), output(3))
IDENTITY = Identity("Maker", "FAKE3", "SN1", "1.0")

#: One call of a driver: its name, or the write.
Call = str | Write


class Hold:
    """A call of the driver that hangs until it is released."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._released = threading.Event()
        self._error: Exception | None = None

    def wait(self) -> None:
        assert self.reached.wait(PATIENCE)

    def release(self, error: Exception | None = None) -> None:
        self._error = error
        self._released.set()

    def hang(self) -> None:
        self.reached.set()
        assert self._released.wait(PATIENCE)
        if self._error is not None:
            raise self._error


class FakeDriver(Driver):
    """Outputs that do what is written. ``calls``: all that was asked of it. ``script`` sees each call first, and may raise.

    ``messages``: what one poll takes; between two of them it asks whether to give way, and the script sees ``message``.
    """

    address = "FAKE::1"

    def __init__(self, outputs: Iterable[Output] = OUTPUTS, *, messages: int = 1) -> None:
        self.profile = Profile("FAKE3", tuple(outputs), IDENTITY, "one message")
        self.readings = {out.index: OFF for out in self.profile.outputs}
        self.calls: list[Call] = []
        self.script: Callable[[Call], None] = lambda call: None
        self.messages = messages
        self.hurried = False
        self.threads: set[str] = set()

    @property
    def expected(self) -> Profile:
        return Profile("FAKE3", self.profile.outputs)

    @property
    def writes(self) -> list[Write]:
        return [call for call in self.calls if isinstance(call, Write)]

    def connect(self) -> Profile:
        self._called("connect")
        return self.profile

    def poll(self, give_way: GiveWay) -> dict[int, Reading] | None:
        self._called("poll")
        for _ in range(self.messages - 1):
            if give_way():
                self.calls.append("dropped")
                return None
            self._called("message")
        return dict(self.readings)

    def write(self, write: Write) -> None:
        self._called(write)
        for index in write.channels:
            self.readings[index] = after(self.readings[index], write)

    def close(self) -> None:
        self.calls.append("close")

    def hurry(self, seconds: float) -> None:
        self.hurried = True

    def hold(self, matching: Call | Callable[[Call], bool]) -> Hold:
        """The next call that matches hangs until it is released."""
        hold, script, done = Hold(), self.script, threading.Event()

        def hanging(call: Call) -> None:
            if not done.is_set() and (matching(call) if callable(matching) else call == matching):
                done.set()
                hold.hang()
            script(call)

        self.script = hanging
        return hold

    def _called(self, call: Call) -> None:
        self.threads.add(threading.current_thread().name)
        self.calls.append(call)
        self.script(call)


class TalkingDriver(FakeDriver):
    """One with an error queue, and with settings at the unit that change the effect of a command."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.queue: list[str] = []
        self.bars: list[str] = []
        self.silent: list[str] = []
        self.conditions = Conditions()
        self.answer: Callable[[Write], str | None] = lambda write: None

    def write(self, write: Write) -> None:
        complaint = self.answer(write)
        if complaint is None:
            super().write(write)
        else:
            self._called(write)
            self.queue.append(complaint)

    def complaints(self) -> list[str]:
        self._called("complaints")
        queue, self.queue = self.queue, []
        return queue

    def inspect(self, channels: Any, give_way: GiveWay = never, settings: Any = SETTINGS) -> Inspection:
        self._called(f"inspect {sorted(channels)}")
        queue, self.queue = self.queue, []
        for _ in range(self.messages - 1):
            if give_way():
                self.calls.append("dropped")
                return Inspection({}, queue)
            self._called("message")
        if not channels:
            return Inspection(dict(self.readings), queue)
        return Inspection(dict(self.readings), queue, self.bars, self.silent, self.conditions)


def after(before: Reading, write: Write) -> Reading:
    """An output after a write."""
    value = write.value
    match write.setting:
        case "state":
            on = bool(value) and before.tripped is None
            volts = before.voltage_limit if on else 0.0
            return before._replace(state=on, mode="CV" if on else "OFF", voltage=volts)
        case "clear_protection":
            return before._replace(tripped=None)
        case "voltage_limit":
            return before._replace(voltage_limit=float(value), voltage=float(value) if before.state else 0.0)
        case "current_limit":
            return before._replace(current_limit=float(value))
        case "voltage_protection":
            return before._replace(voltage_protection=float(value))
        case "current_protection":
            return before._replace(current_protection=bool(value))
        case "current_protection_level":
            return before._replace(current_protection_level=float(value))
        case "voltage_protection_state":
            return before._replace(voltage_protection_state=bool(value))


@dataclass
class Sheet:
    """An outlet that keeps the reports."""

    reports: list[Report] = field(default_factory=list)
    congested: bool = False

    def report(self, report: Report) -> None:
        self.reports.append(report)

    @property
    def states(self) -> list[ChannelState]:
        return [state for report in list(self.reports) for state in report.states]

    @property
    def events(self) -> list[Event]:
        return [event for report in list(self.reports) for event in report.events]

    @property
    def responses(self) -> list[Response]:
        return [report.response for report in list(self.reports) if report.response is not None]

    @property
    def infos(self) -> list[UnitInfo]:
        return [report.info for report in list(self.reports) if report.info is not None]

    def response(self, command_id: str) -> Response:
        """The one response to a command, when it is there."""
        wait_until(lambda: any(r.id == command_id for r in self.responses), f"the response to {command_id}")
        (found,) = (r for r in self.responses if r.id == command_id)
        return found

    def code(self, command_id: str) -> str:
        response = self.response(command_id)
        return "ok" if response.error is None else response.error.code

    def changes(self, index: int = 1) -> list[tuple[Any, ...]]:
        return [(e.field, e.from_, e.to, e.by, e.id) for e in self.events if e.index == index]


class Unit:
    """A supply on a fake driver, as a context manager: it is online inside unless ``online`` is False, and ends with it."""

    def __init__(self, driver: FakeDriver | None = None, *, online: bool = True, **arguments: Any) -> None:
        self.driver = driver or FakeDriver()
        self.sheet = Sheet()
        self.online = online
        self._settings: dict[str, Any] = {"outlets": (self.sheet,), "poll_interval": 3600.0, **arguments}
        self.supply = Supply(name="psu1", agent="bench", driver=self.driver, **self._settings)

    def __enter__(self) -> Self:
        self.supply.start()
        if self.online:
            self.wait_online()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.supply.stop()
        assert self.supply.join(PATIENCE)

    def succeed(self) -> None:
        """Start a supply in the place of the one that has ended, as after a reload."""
        settings = {**self._settings, "predecessor": self.supply}
        self.supply = Supply(name="psu1", agent="bench", driver=self.driver, **settings)
        self.supply.start()

    def wait_online(self) -> None:
        wait_until(lambda: any(info.online for info in self.sheet.infos), "the connection")

    def wait_offline(self) -> None:
        """Until it has told that it can't be reached, which is a moment after it is so."""
        wait_until(lambda: not self.supply.online and self.sheet.infos and not self.sheet.infos[-1].online, "the loss")

    def send(self, channel: int | None, command_id: str, **fields: Any) -> Job:
        """Submit a command; its job."""
        command = parse_command(as_json({"id": command_id, **fields}), "unit" if channel is None else "channel")
        channels = self.supply.channels if channel is None else (self.supply.channel(str(channel)),)
        job = Job(command, channels, whole_unit=channel is None, reply_to=ReplyTo("answers", command_id.encode()))
        self.supply.submit(job)
        return job

    def ask(self, channel: int | None, command_id: str, **fields: Any) -> str:
        """Submit a command; ``ok``, or the code that it was refused with."""
        self.send(channel, command_id, **fields)
        return self.sheet.code(command_id)

    def set_at_the_panel(self, index: int, **fields: Any) -> None:
        self.driver.readings[index] = self.driver.readings[index]._replace(**fields)


def as_json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data).encode()


def held_up(hold_ups: HoldUps) -> None:
    """The process goes on after a stop. The watch ends with it, or a slow test would look like another stop."""
    now = system_clock()
    hold_ups.tick(now - LONGEST_ABSENCE - 1.0)
    hold_ups.tick(now)
    hold_ups.stop()


class Breaks:
    """A script that breaks the link at each call that matches, as often as ``times``."""

    def __init__(self, matching: Callable[[Call], bool], times: int = 1, reason: str = "no answer: timeout") -> None:
        self._matching = matching
        self.left = times
        self._reason = reason

    def __call__(self, call: Call) -> None:
        if self.left > 0 and self._matching(call):
            self.left -= 1
            raise LinkError(self._reason)


def is_write(setting: str, value: float | bool | None = None) -> Callable[[Call], bool]:
    return lambda call: isinstance(call, Write) and call.setting == setting and value in (None, call.value)

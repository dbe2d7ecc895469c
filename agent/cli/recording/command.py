"""The command `log`."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.completing import values
from agent.cli.options import Failure, NotFound, broker_options, find_broker, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.client.address import Address
    from agent.client.recording.events import EventFile
    from agent.client.recording.files import Existing
    from agent.client.recording.outputs import Form, Output
    from agent.client.recording.recorder import Recorder
    from agent.client.recording.session import Link, RecordingSession

#: Samples that take some seconds to become a Parquet file.
_MANY = 1_000_000
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.argument("targets", nargs=-1, metavar="[UNIT[/CH]]...", shell_complete=values.targets)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: CSV to stdout]")
@click.option(
    "--format", "form", type=click.Choice(["csv", "parquet"]), help="Without it by the file's name: .parquet, or CSV."
)
@click.option("--for", "duration", metavar="TIME", help="End after so long: 90s, 10m, 1h30m.")
@click.option("--until", metavar="TIME", help="End then: 18:00, 2026-11-26T18:00 (local time), …Z (UTC).")
@click.option("--rate", metavar="TIME", help="One row for a channel and interval, the last sample in it: 1s.")
@click.option("--fields", metavar="NAMES", help="Columns behind time, psu, index and seq: voltage,current,mode.")
@click.option("--events", type=click.Path(path_type=Path), help="File of events.  [default: OUTPUT with .events.csv]")
@click.option("--no-events", is_flag=True, help="Write no file of events.")
@click.option("--append", is_flag=True, help="Go on with a file that exists, without a sample twice.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.option(
    "--summary",
    "summary",
    type=click.Choice(["text", "json", "none"]),
    default="text",
    show_default=True,
    help="Form of the summary on stderr.",
)
@broker_options
def log(
    targets: tuple[str, ...],
    output: Path | None,
    form: Form | None,
    duration: str | None,
    until: str | None,
    rate: str | None,
    fields: str | None,
    events: Path | None,
    no_events: bool,
    append: bool,
    force: bool,
    summary: str,
    **broker: Any,
) -> int:
    """Record channels into a CSV or Parquet file, until Ctrl-C.

    Each sample once, in order, those included that an agent kept while the broker was away. CH is a channel's number or its
    name; without a UNIT everything is recorded. At the end come energy, charge, lowest, mean and highest values, and the
    samples that are missing. Exit code 1 if nothing was recorded, or a file could not be written.
    """
    if append and force:
        raise Failure("--append and --force exclude each other: add to the file, or replace it")
    if no_events and events is not None:
        raise Failure("--events and --no-events exclude each other")
    chosen: Form = form or ("parquet" if output is not None and output.suffix.lower() == ".parquet" else "csv")
    if chosen == "parquet" and output is None:
        raise Failure("Parquet needs a file; give -o FILE.parquet")
    if append and output is None:
        raise Failure("--append needs a file; give -o FILE")
    if output is not None and output.exists() and not output.is_file():
        raise NotFound(f"{output} is no file; give the name of one, or leave -o out for standard output")
    if events is None and output is not None and not no_events:
        events = output.with_name(f"{output.stem}.events.csv")
    if events is not None and output is not None and events.absolute() == output.absolute():
        raise Failure("--events and -o name the same file; give two")
    job = _Job(
        targets=targets,
        output=output,
        form=chosen,
        ends=_ending(duration, until),
        rate=None if rate is None else _rate(rate),
        fields=fields,
        events=events,
        existing="append" if append else "replace" if force else "refuse",
        summary=summary,
    )
    return job.run(find_broker(**broker))


def _ending(duration: str | None, until: str | None) -> Callable[[], bool]:
    """Tells if the recording is to end by itself now; a duration runs from the first call on."""
    from agent.cli.recording.times import parse_duration, parse_moment
    from agent.protocol.messages import utc_now

    try:
        seconds = None if duration is None else parse_duration(duration)
        moment = None if until is None else parse_moment(until, utc_now())
    except ValueError as error:
        raise Failure(str(error)) from None
    began: list[float] = []

    def is_over() -> bool:
        if not began:
            began.append(time.monotonic())
        if seconds is not None and time.monotonic() - began[0] >= seconds:
            return True
        return moment is not None and utc_now() >= moment

    return is_over


def _rate(text: str) -> int:
    from agent.cli.recording.times import parse_duration

    try:
        milliseconds = round(1000 * parse_duration(text))
    except ValueError as error:
        raise Failure(f"--rate: {error}") from None
    if not milliseconds:
        raise Failure(f"--rate: {text} is too short; give 1ms or more")
    return milliseconds


@contextmanager
def _stopped_by_signals(came: list[int]) -> Iterator[None]:
    """Puts the signals that come into a list: each of them ends the recording in good order."""
    # `nohup` has SIGHUP ignored, which it is to stay.
    mine = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN or number != signal.SIGHUP]
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in mine}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Job:
    def __init__(
        self,
        *,
        targets: tuple[str, ...],
        output: Path | None,
        form: Form,
        ends: Callable[[], bool],
        rate: int | None,
        fields: str | None,
        events: Path | None,
        existing: Existing,
        summary: str,
    ) -> None:
        from agent.cli.recording.printing import StatusLine
        from agent.client.recording.selection import Selection

        wanted = [target for target in map(parse_target, targets) if target is not None]
        self._selection = Selection(wanted if len(wanted) == len(targets) else [])
        self._output = output
        self._form = form
        self._ends = ends
        self._rate = rate
        self._columns = self._choose_columns(fields, existing)
        self._events = events
        self._existing = existing
        self._summary = summary
        self._has_lost = False
        self._signals: list[int] = []  # that came
        self._line = StatusLine(str(output or ""), is_shown=output is not None or not sys.stdout.isatty())

    def _choose_columns(self, fields: str | None, existing: Existing) -> tuple[str, ...]:
        from agent.client.recording import outputs, rows
        from agent.client.recording.files import FileError

        try:
            if fields is not None:
                return rows.choose(field.strip() for field in fields.split(","))
            if existing == "append" and self._output is not None:
                there = outputs.columns_of(self._output, self._form)
                if there is not None:
                    if not set(there) <= set(rows.ALL) or there[:2] != rows.IDENTITY[:2]:
                        raise NotFound(f"{self._output} is no recording of psu-agent; give another file")
                    return there
        except ValueError as error:
            raise Failure(f"--fields: {error}") from None
        except FileError as error:
            raise NotFound(str(error)) from None
        return rows.DEFAULT

    def run(self, address: Address) -> int:
        """Record. Returns the exit code."""
        from agent.client.connection import BrokerError, Client
        from agent.client.fleet import Fleet
        from agent.client.recording.files import FileError
        from agent.client.recording.recorder import Recorder, UnreadableError
        from agent.client.recording.selection import UnknownTargetError
        from agent.client.recording.session import RecordingSession
        from agent.protocol.messages import AgentInfo
        from agent.protocol.topics import AgentTopic, Topics

        began = int(time.time() * 1000)
        topics = Topics(address.base_topic)
        fleet = Fleet(topics)
        agents: list[AgentInfo] = []
        try:
            with Client(address) as client:
                for message in client.retained(Fleet.filters(topics)):
                    fleet.update(message.topic, message.payload)
                    match topics.parse_published(message.topic):
                        case AgentTopic(_, "info") if message.payload:
                            agents += _agent_info(message.payload)
                protocol, retains = client.protocol, client.retains
            if retains:
                self._selection.check(fleet)
        except BrokerError as error:
            raise Failure(str(error)) from None
        except UnknownTargetError as error:
            raise NotFound(str(error)) from None
        if retains and not fleet.units:
            self._say(f"nothing is published under {topics.base}/ on {address} yet; waiting for it")
        try:
            output, events = self._open()
        except FileError as error:
            raise NotFound(str(error)) from None
        recorder = Recorder(
            topics,
            self._selection,
            output,
            events,
            columns=self._columns,
            began=began,
            rate=self._rate,
            tell=self._tell_link,
        )
        for info in agents:
            recorder.agent(info)
        for unit in fleet.units.values():
            if unit.info is not None:
                recorder.unit(unit.info)
        session = RecordingSession(
            address,
            self._selection.filters(topics),
            protocol=protocol,
            client_id=self._client_id(topics.base),
            goes_on=output.goes_on,
        )
        try:
            self._record(recorder, session)
        except FileError as error:
            recorder.abandon()
            self._line.clear()
            self._tell_summary(recorder, events)
            raise NotFound(str(error)) from None
        except UnreadableError as error:
            recorder.abandon()
            raise Failure(str(error)) from None
        except OSError:
            recorder.abandon()  # of standard output, which `main` tells
            raise
        self._tell_summary(recorder, events)
        if not recorder.counts.samples:
            where = f"{topics.base}/ on {address}"
            raise NotFound(f"nothing was recorded: no state came under {where}; does an agent run?")
        return 0

    def _open(self) -> tuple[Output, EventFile | None]:
        from agent.client.recording.events import EventFile
        from agent.client.recording.files import FileError
        from agent.client.recording.outputs import CsvOutput, ParquetOutput, StreamOutput

        if self._existing == "refuse":  # before one of the two is made
            for path in (self._output, self._events):
                if path is not None and path.exists():
                    raise FileError(f"{path} exists; add to it with --append, or replace it with --force")
        output: Output
        if self._output is None:
            output = StreamOutput(sys.stdout, ",".join(self._columns), lambda: bool(self._signals))
        else:
            output = (ParquetOutput if self._form == "parquet" else CsvOutput)(
                self._output, self._columns, self._existing
            )
        try:
            events = None if self._events is None else EventFile(self._events, self._existing)
        except FileError:
            output.abandon()
            raise
        if output.was_cut:
            self._say(f"{self._output}: its last row was not complete; it was removed")
        if output.goes_on:
            self._say(f"{self._output}: the recording before broke off; going on with it")
        return output, events

    def _record(self, recorder: Recorder, session: RecordingSession) -> None:
        came = self._signals
        with _stopped_by_signals(came), session:

            def is_over() -> bool:
                return bool(came) or self._ends()

            recorder.run(session, is_over, self._line)
            if recorder.merger.held and not came:
                self._say(
                    f"waiting for samples that are missing before {recorder.merger.held:,} others; Ctrl-C ends it"
                )
                recorder.wait_for_late(session, lambda: bool(came), self._line)
            self._line.clear()
            if self._form == "parquet" and recorder.counts.samples > _MANY:
                self._say(f"writing {self._output}")
            recorder.finish()

    def _client_id(self, base: str) -> str | None:
        """The same for the same file, so that the broker keeps what comes while a recording that broke off is away.

        None for standard output, with which no recording can go on.
        """
        if self._output is None:
            return None
        place = f"{socket.gethostname()}\n{os.getuid()}\n{base}\n{self._output.absolute()}"
        return f"psu-agent-log-{hashlib.sha256(place.encode('utf-8', 'replace')).hexdigest()[:16]}"

    def _say(self, text: str) -> None:
        self._line.clear()
        click.echo(f"psu-agent: {text}", err=True)

    def _tell_link(self, link: Link) -> None:
        if link.reason is not None:
            self._say(f"the connection to the broker is lost: {link.reason}; trying again")
        elif self._has_lost:
            self._say("the broker is there again" + ("; it kept what came meanwhile" if link.was_kept else ""))
        self._has_lost = link.reason is not None
        if link.refused:
            self._say(f"the broker does not let this user read {', '.join(link.refused)}; recording without it")

    def _tell_summary(self, recorder: Recorder, events: EventFile | None) -> None:
        from agent.cli.recording import printing

        if self._summary == "none":
            return
        figures = recorder.statistics, recorder.merger.missing(), None if events is None else events.count
        if self._summary == "json":
            click.echo(printing.summary_json(*figures), err=True)
        elif recorder.counts.samples:
            click.echo("\n".join(printing.summary(*figures)), err=True)


def _agent_info(payload: bytes) -> list[Any]:
    from pydantic import ValidationError

    from agent.protocol.messages import AgentInfo

    try:
        return [AgentInfo.model_validate_json(payload)]
    except ValidationError:
        return []

"""Commands for those who write series files: series try."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.cli.completing import values
from agent.cli.options import Failure, NotFound

if TYPE_CHECKING:
    from agent.instruments.driver import Reading
    from agent.instruments.trial import Row, Trial


@click.group()
def series() -> None:
    """Describe supplies of your own: try a series file."""


@series.command("try")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("uri")
@click.option(
    "--model", metavar="MODEL", shell_complete=values.models, help="The model, where the unit does not tell it."
)
@click.option(
    "--address", type=click.IntRange(0, 255), metavar="N", help="The unit's address, where several share a line."
)
@click.option("--visa-backend", default="@py", show_default=True, help="pyvisa's backend.")
@click.option("--test", type=click.Path(path_type=Path, dir_okay=False), metavar="OUT.py", help="Write the test there.")
def try_(file: Path, uri: str, model: str | None, address: int | None, visa_backend: str, test: Path | None) -> None:
    """Try a series file on a unit, and set nothing.

    Connects, identifies and polls. Shows what was asked, answered and understood, and prints all of it as a ready test. Messages
    that are no questions of the file are not sent.
    Exit code 0: all was understood; 1: something was not; 2: the file has faults, or the unit can't be reached.
    """
    from agent.cli.verify import entry_for
    from agent.instruments import catalogue, trial
    from agent.instruments.factory import Knowledge, make_driver
    from agent.instruments.link import TextLink
    from agent.instruments.modbus import trial as of_registers
    from agent.instruments.modbus.link import RegisterLink
    from agent.instruments.modbus.recording import RecordingRegisters
    from agent.instruments.recording import RecordingLink
    from agent.instruments.text import trial as of_text
    from agent.instruments.text.asking import NotAQuestionError, QuestionsOnly

    try:
        found = catalogue.read(file)
        watch = QuestionsOnly(found) if found.modbus is None else None
    except catalogue.SeriesFileError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(2) from None
    except NotAQuestionError as error:
        raise Failure(f"{file}: {error}") from None
    catalogue.use([file])
    entry = entry_for(uri, f"{found.name},{model}" if model else found.name, address, visa_backend)
    links: list[RecordingLink | RecordingRegisters] = []

    def recorded(link: TextLink) -> TextLink:
        assert watch is not None
        links.append(recording := RecordingLink(link, watch))
        return recording

    def recorded_registers(link: RegisterLink) -> RegisterLink:
        assert found.modbus is not None
        hidden = found.modbus.identify.serial
        links.append(recording := RecordingRegisters(link, hidden=hidden, reads_only=True))
        return recording

    if watch is not None and watch.announced:
        click.echo(f"besides questions these messages of the file are sent: {', '.join(map(repr, watch.announced))}")
    driver = make_driver(entry, Path(), Knowledge(), wrap=recorded, wrap_registers=recorded_registers)
    told = trial.run(driver, links[0])
    models = catalogue.candidates(entry.model)
    profile = told.profile
    known = next((one for one in models if profile and one.name == profile.model), models[0])
    is_text = found.modbus is None
    _print_rows(of_text.rows(told.record, known, address) if is_text else of_registers.rows(told.record, known))
    if profile is None:
        # A unit that answers is there: the file does not fit it.
        raise (NotFound if any(one.answers for one in told.record) else Failure)(f"{uri}: {told.problem}")
    _print_unit(told)
    if told.problem is not None:
        click.echo(f"psu-agent: {told.problem}", err=True)
        raise click.exceptions.Exit(1)
    place = _place(file, test)
    _put(of_text.as_test(told, found, place, model) if is_text else of_registers.as_test(told, found, place), test)


def _place(file: Path, test: Path | None) -> str:
    """The series file as its test names it: beside it, so that both can be sent to somebody, or by its whole path."""
    if test is not None and test.parent.resolve() == file.parent.resolve():
        return f"Path(__file__).with_name({file.name!r})"
    return f"Path({str(file.absolute())!r})"


def _put(text: str, test: Path | None) -> None:
    """Write a test into its file, or print it where none is given."""
    if test is None:
        click.echo(f"\n{text}", nl=False)
        return
    try:
        test.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{test} can't be written: {error.strerror}") from None
    click.echo(f"test written to {test}")


def _print_rows(rows: Iterable[Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    from agent.cli import terminal

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for heading, is_number in (("MS", True), ("SENT", False), ("ANSWERED", False), ("UNDERSTOOD", False)):
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(
            f"{row.milliseconds:.1f}",
            Text(terminal.clean(row.sent)),
            Text("" if row.answered is None else terminal.clean(row.answered)),
            Text(terminal.clean(row.understood), style="bold red" if row.is_fault else ""),
        )
    terminal.console().print(table)


def _print_unit(trial: Trial) -> None:
    from agent.cli.terminal import clean

    profile = trial.profile
    assert profile is not None
    identity = profile.identity
    if identity is not None:
        told = f"{identity.manufacturer} {identity.model}, serial {identity.serial}, firmware {identity.firmware}"
        click.echo(f"\n{clean(told)}: {profile.model}, {profile.effort} a poll")
    for index, reading in trial.readings.items():
        click.echo(f"output {index}: {_shown(reading)}")
    for text in trial.conditions:
        click.echo(f"forbids commands: {clean(text)}")


def _shown(reading: Reading) -> str:
    from agent.protocol.quantities import BY_NAME

    values = reading._asdict()
    tripped = values.pop("tripped")
    told = [f"{name} {BY_NAME[name].shown(value)}" for name, value in values.items() if value is not None]
    unknown = [name for name, value in values.items() if value is None]
    return ", ".join(
        [*told, *([f"tripped {tripped}"] if tripped else []), *([f"not told: {', '.join(unknown)}"] if unknown else [])]
    )

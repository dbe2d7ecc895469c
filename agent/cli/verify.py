"""`psu-agent verify`: what a series file claims, tried on a real supply with nothing connected to it."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from agent.cli.completing import values
from agent.cli.options import Failure, Number, load_config, telling

if TYPE_CHECKING:
    from agent.config import UnitSettings
    from agent.instruments.driver import Identity, Profile, Reading
    from agent.instruments.link import TextLink
    from agent.instruments.modbus.link import RegisterLink
    from agent.service.verify.bench import Limits
    from agent.service.verify.findings import Check
    from agent.service.verify.run import Result


@click.command()
@click.argument("unit", metavar="UNIT|URI", shell_complete=values.configured_units)
@click.option(
    "--model", metavar="MODEL", shell_complete=values.models, help="The model, or its series; needed with a URI."
)
@click.option(
    "--address", type=click.IntRange(0, 255), metavar="N", help="The unit's address, where several share a line."
)
@click.option("--visa-backend", default="@py", show_default=True, help="pyvisa's backend, with a URI.")
@click.option(
    "--voltage-max",
    type=Number(0, min_open=True),
    default=1.0,
    show_default=True,
    metavar="V",
    help="The most volts that are set.",
)
@click.option(
    "--current-max",
    type=Number(0, min_open=True),
    default=0.1,
    show_default=True,
    metavar="A",
    help="The most amperes that are set.",
)
@click.option(
    "--channel",
    "channels",
    type=click.IntRange(1),
    multiple=True,
    metavar="N",
    help="Try this output alone; repeatable.",
)
@click.option(
    "--patience",
    type=Number(0, 3600),
    default=20.0,
    show_default=True,
    metavar="S",
    help="Seconds to try new links for the off, where the link broke.",
)
@click.option("--yes", is_flag=True, help="Nothing is connected to the outputs: do not ask.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Folder for the report.  [default: this one]",
)
@click.option(
    "-c", "--config", "config_path", type=click.Path(path_type=Path), help="Configuration file that has UNIT."
)
def verify(
    unit: str,
    model: str | None,
    address: int | None,
    visa_backend: str,
    voltage_max: float,
    current_max: float,
    channels: tuple[int, ...],
    patience: float,
    yes: bool,
    report: Path,
    config_path: Path | None,
) -> None:
    """Try on a real supply what psu-agent claims of its model.

    NOTHING MAY BE CONNECTED TO THE OUTPUTS. It sets and switches them, within --voltage-max and --current-max, puts the
    settings back that it found, and ends with the outputs off. Not beside a running agent. The report is JSON and a page of
    text, without the serial number, made to be attached to an issue.

    UNIT is a unit of the configuration; its own limits hold as well. Exit code 0: all claims hold; 1: one does not, or it ended
    early; 2: wrong usage, or the unit can't be reached; 3: an output may still be on; 130: ended by Ctrl-C, outputs off.
    """
    from agent.instruments.catalogue import UnknownModelError, candidates
    from agent.instruments.driver import DriverError, never
    from agent.instruments.factory import Knowledge, make_driver
    from agent.instruments.linking import link_form
    from agent.instruments.modbus.recording import RecordingRegisters
    from agent.instruments.recording import RecordingLink
    from agent.service.verify import report as reports
    from agent.service.verify.bench import Bench, EndedByUser, Limits
    from agent.service.verify.run import Verification

    entry, folder = _entry(unit, model, address, visa_backend, config_path)
    links: list[RecordingLink | RecordingRegisters] = []

    def recorded(link: TextLink) -> TextLink:
        links.append(recording := RecordingLink(link))
        return recording

    def recorded_registers(link: RegisterLink) -> RegisterLink:
        links.append(recording := RecordingRegisters(link, hidden=serial_registers(entry.model)))
        return recording

    series = next((one.series for one in candidates(entry.model)), None)
    gap = 0.0 if series is None or series.modbus is not None else link_form(series, entry.uri).gap
    has_ended: list[int] = []
    driver = make_driver(entry, folder, Knowledge(), wrap=recorded, wrap_registers=recorded_registers)
    limits = Limits(voltage_max, current_max)
    bench = Bench(driver, limits, entry.channels, lambda: bool(has_ended), pause=gap)
    try:
        profile = bench.connect()
    except (DriverError, UnknownModelError) as error:
        raise Failure(f"{unit}: {error}") from None
    finally:
        driver.close()
    if profile.identity is not None and "::" not in unit:
        _name_servers(config_path, profile.identity)
    outputs = _chosen(profile, channels)
    _ask(profile, bench.readings, outputs, limits, yes)
    for link in links:
        link.record.clear()

    def poll_with(shorter: float) -> None:
        other = make_driver(entry, folder, Knowledge(), gap=shorter)
        time.sleep(gap)  # since the last message on the other link
        try:
            other.connect()
            for _ in range(3):
                other.poll(never)
        finally:
            other.close()

    verification = Verification(bench, links[0] if links else None, series, outputs, _tell, gap, poll_with)
    try:
        with _interruptions(has_ended):
            result = verification.run(patience)
    except EndedByUser:
        raise click.exceptions.Exit(130) from None
    except DriverError as error:
        raise Failure(f"{unit}: {error}; nothing was set") from None
    data = reports.as_data(result, limits, series, links[0].record if links else [], driver.address)
    text = reports.as_text(data, result)
    _conclude(result)
    try:
        paths = reports.write(report, data, text)
    except OSError as error:
        click.echo(f"psu-agent: the report can't be written: {error.strerror}: {error.filename}", err=True)
    else:
        with telling():
            click.echo(f"report: {paths[0]} and {paths[1]}")
    raise click.exceptions.Exit(result.exit_code)


def _entry(
    unit: str, model: str | None, address: int | None, backend: str, config_path: Path | None
) -> tuple[UnitSettings, Path]:
    """The configured unit, or an entry made for a URI; and the folder of the configuration."""
    if "::" in unit:
        if model is None:
            raise Failure("with a URI give --model too; `psu-agent models` lists them, and `psu-agent scan` names it")
        return entry_for(unit, model, address, backend), Path()
    config = load_config(config_path)
    for entry in config.units:
        if entry.name == unit:
            return entry, config.folder
    known = ", ".join(entry.name for entry in config.units)
    raise Failure(f"the configuration has no unit {unit}; it has {known}; or give a VISA resource name and --model")


def _name_servers(config_path: Path | None, identity: Identity) -> None:
    """Name the agents that serve the supply, as far as the configuration's broker tells."""
    from agent.cli.terminal import clean
    from agent.client.address import Address
    from agent.client.servers import servers

    for server in servers(Address.from_settings(load_config(config_path).settings.mqtt), identity):
        click.echo(f"psu-agent: {clean(server)}; stop it before anything is set", err=True)


def serial_registers(model: str) -> tuple[int, ...]:
    """The registers of the serial number of a model that speaks Modbus, which no record shows; none of another one."""
    from agent.instruments.catalogue import candidates

    found = candidates(model)
    return found[0].series.modbus.identify.serial if found and found[0].series.modbus is not None else ()


def entry_for(uri: str, model: str, address: int | None, backend: str) -> UnitSettings:
    """An entry of `units:` for a unit that the configuration does not have.

    :raises Failure: the address, or the model, is none
    """
    from pydantic import ValidationError

    from agent.config import UnitSettings

    data: dict[str, object] = {"name": "supply", "model": model, "uri": uri, "visabackend": backend}
    if address is not None:
        data["address"] = address
    try:
        return UnitSettings.model_validate(data)
    except ValidationError as error:
        raise Failure("; ".join(_sentence(one) for one in error.errors())) from None


def _sentence(error: object) -> str:
    assert isinstance(error, dict)
    key = ".".join(map(str, error["loc"]))
    return f"{key}: {str(error['msg']).removeprefix('Value error, ')}"


def _chosen(profile: Profile, channels: tuple[int, ...]) -> tuple[int, ...]:
    known = [output.index for output in profile.outputs]
    for index in channels:
        if index not in known:
            raise Failure(f"the {profile.model} has no output {index}; it has {', '.join(map(str, known))}")
    return tuple(sorted(set(channels))) or tuple(known)


def _ask(profile: Profile, readings: dict[int, Reading], outputs: tuple[int, ...], limits: Limits, yes: bool) -> None:
    """Have the user say that nothing is connected.

    :raises Failure: nobody is there to say it
    :raises click.exceptions.Exit: something is
    """
    from agent.service.verify.run import shown_identity

    reach = sorted(
        {other for index in outputs for group in profile.together if index in group for other in group} | set(outputs)
    )
    click.echo(f"{shown_identity(profile.identity)}")
    click.echo(
        f"This sets and switches output {', '.join(map(str, reach))}, up to {limits.voltage:g} V and {limits.current:g} A, and "
        "leaves it off."
    )
    on = [index for index in reach if index in readings and readings[index].state]
    if on:
        click.echo(f"Output {', '.join(map(str, on))} is on now. It will be turned off and left off.")
    click.echo("NOTHING MAY BE CONNECTED TO THE OUTPUTS.")
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure("nobody can be asked, as this is no terminal; --yes says that nothing is connected")
    if not click.confirm("Is everything disconnected from the outputs?", default=False):
        click.echo("nothing was set")
        raise click.exceptions.Exit(1)


def _tell(check: Check) -> None:
    from agent.cli.terminal import clean

    colour = {"ok": "green", "failed": "red", "skipped": "yellow"}[check.verdict]
    with telling():
        click.echo(click.style(f"{check.verdict:7} ", fg=colour) + clean(f"{check.title}: {check.text}"))


def _conclude(result: Result) -> None:
    if result.problem:
        click.echo(f"psu-agent: ended early: {result.problem}", err=True)
    for sentence in result.ending.sentences:
        click.echo(f"psu-agent: {sentence}", err=result.ending.output in ("on", "unknown"))


@contextlib.contextmanager
def _interruptions(came: list[int]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP end it between two messages: the list has the signal then.

    A message in the middle of its answer would leave the link out of step when the off is to be sent.
    """

    def note(number: int, _: FrameType | None) -> None:
        if came:
            click.echo("psu-agent: the outputs are being turned off; wait", err=True)
        else:
            click.echo("psu-agent: ending: the outputs are turned off", err=True)
        came.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

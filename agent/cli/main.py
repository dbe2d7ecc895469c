"""The command line: parse, call, print.

What a command needs is imported by the command itself: the daemon should not carry tables and network discovery in memory.
"""

from __future__ import annotations

import json
import os
import select
import sys
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import click

from agent import __version__

if TYPE_CHECKING:
    from agent.client.address import Address
    from agent.config import Config

_EPILOG = """\b
Exit codes: 0 done; 1 refused, not found, or something is not well; 2 wrong usage or configuration, or nobody answered.
Completion: eval "$(_PSU_AGENT_COMPLETE=bash_source psu-agent)"   (or zsh_source, fish_source)
"""
_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h

F = TypeVar("F", bound=Callable[..., Any])


class Failure(click.ClickException):
    """One sentence on stderr, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"psu-agent: {self.message}", err=True)


class NotFound(Failure):
    """Exit code 1."""

    exit_code = 1


def _to_bool(_: click.Context, __: click.Parameter, value: str | None) -> bool | None:
    return None if value is None else value == "on"


def _switch_option(name: str, text: str) -> Callable[[F], F]:
    return click.option(name, type=click.Choice(["on", "off"], case_sensitive=False), callback=_to_bool, help=text)


@click.group(context_settings=_SETTINGS, epilog=_EPILOG)
@click.version_option(__version__, prog_name="psu-agent")
@click.option("--debug", is_flag=True, envvar="PSU_AGENT_DEBUG", help="Show tracebacks of errors inside psu-agent.")
def cli(debug: bool) -> None:
    """Bench power supplies on MQTT: telemetry from every channel, commands that are checked before they reach an output."""


def _config_argument(function: F) -> F:
    return click.argument("config", required=False, type=click.Path(path_type=Path))(function)


def _json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def _broker_options(function: F) -> F:
    options = [
        click.option(
            "-b",
            "--broker",
            metavar="URL",
            envvar="PSU_AGENT_BROKER",
            help="mqtt[s]://[user@]host[:port]; without it the configuration's settings.mqtt.  [env: PSU_AGENT_BROKER]",
        ),
        click.option(
            "-c",
            "--config",
            "config_path",
            type=click.Path(path_type=Path),
            help="Configuration file; without it $PSU_AGENT_CONF, ./psu-agent.yaml, /etc/psu-agent/psu-agent.yaml.",
        ),
        click.option("--base-topic", metavar="TOPIC", help="Topic that everything stands under.  [default: psu]"),
        click.option("--ca", type=click.Path(path_type=Path), help="CA of the broker's certificate, PEM (mqtts://)."),
        click.option(
            "--password-file",
            type=click.Path(path_type=Path),
            help="File with the password; without it $PSU_AGENT_MQTT_PASSWORD.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _load(path: Path | None) -> Config:
    from agent import config

    try:
        return config.load(config.find(path))
    except config.ConfigError as error:
        _tell_faults(error)


def _tell_faults(error: Exception) -> NoReturn:
    click.echo(str(error), err=True)
    raise click.exceptions.Exit(2)


def _address(
    broker: str | None, config_path: Path | None, base_topic: str | None, ca: Path | None, password_file: Path | None
) -> Address:
    from dataclasses import replace

    from pydantic import SecretStr

    from agent.client.address import find_address
    from agent.config import ConfigError

    try:
        address = find_address(
            broker, config_path=config_path, base_topic=base_topic, ca=ca, password_file=password_file
        )
    except ConfigError as error:
        _tell_faults(error)
    except ValueError as error:
        raise Failure(str(error)) from None
    if broker is not None and address.username and address.password is None and sys.stdin.isatty():
        prompted = click.prompt(f"Password of {address.username} at {address.host}", hide_input=True, err=True)
        address = replace(address, password=SecretStr(prompted))
    return address


@cli.command()
@_config_argument
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The least that is logged.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines for people, or one JSON object a line.",
)
def run(config: Path | None, log_level: str, log_format: Literal["text", "json"]) -> None:
    """Run the daemon in the foreground.

    Polls every unit of CONFIG, publishes its channels and carries out commands. Logs to stderr. SIGTERM and
    SIGINT end it
    within 5 s; no output changes when it starts or ends.
    """
    import logging

    configuration = _load(config)
    from agent.service import logs
    from agent.service.daemon import Daemon
    from agent.store.spool import SpoolError

    logs.set_up(log_level, log_format)
    for warning in configuration.warnings:
        logging.getLogger("agent.config").warning("%s", warning)
    try:
        daemon = Daemon(configuration)
    except SpoolError as error:
        raise Failure(str(error)) from None
    try:
        code = daemon.run()
    except Exception:
        logging.getLogger("agent").critical("the daemon ended by an error of its own; please report it", exc_info=True)
        code = _INTERNAL_ERROR
    raise click.exceptions.Exit(code)


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), help="The broker's port.  [default: 1883, or a free one]")
@click.option("--embedded-broker", is_flag=True, help="Use iotcore's broker even where Mosquitto is installed.")
def demo(port: int | None, embedded_broker: bool) -> None:
    """Show it at work, without any hardware.

    A broker, a simulated E36313A and the agent, on loopback, with no configuration. Shows a live table, and the
    commands to try in another terminal. Ctrl-C ends it all.
    """
    from agent.cli import demo as demonstration
    from agent.client.connection import BrokerError

    if sys.stdout.isatty():
        click.echo("starting a broker, a simulated supply and the agent …", err=True)
    try:
        demonstration.run(port=port, kind="iotcore" if embedded_broker else None)
    except (demonstration.DemoError, BrokerError) as error:
        raise Failure(str(error)) from None


@cli.command()
@_config_argument
@click.option("--connect", is_flag=True, help="Also open every unit and the broker, and ask each unit who it is.")
@_json_option
def check(config: Path | None, connect: bool, as_json: bool) -> None:
    """Check a configuration file.

    Tells every fault with its line. With --connect not beside a running agent: some units allow two sessions in all.
    Exit code 0 only if all is well.
    """
    configuration = _load(config)
    from agent.cli import report

    for warning in configuration.warnings:
        click.echo(str(warning), err=True)
    if not as_json:
        report.configuration(configuration)
    well = True
    if connect:
        from agent.cli import check as checks

        findings = []
        for finding in checks.connect(configuration):
            well = well and finding.ok
            findings.append(finding)
            if not as_json:
                report.finding(finding)
        if as_json:
            click.echo(json.dumps([finding.as_dict() for finding in findings], indent=2))
    elif as_json:
        click.echo("[]")
    raise click.exceptions.Exit(0 if well else 1)


@cli.command()
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 60),
    default=3.0,
    show_default=True,
    metavar="S",
    help="Seconds to listen for announcements, 0.1 to 60; asking takes a few more.",
)
@click.option(
    "--serial", is_flag=True, help="Ask what is on serial ports too. Something else than a supply may take it ill."
)
@click.option("--interface", metavar="IP", help="Search the network of this address of this host alone, by mDNS.")
@_json_option
def scan(timeout: float, serial: bool, interface: str | None, as_json: bool) -> None:
    """Find instruments by VISA and on the network.

    Looks for VISA resources, and for LXI instruments by mDNS. Prints each with its *IDN? and, where the model is
    known, a `units:` entry ready to paste. The output is YAML. Not to be
    used beside a running agent: some units allow two sessions in all.
    """
    from agent.cli import report
    from agent.instruments import scan as scanning

    if sys.stderr.isatty():
        click.echo(f"searching for {timeout:g} s …", err=True)
    result = scanning.scan(timeout=timeout, interface=interface, serial=serial)
    if as_json:
        entries = scanning.unit_entries(result.found)
        found = [item.as_dict() for item in result.found]
        click.echo(json.dumps({"found": found, "units": entries, "remarks": result.remarks}, indent=2))
    else:
        report.scan(result)


@cli.command()
@click.argument("target", required=False, metavar="[UNIT[/CH]]")
@_broker_options
@_json_option
def get(target: str | None, as_json: bool, **broker: Any) -> None:
    """Show the present state of channels.

    As the broker has it: a table on a terminal, JSON otherwise. CH is a channel's number or its name. What is not
    known now, because a unit or its
    agent is offline, is shown as such. Exit code 1 if nothing is known of what was asked for.
    """
    from agent.cli import report
    from agent.client.connection import BrokerError, Client
    from agent.client.fleet import Fleet

    wanted = _target(target)
    fleet_of_one = None if wanted is None else wanted.unit
    try:
        with Client(_address(**broker)) as client:
            fleet = Fleet(client.topics)
            for message in client.retained(Fleet.filters(client.topics, fleet_of_one)):
                fleet.update(message.topic, message.payload)
    except BrokerError as error:
        raise Failure(str(error)) from None
    states = fleet.channels() if wanted is None else fleet.channels(wanted.unit, wanted.channel)
    if not states:
        what = "no agent has" if wanted is None else f"nothing is known of {wanted}: no agent has"
        raise NotFound(f"{what} published its state under {client.topics.base}/ on {client.address}")
    report.states(fleet, states, as_json=as_json, single=wanted is not None and wanted.channel is not None)


@cli.command()
@click.argument("target", required=False, metavar="[UNIT[/CH]]")
@_broker_options
@_json_option
def watch(target: str | None, as_json: bool, **broker: Any) -> None:
    """Show the fleet live, until Ctrl-C.

    A table on a terminal, a line for each change otherwise, with --json one JSON object for each.
    """
    from agent.cli.watch import Watch
    from agent.client.connection import BrokerError, Client

    wanted = _target(target)
    try:
        with Client(_address(**broker)) as client:
            Watch(client, wanted, as_json=as_json).run()
    except BrokerError as error:
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None


@cli.command("set")
@click.argument("target", metavar="UNIT[/CH]|all")
@_switch_option("--state", "Output on or off.")
@click.option("--voltage-limit", type=float, metavar="V", help="Voltage setting, V.")
@click.option("--current-limit", type=float, metavar="A", help="Current setting, A.")
@click.option("--voltage-protection", type=float, metavar="V", help="Over-voltage trip level, V.")
@_switch_option("--current-protection", "Trip instead of limiting in CC.")
@click.option("--clear-protection", is_flag=True, default=None, help="Clear a trip; the output stays off.")
@click.option("--cycle", type=click.FloatRange(0, 3600), metavar="S", help="Off, wait so many seconds (0 to 3600), on.")
@click.option(
    "--ramp", type=click.FloatRange(0, min_open=True), metavar="V/S", help="Go to --voltage-limit at so many V/s."
)
@click.option(
    "--expires-in", type=click.FloatRange(0, min_open=True), metavar="S", help="Not to be carried out after S s."
)
@click.option("--id", "command_id", metavar="TEXT", help="The command's id, up to 128 characters.  [default: random]")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 86400),
    metavar="S",
    help="Seconds to wait for the response.  [default: 10, and as long as a cycle or ramp takes]",
)
@_broker_options
@_json_option
def set_(  # one for each option
    target: str,
    command_id: str | None,
    expires_in: float | None,
    timeout: float | None,
    as_json: bool,
    broker: str | None,
    config_path: Path | None,
    base_topic: str | None,
    ca: Path | None,
    password_file: Path | None,
    **fields: Any,
) -> None:
    """Send a command and wait for its response.

    CH is a channel's number or its name. A unit as a whole takes --state and --clear-protection, `all` takes
    --state off.
    Exit code 0: it was carried out; 1: it was refused; 2: nobody answered.
    """
    from agent.cli import report
    from agent.client import request
    from agent.client.connection import BrokerError, Client, NobodyAnsweredError

    try:
        wanted = request.Target.parse(target)
        command = request.command(wanted, fields, command_id=command_id or uuid.uuid4().hex, expires_in=expires_in)
    except ValueError as error:
        raise Failure(str(error)) from None
    patience = timeout or request.patience(command)
    try:
        with Client(_address(broker, config_path, base_topic, ca, password_file)) as client:
            outcome = request.send(
                client, wanted, command, expiry=min(patience, expires_in or patience), patience=patience
            )
    except (BrokerError, NobodyAnsweredError) as error:
        raise Failure(str(error)) from None
    report.outcome(wanted, outcome, patience, as_json=as_json)
    raise click.exceptions.Exit(outcome.exit_code)


@cli.command()
@click.option("--model", default="E36313A", show_default=True, help="The model; `psu-agent models` lists them.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port of the raw socket, 0 for a free one.  [default: 5025]"
)
@click.option("--vxi11-port", type=click.IntRange(0, 65535), help="Speak VXI-11 too, on this port (0: a free one).")
@click.option("--hislip-port", type=click.IntRange(0, 65535), help="Speak HiSLIP too, on this port (0: a free one).")
@click.option("--serial-number", metavar="TEXT", help="Serial number in *IDN?.")
@click.option("--latency", type=click.FloatRange(0, 60), default=0.0, metavar="S", help="Seconds that a message takes.")
@click.option("--outputs-on", is_flag=True, help="Switch the outputs on, at its front panel.")
def simulate(
    model: str,
    host: str,
    port: int | None,
    vxi11_port: int | None,
    hislip_port: int | None,
    serial_number: str | None,
    latency: float,
    outputs_on: bool,
) -> None:
    """Run a simulated supply that speaks SCPI.

    With loads that change, until Ctrl-C. Prints its VISA resource names and a `units:` entry for it.
    """
    from agent.cli import simulate as simulation

    try:
        simulation.run(
            model,
            host=host,
            port=port,
            vxi11_port=vxi11_port,
            hislip_port=hislip_port,
            serial=serial_number,
            latency=latency,
            outputs_on=outputs_on,
            tell=click.echo,
        )
    except ValueError as error:
        raise Failure(str(error)) from None


@cli.command()
@_json_option
def models(as_json: bool) -> None:
    """List the supported models.

    With their channels and ratings, and whether they were tried on real hardware.
    """
    from agent.cli import report

    report.models(as_json=as_json)


@cli.command()
def schema() -> None:
    """Print the configuration file's JSON Schema.

    For editors that complete and check by one:

    \b
    psu-agent schema > psu-agent.schema.json
    and as the first line of the file:
    # yaml-language-server: $schema=psu-agent.schema.json
    """
    from agent.config import jsonschema

    click.echo(json.dumps(jsonschema.json_schema(), indent=2))


def _target(text: str | None) -> Any:
    from agent.client.request import Target

    if text is None or text == "all":
        return None
    try:
        return Target.parse(text)
    except ValueError as error:
        raise Failure(str(error)) from None


@cli.command()
@click.argument("target", required=False, metavar="[UNIT[/CH]]")
@click.option(
    "--name", metavar="TEXT", help="Give the channel UNIT/CH this name, in the file; nothing else is saved then."
)
@click.option("--dry-run", is_flag=True, help="Tell what would be written, and write nothing.")
@_broker_options
def save(target: str | None, name: str | None, dry_run: bool, **broker: Any) -> None:
    """Save present setpoints into the configuration file.

    Voltage and current settings, and names that the file does not have, of the file's units. Its comments and all the
    rest stay as they are; what it was before is kept as FILE.bak. What is saved changes no output: `psu-agent restore`
    sends it.
    Exit code 1 if something could not be saved.
    """
    from agent import config
    from agent.client import saving
    from agent.client.connection import BrokerError

    wanted = _target(target)
    try:
        file = saving.ConfigFile(config.find(broker["config_path"]))
        if name is not None:
            if wanted is None or wanted.channel is None:
                raise Failure("--name takes UNIT/CH, the channel that is to have it")
            changes, absent = [file.renamed(wanted, name)], dict[str, str]()
        else:
            changes, absent = saving.present(file, _address(**broker), wanted)
        for change in changes:
            click.echo(str(change))
        if changes and not dry_run:
            click.echo(f"written to {file.path}; before: {file.write(changes)}")
        elif not changes and not absent:
            click.echo("nothing to save: the file has it all")
    except config.ConfigError as error:
        _tell_faults(error)
    except (saving.SaveError, BrokerError) as error:
        raise Failure(str(error)) from None
    for place, why in absent.items():
        click.echo(f"psu-agent: {place} is not saved: {why}", err=True)
    raise click.exceptions.Exit(1 if absent else 0)


@cli.command()
@click.argument("target", required=False, metavar="[UNIT[/CH]]")
@_broker_options
def restore(target: str | None, **broker: Any) -> None:
    """Send the saved setpoints to the units.

    Those of the configuration file, channel by channel, checked and confirmed as any command is. Outputs stay on or off.
    Exit code 0: all were carried out; 1: one was refused; 2: nobody answered for one.
    """
    from agent.cli import report
    from agent.client import saving
    from agent.client.connection import BrokerError

    wanted = _target(target)
    commands = saving.saved(_load(broker["config_path"]), wanted)
    if not commands:
        raise NotFound(
            f"the configuration has no saved settings{f' of {wanted}' if wanted else ''}; `psu-agent save` saves some"
        )
    exit_code = 0
    try:
        for place, outcome, patience in saving.send(_address(**broker), commands):
            report.outcome(place, outcome, patience, as_json=False)
            exit_code = max(exit_code, outcome.exit_code)
    except BrokerError as error:
        raise Failure(str(error)) from None
    raise click.exceptions.Exit(exit_code)


def main() -> int:
    """The entry point: every way to end becomes an exit code and at most one sentence."""
    try:
        result = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("", err=True)
        return 130
    except SystemExit as error:
        # click itself ends so when whoever read has read enough.
        return 0 if _reader_has_gone() else int(error.code or 0)
    except BrokenPipeError:
        # The same, seen here first. What is still buffered would only fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  # the outermost place of all
        if "--debug" in sys.argv or os.environ.get("PSU_AGENT_DEBUG"):
            traceback.print_exc()
        else:
            text = " ".join(str(error).split())
            click.echo(
                f"psu-agent: an error inside psu-agent: {type(error).__name__}: {text}; "
                f"`psu-agent --debug …` shows where, please report it",
                err=True,
            )
        return _INTERNAL_ERROR
    return result if isinstance(result, int) else 0


def _reader_has_gone() -> bool:
    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))

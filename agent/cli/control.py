"""Commands that set channels, and save and restore their settings: set, save, restore."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.completing import values
from agent.cli.options import (
    F,
    Failure,
    NotFound,
    Number,
    broker_options,
    find_broker,
    json_option,
    lease_option,
    load_config,
    parse_target,
    target_argument,
    tell_faults,
    telling,
)
from agent.protocol.quantities import BY_NAME, COMMANDED, Quantity

if TYPE_CHECKING:
    from agent.protocol.messages import UnitInfo


def _setting_options(function: F) -> F:
    """An option for everything that a command may ask for, by its name in the table of quantities."""
    for name in reversed(COMMANDED):
        function = _setting_option(BY_NAME[name])(function)
    return function


def _setting_option(quantity: Quantity) -> Callable[[F], F]:
    arguments: dict[str, Any]
    if quantity.kind == "switch":
        arguments = {"type": click.Choice(["on", "off"], case_sensitive=False), "callback": _to_bool}
    elif quantity.kind == "action":
        arguments = {"is_flag": True, "default": None}
    elif quantity.minimum is None and quantity.maximum is None:
        arguments = {"type": Number(), "metavar": quantity.unit.upper()}
    else:
        allowed = Number(quantity.minimum, quantity.maximum, min_open=quantity.above_minimum)
        arguments = {"type": allowed, "metavar": quantity.unit.upper()}
    return click.option(f"--{quantity.name.replace('_', '-')}", help=quantity.purpose, **arguments)


def _to_bool(_: click.Context, __: click.Parameter, value: str | None) -> bool | None:
    return None if value is None else value == "on"


@click.command("set")
@click.argument("target", metavar="UNIT[/CH]|all", required=False, shell_complete=values.targets_and_all)
@_setting_options
@click.option(
    "--expires-in",
    type=Number(0, min_open=True),
    metavar="S",
    help="Refuse it if it can't be carried out within S s.",
)
@lease_option
@click.option("--id", "command_id", metavar="TEXT", help="The command's id, up to 128 characters.  [default: random]")
@click.option(
    "--timeout",
    type=Number(0.1, 86400),
    metavar="S",
    help="Seconds to wait for the response.  [default: 10, and as long as a cycle or ramp takes]",
)
@broker_options
@json_option
def set_(  # one for each option but the settings
    target: str | None,
    command_id: str | None,
    expires_in: float | None,
    lease: str | None,
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
    from agent.cli.printing import print_outcome
    from agent.client import request
    from agent.client.connection import BrokerError, Client, NobodyAnsweredError
    from agent.client.existing import naming_what_exists, what_exists

    if target is None:
        hint = (
            ""
            if lease is None
            else f" {lease!r} stands behind --lease, so it is the name of a holder: put UNIT[/CH] first."
        )
        raise click.UsageError(f"Missing argument 'UNIT[/CH]|all'.{hint}")
    try:
        wanted = request.Target.parse(target)
        command = request.command(
            wanted, fields, command_id=command_id or uuid.uuid4().hex, expires_in=expires_in, lease=lease
        )
    except ValueError as error:
        raise Failure(str(error)) from None
    patience = timeout or request.patience(command)
    try:
        with Client(find_broker(broker, config_path, base_topic, ca, password_file)) as client:
            with naming_what_exists(client, wanted):
                outcome = request.send(
                    client, wanted, command, expiry=min(patience, expires_in or patience), patience=patience
                )
            instead = "" if outcome.responses or wanted.unit == "all" else what_exists(client, wanted)
    except (BrokerError, NobodyAnsweredError) as error:
        raise Failure(str(error)) from None
    with telling():
        print_outcome(wanted, outcome, patience, as_json=as_json, instead=instead)
    raise click.exceptions.Exit(outcome.exit_code)


@click.command()
@click.argument("unit", metavar="UNIT", shell_complete=values.units)
@click.option(
    "--agent",
    metavar="NAME",
    shell_complete=values.agents,
    help="The agent that is to serve it.  [default: every one that has the unit]",
)
@click.option("--timeout", type=Number(0.1, 86400), metavar="S", default=10.0, help="Seconds to wait.  [default: 10]")
@broker_options
def takeover(unit: str, agent: str | None, timeout: float, **broker: Any) -> None:
    """Have an agent serve a unit that another agent served.

    For units with `takeover: manual`, when the agent that served their supply is gone. Nothing changes while that one runs.
    Exit code 0: it is served, or will be as soon as the other agent can send no settings any more; 1: it was refused; 2: nobody
    answered.
    """
    from agent.cli.terminal import clean, response_lines
    from agent.client import request
    from agent.client.connection import BrokerError, Client, NobodyAnsweredError
    from agent.client.existing import naming_what_exists, what_exists
    from agent.protocol import names

    for name, check in ((unit, names.check_unit_name), (agent, names.check_agent_name)):
        try:
            if name is not None:
                check(name)
        except ValueError as error:
            raise Failure(f"{name!r} {error}") from None
    try:
        with Client(find_broker(**broker)) as client, naming_what_exists(client, request.Target(unit)):
            response = request.take_over(client, unit, agent, patience=timeout)
            info = None if response is None or not response.ok else request.info_of(client, unit)
            instead = "" if response is not None else what_exists(client, request.Target(unit))
    except (BrokerError, NobodyAnsweredError) as error:
        raise Failure(str(error)) from None
    if response is None:
        why = "is the name right, and is its agent running?"
        raise Failure(f"nobody answered for {unit} within {timeout:g} s; {why} {instead}".strip())
    if not response.ok:
        for line in response_lines(response):
            click.echo(line, err=True)
        raise click.exceptions.Exit(1)
    with telling():
        click.echo(clean(_who_serves(unit, info)))


def _who_serves(unit: str, info: UnitInfo | None) -> str:
    """A sentence on a unit that an agent has been asked to serve, and has said that it does, or will."""
    if info is None:
        return f"{unit}: the agent serves it, or will"
    if not info.serves:
        return f"{unit}: the agent serves it soon: {info.reason or 'another one may still send settings'}"
    return f"{unit}: served by agent {info.agent}{'' if info.host is None else f' on {info.host}'}"


@click.command()
@target_argument
@click.option(
    "--name", metavar="TEXT", help="Give the channel UNIT/CH this name, in the file; nothing else is saved then."
)
@click.option("--dry-run", is_flag=True, help="Tell what would be written, and write nothing.")
@broker_options
def save(target: str | None, name: str | None, dry_run: bool, **broker: Any) -> None:
    """Save present settings into the configuration file.

    Voltage and current settings, over-voltage and over-current protection, and names that the file does not have, of the
    file's units. Its comments and all the rest stay as they are; a copy of it as it was is kept as FILE.bak. Saving changes
    no output: `psu-agent restore` sends the saved settings.
    Exit code 1 if something could not be saved.
    """
    from agent import config
    from agent.client import saving
    from agent.client.connection import BrokerError

    wanted = parse_target(target)
    absent: dict[str, str] = {}
    try:
        file = saving.ConfigFile(config.find(broker["config_path"]))
        if name is None:
            changes, absent = saving.present(file, find_broker(**broker), wanted)
        elif wanted is None or wanted.channel is None:
            raise Failure("--name takes UNIT/CH, the channel that is to have it")
        else:
            changes = [file.renamed(wanted, name)]
        with telling():
            for change in changes:
                click.echo(str(change))
        if changes and not dry_run:
            copy = file.write(changes)
            with telling():
                click.echo(f"written to {file.path}; before: {copy}")
        elif not changes and not absent:
            click.echo("nothing to save: the file has it all")
    except config.ConfigError as error:
        tell_faults(error)
    except (saving.SaveError, BrokerError) as error:
        raise Failure(str(error)) from None
    for place, why in absent.items():
        click.echo(f"psu-agent: {place} is not saved: {why}", err=True)
    raise click.exceptions.Exit(1 if absent else 0)


@click.command()
@target_argument
@lease_option
@broker_options
def restore(target: str | None, lease: str | None, **broker: Any) -> None:
    """Send the saved settings to the units.

    Setpoints and protections of the configuration file, channel by channel, checked and confirmed as any command is, in an
    order in which nothing trips on the way. Outputs stay on or off.
    Exit code 0: all were carried out; 1: one was refused; 2: nobody answered for one.
    """
    from agent.cli.printing import print_outcome
    from agent.client import saving
    from agent.client.connection import BrokerError

    wanted = parse_target(target)
    configuration = load_config(broker["config_path"])
    names = [unit.name for unit in configuration.units]
    if wanted is not None and wanted.unit not in names:
        raise NotFound(f"the configuration has no unit {wanted.unit}; it has {', '.join(names)}")
    commands = saving.saved(configuration, wanted)
    if not commands:
        raise NotFound(
            f"the configuration has no saved settings{f' of {wanted}' if wanted else ''}; `psu-agent save` saves some"
        )
    exit_code = 0
    try:
        for place, outcome, patience in saving.send(find_broker(**broker), commands, lease=lease):
            with telling():
                print_outcome(place, outcome, patience, as_json=False)
            exit_code = max(exit_code, outcome.exit_code)
    except BrokerError as error:
        raise Failure(str(error)) from None
    raise click.exceptions.Exit(exit_code)

"""Reserving units and channels: lease."""

from __future__ import annotations

from typing import Any

import click

from agent.cli.completing import values
from agent.cli.options import Failure, broker_options, find_broker, json_option, telling


def _duration(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    from agent.client.leases import duration

    try:
        return None if value is None else duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("target", metavar="UNIT[/CH]", shell_complete=values.targets)
@click.option(
    "--for",
    "ttl",
    metavar="TIME",
    callback=_duration,
    help="Take it, or renew it, for so long from now on: 90, 90s, 15m, 2h, up to 7d.",
)
@click.option("--release", is_flag=True, help="Give it back.")
@click.option("--force", is_flag=True, help="Take it, or end it, although another one holds it.")
@click.option("--holder", metavar="NAME", help="The name of its holder.  [default: $PSU_AGENT_HOLDER, else user@host]")
@broker_options
@json_option
def lease(
    target: str,
    ttl: float | None,
    release: bool,
    force: bool,
    holder: str | None,
    as_json: bool,
    **broker: Any,
) -> None:
    """Reserve a unit or a channel for a time.

    Until then, settings of others are refused; the holder's commands name it (`psu-agent set --lease`). An off is never
    refused. It ends by itself. `psu-agent get` shows the holders.
    Exit code 0: it is taken, or given back; 1: it was refused; 2: nobody answered.
    """
    from agent.cli.printing import print_outcome
    from agent.client import leases, request
    from agent.client.connection import BrokerError, Client, NobodyAnsweredError
    from agent.client.existing import naming_what_exists, what_exists

    if (ttl is None) != release:
        raise click.UsageError("give --for TIME to take or renew it, or --release to give it back")
    try:
        wanted = request.Target.parse(target)
        asked = leases.request(wanted, leases.default_holder() if holder is None else holder, ttl=ttl, force=force)
        with Client(find_broker(**broker)) as client:
            with naming_what_exists(client, wanted):
                outcome = leases.send(client, wanted, asked)
            instead = "" if outcome.responses else what_exists(client, wanted)
    except (ValueError, BrokerError, NobodyAnsweredError) as error:
        raise Failure(str(error)) from None
    with telling():
        print_outcome(wanted, outcome, leases.PATIENCE, as_json=as_json, instead=instead)
    raise click.exceptions.Exit(outcome.exit_code)

"""Commands that read the fleet's state from the broker: get, watch."""

from __future__ import annotations

from typing import Any

import click

from agent.cli.options import Failure, NotFound, broker_options, find_broker, json_option, parse_target, target_argument


@click.command()
@target_argument
@broker_options
@json_option
def get(target: str | None, as_json: bool, **broker: Any) -> None:
    """Show the present state of channels.

    As the broker has it: a table on a terminal, JSON otherwise. CH is a channel's number or its name. Values that are not
    known now, because a unit or its agent is offline, are shown as unknown, and the channel as offline. Exit code 1 if
    nothing is known of the target.
    """
    from agent.cli.printing import print_states
    from agent.client.connection import BrokerError, Client
    from agent.client.existing import what_exists
    from agent.client.fleet import Fleet

    wanted = parse_target(target)
    unit = None if wanted is None else wanted.unit
    try:
        with Client(find_broker(**broker)) as client:
            fleet = Fleet(client.topics)
            for message in client.retained(Fleet.filters(client.topics, unit)):
                fleet.update(message.topic, message.payload)
            states = fleet.channels() if wanted is None else fleet.channels(wanted.unit, wanted.channel)
            instead = "" if states or wanted is None else what_exists(client, wanted)
    except BrokerError as error:
        raise Failure(str(error)) from None
    if not states:
        what = "no agent has" if wanted is None else f"nothing is known of {wanted}: no agent has"
        why = (
            ""
            if client.retains
            else "; the broker keeps no retained messages, so only what is published meanwhile is seen"
        )
        told = f"{what} published its state under {client.topics.base}/ on {client.address}{why}"
        raise NotFound(f"{told}. {instead}" if instead else told)
    print_states(fleet, states, as_json=as_json, single=wanted is not None and wanted.channel is not None)


@click.command()
@target_argument
@broker_options
@json_option
def watch(target: str | None, as_json: bool, **broker: Any) -> None:
    """Show the fleet live, until `q` or Ctrl-C.

    On a terminal a screen, what is in trouble first; `?` tells its keys, which select, filter, and turn off. Elsewhere, and with
    TERM=dumb, a line for each change, with --json one JSON object for each. Exit code 1 if the unit or channel is not there.
    """
    from agent.cli.watch import Watch
    from agent.client.connection import BrokerError, Client

    wanted = parse_target(target)
    try:
        with Client(find_broker(**broker)) as client:
            Watch(client, wanted, as_json=as_json, line_interval=0.0 if as_json else 1.0).run()
    except BrokerError as error:
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None

"""Commands that run until they are ended: run, demo, simulate."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Literal

import click

from agent.cli.completing import values
from agent.cli.options import Failure, Number, config_argument, load_config
from agent.cli.program.codes import INTERNAL_ERROR


@click.command()
@config_argument
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
@click.option(
    "--metrics",
    metavar="[HOST]:PORT",
    envvar="PSU_AGENT_METRICS",
    help="Serve /metrics for Prometheus by HTTP, such as on 127.0.0.1:9100.  [env: PSU_AGENT_METRICS]",
)
def run(config: Path | None, log_level: str, log_format: Literal["text", "json"], metrics: str | None) -> None:
    """Run the daemon in the foreground.

    Polls every unit of CONFIG, publishes its channels and carries out commands. Logs to stderr. SIGTERM and SIGINT end it
    within 5 s; no output changes when it starts or ends.
    """
    import logging

    configuration = load_config(config)
    from agent.service import logs
    from agent.service.daemon import Daemon
    from agent.service.exposition.address import AddressError
    from agent.service.exposition.beside import prepared
    from agent.service.reload import tell_warnings
    from agent.store.database import StoreError

    logs.set_up(log_level, log_format)
    with contextlib.ExitStack() as stack:
        try:
            expose = stack.enter_context(prepared(metrics))
        except AddressError as error:
            raise Failure(str(error)) from None
        try:
            daemon = Daemon(configuration)
        except StoreError as error:
            tell_warnings(configuration)
            raise Failure(str(error)) from None
        try:
            with expose(daemon):
                code = daemon.run()
        except Exception:
            logging.getLogger("agent").critical(
                "the daemon ended by an error of its own; please report it", exc_info=True
            )
            code = INTERNAL_ERROR
    raise click.exceptions.Exit(code)


@click.command()
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


@click.command()
@click.option(
    "--model",
    default="E36313A",
    show_default=True,
    shell_complete=values.simulated_models,
    help="The model, of a series that can be simulated.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port of the raw socket, 0 for a free one.  [default: the supply's]"
)
@click.option("--vxi11-port", type=click.IntRange(0, 65535), help="Speak VXI-11 too, on this port (0: a free one).")
@click.option("--hislip-port", type=click.IntRange(0, 65535), help="Speak HiSLIP too, on this port (0: a free one).")
@click.option("--pty", is_flag=True, help="Be a serial port too, on a pseudo-terminal.")
@click.option("--serial-number", metavar="TEXT", help="Serial number in *IDN?.")
@click.option("--latency", type=Number(0, 60), default=0.0, metavar="S", help="Seconds that a message takes.")
@click.option("--outputs-on", is_flag=True, help="Switch the outputs on, at its front panel.")
@click.option(
    "--announce/--no-announce", default=True, help="Have `psu-agent scan` find it, by mDNS on the network of --host."
)
def simulate(
    model: str,
    host: str,
    port: int | None,
    vxi11_port: int | None,
    hislip_port: int | None,
    pty: bool,
    serial_number: str | None,
    latency: float,
    outputs_on: bool,
    announce: bool,
) -> None:
    """Run a simulated supply that speaks the language of its series.

    With loads that change, until Ctrl-C. Prints its VISA resource names and a `units:` entry for it. `psu-agent scan` in another
    terminal finds it; on loopback, which is the default, no other host does.
    """
    from agent.cli import simulate as simulation

    try:
        simulation.run(
            model,
            host=host,
            port=port,
            vxi11_port=vxi11_port,
            hislip_port=hislip_port,
            pty=pty,
            serial=serial_number,
            latency=latency,
            outputs_on=outputs_on,
            announce=announce,
            tell=click.echo,
            warn=lambda text: click.echo(f"# {text}", err=True),
        )
    except ValueError as error:
        raise Failure(str(error)) from None

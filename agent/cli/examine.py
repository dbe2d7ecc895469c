"""Commands that look at the configuration, the network and what is supported: check, scan, models, schema."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from agent.cli.options import Number, config_argument, json_option, load_config
from agent.cli.program.errors import Error, document


@click.command()
@config_argument
@click.option("--connect", is_flag=True, help="Also measure the broker and connect to every unit; no setting changes.")
@json_option
def check(config: Path | None, connect: bool, as_json: bool) -> None:
    """Check a configuration file.

    Tells every fault with its line. With --connect it also says what the broker lacks, a sentence each; that takes some
    seconds. Not beside a running agent then: some units allow two sessions in all.
    Exit code 0 only if all is well.
    """
    configuration = load_config(config)
    from agent.cli import printing

    for line in (*map(str, configuration.warnings), *configuration.series_faults):
        click.echo(line, err=True)
    if not as_json:
        printing.print_configuration(configuration)
    findings = []
    if connect:
        from agent.cli import check as checks

        for finding in checks.connect(configuration):
            findings.append(finding)
            if not as_json:
                printing.print_finding(finding)
    if configuration.series_faults and as_json:
        of_series = [Error.of_fault(line) for line in configuration.series_faults]
        click.echo(document(of_series, findings=[finding.as_dict() for finding in findings]))
    elif as_json:
        click.echo(json.dumps([finding.as_dict() for finding in findings], indent=2))
    if configuration.series_faults:
        raise click.exceptions.Exit(2)
    raise click.exceptions.Exit(0 if all(finding.ok for finding in findings) else 1)


@click.command()
@click.option(
    "--timeout",
    type=Number(0.1, 60),
    default=3.0,
    show_default=True,
    metavar="S",
    help="Seconds to listen for announcements, 0.1 to 60; asking takes a few more.",
)
@click.option(
    "--serial",
    is_flag=True,
    help="Ask on serial ports too, in each known language at each speed. A device that is no supply may be disturbed.",
)
@click.option(
    "--interface",
    "interfaces",
    multiple=True,
    metavar="NAME|IP",
    help="Search the network of this interface of this host alone; may be given several times.",
)
@json_option
def scan(timeout: float, serial: bool, interfaces: tuple[str, ...], as_json: bool) -> None:
    """Find instruments on the network, USB and GPIB.

    Every network of this host is searched, by mDNS (LXI) and VXI-11, and its USB and GPIB ports; serial ports are listed.
    Prints each instrument with its identity and, where the model is known, its entry for `units:`. The output is YAML, and a
    configuration to begin with:

    \b
    psu-agent scan > psu-agent.yaml

    The places that were searched, and those that could not be, go to stderr. A unit is asked who it is, and nothing that any
    supply takes for a setting; a serial port takes up to a minute. Not to be used beside a running agent: some units allow two
    sessions in all.
    Exit code 0 if an instrument was found, 1 if none was.
    """
    from agent.cli.printing import print_scan
    from agent.instruments import scan as scanning
    from agent.instruments.finding.interfaces import NoSuchInterfaceError

    if sys.stderr.isatty():
        click.echo(f"searching for {timeout:g} s …", err=True)
    try:
        result = scanning.scan(timeout=timeout, interfaces=interfaces, serial=serial)
    except NoSuchInterfaceError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        click.echo(json.dumps(result.as_dict(), indent=2))
    else:
        print_scan(result)
    raise click.exceptions.Exit(0 if result.has_found else 1)


@click.command()
@json_option
@click.option("--markdown", is_flag=True, help="Print the table of docs/supplies.md.")
@click.option("--count", is_flag=True, help="Print the count by maker, as the README has it.")
def models(as_json: bool, markdown: bool, count: bool) -> None:
    """List the supported models.

    With their series, ratings, links, the messages that a poll takes, what can be set, and whether they were tried on real
    hardware. Two numbers of messages: it is found out at the unit if it answers several questions in one.
    """
    from agent.cli.models import print_models

    print_models(as_json=as_json, as_markdown=markdown, as_count=count)


@click.command()
@click.option(
    "--series", is_flag=True, help="Of a series file, which describes supplies, instead of the configuration's."
)
def schema(series: bool) -> None:
    """Print the configuration file's JSON Schema.

    For editors that complete and check by one:

    \b
    psu-agent schema > psu-agent.schema.json
    and as the first line of the file:
    # yaml-language-server: $schema=psu-agent.schema.json
    """
    from agent.config import jsonschema
    from agent.instruments.catalogue import jsonschema as of_series

    found = of_series.json_schema() if series else jsonschema.json_schema()
    click.echo(json.dumps(found, indent=2))

"""`psu-agent man`."""

from __future__ import annotations

import click

from agent.cli.program.manual import page


@click.command()
@click.pass_context
def man(context: click.Context) -> None:
    """Print the manual page.

    \b
    psu-agent man | man -l -
    """
    program = context.find_root().command
    assert isinstance(program, click.Group)
    click.echo(page(program), nl=False)

"""`psu-agent completion`: the scripts for shells."""

from __future__ import annotations

import click

from agent.cli.completing.answering import SHELLS, script


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what a shell needs to complete the words of psu-agent.

    Commands, options, and the units, channels and models that there are now: it asks the broker, within a second, and reads the
    configuration.

    \b
    bash, in ~/.bashrc:                    eval "$(psu-agent completion bash)"
    zsh, in ~/.zshrc, behind compinit:     eval "$(psu-agent completion zsh)"
    fish, in ~/.config/fish/config.fish:   psu-agent completion fish | source
    """
    click.echo(script(shell), nl=False)

"""`psu-agent man`: the manual page, made from the help of all commands."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator

import click

from agent.cli.program.codes import EXIT_CODES, with_commands

_FILES = (
    (
        "./psu-agent.yaml, /etc/psu-agent/psu-agent.yaml",
        "The configuration, where neither an argument nor $PSU_AGENT_CONF names one.",
    ),
    (
        "$STATE_DIRECTORY, $XDG_STATE_HOME/psu-agent, ~/.local/state/psu-agent",
        "Samples that wait for a broker, energy and charge; the first of these, where `settings.state_dir` names none.",
    ),
)
_ENVIRONMENT = (
    ("PSU_AGENT_CONF", "The configuration file."),
    ("PSU_AGENT_BROKER", "As `--broker`."),
    ("PSU_AGENT_MQTT_PASSWORD", "The broker's password, for the commands that are its clients."),
    ("PSU_AGENT_HOLDER", "The name of the holder of leases, where none is given."),
    ("PSU_AGENT_METRICS", "As `run --metrics`."),
    ("PSU_AGENT_DEBUG", "As `--debug`."),
    ("NO_COLOR", "No colour on terminals, whatever it is set to."),
)
_EXAMPLES = (
    ("Write a configuration from the instruments that are found:", "psu-agent scan > psu-agent.yaml"),
    ("Check it, and connect to every unit:", "psu-agent check --connect psu-agent.yaml"),
    ("Set 3.3 V on a channel, and turn it on:", "psu-agent set psu1/VDD --voltage-limit 3.3 --state on"),
    ("Turn every output of every agent off:", "psu-agent set all --state off"),
)
_CODE = re.compile(r"`([^`]+)`")


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


def page(program: click.Group) -> str:
    """The page in roff, with the macros of man(7), in ASCII: `man`, groff and mandoc take it."""
    context = click.Context(program, info_name="psu-agent", **program.context_settings)
    lines = [
        '.TH PSU-AGENT 1 "" psu-agent "User commands"',
        ".SH NAME",
        "psu-agent \\- bench power supplies on MQTT",
        ".SH SYNOPSIS",
        ".B psu-agent",
        "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        *_paragraphs(program.help or ""),
        *_options(program, context),
        ".SH COMMANDS",
    ]
    for command, within in _commands(program, context):
        lines += [
            f".SS {_escaped(within.command_path)} {_escaped(' '.join(command.collect_usage_pieces(within)))}",
            *_paragraphs(command.help or ""),
            *_options(command, within),
        ]
    lines += [".SH EXIT STATUS", *_terms((str(code), with_commands(code)) for code in EXIT_CODES)]
    lines += [".SH FILES", *_terms(_FILES)]
    lines += [".SH ENVIRONMENT", *_terms(_ENVIRONMENT), ".SH EXAMPLES"]
    for text, example in _EXAMPLES:
        lines += [".TP 4", _escaped(text), _escaped(example)]
    lines += [".SH SEE ALSO", ".BR mosquitto_pub (1),", ".BR mosquitto_sub (1)"]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """All commands that are no groups, with their contexts."""
    for name in group.commands:
        command = group.commands[name]
        within = click.Context(command, parent=context, info_name=name)
        if isinstance(command, click.Group):
            yield from _commands(command, within)
        elif not command.hidden:
            yield command, within


def _options(command: click.Command, context: click.Context) -> list[str]:
    options = [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]
    records = [option.get_help_record(context) for option in options]
    return _terms(record for record in records if record is not None)


def _terms(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [line for term, text in pairs for line in (".TP", f".B {_escaped(term)}", _inline(text))]


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a docstring; one that begins with click's mark is set as it is."""
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        is_set, _, rest = paragraph.rpartition("\b\n")
        if number:
            yield ".PP"
        if is_set or paragraph.startswith("\b"):
            yield from (".RS 4", ".nf", *map(_escaped, rest.split("\n")), ".fi", ".RE")
        else:
            yield _inline(" ".join(paragraph.split()))


def _inline(text: str) -> str:
    """A line of text; what stands between backticks is bold."""
    return _CODE.sub(lambda found: f"\\fB{found[1]}\\fR", _escaped(text))


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = "".join(character if character.isascii() else f"\\[u{ord(character):04X}]" for character in text)
    return f"\\&{text}" if text.startswith(".") else text

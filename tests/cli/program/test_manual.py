"""The manual page and the table of exit codes: whole, well formed, and as the help has it now."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import click
import pytest

from agent.cli.main import cli
from agent.cli.program.codes import EXIT_CODES, as_markdown
from agent.cli.program.manual import page
from tests.commandline import ROOT, called

FILE = ROOT / "docs" / "psu-agent.1"
PAGE = page(cli)


def commands(group: click.Group, path: str = "psu-agent") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def plain(text: str) -> str:
    return re.sub(r"\\f[BRI]", "", text).replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")


def section(path: str) -> str:
    found = re.search(rf"^\.SS {re.escape(path)} (.*?)(?=^\.S[SH] )", plain(PAGE), re.DOTALL | re.MULTILINE)
    assert found, f"{path} is not in the page"
    return found[1]


def test_the_file_is_as_the_help_has_it() -> None:
    assert FILE.read_text() == PAGE, "run `make man`"
    assert called("man").stdout == PAGE


@pytest.mark.parametrize(("path", "command"), list(commands(cli)))
def test_each_option_of_each_command_is_there(path: str, command: click.Command) -> None:
    text = section(path)
    for parameter in command.params:
        for name in (*parameter.opts, *parameter.secondary_opts):
            if isinstance(parameter, click.Option):
                assert re.search(rf"^\.B .*{re.escape(name)}\b", text, re.MULTILINE), f"{name} is not told of"
    first = (command.help or "").split("\n")[0]
    assert first.replace("`", "") in text


@pytest.mark.parametrize(("path", "command"), list(commands(cli)))
def test_the_help_fits_80_columns_and_tells_no_range_of_a_number_that_has_none(
    path: str, command: click.Command
) -> None:
    text = command.get_help(click.Context(command, info_name=path, terminal_width=80))
    assert max(map(len, text.splitlines())) <= 80
    assert "None" not in text


@pytest.mark.parametrize("command", [["mandoc", "-Tlint", "-W", "warning"], ["groff", "-man", "-ww", "-Tutf8", "-z"]])
def test_the_page_is_well_formed(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (Debian: apt install {command[0]})")
    done = subprocess.run([*command, str(FILE)], capture_output=True, text=True)
    told = [line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line]
    assert told == []  # a date would be another one with each change, and be forgotten


def test_the_page_is_in_ascii() -> None:
    assert PAGE.isascii()


def test_the_exit_codes_stand_in_the_page_the_help_and_the_documentation() -> None:
    help_ = called("--help").stdout
    for code, (text, _) in EXIT_CODES.items():
        assert f"\n.B {code}\n" in PAGE
        assert f"    {code:<4} {text.split()[0]}" in help_
    assert as_markdown() in (ROOT / "docs" / "command-line.md").read_text()
    assert max(map(len, help_.partition("Exit codes:")[2].splitlines())) <= 80


def test_the_codes_that_commands_tell_of_are_in_the_table() -> None:
    """One that a command's help names is one of the table, and the table names the command for 1 and 3."""
    for path, command in commands(cli):
        told = re.search(r"Exit code.*", " ".join((command.help or "").split()))
        codes = {int(code) for code in re.findall(r"\b(\d+)\b(?=:| if| only)", told[0])} if told else set()
        assert codes <= EXIT_CODES.keys(), path
        for code in codes & {1, 3}:
            assert path.removeprefix("psu-agent ") in EXIT_CODES[code][1], path

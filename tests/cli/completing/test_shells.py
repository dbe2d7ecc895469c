"""Completion as somebody meets it who types in bash, zsh or fish."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.completing.line import Line, quoted
from tests.cli.completing.typing import Shell
from tests.commandline import called
from tests.properties import examples

NAMES = {1: "VDD 3.3", 2: "5V:IO=a", 3: 'it\'s "$HOME" `x` \\ & Ω'}


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("shell")
    units = [
        {"name": "bench1", "model": "E36313A", "uri": "TCPIP::a::INSTR",
         "channels": {index: {"name": name} for index, name in NAMES.items()}},
        {"name": "load-7", "model": "E36313A", "uri": "TCPIP::b::INSTR"},
    ]  # fmt: skip
    (folder / "psu-agent.yaml").write_text(yaml.safe_dump({"units": units}))
    (folder / "other.yaml").write_text("")
    with Shell(request.param, folder, PSU_AGENT_BROKER="mqtt://127.0.0.1:1") as shell:
        yield shell


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("psu-agent wat", "psu-agent watch "),
        ("psu-agent get --base", "psu-agent get --base-topic "),
        ("psu-agent set bench1/1 --state of", "psu-agent set bench1/1 --state off "),
        ("psu-agent get lo", "psu-agent get load-7 "),
        ("psu-agent simulate --model HMP404", "psu-agent simulate --model HMP4040 "),
        ("psu-agent check oth", "psu-agent check other.yaml "),
        ("psu-agent nonsense --x y", "psu-agent nonsense --x y"),
    ],
)
def test_a_line(shell: Shell, typed: str, line: str) -> None:
    found = shell.line(typed)
    if shell.name == "zsh":  # it puts no space behind some, and takes one away again
        assert found.rstrip() == line.rstrip()
    else:
        assert found == line


@pytest.mark.parametrize(("index", "typed"), [(1, "VD"), (2, "5V"), (3, "it")])
def test_a_name_is_quoted_as_the_shell_wants_it(shell: Shell, index: int, typed: str) -> None:
    line = shell.line(f"psu-agent get bench1/{typed}").rstrip()
    done = subprocess.run(
        [shell.name, "-c", line.replace("psu-agent get", "printf %s", 1)], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == (f"bench1/{NAMES[index]}", ""), line


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_quotation_that_was_begun_is_ended(shell: Shell, quote: str) -> None:
    line = shell.line(f"psu-agent get {quote}bench1/VD").rstrip()
    assert shlex.split(line) == ["psu-agent", "get", "bench1/VDD 3.3"]


def test_behind_a_colon_bash_completes_the_rest(shell: Shell) -> None:
    line = shell.line("psu-agent get bench1/5V:I").rstrip()
    assert shlex.split(line) == ["psu-agent", "get", f"bench1/{NAMES[2]}"]


def test_nothing_is_printed_at_the_prompt_when_all_goes_wrong(shell: Shell) -> None:
    (Path(shell.folder) / "psu-agent.yaml").rename(Path(shell.folder) / "hidden")
    try:
        (Path(shell.folder) / "psu-agent.yaml").write_text("units: [")
        before = len(shell.shown)
        assert shell.line("psu-agent get ben") == "psu-agent get ben"
        for word in (b"Traceback", b"rror", b"yaml"):
            assert word not in shell.shown[before:]
    finally:
        (Path(shell.folder) / "hidden").rename(Path(shell.folder) / "psu-agent.yaml")


def test_the_scripts_are_printed() -> None:
    for name in ("bash", "zsh", "fish"):
        result = called("completion", name)
        assert (result.returncode, result.stderr) == (0, "")
        assert "_PSU_AGENT_COMPLETE" in result.stdout
    assert called("completion", "tcsh").returncode == 2


WORDS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@given(WORDS, st.sampled_from(["", "'", '"']))
@examples()
def test_a_quoted_value_is_read_as_it_was(value: str, quote: str) -> None:
    assert Line.parse(f"a {quote}{quoted(value, quote)}{quote}").words == ["a", value]
    if quote != '"':  # shlex keeps some of the backslashes that bash takes away there; see below
        assert shlex.split(f"{quote}{quoted(value, quote)}{quote}") == [value]


@given(st.text(max_size=40))
@examples()
def test_any_line_is_taken_apart(text: str) -> None:
    line = Line.parse(text)
    assert line.words
    assert text.endswith(line.raw)


def test_bash_itself_reads_what_is_quoted() -> None:
    values = [
        *NAMES.values(),
        "a!b",
        "~",
        "#x",
        "*?[a]",
        "-n",
        "{a,b}",
        "a\\b",
        "é ß",
        "(x)",
        "<>|;&",
        "$(id)",
        "^a",
        "%",
    ]
    script = "printf '%s\\n' " + " ".join(quoted(value) for value in values)
    script += " " + " ".join(f'"{quoted(value, chr(34))}"' for value in values if "!" not in value)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [*values, *(value for value in values if "!" not in value)]

"""docs/install.md: what it tells to type is there."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest

from agent.cli.main import cli
from tests.support.processes import ROOT

TEXT = (ROOT / "docs" / "install.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
LINES = [line[2:] for block in BLOCKS for line in block.splitlines()]
#: Programs of the system, and files that a command before makes or that are the user's own.
SYSTEM = {"apt", "docker", "install", "journalctl", "ln", "python3", "systemctl", "systemd-sysusers", "udevadm"}


def words(line: str) -> list[str]:
    found = shlex.split(line)
    return found[1:] if found[0] == "sudo" else found


def test_there_is_something_to_type() -> None:
    assert len(LINES) > 25


@pytest.mark.parametrize("line", LINES)
def test_each_program_is_known(line: str) -> None:
    program = words(line)[0]
    name = program.rpartition("/")[2]
    if name == "psu-agent":
        command = next(word for word in words(line)[1:])
        assert command == "--version" or command in cli.commands
    else:
        assert name in SYSTEM | {"make", "pip"}, line


def test_each_target_of_make_is_one() -> None:
    makefiles = "".join((ROOT / name).read_text() for name in ("Makefile", "stack.mk", "packaging.mk"))
    named = set(re.findall(r"\bmake (?:-s )?([a-z-]+)", TEXT))
    assert {"deb", "dist", "addon", "version", "package-test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefiles, re.MULTILINE), target


def test_a_release_is_checked_by_what_belongs_to_it() -> None:
    """`make deb` and `make addon` put theirs into dist/ as well, which no checker of wheels reads."""
    _, *recipe = (ROOT / "packaging.mk").read_text().partition("\ndist:")[2].partition("\n\n")[0].splitlines()
    assert set(re.findall(r"\bdist/\S*", "\n".join(recipe))) == {"dist/psu_agent-*", "dist/psu_agent-*.whl"}


def test_each_file_of_the_checkout_is_there() -> None:
    named = {word for line in LINES for word in words(line) if word.startswith("examples/")}
    assert len(named) == 4
    assert [word for word in named if not (ROOT / word).exists()] == []


def test_the_extras_are_those_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    table = TEXT.partition("| extra | for |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == extras.keys() - {"dev", "test"}


def test_nothing_is_told_to_come_from_an_index_that_does_not_have_it() -> None:
    """Nobody owns the name psu-agent there yet."""
    pages = [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*"),
        *(ROOT / "agent").rglob("*.py"),
    ]
    wrong = [
        str(page.relative_to(ROOT))
        for page in pages
        if page.is_file()
        and page.suffix in (".md", ".py", ".service", ".yaml", "")
        and re.search(
            r"(?:pip|pipx|uv pip|uv tool) install (?:-\S+ )*['\"]?psu[-_]agent(?!_?[-\w….]*\.whl)", page.read_text()
        )
    ]
    assert wrong == []

"""docs/stack.md and docs/operating.md followed to the letter under Podman, from an empty folder to a restore."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import commands
from tests.support.compose import checkout

from .compose import PARTS, Stack
from .engine import Engine
from .seeing import answers, grows, query, sequence, well

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

#: What `make rotate` can be given: one of each kind.
ROTATED = ("telegraf", "agent", "health", "telegraf-token", "grafana-token", "influxdb", "grafana", "certificate")


def shown(page: str, beginning: str) -> str:
    """The command of a page that begins so."""
    (found,) = {command.text for command in commands(page) if command.text.startswith(beginning)}
    return re.sub(r"\s+#.*", "", found)


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(engine, checkout(tmp_path_factory.mktemp("pages") / "psu-agent", PARTS), "demo") as stack:
        yield stack


def test_two_commands_bring_up_a_dashboard(stack: Stack) -> None:
    stack.run(shown("docs/stack.md", "make secrets"))
    stack.run(f"{shown('docs/stack.md', 'docker compose --profile demo up')} -d")
    answers(stack)
    grows(stack)


def test_a_folder_of_ones_own_takes_the_place_of_the_example(stack: Stack) -> None:
    stack.run(shown("docs/stack.md", "mkdir config"))
    assert "uri: TCPIP::" in stack.run(shown("docs/stack.md", "docker compose run --rm scan"))
    stack.run(shown("docs/stack.md", "echo PSU_AGENT_FOLDER"))
    file = stack.folder / "config" / "psu-agent.yaml"
    file.write_text(file.read_text().replace("name: HEATER", "name: OVEN"))
    stack.run("docker compose up -d")
    answers(stack)
    query_of = (
        "SELECT last(seq) FROM psu_channel WHERE psu = 'demo' AND channel = '3' AND time > now() - 5s GROUP BY \"name\""
    )
    grows(stack)
    assert {row["name"] for row in query(stack, query_of)} == {"OVEN"}


@pytest.mark.parametrize("name", ROTATED)
def test_a_password_or_a_token_is_renewed(stack: Stack, name: str) -> None:
    command = shown("docs/operating.md", "make rotate").replace("NAME=telegraf", f"NAME={name}")
    before = {path: path.read_bytes() for path in (stack.folder / "secrets").rglob("*") if path.is_file()}
    said = stack.run(command)
    assert "It remains" not in said
    if "token" not in name:  # those are in a volume
        assert any(path.read_bytes() != text for path, text in before.items()), said
    answers(stack)
    grows(stack)
    well(stack, "mosquitto")


def test_retention(stack: Stack) -> None:
    with (stack.folder / ".env").open("a") as file:
        file.write("PSU_RETENTION=104w\n")
    stack.run("docker compose up -d")
    assert "keeps samples for 728 d, before for 364 d" in stack.log("influxdb-setup")
    answers(stack)


def test_a_backup_is_put_back_into_an_empty_folder_and_over_a_stack_that_runs(stack: Stack) -> None:
    grows(stack)
    before = sequence(stack)
    stack.run(shown("docs/operating.md", "make backup"))
    (archive,) = (stack.folder / "backups").glob("psu-*.tar")
    archive.rename(stack.folder.parent / "psu.tar")
    grows(stack)
    after = sequence(stack)
    # Another host: nothing of the stack is left but the archive.
    stack.run("docker compose down --volumes")
    shutil.rmtree(stack.folder)
    checkout(stack.folder, PARTS)
    stack.run(shown("docs/operating.md", "make restore FROM=../psu.tar"))
    stack.run("docker compose up -d")
    answers(stack)
    grows(stack)
    assert sequence(stack)[: len(before)] == before == after[: len(before)]
    assert (stack.folder / "config" / "psu-agent.yaml").exists()
    # And over what is there.
    there = shown("docs/operating.md", "make restore FROM=backups").replace("FROM=", "FROM=../psu.tar #")
    assert "OVERWRITE=yes" in there
    refused = stack.run("make restore FROM=../psu.tar", fails=True)
    assert "OVERWRITE=yes" in refused
    stack.run("make restore FROM=../psu.tar OVERWRITE=yes")
    answers(stack)
    grows(stack)
    assert sequence(stack)[: len(before)] == before
    assert Path(stack.folder / "backups").is_dir()

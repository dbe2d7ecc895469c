"""docs/operating.md to the letter: each of its commands is run, with the real store and broker, and has to do what it says.

Compose is a stand-in here (`host.COMPOSE`), and plain folders stand for volumes. tests/containers has containers.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import commands, text_of
from tests.stack.services import Broker
from tests.support.compose import checkout

from .host import PARTS, Host

PAGE = "docs/operating.md"


def section(heading: str) -> list[str]:
    """The commands below a heading, up to the next one."""
    lines = text_of(PAGE).splitlines()
    first = next(number for number, line in enumerate(lines, 1) if re.fullmatch(rf"#+ {re.escape(heading)}", line))
    last = next(
        (number for number, line in enumerate(lines, 1) if number > first and line.startswith("#")), len(lines) + 1
    )
    return [command.text for command in commands(PAGE) if first < command.line < last]


def names() -> list[str]:
    """The names that can be rotated, of the table."""
    table = text_of(PAGE).partition("| NAME |")[2].partition("\n\n")[0]
    return [
        name
        for row in table.splitlines()[2:]
        for name in re.findall(r"`([\w-]+)`", row.split("|")[1])
        if "/" not in name
    ]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A stack that was brought up."""
    folder = tmp_path_factory.mktemp("page")
    host = Host(folder)
    checkout(host.root, PARTS)
    host.configure()
    done = host.shell("make secrets")
    assert done.returncode == 0, done.stderr
    host.broker = Broker(folder / "broker", host.root / "secrets").start()
    run(host, "docker compose up -d")
    host.write(1)
    yield host
    host.store.stop()
    host.broker.stop()


def run(host: Host, command: str) -> str:
    done = host.shell(command)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def assert_well(host: Host) -> None:
    """Telegraf and Grafana have what they need, and nothing of the setup is left to do."""
    assert host.values() == [1]
    assert run(host, "docker compose run --rm --no-deps influxdb-setup").count("works, kept") == 2


def test_every_command_of_the_page_is_tried_here() -> None:
    tried = [section(heading) for heading in TRIED]
    missing = {command.text for command in commands(PAGE)} - {command for one in tried for command in one}
    elsewhere = {command for heading in IN_CONTAINERS for command in section(heading)}
    assert missing - elsewhere == set()


def test_rotation(host: Host) -> None:
    """Those that differ in what has to be told; the others are in test_rotation.py."""
    (line,) = section("Passwords and tokens")
    known = host.shell("make rotate").stderr.partition("name one of ")[2].splitlines()[0].split(", ")
    assert set(names()) <= set(known)
    assert {"influxdb", "grafana", "certificate", "telegraf-token", "grafana-token", "agent", "telegraf"} <= set(
        names()
    )
    secrets = host.root / "secrets"
    for name, changed in (
        ("telegraf", secrets / "telegraf" / "mqtt_password"),
        ("telegraf-token", host.setup_service.tokens / "telegraf"),
        ("influxdb", secrets / "influxdb" / "admin_password"),
        ("grafana", secrets / "grafana" / "admin_password"),
    ):
        before = changed.read_text()
        run(host, line.replace("telegraf", name))
        assert changed.read_text() != before, name
    assert (host.folder / "grafana.password").read_text() == changed.read_text()
    assert_well(host)


def test_locked_out(host: Host) -> None:
    (host.setup_service.state / "admin").unlink()
    host.setup_service.password = "another-password"
    refused = host.shell("docker compose run --rm --no-deps influxdb-setup")
    assert refused.returncode == 2
    heading = "Locked out of the store"
    assert f'"{heading}"' in refused.stderr
    for command in section(heading):
        run(host, command.replace("/var/lib/influxdb2", str(host.volumes / "influxdb")))
    assert_well(host)


def test_backup_and_restore(host: Host, tmp_path: Path) -> None:
    make, *new, again = section("Backup and restore")
    run(host, make)
    (archive,) = (host.root / "backups").glob("psu-*.tar")
    host.write(2)
    run(host, re.sub(r"FROM=\S+", f"FROM={archive.relative_to(host.root)}", again))
    assert_well(host)

    other = Host(tmp_path)
    checkout(other.root, PARTS)
    (tmp_path / "psu.tar").write_bytes(archive.read_bytes())
    (other.root / "mosquitto" / "users.toml").write_text("# of another release\n")
    try:
        restore, up = new
        assert "docker compose up -d starts the stack" in run(other, restore)
        assert [call.split()[4] for call in other.calls()] == ["empty", "restore"]
        run(other, up)
        assert_well(other)
        assert stat.S_IMODE((other.root / "secrets").stat().st_mode) == 0o700
        users = [folder / "mosquitto" / "users.toml" for folder in (host.root, other.root)]
        assert users[0].read_text() == users[1].read_text()
    finally:
        other.store.stop()


def test_retention(host: Host) -> None:
    with (host.root / ".env").open("a") as file:
        file.write("PSU_RETENTION=90d\n")
    (command,) = section("Retention")
    assert "bucket psu: keeps samples for 90 d, before for 364 d" in run(host, command)
    assert_well(host)


def test_upgrade(host: Host) -> None:
    for command in section("Upgrade"):
        run(host, command)
    assert_well(host)


#: Sections that tests/containers follows.
IN_CONTAINERS = (
    "From a release without make backup",
    "The agent's configuration",
    "Which supplies are there?",
    "Podman",
)
TRIED = {
    "Passwords and tokens": test_rotation,
    "Locked out of the store": test_locked_out,
    "Backup and restore": test_backup_and_restore,
    "Retention": test_retention,
    "Upgrade": test_upgrade,
}

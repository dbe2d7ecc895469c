"""Faults around the containers: each is told in one sentence, and samples that waited come into the store."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.compose import checkout
from tests.support.waiting import wait_until

from .compose import LONG, PARTS, Stack
from .engine import Engine
from .seeing import answers, grows, query, sequence, well, without_gap

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A checkout by somebody whose umask is 077, not yet brought up."""
    before = os.umask(0o077)
    try:
        folder = checkout(tmp_path_factory.mktemp("bad") / "psu-agent", PARTS)
        with Stack(engine, folder, "demo") as stack:
            yield stack
    finally:
        os.umask(before)


def test_a_folder_that_is_not_there_or_a_setting_of_a_former_release(stack: Stack) -> None:
    """Docker refuses it. Podman makes the folder, empty: the agent says so, and does not serve the example's unit."""
    stack.run("make -s secrets")
    for line, told in (("PSU_AGENT_FOLDER=./nowhere", "nowhere"), ("PSU_AGENT_CONF=./mine.yaml", "PSU_AGENT_FOLDER")):
        (stack.folder / ".env").write_text(f"{line}\n")
        assert told in stack.run("make -s secrets", fails=True)
        said = stack.run("docker compose run --rm -T --no-deps agent check", fails=None)
        assert "psu-agent.yaml" in said
        assert "Traceback" not in said
    (stack.folder / ".env").unlink()


def test_a_checkout_under_umask_077_comes_up(engine: Engine, stack: Stack) -> None:
    # The store's disk: 48 MB of this engine's own.
    disk = engine.folder / "disk"
    engine.run("mkdir", disk)
    engine.run("mount", "-t", "tmpfs", "-o", "size=48m,uid=1000,gid=1000,mode=700", "tmpfs", disk)
    engine.podman("volume", "create", "--opt=type=none", f"--opt=device={disk}", "--opt=o=bind", "psu_influxdb")
    stack.run("make -s secrets")
    stack.run("docker compose up -d")
    answers(stack)
    grows(stack)
    for service in ("agent", "mosquitto", "telegraf", "influxdb", "grafana"):
        well(stack, service)


def test_a_backup_while_mosquitto_is_not_healthy_leaves_no_service_stopped(stack: Stack) -> None:
    """`docker compose start agent` refuses then, and outputs could not be turned off until somebody saw it."""
    broker = str(stack.inspect("mosquitto")["State"]["Pid"])
    stack.engine.run("kill", "-STOP", broker)
    try:
        wait_until(lambda: stack.health("mosquitto") == "unhealthy", "Mosquitto's check fails", LONG)
        stack.run("make backup")
        for service in ("agent", "influxdb", "grafana"):
            assert stack.inspect(service)["State"]["Running"], service
    finally:
        stack.engine.run("kill", "-CONT", broker)
    grows(stack)


def test_a_folder_that_the_agent_may_not_read(stack: Stack) -> None:
    """`make secrets` names the command, and the agent's log what it may not read."""
    folder = stack.folder / "config"
    folder.mkdir()
    example = (stack.folder / "examples" / "stack" / "psu-agent.yaml").read_text()
    (folder / "psu-agent.yaml").write_text(example.replace("name: MOTOR", "name: FAN"))
    (stack.folder / ".env").write_text("PSU_AGENT_FOLDER=./config\n")
    said = stack.run("make -s secrets", fails=True)
    command = next(line.partition(": ")[2] for line in said.splitlines() if "chmod" in line)
    stack.run("docker compose up -d --no-deps agent")
    wait_until(lambda: "ermission denied" in stack.log("agent"), "the agent says so", LONG)
    assert "Traceback" not in stack.log("agent")
    stack.run(command)
    stack.run("make -s secrets")
    names = "SELECT last(seq) FROM psu_channel WHERE psu = 'demo' AND channel = '2' GROUP BY \"name\""
    wait_until(lambda: "FAN" in {row["name"] for row in query(stack, names)}, "it is restarted, and serves", LONG)


def test_a_broker_that_is_away(stack: Stack) -> None:
    grows(stack)
    stack.run("docker compose stop mosquitto")
    wait_until(lambda: "trying again for ever" in stack.log("agent"), "the agent says so", LONG)
    wait_until(lambda: "onnection lost" in stack.log("telegraf"), "Telegraf says so", LONG)
    stack.run("docker compose start mosquitto")
    grows(stack)
    wait_until(lambda: without_gap(sequence(stack)), "the gap is closed by the backlog", LONG)


def test_a_full_disk_of_the_store(stack: Stack) -> None:
    """Where docs/operating.md says that it is told; and what it says to do brings everything into the store."""
    grows(stack)
    stack.inside("influxdb", "sh", "-c", "cat /dev/zero >/var/lib/influxdb2/fill", fails=True)
    wait_until(lambda: "no space left on device" in stack.log("telegraf"), "Telegraf says so", LONG)
    stack.inside("influxdb", "rm", "/var/lib/influxdb2/fill")
    stack.run("docker compose restart influxdb")
    well(stack, "influxdb")
    answers(stack)
    grows(stack)
    wait_until(lambda: without_gap(sequence(stack)), "what waited at the broker", LONG)


def test_a_backup_onto_a_full_disk(engine: Engine, stack: Stack) -> None:
    """It is told, what ran runs again, and no container goes on with copying."""
    full = engine.folder / "full"
    engine.run("mkdir", full)
    engine.run("mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", full)
    said = stack.run(f"make backup TO={full}", fails=True)
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert engine.run("ls", full).stdout == ""
    assert "backup" not in engine.podman("ps", "--format", "{{.Names}}")
    for service in ("agent", "influxdb", "grafana"):
        assert stack.inspect(service)["State"]["Running"], service
    grows(stack)


def test_a_restore_that_is_killed_is_run_again(stack: Stack) -> None:
    grows(stack)
    before = sequence(stack)
    stack.run("make backup TO=psu.tar")
    restore = "make restore FROM=psu.tar OVERWRITE=yes"
    for seconds in (3, 6):
        # The scripts and compose; the container goes on by itself.
        stack.run(f"timeout --signal=KILL {seconds} {restore} >>killed.log 2>&1", fails=None)
    wait_until(lambda: "backup" not in stack.engine.podman("ps", "--format", "{{.Names}}"), "it has ended", LONG)
    stack.run(restore)
    stack.run("docker compose up -d")
    answers(stack)
    grows(stack)
    assert sequence(stack)[: len(before)] == before

"""compose.yaml as it is shipped, brought up under Podman: each service in its container, from the supply to a query."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator

import pytest

from tests.support.compose import checkout
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

from .compose import LONG, PARTS, Stack
from .engine import Engine
from .seeing import answers, grows, query, sequence, well, without_gap

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

#: The user that each service runs as, and whether a file system of its own, but for volumes, can be written.
USERS = {"agent": 10001, "mosquitto": 1883, "influxdb": 1000, "grafana": 472, "simulator": 10001}


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack with the simulated supply, as the first two commands of docs/stack.md bring it up."""
    folder = tmp_path_factory.mktemp("stack") / "psu-agent"
    with Stack(engine, checkout(folder, PARTS), "demo") as stack:
        stack.run("make -s secrets")
        stack.run("docker compose up -d")
        yield stack


def test_every_service_becomes_healthy(stack: Stack) -> None:
    for name, service in stack.services().items():
        if "profiles" in service and service["profiles"] != ["demo"]:
            continue
        if name == "influxdb-setup":
            assert stack.inspect(name)["State"]["ExitCode"] == 0
        else:
            well(stack, name)


def test_a_sample_of_the_simulator_is_seen_through_the_token_that_can_only_read(stack: Stack) -> None:
    rows = wait_until(
        lambda: query(stack, "SELECT * FROM psu_channel WHERE psu = 'demo' AND online = true LIMIT 3"), "samples", LONG
    )
    assert {row["name"] for row in rows} <= {"LOGIC", "MOTOR", "HEATER"}
    assert all(row["agent"] == "lab" and row["voltage"] is not None for row in rows)
    # What Grafana has can't write, and what Telegraf has can't read.
    tokens = {name: stack.inside("grafana", "cat", f"/run/tokens/{name}").strip() for name in ("grafana", "telegraf")}
    write = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-d", "psu_x value=1"]
    url = "http://influxdb:8086/api/v2/write?org=lab&bucket=psu"
    for name, status in (("grafana", "403"), ("telegraf", "204")):
        assert stack.inside("telegraf", *write, "-H", f"Authorization: Token {tokens[name]}", url) == status, name


def test_no_container_can_do_more_than_it_has_to(stack: Stack) -> None:
    for name, uid in USERS.items():
        status = dict(
            line.split(":", 1) for line in stack.inside(name, "cat", "/proc/1/status").splitlines() if ":" in line
        )
        assert int(status["Uid"].split()[0]) == uid, name
        assert {int(status[each], 16) for each in ("CapEff", "CapPrm", "CapBnd")} == {0}, name
        assert status["NoNewPrivs"].strip() == "1", name
        assert "Read-only file system" in stack.inside(name, "touch", "/usr/x", fails=True), name
    for name, path in (("agent", "/etc/psu-agent/x"), ("mosquitto", "/mosquitto/config/x"),
                       ("telegraf", "/etc/telegraf/x"), ("grafana", "/etc/grafana/provisioning/x"),
                       ("agent", "/run/secrets/x")):  # fmt: skip
        assert "Read-only file system" in stack.inside(name, "touch", path, fails=True), (name, path)
    # Each has its own secrets alone, and no network of the store leads to people or supplies.
    assert stack.inside("agent", "ls", "/run/secrets").split() == ["mqtt_password"]
    for service, host in (("agent", "influxdb"), ("telegraf", "simulator"), ("grafana", "mosquitto")):
        reach = f"import socket; socket.getaddrinfo({host!r}, 1)"
        program = "python" if service == "agent" else "python3"
        expected = host == "mosquitto"  # both are published to the lab
        assert ("not known" in stack.inside(service, program, "-c", reach, fails=not expected)) != expected


def test_an_output_is_switched_off_by_the_brokers_own_client(stack: Stack) -> None:
    """The command of docs/stack.md, in the broker's container."""
    password = stack.secret("users/commands")
    request = ["mosquitto_rr", "-h", "localhost", "-V", "mqttv5", "-u", "commands", "-P", password, "-q", "1", "-W", "20",
               "-t", "psu/demo/1/set", "-m", '{"id": "42", "state": false}', "-e", "reply/commands/shell"]  # fmt: skip
    response = json.loads(stack.inside("mosquitto", *request))
    assert (response["id"], response["ok"], response["result"]["state"]) == ("42", True, False)
    last = "SELECT last(state) AS state FROM psu_channel WHERE psu = 'demo' AND channel = '1'"
    wait_until(lambda: query(stack, last)[0]["state"] is False, "the output is seen off", LONG)


def test_a_configuration_that_an_editor_replaces_is_taken_over(stack: Stack) -> None:
    """The folder is the one of .env: `examples/stack` without one. An editor writes a new file and gives it the old name."""
    file = stack.folder / "examples" / "stack" / "psu-agent.yaml"
    changed = file.with_name("new")
    changed.write_text(file.read_text().replace("name: MOTOR", "name: FAN"))
    changed.replace(file)
    stack.run("docker compose kill -s HUP agent")
    names = "SELECT last(seq) FROM psu_channel WHERE psu = 'demo' AND channel = '2' GROUP BY \"name\""
    wait_until(lambda: {row["name"] for row in query(stack, names)} == {"MOTOR", "FAN"}, "the new name", LONG)


def test_scan_on_the_hosts_network_finds_what_is_there(stack: Stack) -> None:
    said = stack.run("docker compose run --rm -T scan --timeout 5")
    assert "model: Keysight Technologies,E36313A" in said
    assert "uri: TCPIP::" in said


def test_usb_and_serial_ports_as_the_page_shows_them(stack: Stack) -> None:
    """Device nodes of the kernel take the place of an instrument's: whether they may be opened is all that is asked."""
    page = (ROOT / "docs" / "operating.md").read_text().partition("## USB and serial ports")[2]
    snippet = page.partition("```yaml\n")[2].partition("```")[0]
    usb, port = stack.engine.folder / "usb", stack.engine.folder / "ttyUSB0"
    usb.mkdir()
    for node, device in ((port, os.makedev(1, 3)), (usb / "001", os.makedev(189, 0))):
        os.mknod(node, 0o600 | stat.S_IFCHR, device)
        os.chown(node, 0, 20)
        node.chmod(0o660)
    override = stack.folder / "compose.override.yaml"
    command = "docker compose run --rm -T --no-deps --entrypoint sh agent -c "
    # A bus without an instrument: the kernel has no such device, and nobody forbids it.
    usb_opens, port_opens = "true 3<>/dev/bus/usb/001", "echo x >/dev/ttyUSB0"
    override.write_text(
        snippet.replace("/dev/bus/usb:", f"{usb}:").replace('"/dev/ttyUSB0:', f'"{port}:'),
    )
    try:
        stack.run(f"{command} '{port_opens}'")
        # Podman 4.3's service does not take the rule, which its command line does: the page has the other way for it.
        assert "Operation not permitted" in stack.run(f"{command} '{usb_opens}'", fails=None)
        override.write_text(override.read_text().replace("devices: [", f'devices: ["{usb}:/dev/bus/usb", ', 1))
        override.write_text(re.sub(r"\n *volumes.*", "", override.read_text()))
        assert "No such device or address" in stack.run(f"{command} '{usb_opens}'", fails=None)
        # The image's user is in the group by itself.
        override.write_text(re.sub(r"\n *group_add.*", "", override.read_text()))
        stack.run(f"{command} '{port_opens}'")
    finally:
        override.unlink()


@pytest.mark.parametrize("service", ["grafana", "influxdb", "telegraf", "mosquitto", "agent"])
def test_a_service_that_crashes_comes_back_and_no_sample_is_lost_or_doubled(stack: Stack, service: str) -> None:
    grows(stack)
    if service == "mosquitto":
        _save(stack)
    stack.kill(service)
    if service in ("influxdb", "grafana"):  # which are asked below
        well(stack, "influxdb")
        answers(stack)
    grows(stack)
    # Samples that waited may arrive after new ones. An agent that is started anew begins at 1 again.
    agents = 2 if service == "agent" else 1
    wait_until(lambda: without_gap(sequence(stack)) == agents, "every sample in the store, once", LONG)


def _save(stack: Stack) -> None:
    """Have Mosquitto write what it knows, as it does each minute: killed before, it does not know Telegraf's session."""
    listing = ("ls", "--full-time", "/mosquitto/data")
    before = stack.inside("mosquitto", *listing)
    stack.engine.run("kill", "-USR1", str(stack.inspect("mosquitto")["State"]["Pid"]))
    wait_until(
        lambda: "mosquitto.db.new" not in (now := stack.inside("mosquitto", *listing)) and now != before,
        "the file",
        LONG,
    )


def test_what_is_stopped_in_good_order_comes_back_with_everything(stack: Stack) -> None:
    before = sequence(stack)
    stack.run("docker compose down")
    stack.run("docker compose up -d")
    answers(stack)
    assert sequence(stack)[: len(before)] == before
    grows(stack)

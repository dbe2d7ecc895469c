"""compose.yaml and what stands beside it: valid, pinned, closed, and at one with the configuration files."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import pages as pages_for_users
from tests.docs.pages import text_of
from tests.support.compose import docker_compose
from tests.support.processes import ROOT

from .services import generate_secrets, influxd, tool

PROMETHEUS = ROOT / "examples" / "prometheus" / "compose.yaml"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ALL_SERVICES = SERVICES | {
    name: service
    for name, service in yaml.safe_load(PROMETHEUS.read_text())["services"].items()
    if name not in SERVICES
}


def config(*options: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """What compose makes of the files; a fault fails the test."""
    command = [*docker_compose(), "--project-directory", str(ROOT), *options, "config", "--format", "json"]
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run(command, env=clean | (environment or {}), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not set" not in done.stderr, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_compose_accepts_it_with_and_without_demo_and_prometheus() -> None:
    stack = {"agent", "mosquitto", "telegraf", "influxdb", "influxdb-setup", "grafana"}
    assert set(config()["services"]) == stack
    assert set(config("--profile", "demo")["services"]) == stack | {"simulator"}
    files = ("-f", str(ROOT / "compose.yaml"), "-f", str(PROMETHEUS))
    merged = config(*files)["services"]
    assert set(merged) == stack | {"prometheus"}
    mounted = {volume["target"] for volume in merged["telegraf"]["volumes"]}
    assert {"/etc/telegraf", "/etc/telegraf-prometheus", "/run/secrets", "/run/tokens"} <= mounted


def test_the_override_for_a_broker_that_is_there_already(tmp_path: Path) -> None:
    """As docs/stack.md has it."""
    (snippet,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "stack.md").read_text(), re.DOTALL)
    override = tmp_path / "compose.override.yaml"
    override.write_text(textwrap.dedent(f"  {snippet.lstrip()}"))
    services = config("-f", str(ROOT / "compose.yaml"), "-f", str(override))["services"]
    assert "mosquitto" not in services
    assert services["telegraf"]["environment"]["PSU_MQTT_URL"] == "ssl://broker.lab:8883"
    assert set(services["telegraf"]["depends_on"]) == {"influxdb-setup"}
    assert "depends_on" not in services["agent"]


def test_ports_are_on_loopback_unless_told_otherwise() -> None:
    def addresses(**environment: str) -> set[tuple[str, str]]:
        services = config(environment=environment)["services"].values()
        return {(port["host_ip"], port["published"]) for service in services for port in service.get("ports", [])}

    assert addresses() == {("127.0.0.1", "1883"), ("127.0.0.1", "8883"), ("127.0.0.1", "3000")}
    assert addresses(PSU_BIND="0.0.0.0") == {("127.0.0.1", "1883"), ("0.0.0.0", "8883"), ("0.0.0.0", "3000")}
    # What looks for supplies asks everybody on the host's networks, and serves nobody; what copies volumes has none.
    modes = {name: service["network_mode"] for name, service in SERVICES.items() if "network_mode" in service}
    assert modes == {"scan": "host", "backup": "none"}
    assert set(config("--profile", "scan")["services"]["scan"]) >= {"network_mode", "read_only", "cap_drop"}


def test_the_agents_folder_is_mounted_and_a_setting_of_former_releases_is_told() -> None:
    def source(**environment: str) -> str:
        (mount,) = (
            one
            for one in config(environment=environment)["services"]["agent"]["volumes"]
            if one["target"] == "/etc/psu-agent"
        )
        assert not mount["bind"].get("create_host_path"), "or a folder that is not there would be made, empty"
        return str(mount["source"])

    assert source() == str(ROOT / "examples" / "stack")
    assert source(PSU_AGENT_FOLDER="./config") == str(ROOT / "config")
    assert source(PSU_AGENT_FOLDER="./config", PSU_AGENT_CONF="./psu-agent.yaml") == str(ROOT / "config")
    former = source(PSU_AGENT_CONF="./psu-agent.yaml")
    assert "set PSU_AGENT_FOLDER to the folder of psu-agent.yaml" in former
    assert not Path(former).exists()


def test_a_proxy_of_the_host_is_left_out_between_the_services() -> None:
    """Docker hands it to each container, and curl, Telegraf and Grafana would ask it for their neighbours."""
    for name in ("telegraf", "influxdb", "grafana"):
        environment = config()["services"][name]["environment"]
        for key in ("no_proxy", "NO_PROXY"):
            assert {"127.0.0.1", "localhost", "influxdb"} <= set(environment[key].split(",")), name


def test_folders_are_mounted_and_no_file() -> None:
    """A file that an editor or git replaces is another one: a container goes on with the one that it was given."""
    for name, service in config("--profile", "demo")["services"].items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind" and "/secrets/" not in volume["source"]:
                assert Path(volume["source"]).is_dir(), (name, volume["source"])


def test_a_health_check_is_one_that_older_engines_know() -> None:
    """`start_interval` is refused by Podman 4.3, and by Docker before 25: compose would not come up there."""
    assert "start_interval:" not in (ROOT / "compose.yaml").read_text()
    for name, service in SERVICES.items():
        kind, *arguments = service.get("healthcheck", {}).get("test", ["NONE"])
        assert kind != "CMD" or not any(" " in word for word in arguments), f"{name}: Podman 4.3 splits it there"
    for name in ("mosquitto", "influxdb"):  # for which others wait at the start
        assert SERVICES[name]["healthcheck"]["interval"] == "5s"


@pytest.mark.parametrize("name", ALL_SERVICES)
def test_each_service_is_closed_and_comes_back(name: str) -> None:
    service = ALL_SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    # Files of several owners are read, and written back.
    assert service.get("cap_add", []) == (["DAC_OVERRIDE", "CHOWN", "FOWNER"] if name == "backup" else [])
    assert service["read_only"] is True
    if name == "influxdb-setup":  # it ends when it has done its work
        assert service["restart"].startswith("on-failure")
        return
    if name in ("scan", "backup"):  # by hand, once
        assert (service["restart"], service["profiles"]) == ("no", [name])
        return
    assert service["restart"] == "unless-stopped"
    if name in ("agent", "simulator"):
        assert service["build"]["context"] == "."
        assert ("healthcheck" in service) == (name == "simulator"), "the image's own is the agent's"
        assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()
    else:
        assert service["healthcheck"]["test"]
        assert service["image"].partition(":")[2].count(".") == 2, "a version down to the patch"
    for other, how in service.get("depends_on", {}).items():
        assert other in SERVICES
        assert how["condition"] in ("service_healthy", "service_completed_successfully", "service_started")


def test_everything_that_is_mounted_is_there(tmp_path: Path) -> None:
    secrets = generate_secrets(tmp_path / "secrets")
    volumes = yaml.safe_load((ROOT / "compose.yaml").read_text())["volumes"]
    for name, service in ALL_SERVICES.items():
        for volume in service.get("volumes", []):
            if isinstance(volume, str):
                assert volume.split(":")[0] in (*volumes, "prometheus"), name
            elif volume["type"] == "bind":
                source = re.sub(r"\$\{\w+:-([^$}]*)\S*( .*)?\}\}", r"\1", volume["source"])
                path = (
                    secrets / Path(source).relative_to("secrets") if source.startswith("./secrets") else ROOT / source
                )
                assert path.exists(), (name, source)
                # Each container runs as a user of its own.
                for each in [path, *path.rglob("*")] if path.is_dir() else [path]:
                    assert each.stat().st_mode & stat.S_IROTH, (name, each)


def test_every_file_a_service_reads_from_its_secrets_is_generated(tmp_path: Path) -> None:
    secrets = generate_secrets(tmp_path / "secrets")
    read = {
        "mosquitto": set(re.findall(r"/run/secrets/([\w/.]+)", (ROOT / "mosquitto" / "mosquitto.conf").read_text())),
        "agent": set(re.findall(r"/run/secrets/(\w+)", (ROOT / "examples" / "stack" / "psu-agent.yaml").read_text())),
        "influxdb": {"admin_password"},
        "grafana": set(re.findall(r"/run/secrets/(\w+)", json.dumps(SERVICES["grafana"]["environment"]))),
        "telegraf": set(re.findall(r"@\{secrets:(\w+)\}", (ROOT / "telegraf" / "telegraf.conf").read_text()))
        | set(re.findall(r"/run/secrets/(\w+)", json.dumps(SERVICES["telegraf"]["entrypoint"]))),
    }
    for service, files in read.items():
        assert files, service
        assert {file for file in files if not (secrets / service / file).exists()} == set(), service


def test_telegraf_is_started_under_the_name_that_was_made_for_it(tmp_path: Path) -> None:
    """What the entrypoint does, with a program in Telegraf's place that tells its arguments and its environment."""
    (tmp_path / "client_id").write_text("telegraf-1234\n")
    (tmp_path / "telegraf").write_text('#!/bin/sh\necho "$PSU_CLIENT_ID" "$@"\n')
    (tmp_path / "telegraf").chmod(0o755)
    shell, option, script, name = (word.replace("$$", "$") for word in SERVICES["telegraf"]["entrypoint"])
    command = [shell, option, script.replace("/run/secrets", str(tmp_path)), name, "--config", "a b"]
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("telegraf-1234 --config a b\n", "")


def test_sessions_that_the_broker_keeps_have_names_that_nobody_can_guess(tmp_path: Path) -> None:
    users = (ROOT / "mosquitto" / "users.toml").read_text()
    (tmp_path / "users.toml").write_text(f'{users}\n[bridge]\naddress = "a:1"\nusername = "site1"\nsite = "site1"\n')
    fresh, old = tmp_path / "fresh", tmp_path / "old"
    for secrets in (fresh, old):
        secrets.mkdir()
        (secrets / "central_password").write_text("x")
    # An installation from before goes on under its names, or the broker would keep messages for those, too.
    (old / "telegraf").mkdir()
    (old / "telegraf" / "mqtt_password").write_text("x")
    (old / "mosquitto" / "conf.d").mkdir(parents=True)
    (old / "mosquitto" / "conf.d" / "bridge.conf").write_text("remote_clientid site1-bridge\n")
    for secrets, random in ((fresh, r"-[0-9a-f]{32}"), (old, "")):
        names = []
        for _ in range(2):
            generate_secrets(secrets, tmp_path / "users.toml")
            bridge = (secrets / "mosquitto" / "conf.d" / "bridge.conf").read_text()
            found = re.search(r"^remote_clientid (\S+)$", bridge, re.MULTILINE)
            assert found is not None
            names.append(((secrets / "telegraf" / "client_id").read_text(), found[1]))
        assert names[0] == names[1]
        assert re.fullmatch(f"telegraf{random}", names[0][0])
        assert re.fullmatch(f"site1-bridge{random}", names[0][1])


def test_services_that_talk_to_each_other_share_a_network() -> None:
    def shared(*names: str) -> bool:
        return bool(set.intersection(*(set(SERVICES[name]["networks"]) for name in names)))

    for near, far in (("agent", "mosquitto"), ("telegraf", "mosquitto"), ("telegraf", "influxdb"), ("grafana", "influxdb"),
                      ("influxdb-setup", "influxdb"), ("agent", "simulator")):  # fmt: skip
        assert shared(near, far), (near, far)
    assert not shared("agent", "influxdb")
    # Only what publishes a port, and what reaches out to supplies, is on a network with a way out.
    internal = {name for name, network in COMPOSE["networks"].items() if network and network.get("internal")}
    outside = {name for name, service in SERVICES.items() if set(service.get("networks", [])) - internal}
    assert outside == {"agent", "simulator", "mosquitto", "grafana"}


def test_the_telegraf_of_the_tests_is_the_one_that_compose_runs() -> None:
    version = subprocess.run(
        [tool("telegraf", "run .ci/stack-tools"), "version"], capture_output=True, text=True
    ).stdout
    assert SERVICES["telegraf"]["image"] == f"telegraf:{version.split()[1]}"


def test_the_influxdb_of_the_tests_is_the_one_that_compose_runs() -> None:
    version = subprocess.run([influxd(), "version"], capture_output=True, text=True).stdout
    assert SERVICES["influxdb"]["image"] == f"influxdb:{version.split()[1].removeprefix('v')}"


def test_versions_stand_in_one_place_and_are_told_in_one_table() -> None:
    files = (ROOT / "compose.yaml", PROMETHEUS)
    images: dict[str, str] = {}
    for file in files:
        text = file.read_text()
        images |= (named := yaml.safe_load(text)["x-images"])
        assert [text.count(image) for image in named.values()] == [1] * len(named)
    used = {service["image"] for service in ALL_SERVICES.values() if "image" in service}
    assert used == {"psu-agent", *images.values()} - {images["debian"]}
    for folder in (".", "homeassistant-addon", "tests/containers/images"):
        dockerfile = ROOT / folder / "Dockerfile"
        bases = set(re.findall(r"^FROM (\S*:\S+)", dockerfile.read_text(), re.MULTILINE))
        assert bases == {images["debian"]}, dockerfile
    pages = {page: text_of(page) for page in pages_for_users() if page != "CHANGELOG.md"}
    table = pages["docs/stack.md"].partition("## Versions")[2].partition("## ")[0]
    assert {
        f"{image}:{tag}" for image, tag in re.findall(r"^\| ([\w/-]+) \| (v?\d\S+) \|", table, re.MULTILINE)
    } == set(images.values())
    names = "|".join(image.partition(":")[0] for image in images.values())
    for page, text in pages.items():
        assert not re.findall(rf"(?:{names}):v?\d+\.\S*", text), page


def test_windows_are_in_the_right_order() -> None:
    """See mosquitto.conf: Telegraf must never stop reading, and the broker's queue is the buffer for a long outage."""
    mosquitto = dict(
        re.findall(r"^(max_\w+) (\d+)$", (ROOT / "mosquitto" / "mosquitto.conf").read_text(), re.MULTILINE)
    )
    text = (ROOT / "telegraf" / "telegraf.conf").read_text()
    telegraf = tomllib.loads(text)
    an_hour = 100 * 3 * 3600
    assert int(mosquitto["max_queued_messages"]) >= an_hour
    assert telegraf["agent"]["metric_buffer_limit"] >= an_hour
    window = int(mosquitto["max_inflight_messages"])
    inputs = telegraf["inputs"]["mqtt_consumer"]
    assert all(one["max_undelivered_messages"] > 5 * window for one in inputs)
    assert all(
        (one["qos"], one["persistent_session"], one["startup_error_behavior"]) == (1, True, "retry") for one in inputs
    )
    assert len({one["client_id"] for one in inputs}) == len(inputs)
    assert telegraf["outputs"]["health"][0]["compares"][0]["lt"] < window

"""Brokers that are one small program: Mosquitto, rumqttd in iotcore, mochi, Aedes, amqtt."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from agent.local.ports import free_port
from tests.brokers.getting import NotHadError, found, go_program, node_package, python_program
from tests.brokers.program import AGENT, PASSWORD, READER, BrokerProgram, Protocol

_FILES = Path(__file__).parent / "files"


class Mosquitto(BrokerProgram):
    """Debian's, with persistence."""

    name = "mosquitto"
    title = "Eclipse Mosquitto"
    source = "Debian `mosquitto`"
    access_control = "`acl_file` or the dynamic security plugin: topics by user, read and write apart"
    settling = 0.0

    def command(self) -> Sequence[str | Path]:
        program = found("mosquitto", "Debian, Ubuntu: apt install mosquitto")
        lines = [
            f"listener {self.port} {self.host}",
            "persistence true",
            f"persistence_location {self.folder}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            "set_tcp_nodelay true",
            "log_dest stderr",
        ]
        if os.geteuid() == 0:
            lines.append("user root")
        if self.access:
            passwords = self.folder / "passwords"
            for user in (AGENT, READER):
                tool = found("mosquitto_passwd", "Debian, Ubuntu: apt install mosquitto")
                make = [] if passwords.exists() else ["-c"]
                subprocess.run([tool, "-b", *make, passwords, user, PASSWORD], check=True, capture_output=True)
            passwords.chmod(0o600)
            self.write(
                "acl", f"user {AGENT}\ntopic readwrite #\n\nuser {READER}\ntopic read #\ntopic readwrite clients/#\n"
            ).chmod(0o600)
            lines += [f"password_file {passwords}", f"acl_file {self.folder / 'acl'}"]
        lines.append(f"allow_anonymous {'false' if self.access else 'true'}")
        return [program, "-c", self.write("mosquitto.conf", "\n".join(lines) + "\n")]

    def version(self) -> str:
        said = subprocess.run([self.program.command[0], "-h"], capture_output=True, text=True).stdout
        return said.split()[2]


class Iotcore(BrokerProgram):
    """rumqttd as a wheel; it has a listener for each version of MQTT."""

    name = "iotcore"
    title = "rumqttd (iotcore)"
    source = "PyPI `iotcore`"
    access_control = "users and passwords; every user may use every topic"
    restricts_topics = False
    settling = 0.0

    def command(self) -> Sequence[str | Path]:
        if importlib.util.find_spec("iotcore") is None:
            raise NotHadError("iotcore is not installed (make sets it up)")
        self._port_311 = free_port()
        users = "".join(f'{user} = "{PASSWORD}"\n' for user in (AGENT, READER))
        servers = "".join(
            f'[{version}]\nname = "{version}"\nlisten = "{self.host}:{port}"\nnext_connection_delay_ms = 1\n'
            f"[{version}.connections]\nconnection_timeout_ms = 5000\nmax_payload_size = 1048576\n"
            f"max_inflight_count = 100\ndynamic_filters = true\n"
            + (f"[{version}.connections.auth]\n{users}" if self.access else "")
            for version, port in (("v4.1", self._port_311), ("v5.1", self.port))
        )
        file = self.write(
            "rumqttd.toml",
            "id = 0\n[router]\nid = 0\nmax_connections = 1000\nmax_outgoing_packet_count = 200\n"
            f"max_segment_size = 104857600\nmax_segment_count = 10\n{servers}",
        )
        return [sys.executable, "-m", "iotcore", "--config", file]

    def port_for(self, protocol: Protocol) -> int:
        return self.port if protocol == "5" else self._port_311

    def version(self) -> str:
        return importlib.metadata.version("iotcore")


class Mochi(BrokerProgram):
    """mochi, with its store in a file."""

    name = "mochi"
    title = "Mochi MQTT"
    source = "Go client, `github.com/mochi-mqtt/server/v2/cmd/docker`"
    access_control = "the ledger in its configuration: topics by user, read and write apart"
    _VERSION: ClassVar[str] = "v2.7.9"

    def command(self) -> Sequence[str | Path]:
        program = go_program("github.com/mochi-mqtt/server/v2/cmd/docker", self._VERSION, "mochi", build=self.build)
        users: list[Mapping[str, object]] = [
            {"username": user, "password": PASSWORD, "allow": True} for user in (AGENT, READER)
        ]
        acl = [
            {"username": AGENT, "filters": {"#": 3}},
            {"username": READER, "filters": {"clients/#": 3, "#": 1}},
        ]
        auth = {"ledger": {"auth": users, "acl": acl}} if self.access else {"allow_all": True}
        listener = {"type": "tcp", "id": "tcp", "address": f"{self.host}:{self.port}"}
        hooks = {"auth": auth, "storage": {"pebble": {"path": str(self.folder / "pebble"), "mode": "NoSync"}}}
        # YAML takes JSON.
        file = self.write_json("config.yaml", {"listeners": [listener], "hooks": hooks, "logging": {"level": "INFO"}})
        return [program, "--config", file]


class Aedes(BrokerProgram):
    """Aedes in a program of some lines, with its store in memory."""

    name = "aedes"
    title = "Aedes"
    source = "npm `aedes`"
    access_control = "functions in its program (`authorizePublish`, `authorizeSubscribe`)"
    _VERSION: ClassVar[str] = "1.2.0"
    settling = 0.0

    def command(self) -> Sequence[str | Path]:
        folder = node_package("aedes", self._VERSION, build=self.build)
        script = self.write("broker.mjs", (_FILES / "aedes.mjs").read_text())
        modules = self.folder / "node_modules"
        if not modules.exists():
            modules.symlink_to(folder / "node_modules")
        node = found("node", "Node.js 20 or newer")
        settings = {"host": self.host, "port": self.port, "access": self.access, "password": PASSWORD}
        return [node, script, self.write_json("settings.json", settings)]


class Amqtt(BrokerProgram):
    """amqtt's own program."""

    name = "amqtt"
    title = "aMQTT"
    source = "PyPI `amqtt`"
    access_control = "its plugin for topic access: topics by user, read and write apart"
    needs_version = True
    _VERSION: ClassVar[str] = "0.12.1"

    def command(self) -> Sequence[str | Path]:
        program = python_program("amqtt", self._VERSION, "amqtt", build=self.build)
        plugins: dict[str, object] = {}
        if self.access:
            passwords = self.write("passwords", "".join(f"{user}:{_crypted(PASSWORD)}\n" for user in (AGENT, READER)))
            plugins["amqtt.plugins.authentication.FileAuthPlugin"] = {"password_file": str(passwords)}
            plugins["amqtt.plugins.topic_checking.TopicAccessControlListPlugin"] = {
                "acl": {AGENT: ["#"], READER: ["#"]},
                "publish_acl": {AGENT: ["#"], READER: ["clients/#"]},
            }
        else:
            plugins["amqtt.plugins.authentication.AnonymousAuthPlugin"] = {"allow_anonymous": True}
        listeners = {"default": {"type": "tcp", "bind": f"{self.host}:{self.port}"}}
        return [program, "-c", self.write_json("amqtt.yaml", {"listeners": listeners, "plugins": plugins})]


def _crypted(password: str) -> str:
    """The password as a Unix password file has it."""
    tool = [found("openssl", "Debian, Ubuntu: apt install openssl"), "passwd", "-6", password]
    return subprocess.run(tool, check=True, capture_output=True, text=True).stdout.strip()

"""Brokers in Erlang, from Debian: RabbitMQ with its MQTT plugin, ejabberd with mod_mqtt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from agent.local.ports import accepts, free_port
from tests.brokers.getting import NotHadError, debian_version, found
from tests.brokers.program import AGENT, PASSWORD, READER, BrokerProgram
from tests.support.processes import Process
from tests.support.waiting import wait_until

_COOKIE = "PSUTESTCOOKIE"


class RabbitMq(BrokerProgram):
    """RabbitMQ with the plugin rabbitmq_mqtt. MQTT 3.1.1 in Debian's version."""

    name = "rabbitmq"
    title = "RabbitMQ, MQTT plugin"
    source = "Debian `rabbitmq-server`"
    access_control = "topic permissions: regular expressions on routing keys (`psu.` for `psu/`), write and read apart"
    _PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

    def command(self) -> Sequence[str | Path]:
        self.version()
        self._ports = [free_port() for _ in range(3)]
        # Erlang's register of nodes, with a port of its own: RabbitMQ would start one that outlives it.
        register = [found("epmd", "Debian, Ubuntu: apt install rabbitmq-server"), "-port", str(self._ports[2])]
        self._register = Process([*register, "-address", self.host], self.folder / "epmd.log")
        definitions = {
            "vhosts": [{"name": "/"}],
            "users": [{"name": user, "password": PASSWORD, "tags": []} for user in (AGENT, READER)],
            "permissions": [
                {"user": user, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"} for user in (AGENT, READER)
            ],
            "topic_permissions": [
                {"user": AGENT, "vhost": "/", "exchange": "amq.topic", "write": ".*", "read": ".*"},
                {"user": READER, "vhost": "/", "exchange": "amq.topic", "write": r"^clients\..*", "read": ".*"},
            ],
        }
        lines = [
            f"listeners.tcp.1 = {self.host}:{self._ports[0]}",
            f"mqtt.listeners.tcp.1 = {self.host}:{self.port}",
            "mqtt.retained_message_store = rabbit_mqtt_retained_msg_store_dets",
            f"load_definitions = {self.write_json('definitions.json', definitions)}",
            "loopback_users = none",
            "log.console = true",
            "log.console.level = warning",
            "log.file = false",
        ]
        if self.access:
            lines.append("mqtt.allow_anonymous = false")
        else:
            lines += ["mqtt.allow_anonymous = true", f"mqtt.default_user = {AGENT}", f"mqtt.default_pass = {PASSWORD}"]
        self.write("rabbitmq.conf", "\n".join(lines) + "\n")
        self.write("enabled_plugins", "[rabbitmq_mqtt].\n")
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(_COOKIE)
            cookie.chmod(0o400)
        return [self._PROGRAM]

    def environment(self) -> Mapping[str, str]:
        folder = self.folder
        return {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"psu{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(self._ports[1]),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
            "ERL_EPMD_PORT": str(self._ports[2]),
            "ERL_EPMD_ADDRESS": self.host,
        }

    def start(self) -> Self:
        if not self._register.runs:
            self._register.start()
            wait_until(lambda: accepts(self._ports[2], self.host), "epmd to listen")
        return super().start()

    def close(self) -> None:
        super().close()
        self._register.stop()

    def version(self) -> str:
        return debian_version("rabbitmq-server").split("-")[0]


class Ejabberd(BrokerProgram):
    """ejabberd with mod_mqtt alone, open to every user who gives a name and a password; it has no clients without both."""

    name = "ejabberd"
    title = "ejabberd, mod_mqtt"
    source = "Debian `ejabberd`"
    access_control = "`access_publish` and `access_subscribe` of mod_mqtt: topics by user"
    needs_login = True

    def command(self) -> Sequence[str | Path]:
        self.version()
        erl = found("erl", "Debian, Ubuntu: apt install ejabberd")
        code = sorted(Path("/usr/lib").glob("*-linux-gnu/ejabberd-*/ebin"))
        if not code:
            raise NotHadError("ejabberd's code is not where Debian puts it")
        (self.folder / "spool").mkdir(exist_ok=True)
        module: dict[str, object] = {}
        if self.access:
            of_agent = {"allow": AGENT}
            module["access_publish"] = {"clients/#": {"allow": "all"}, "#": of_agent}
        self.write_json(
            "ejabberd.yml",  # YAML takes JSON
            {
                "hosts": ["localhost"],
                "auth_method": ["anonymous"],
                "anonymous_protocol": "login_anon",
                "allow_multiple_connections": True,
                "loglevel": "warning",
                "acl": {AGENT: {"user": f"{AGENT}@localhost"}},
                "listen": [{"port": self.port, "ip": self.host, "module": "mod_mqtt"}],
                "modules": {"mod_mqtt": module},
            },
        )
        mnesia = ["-mnesia", "dir", f'"{self.folder / "spool"}"']
        return [erl, "-noinput", "+S", "2:2", "-pa", *code, *mnesia, "-s", "ejabberd"]

    def environment(self) -> Mapping[str, str]:
        folder = self.folder
        return {
            "HOME": str(folder),
            "EJABBERD_CONFIG_PATH": str(folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(folder / "ejabberd.log"),
        }

    def version(self) -> str:
        return debian_version("ejabberd").split("-")[0]

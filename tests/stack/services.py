"""The services of the stack as processes on loopback, each with the configuration that compose.yaml gives it."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from agent.local.ports import accepts, free_port
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until

TELEGRAF_CONF = ROOT / "telegraf" / "telegraf.conf"
INPUTS = TELEGRAF_CONF.read_text().count("[[inputs.mqtt_consumer]]")
BUCKET = "psu"


def tool(name: str, hint: str) -> str:
    """The program's path, or a skip that says how to get it."""
    places = [os.environ.get("PATH", ""), "/usr/sbin", str(ROOT / ".cache" / "tools")]
    if found := shutil.which(name, path=os.pathsep.join(places)):
        return found
    pytest.skip(f"{name} is not here: {hint}")


def generate_secrets(out: Path, users: Path | None = None) -> Path:
    """What `make secrets` and `make certs` make."""
    users = users or ROOT / "mosquitto" / "users.toml"
    script = ROOT / "scripts" / "make_secrets.py"
    done = subprocess.run([sys.executable, script, "--out", out, "--users", users], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [ROOT / "scripts" / "make_certs.sh"], env=os.environ | {"OUT": str(out)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return out


class Broker(Process):
    """Mosquitto with mosquitto/mosquitto.conf, where only paths and ports are other than in the container."""

    def __init__(self, folder: Path, secrets: Path, extra: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        program = tool("mosquitto", "install the Debian package mosquitto")
        self.port, self.tls_port, self.secrets = free_port(), free_port(), secrets
        self.data = folder / "data"
        self.data.mkdir(exist_ok=True)
        text = (ROOT / "mosquitto" / "mosquitto.conf").read_text()
        for old, new, times in (
            ("\nlistener 1883\n", f"\nlistener {self.port} 127.0.0.1\n", 1),
            ("\nlistener 8883\n", f"\nlistener {self.tls_port} 127.0.0.1\n", 1),
            ("/mosquitto/data/", f"{self.data}/", 1),
            ("/run/secrets", str(secrets / "mosquitto"), 7),
        ):
            assert text.count(old) == times, old
            text = text.replace(old, new)
        if os.getuid() == 0:  # it would change to a user of its own, who may not look into a test's folder
            text += "\nuser root\n"
        self.config = folder / "mosquitto.conf"
        self.config.write_text(text + extra)
        super().__init__([program, "-c", str(self.config)], folder / "mosquitto.log")

    def start(self) -> Self:
        super().start()
        wait_until(lambda: accepts(self.port) or self._give_up(), "mosquitto listens")
        return self

    def _give_up(self) -> bool:
        assert self.ended() is None, self.text()
        return False

    def password(self, user: str) -> str:
        for line in (self.secrets / "users" / user, self.secrets / user / "mqtt_password"):
            if line.exists():
                return line.read_text()
        raise AssertionError(user)

    def client(self, user: str) -> list[str]:
        """The options of Mosquitto's command-line clients for this user."""
        return ["-h", "127.0.0.1", "-p", str(self.port), "-u", user, "-P", self.password(user), "-V", "mqttv5"]

    def publish(self, user: str, topic: str, payload: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = ["mosquitto_pub", *self.client(user), "-q", "1", "-t", topic, "-m", payload, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=20)


class Store:
    """InfluxDB 1, as Debian has it, behind the one route of InfluxDB 2 that Telegraf writes to.

    The front checks the token, then hands the request on as it came, so what is read back from the store is what
    Telegraf's `outputs.influxdb_v2` wrote with the shipped configuration.
    """

    TOKEN = "write-only-token"

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        """``settings``: more of InfluxDB's, by the names of its environment."""
        folder.mkdir(parents=True, exist_ok=True)
        program = tool("influxd", "install the Debian package influxdb")
        self.port, self._inner = free_port(), free_port()
        rpc = free_port()
        environment = {
            "INFLUXDB_REPORTING_DISABLED": "true",
            "INFLUXDB_META_DIR": str(folder / "meta"),
            "INFLUXDB_DATA_DIR": str(folder / "data"),
            "INFLUXDB_DATA_WAL_DIR": str(folder / "wal"),
            "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{rpc}",
            "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{self._inner}",
            "INFLUXDB_HTTP_LOG_ENABLED": "false",
            "INFLUXDB_MONITOR_STORE_ENABLED": "false",
            "INFLUXDB_DATA_QUERY_LOG_ENABLED": "false",
            # What a query of Grafana may take at most before it is a mistake.
            "INFLUXDB_COORDINATOR_QUERY_TIMEOUT": "10s",
        } | (settings or {})
        self._process = Process([program, "-config", os.devnull], folder / "influxd.log", environment=environment)
        self._front: ThreadingHTTPServer | None = None
        #: An answer to give to writes instead of writing: (status, JSON body).
        self.refuse: tuple[int, dict[str, str]] | None = None
        self.writes = 0
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process.start()
        wait_until(lambda: accepts(self._inner) or self._give_up(), "influxd listens")
        self.query(f'CREATE DATABASE "{BUCKET}"')
        store = self

        class Front(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = b""
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = store.take(self.path, dict(self.headers.items()), body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._front = ThreadingHTTPServer(("127.0.0.1", self.port), Front)
        self._front.daemon_threads = True
        threading.Thread(target=self._front.serve_forever, args=(0.05,), daemon=True).start()

    def _give_up(self) -> bool:
        assert self._process.ended() is None, self._process.text()
        return False

    @property
    def pid(self) -> int:
        """InfluxDB's process."""
        return self._process.pid

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """One write: 401 without the token, 404 for another bucket, else what InfluxDB says."""
        url = urllib.parse.urlsplit(path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path != "/api/v2/write":
            return 404, b'{"code": "not found", "message": "path not found"}'
        if headers.get("Authorization") != f"Token {self.TOKEN}":
            return 401, b'{"code": "unauthorized", "message": "unauthorized access"}'
        if query.get("bucket") != BUCKET or query.get("org") != "lab":
            return 404, b'{"code": "not found", "message": "bucket not found"}'
        if self.refuse:
            return self.refuse[0], json.dumps(self.refuse[1]).encode()
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.writes += 1
        inner = f"http://127.0.0.1:{self._inner}/write?db={BUCKET}&precision=n"
        try:
            with urllib.request.urlopen(urllib.request.Request(inner, body), timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 503, b'{"code": "unavailable", "message": "store is down"}'

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._front:
            self._front.shutdown()
            self._front.server_close()
            self._front = None
        self._process.stop(how)

    def query(self, text: str, epoch: str = "ms") -> list[dict[str, Any]]:
        """The series of the answer to the last statement, as InfluxDB gives them; an error fails the test."""
        data = urllib.parse.urlencode({"q": text, "db": BUCKET, "epoch": epoch}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self._inner}/query", data, timeout=20) as answer:
            results = json.load(answer)["results"]
        for result in results:
            assert "error" not in result, f"{text}: {result['error']}"
        series: list[dict[str, Any]] = results[-1].get("series", [])
        return series

    def rows(self, text: str) -> list[dict[str, Any]]:
        """Every row of the answer as a dictionary, with the series' tags in it."""
        return [
            dict(zip(series["columns"], values, strict=True)) | series.get("tags", {})
            for series in self.query(text)
            for values in series["values"]
        ]


class Telegraf(Process):
    """Telegraf with telegraf/telegraf.conf as it is; what differs comes by the environment, as in compose.yaml."""

    def __init__(
        self,
        folder: Path,
        broker: Broker,
        store_url: str,
        *,
        token: str = Store.TOKEN,
        password: str | None = None,
        base_topic: str = "psu",
        drop_ins: list[Path] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        program = tool("telegraf", "run .ci/stack-tools, which builds it where Go is")
        secrets, tokens = folder / "secrets", folder / "tokens"
        secrets.mkdir(exist_ok=True)
        tokens.mkdir(exist_ok=True)
        (secrets / "mqtt_password").write_text(password or broker.password("telegraf"))
        (tokens / "telegraf").write_text(token)
        self.health_port = free_port()
        command = [program, "--config", str(TELEGRAF_CONF)]
        for path in drop_ins or []:
            command += ["--config", str(path)]
        super().__init__(
            command,
            folder / "telegraf.log",
            environment={
                "PSU_SECRETS": str(secrets),
                "PSU_TOKENS": str(tokens),
                "PSU_MQTT_URL": f"tcp://127.0.0.1:{broker.port}",
                "PSU_BASE_TOPIC": base_topic,
                "PSU_HEALTH": f"http://127.0.0.1:{self.health_port}",
                "INFLUXDB_URL": store_url,
            }
            | (environment or {}),
        )

    def start(self, wait: bool = True) -> Self:
        before = self.text().count("Connected [")
        super().start()
        if wait:
            wait_until(
                lambda: self.text().count("Connected [") >= before + INPUTS or self._give_up(), "Telegraf is connected"
            )
        return self

    def _give_up(self) -> bool:
        assert self.ended() is None, self.text()
        return False

    def health(self) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


@contextlib.contextmanager
def stopping(*services: Process | Store) -> Iterator[None]:
    """Stop everything at the end, in this order."""
    try:
        yield
    finally:
        for service in services:
            service.stop()

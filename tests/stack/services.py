"""The services of the stack as processes on loopback, each with the configuration that compose.yaml gives it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import pytest
import yaml

from agent.local.ports import accepts, free_port
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until

TELEGRAF_CONF = ROOT / "telegraf" / "telegraf.conf"
INPUTS = TELEGRAF_CONF.read_text().count("[[inputs.mqtt_consumer]]")
#: The ends of the client ids of its connections.
CONNECTIONS = re.findall(r'client_id = "\$\{PSU_CLIENT_ID:-telegraf\}(-\w+)"', TELEGRAF_CONF.read_text())
#: Programs that were built for the tests.
BUILT = ROOT / ".cache" / "tools"
#: As in compose.yaml.
ORG, BUCKET = "lab", "psu"


def tool(name: str, hint: str) -> str:
    """The program's path, or a skip that says how to get it."""
    places = [str(BUILT), os.environ.get("PATH", ""), "/usr/sbin"]
    if found := shutil.which(name, path=os.pathsep.join(places)):
        return found
    pytest.skip(f"{name} is not here: {hint}")


def influxd() -> str:
    """InfluxDB's program, or a skip. The one that was built alone counts: Debian's is InfluxDB 1."""
    if (program := BUILT / "influxd").exists():
        return str(program)
    pytest.skip("influxd is not here: run .ci/influxdb-tools, which builds it where Go and cargo are")


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
    """Mosquitto with mosquitto/mosquitto.conf, where only paths and ports are other than in the container.

    Its log tells of each subscription, too.
    """

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
        self.config.write_text(f"{text}\nlog_type subscribe\n{extra}")
        super().__init__([program, "-c", str(self.config)], folder / "mosquitto.log")

    def start(self) -> Self:
        # It listens before it knows what to do at a signal.
        before = self._times_up()
        super().start()
        wait_until(lambda: self._times_up() > before or self._give_up(), "mosquitto runs")
        wait_until(lambda: accepts(self.port) or self._give_up(), "mosquitto listens")
        return self

    def _times_up(self) -> int:
        """How often it has said that it is ready."""
        return len(re.findall(r"mosquitto version \S+ running", self.text()))

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
    """InfluxDB 2 on loopback with the settings of compose.yaml, and the bucket, organization and tokens of the stack.

    `influxdb/setup.py` does that once a process; each store begins as a copy of that one, so all know the same tokens.
    """

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        """``settings``: more of InfluxDB's, by the names of its environment."""
        self.folder = folder
        if not (folder / "engine").exists():
            shutil.copytree(_set_up_once(), folder, dirs_exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = _influxd(folder, self.port, settings)

    @staticmethod
    def token(name: str) -> str:
        """The token of `telegraf`, which can only write, of `grafana`, which can only read, or of `admin`, setup.py's own."""
        if name == "admin":
            return str(json.loads((_set_up_once() / "state" / name).read_text())["token"])
        return (_set_up_once() / "tokens" / name).read_text()

    def start(self) -> None:
        self._process.start()
        wait_until(lambda: is_healthy(self.url) or self._give_up(), "influxd is ready")

    def _give_up(self) -> bool:
        assert self._process.ended() is None, self._process.text()
        return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """InfluxDB's process."""
        return self._process.pid

    def text(self) -> str:
        """InfluxDB's log."""
        return self._process.text()

    def stop(self, how: signal.Signals | None = None) -> None:
        """End it as the container is ended, or by another signal."""
        self._process.stop(how or signal.Signals[_as_composed()["stop_signal"]])

    def query(self, text: str, epoch: str = "ms") -> list[dict[str, Any]]:
        """The series of the answer to the last statement, as Grafana's data source asks; an error fails the test.

        The time limit is what a query of Grafana may take at most before it is a mistake.
        """
        url = f"{self.url}/query?{urllib.parse.urlencode({'db': BUCKET, 'epoch': epoch})}"
        headers = {"Authorization": f"Token {self.token('grafana')}"}
        request = urllib.request.Request(url, urllib.parse.urlencode({"q": text}).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                results = json.load(answer)["results"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{text}: {error} {error.read().decode()}") from None
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

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer of the API to a request of the administrator; None where it is empty. :raises HTTPError: it refuses"""
        headers = {"Content-Type": "application/json", "Authorization": f"Token {self.token('admin')}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def write(self, lines: Iterable[str], precision: str = "ms") -> None:
        """Write lines of line protocol by Telegraf's token. :raises HTTPError: it refuses"""
        headers = {"Authorization": f"Token {self.token('telegraf')}"}
        url = f"{self.url}/api/v2/write?org={ORG}&bucket={BUCKET}&precision={precision}"
        urllib.request.urlopen(urllib.request.Request(url, "\n".join(lines).encode(), headers), timeout=20).close()

    def forget(self, predicate: str) -> None:
        """Delete the points of some series, such as `_measurement="psu_unit" AND psu="psu1"`."""
        span = {"start": "2000-01-01T00:00:00Z", "stop": "2100-01-01T00:00:00Z"}
        self.call("POST", f"/api/v2/delete?org={ORG}&bucket={BUCKET}", span | {"predicate": predicate})


def _influxd(folder: Path, port: int, more: dict[str, str] | None = None) -> Process:
    places = {"BOLT_PATH": "influxd.bolt", "SQLITE_PATH": "influxd.sqlite", "ENGINE_PATH": "engine"}
    # It takes settings from a file config.* in the folder that it runs in.
    settings = {f"INFLUXD_{name}": str(folder / place) for name, place in places.items()} | {
        "INFLUXD_CONFIG_PATH": str(folder),
        "INFLUXD_HTTP_BIND_ADDRESS": f"127.0.0.1:{port}",
        "PSU_MENDING_PORT": str(free_port()),
    }
    return Process(
        ["bash", str(ROOT / "influxdb" / "start.sh"), influxd()],
        folder / "influxd.log",
        environment=_as_composed()["environment"] | settings | (more or {}),
    )


@functools.cache
def _as_composed() -> dict[str, Any]:
    """The service influxdb of compose.yaml."""
    service: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["influxdb"]
    return service


def is_healthy(url: str) -> bool:
    """True when InfluxDB answers there and is well."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10):
            return True
    except OSError:
        return False


@functools.cache
def _set_up_once() -> Path:
    """The folder of a store that `influxdb/setup.py` has set up, stopped, with its tokens beside it."""
    kept = tempfile.TemporaryDirectory(prefix="psu-agent-store-")
    atexit.register(kept.cleanup)
    folder, port = Path(kept.name), free_port()
    environment = {"INFLUX_HOST": f"http://127.0.0.1:{port}", "PSU_RETENTION": "0"}
    for name in ("SECRETS", "TOKENS", "STATE"):
        (folder / name.lower()).mkdir()
        environment[name] = str(folder / name.lower())
    (folder / "secrets" / "admin_password").write_text("the-admin-password")
    with _influxd(folder, port) as process:
        command = [sys.executable, "-S", "-B", str(ROOT / "influxdb" / "setup.py")]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{process.text()}"
        process.stop(signal.SIGINT)
    process.log.unlink()
    return folder


class Telegraf(Process):
    """Telegraf with telegraf/telegraf.conf as it is; what differs comes by the environment, as in compose.yaml."""

    def __init__(
        self,
        folder: Path,
        broker: Broker,
        store_url: str,
        *,
        token: str | None = None,
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
        (tokens / "telegraf").write_text(Store.token("telegraf") if token is None else token)
        self.health_port = free_port()
        self._broker, self._client_id = broker, (environment or {}).get("PSU_CLIENT_ID", "telegraf")
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
            # It says that before it subscribes. A session that the broker has kept is subscribed already.
            wait_until(self._is_subscribed, "Telegraf is subscribed")
        return self

    def _is_subscribed(self) -> bool:
        text = self._broker.text()
        return all(f": {self._client_id}{end} 1 " in text for end in CONNECTIONS)

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


class Stoppable(Protocol):
    def stop(self) -> object: ...


@contextlib.contextmanager
def stopping(*services: Stoppable) -> Iterator[None]:
    """Stop everything at the end, in this order."""
    try:
        yield
    finally:
        for service in services:
            service.stop()

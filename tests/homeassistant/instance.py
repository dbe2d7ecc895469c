"""A real Home Assistant, empty, headless, on loopback, that speaks to one broker; and what a test asks it."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import urllib.parse
from pathlib import Path
from typing import Any

from agent.local import children
from tests.support.waiting import wait_until

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent
RELAY = CHECKOUT / "tests" / "support" / "relay.py"
#: Where it is installed; by default a cache folder of this checkout.
FOLDER = Path(os.environ.get("PSU_AGENT_TEST_HOMEASSISTANT") or CHECKOUT / ".cache" / "home-assistant")
#: The id of the MQTT integration's configuration.
ENTRY = "mqttbroker"


def missing() -> str | None:
    """Why no Home Assistant can be started here; None if one can."""
    if not (FOLDER / "installed").exists():
        return f"no Home Assistant in {FOLDER}: run tests/homeassistant/install {FOLDER} (root, Debian, two minutes)"
    if os.geteuid() != 0:
        return "Home Assistant is started in a chroot, which takes root"
    try:
        subprocess.run(
            ["unshare", "--net", "--mount", "ip", "link", "set", "lo", "up"], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr.decode().strip() if isinstance(error, subprocess.CalledProcessError) else error
        return f"no network namespace can be made here: {said}"
    return None


def _environment() -> dict[str, str]:
    # Debian keeps `ip` and `chroot` where a user's PATH does not look.
    return {**os.environ, "PATH": os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])}


class HomeAssistant:
    """One instance. Its configuration is made anew by `create`, and kept over `stop` and `start`."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._config = FOLDER / "root" / "ha" / "config"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._token = ""
        self._lock = (FOLDER / "lock").open("w")
        self.log = FOLDER / "hass.log"

    def create(self, automation: str = "") -> None:
        """Make an empty configuration with the MQTT integration set up, start, and make a user.

        :param automation: one as YAML, to be set up
        The folder holds one instance at a time: another test run's is waited for.
        """
        wait_until(self._is_alone, f"another test run has done with {FOLDER}", 150)
        shutil.rmtree(self._config, ignore_errors=True)
        storage = self._config / ".storage"
        storage.mkdir(parents=True)
        (self._config / "configuration.yaml").write_text(
            "homeassistant: {name: Lab, unit_system: metric, time_zone: UTC, latitude: 0, longitude: 0, elevation: 0}\n"
            "api:\nhistory:\nrecorder: {commit_interval: 1}\n"
            "logger: {default: info}\n"
            f"automation:\n{textwrap.indent(automation, '  ')}"
        )
        entry = {
            "entry_id": ENTRY,
            "domain": "mqtt",
            "title": "broker",
            "version": 2,
            "minor_version": 1,
            "data": {"broker": "127.0.0.1", "port": 1883, "protocol": "5", "transport": "tcp"},
            "options": {},
            "source": "user",
            "unique_id": None,
            "disabled_by": None,
            "discovery_keys": {},
            "subentries": [],
            "pref_disable_new_entities": False,
            "pref_disable_polling": False,
            "created_at": "2026-01-01T00:00:00+00:00",
            "modified_at": "2026-01-01T00:00:00+00:00",
        }
        (storage / "core.config_entries").write_text(
            json.dumps({"version": 1, "minor_version": 5, "key": "core.config_entries", "data": {"entries": [entry]}})
        )
        self.log.unlink(missing_ok=True)
        self.start()
        self._log_in()

    def start(self) -> None:
        """Start it; returns when it answers, some seconds before it has read everything."""
        relay = [sys.executable, str(RELAY), f"unix:{FOLDER}/mqtt.sock", f"tcp:{self._broker_port}"]
        inside = ["unshare", "--net", "--mount", str(HERE / "start-inside"), str(FOLDER), sys.executable]
        with self.log.open("ab") as log:
            for command in (relay, inside):
                self._processes.append(children.start(command, log))
        wait_until(self._answers, "Home Assistant answers", 90)

    def stop(self) -> None:
        """End it in good order, so that it keeps its registries."""
        if self._processes:
            self._processes[-1].terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._processes[-1].wait(30)
        self.kill()

    def close(self) -> None:
        self.kill()
        self._lock.close()

    def kill(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    # Questions of the tests.

    def state(self, entity: str) -> str | None:
        """An entity's state; None if there is no such entity."""
        found = self.entity(entity)
        return None if found is None else str(found["state"])

    def entity(self, entity: str) -> dict[str, Any] | None:
        status, data = self._request("GET", f"/api/states/{entity}")
        return data if status == 200 else None

    def entities(self) -> dict[str, dict[str, Any]]:
        """Every entity by its id: ``state`` and ``attributes``."""
        _, data = self._request("GET", "/api/states")
        return {entity["entity_id"]: entity for entity in data}

    def call(self, service: str, entity: str, **data: object) -> int:
        """Call a service, ``switch/turn_on``, for an entity. The HTTP status: 400 for data that it does not take."""
        return self._request("POST", f"/api/services/{service}", {"entity_id": entity, **data})[0]

    def template(self, text: str) -> Any:
        """The value of a template, read as JSON where it is; its functions know the registries."""
        status, data = self._request("POST", "/api/template", {"template": text})
        if status != 200:
            raise AssertionError(f"{text}: {data}")
        return data

    def device(self, entity: str) -> dict[str, Any]:
        """The device of an entity."""
        names = ("id", "name", "manufacturer", "model", "serial_number", "sw_version", "via_device_id", "identifiers")
        asked = ", ".join(f"'{name}': device_attr('{entity}', '{name}') | string" for name in names)
        return dict(self.template(f"{{{{ {{ {asked} }} | to_json }}}}"))

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the recorder's database."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self._config}/home-assistant_v2.db?mode=ro", uri=True, timeout=10)
        ) as db:
            return db.execute(query, values).fetchall()

    # How it is asked.

    def _is_alone(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _answers(self) -> bool:
        if self._processes[-1].poll() is not None:
            said = self.log.read_text(errors="replace").splitlines()[-15:]
            raise AssertionError("Home Assistant ended:\n" + "\n".join(said))
        try:
            return self._request("GET", "/manifest.json")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _log_in(self) -> None:
        client = "http://localhost/"
        user = {"client_id": client, "name": "Lab", "username": "lab", "password": "lab", "language": "en"}

        def made() -> str | None:
            status, data = self._request("POST", "/api/onboarding/users", user)
            return str(data["auth_code"]) if status == 200 else None

        code = wait_until(made, "Home Assistant takes its first user", 60)
        form = urllib.parse.urlencode({"client_id": client, "grant_type": "authorization_code", "code": code})
        self._token = self._request("POST", "/auth/token", form)[1]["access_token"]

    def _request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = _UnixConnection(str(FOLDER / "http.sock"))
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/json"}
            if isinstance(body, str):
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            elif body is not None:
                body = json.dumps(body)
            if self._token:
                headers["Authorization"] = f"Bearer {self._token}"
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=15)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

"""An MQTT broker on loopback as a child process: Mosquitto where it is installed, else the one in iotcore.

For the demonstration and the tests. It ends with this process, even if that is killed.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal, Self

from agent.local import children
from agent.local.installing import how_to_install
from agent.local.ports import accepts, free_port, is_free

_START_TIMEOUT = 15.0

#: There is no wheel of iotcore for these: pyproject.toml leaves it out there, too.
_WITHOUT_IOTCORE = ("armv6l", "armv7l")

Kind = Literal["mosquitto", "iotcore"]


class NoBrokerError(RuntimeError):
    """No broker could be started. The message says why, and what would help."""


def available_kind() -> Kind:
    """The kind of broker that can be started here.

    :raises NoBrokerError: there is none
    """
    if _mosquitto() is not None:
        return "mosquitto"
    if importlib.util.find_spec("iotcore") is not None:
        return "iotcore"
    raise NoBrokerError(
        "there is no broker here: install Mosquitto (Debian, Ubuntu: apt install mosquitto)"
        + ("" if platform.machine() in _WITHOUT_IOTCORE else f", or the package with one ({how_to_install('demo')})")
    )


class LocalBroker:
    """One broker. ``port`` speaks MQTT 5, ``port_311`` MQTT 3.1.1; on Mosquitto they are the same.

    :param folder: an existing directory for its configuration and its log
    :param port: 0 takes a free one; with iotcore it is the port for MQTT 3.1.1, and that for 5 is another
    :param conf: more lines for mosquitto.conf, behind those that are always there
    """

    host = "127.0.0.1"

    def __init__(self, folder: Path, *, port: int = 0, conf: str = "", kind: Kind | None = None) -> None:
        self.folder = folder
        self.conf = conf
        self.kind = kind or available_kind()
        self.log = folder / f"{self.kind}.log"
        self.port_311 = port or free_port()
        self.port = self.port_311 if self.kind == "mosquitto" else free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process, or None while it does not run."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it on its port, the same one again after `stop` or `kill`. Returns when it accepts connections.

        :raises NoBrokerError: the port is taken, or the broker ended by itself or accepts no connection; with its last lines
        """
        if self._process is not None:
            raise NoBrokerError("the broker is running already")
        for port in {self.port, self.port_311}:
            if not is_free(port):
                raise NoBrokerError(f"port {port} is taken")
        command = self._mosquitto_command() if self.kind == "mosquitto" else self._iotcore_command()
        with self.log.open("ab") as log:
            self._process = children.start(command, log)
        deadline = time.monotonic() + _START_TIMEOUT
        for port in {self.port, self.port_311}:
            while not accepts(port, self.host):
                ended = self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    said = self.log.read_text(errors="replace").strip().splitlines()[-3:]
                    self.kill()
                    how = "ended by itself" if ended else f"accepted no connection on port {port}"
                    raise NoBrokerError(f"{self.kind} {how}: {' / '.join(said) or 'it said nothing'}")
                time.sleep(0.02)

    def stop(self) -> None:
        """End it in good order (SIGTERM); may be called twice."""
        if self._process is not None:
            children.end(self._process)
            self._process = None

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        if self._process is not None:
            children.kill(self._process)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _mosquitto_command(self) -> list[str]:
        program = _mosquitto()
        if program is None:
            raise NoBrokerError("mosquitto is not installed (Debian, Ubuntu: apt install mosquitto)")
        lines = [
            f"listener {self.port} {self.host}",
            "allow_anonymous true",
            # Without it Nagle's algorithm and delayed acknowledgements cost 40 ms a hop.
            "set_tcp_nodelay true",
            "max_inflight_messages 1000",
            "persistence false",
            "log_dest stderr",
            *(["user root"] if os.geteuid() == 0 else []),
            self.conf,
        ]
        file = self.folder / "mosquitto.conf"
        file.write_text("\n".join(lines) + "\n")
        return [program, "-c", str(file)]

    def _iotcore_command(self) -> list[str]:
        if importlib.util.find_spec("iotcore") is None:
            raise NoBrokerError(f"iotcore is not installed ({how_to_install('demo')})")
        connections = (
            "connection_timeout_ms = 5000\nmax_payload_size = 16777216\n"
            "max_inflight_count = 500\ndynamic_filters = true\n"
        )
        servers = "".join(
            f'[{version}]\nname = "{version}"\nlisten = "{self.host}:{port}"\nnext_connection_delay_ms = 1\n'
            f"[{version}.connections]\n{connections}\n"
            for version, port in (("v4.1", self.port_311), ("v5.1", self.port))
        )
        file = self.folder / "rumqttd.toml"
        file.write_text(
            "id = 0\n[router]\nid = 0\nmax_connections = 1000\nmax_outgoing_packet_count = 1000\n"
            f"max_segment_size = 104857600\nmax_segment_count = 10\n{servers}"
        )
        return [sys.executable, "-m", "iotcore", "--config", str(file)]


def _mosquitto() -> str | None:
    # Debian installs it in a folder that is not on a user's PATH.
    return shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))

"""What all brokers have in common: a folder, ports, two users, start, stop and kill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

from agent.local.ports import accepts, free_port
from tests.support.processes import Process
from tests.support.waiting import wait_until

Protocol = Literal["5", "3.1.1"]

#: With access control the agent's user may do everything; the other one reads everything and publishes below ``clients/`` alone.
AGENT, READER = "agent", "reader"
PASSWORD = "psu-secret-1"


class BrokerProgram:
    """One broker on loopback. As a context manager it is started, and ended.

    :param folder: for its configuration, its data and its log; made if it is not there
    :param access: with the users `AGENT` and `READER`; without, everybody may do everything
    :param build: get what the cache does not have, which may take minutes
    :raises NotHadError: it can't be had here
    """

    #: For the command line and the tests, and for people.
    name: ClassVar[str]
    title: ClassVar[str]
    #: How it was had, and how it does access control.
    source: ClassVar[str]
    access_control: ClassVar[str]
    #: False where this file does not know how it would restrict a user to topics.
    restricts_topics: ClassVar[bool] = True
    #: s
    start_timeout: ClassVar[float] = 60.0
    #: True where it has users, but no anonymous ones.
    needs_login: ClassVar[bool] = False
    #: s until it has written to its disk what is retained; 0 where it does so at once, or never.
    settling: ClassVar[float] = 2.0
    #: True if it leaves a client of MQTT 5 without an answer, so that an agent that is not told the version takes a minute.
    needs_version: ClassVar[bool] = False
    #: The version that is got, where this file chooses it.
    _VERSION: ClassVar[str]
    host = "127.0.0.1"

    def __init__(self, folder: Path, *, access: bool = False, build: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.access = access
        self.build = build
        self.port = free_port()
        self.program = Process(self.command(), folder / "log", environment=self.environment(), folder=folder)

    # For subclasses to override.

    def command(self) -> Sequence[str | Path]:
        """The command that runs it, after its configuration was written. ``self.port`` is a free port."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """More variables than this process has."""
        return {}

    def version(self) -> str:
        """Its version, for people."""
        return self._VERSION.removeprefix("v")

    def port_for(self, protocol: Protocol) -> int:
        """The port for a version of MQTT; most have one for all."""
        del protocol
        return self.port

    # For its users.

    @property
    def pid(self) -> int:
        """Its process."""
        return self.program.pid

    def start(self) -> Self:
        """Start it, on the same port each time. Returns when it accepts clients of MQTT 3.1.1.

        :raises AssertionError: it ended by itself
        :raises WaitedInVainError: it accepts none within `start_timeout` s
        """
        self.program.start()
        wait_until(self._accepts, f"{self.title} to listen", self.start_timeout)
        # RabbitMQ listens before it knows its users.
        wait_until(self.is_ready, f"{self.title} to accept a client", self.start_timeout)
        return self

    def is_ready(self) -> bool:
        """True if it serves clients, asked when it listens."""
        return self.accepts_client()

    def accepts_client(self) -> bool:
        """True if a client of MQTT 3.1.1 is accepted."""
        login = self.login()
        texts = ["readiness", *login.values()]
        body = b"".join(len(text).to_bytes(2, "big") + text.encode() for text in texts)
        flags = 0xC2 if login else 0x02
        header = b"\x00\x04MQTT\x04" + bytes([flags]) + b"\x00\x0f"
        try:
            with socket.create_connection((self.host, self.port_for("3.1.1")), 5) as client:
                client.sendall(b"\x10" + bytes([len(header) + len(body)]) + header + body)
                answer = client.recv(4)
                client.sendall(b"\xe0\x00")  # DISCONNECT
                return answer == b"\x20\x02\x00\x00"
        except OSError:
            return False

    def _accepts(self) -> bool:
        assert self.program.ended() is None, f"{self.title} ended by itself: {self.program.text()[-2000:]}"
        return all(accepts(port, self.host) for port in {self.port_for("5"), self.port_for("3.1.1")})

    def stop(self) -> None:
        """End it in good order, in 25 s at most."""
        if self.program.runs:
            group = self.program.pid
            self.program.stop()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def kill(self) -> None:
        """End it, and all that it started, as a power cut would."""
        if self.program.runs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.program.pid, signal.SIGKILL)  # it has a session of its own
        self.program.kill()

    def close(self) -> None:
        """End it for good."""
        self.stop()
        self.kill()

    def login(self, user: str = AGENT) -> dict[str, str]:
        """What `settings.mqtt` needs beside host and port."""
        return {"username": user, "password": PASSWORD} if self.access or self.needs_login else {}

    def write(self, name: str, text: str) -> Path:
        """A file in its folder."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def write_json(self, name: str, content: object) -> Path:
        """A JSON file in its folder."""
        return self.write(name, json.dumps(content, indent=1))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

"""A real Node-RED, headless, and what its editor would show."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from agent.local import children
from agent.local.ports import free_port
from tests.lab import wait_until

ROOT = Path(__file__).parent.parent.parent
#: Filled by .ci/node-red-tools.
FOLDER = Path(os.environ.get("PSU_AGENT_NODE_RED", ROOT / ".cache" / "node-red"))
PROGRAM = FOLDER / "node_modules" / "node-red" / "red.js"

_SETTINGS = """module.exports = {
    uiHost: "127.0.0.1", flowFile: "flows.json", credentialSecret: false,
    telemetry: { enabled: false, updateNotification: false },
    editorTheme: { tours: false, header: { title: "Node-RED" } }, logging: { console: { level: "info" } }
};
"""
#: Everything that the editor is told, one JSON object a line.
_LISTENER = """
const WebSocket = require("ws");
const socket = new WebSocket(process.argv[1]);
socket.on("open", () => {
    for (const topic of ["status/#", "debug"]) socket.send(JSON.stringify({ subscribe: topic }));
});
socket.on("message", data => { for (const m of [].concat(JSON.parse(data))) console.log(JSON.stringify(m)); });
"""


def missing() -> str | None:
    """Why there is no Node-RED here; None where there is."""
    if shutil.which("node") is None:
        return "Node.js is not installed (Debian, Ubuntu: nodejs)"
    if not PROGRAM.exists():
        return f"Node-RED is not in {FOLDER}; .ci/node-red-tools installs it"
    return None


class NodeRed:
    """Started with a folder of its own; ``path`` stands before PATH."""

    def __init__(self, folder: Path, path: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._path = path
        self._statuses: dict[str, str] = {}
        self.history: list[tuple[str, str]] = []  # node's name and status text, in their order
        self.debugged: list[Any] = []
        self._names: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "settings.js"
        file.write_text(_SETTINGS)
        self.log = self._folder / "node-red.log"
        path = os.pathsep.join([str(self._path), os.environ["PATH"]])
        command = [
            "node",
            str(PROGRAM),
            "--userDir",
            str(self._folder),
            "--settings",
            str(file),
            "--port",
            str(self.port),
        ]
        with self.log.open("ab") as log:
            self._process = children.start(command, log, environment={"PATH": path})
        wait_until(self._answers, "Node-RED to answer")
        with self.log.open("ab") as log:
            self._listener = children.start(
                ["node", "-e", _LISTENER, f"ws://127.0.0.1:{self.port}/comms"],
                log,
                pipe=True,
                environment={"NODE_PATH": str(FOLDER / "node_modules")},
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        children.end(self._listener)
        children.end(self._process)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        try:
            return bool(self.get("/nodes"))
        except urllib.error.URLError:
            return False

    def _read(self) -> None:
        stream = self._listener.stdout
        assert stream is not None
        for line in iter(stream.readline, b""):
            message = json.loads(line)
            topic = str(message.get("topic", ""))
            if topic.startswith("status/") and "text" in message["data"]:
                name = self._names.get(topic.removeprefix("status/"), topic)
                self._statuses[name] = message["data"]["text"]
                self.history.append((name, message["data"]["text"]))
            elif topic == "debug":
                self.debugged.append(message["data"])

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json", "Accept": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            content = response.read()
        return json.loads(content) if content[:1] in (b"{", b"[") else content

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def deploy(self, flows: list[dict[str, Any]]) -> None:
        """What import and Deploy do. What was shown before is forgotten."""
        self._names = {node["id"]: node.get("name") or node["type"] for node in flows}
        self._call("POST", "/flows", flows)
        self._statuses.clear()
        self.history.clear()

    def press(self, name: str) -> None:
        """An inject node's button."""
        found = [node for node, known in self._names.items() if known == name]
        assert len(found) == 1, name
        self._call("POST", f"/inject/{found[0]}")

    def status(self, name: str) -> str | None:
        """The text under a node."""
        return self._statuses.get(name)

    def wait_status(self, name: str, text: str) -> str:
        """Until the text under a node begins so."""
        wait_until(
            lambda: (self.status(name) or "").startswith(text), f"{name} to show {text!r}, not {self.status(name)!r}"
        )
        return self.status(name) or ""

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

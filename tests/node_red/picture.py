"""The picture in the documentation, from a real browser: ``python -m tests.node_red.picture docs/images/node-red.png``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from agent.local import children
from tests.lab import wait_until
from tests.node_red.nodered import FOLDER
from tests.node_red.test_flows import Rig

_WIDTH, _HEIGHT = 1500, 810

#: By the browser's own protocol: wait until the displays are there, fold what is beside the flow away, and take the picture.
_CAMERA = """
const WebSocket = require("ws"), fs = require("fs");
const [port, file] = process.argv.slice(1);
const ready = `(() => {
    const shown = [...document.querySelectorAll(".red-ui-flow-node-status-label")].map(e => e.textContent).join();
    if (!/ CV/.test(shown) || !/bad_payload/.test(shown)) return false;
    RED.menu.setSelected("menu-item-sidebar", false);
    RED.menu.setSelected("menu-item-palette", false);
    return true;
})()`;
fetch(`http://127.0.0.1:${port}/json`).then(r => r.json()).then(pages => {
    const socket = new WebSocket(pages.find(p => p.type === "page").webSocketDebuggerUrl);
    let id = 0;
    const waiting = {};
    const call = (method, params) => new Promise(done => {
        waiting[++id] = done;
        socket.send(JSON.stringify({ id, method, params }));
    });
    socket.on("message", data => { const m = JSON.parse(data); if (waiting[m.id]) waiting[m.id](m.result); });
    socket.on("open", async () => {
        while (!(await call("Runtime.evaluate", { expression: ready })).result.value) await new Promise(r => setTimeout(r, 200));
        await new Promise(r => setTimeout(r, 1500));
        fs.writeFileSync(file, (await call("Page.captureScreenshot", { format: "png" })).data, "base64");
        process.exit(0);
    });
});
"""


def take(rig: Rig, file: Path) -> None:
    """The editor with every display in use: an output that is on, a refusal, a trip that was cleared, a device that answers."""
    rig.reset(False)
    rig.node_red.deploy(rig.flows())
    rig.node_red.wait_status("power-cycle", "answers")
    rig.node_red.press("wrong: 3.3 as text")
    rig.node_red.wait_status("refused", "bad_payload")
    rig.reset(True)
    rig.bench.observer.ask("psu/psu1/1/set", {"current_protection": True, "current_limit": 0.05})
    rig.node_red.wait_status("alarm", "psu1/CH1")
    rig.reset(False)
    rig.node_red.press("3.3 V, 0.5 A")
    rig.node_red.wait_status("done", "off, 3.3 V")
    rig.node_red.press("on")
    rig.node_red.wait_status("show", "3.")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("there is no Chromium here (Debian, Ubuntu: apt install chromium)")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ]
        command += [
            f"--user-data-dir={profile}",
            f"--window-size={_WIDTH},{_HEIGHT}",
            "--remote-debugging-port=0",
            rig.node_red.url,
        ]
        with (Path(profile) / "log").open("wb") as log:
            process = children.start(command, log)
        try:
            port = Path(profile) / "DevToolsActivePort"
            wait_until(lambda: port.exists() and port.read_text().count("\n") >= 1, "Chromium")
            subprocess.run(
                ["node", "-e", _CAMERA, port.read_text().split()[0], str(file.absolute())],
                env={**os.environ, "NODE_PATH": str(FOLDER / "node_modules")},
                check=True,
                timeout=120,
            )
        finally:
            children.end(process)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder)) as rig:
        take(rig, Path(sys.argv[1]))

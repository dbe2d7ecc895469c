"""Chromium without a window, spoken to through a pipe by its DevTools protocol: no port is open, nothing is installed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe"),
    "--force-device-scale-factor=1",
)


class NotThere(Exception):
    """Something that drawing takes is not on this machine; its text says how to get it."""


class Failed(Exception):
    """The page could not be drawn; its text says why."""


class Chromium:
    """A browser; as a context manager it ends at the end.

    :raises NotThere: there is no Chromium
    """

    def __init__(self) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            raise NotThere("chromium is not here: install the Debian package chromium")
        self._folder = tempfile.TemporaryDirectory(prefix="psu-agent-chromium-", ignore_cleanup_errors=True)
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # It reads from descriptor 3 and writes to 4.
        shell = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "-", program, *_OPTIONS, f"--user-data-dir={self._folder.name}", "about:blank"],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest = b""
        self._number = 0
        self._said: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._folder.cleanup()

    def draw(self, url: str, size: tuple[int, int], picture: Path | None) -> dict[str, Any]:
        """The value that the page's `window.done` resolves to, after the picture of all of it was written.

        :param size: of the window, in pixels
        :raises Failed: the page's code has failed
        """
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Runtime.enable", session)
        self._call("Page.enable", session)
        metrics: dict[str, Any] = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", session, **metrics)
        self._call("Page.navigate", session, url=url)
        self._event("Page.loadEventFired")
        result = self._call(
            "Runtime.evaluate", session, expression="window.done", awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result or "value" not in result["result"]:
            details = result.get("exceptionDetails", {})
            raise Failed(
                details.get("exception", {}).get("description") or "\n".join(self._said) or "the page has no code"
            )
        told: dict[str, Any] = result["result"]["value"]
        if picture is not None:
            clip = {"x": 0, "y": 0, "width": size[0], "height": told["height"], "scale": 1}
            shot = self._call("Page.captureScreenshot", session, format="png", clip=clip)
            picture.write_bytes(base64.b64decode(shot["data"]))
        self._call("Target.closeTarget", targetId=target)
        return told

    def _call(self, method: str, session: str | None = None, /, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _event(self, method: str) -> None:
        while self._next().get("method") != method:
            pass

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._read, 1 << 20)
            if not data:
                raise Failed(f"chromium has ended with code {self._process.wait()}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if message.get("method") == "Runtime.exceptionThrown":
            details = message["params"]["exceptionDetails"]
            self._said.append(details.get("exception", {}).get("description") or details["text"])
        return message

"""Dashboards drawn by a page in Chromium, which asks the store through this process: the read token stays here."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

from .chromium import Chromium, Failed, NotThere

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache" / "dashboards"
_PAGE = """<!doctype html>
<meta charset="utf-8">
<link rel="stylesheet" href="/page.css">
<style>body {margin: 0}</style>
<div id="root"></div>
<script src="/page.js"></script>
"""


def is_fetched() -> bool:
    """Grafana's components are here, in the versions that are wanted."""
    manifest = CACHE / "package.json"
    there = (CACHE / "node_modules" / ".package-lock.json").exists() and manifest.exists()
    return there and manifest.read_bytes() == (HERE / "package.json").read_bytes()


def page() -> Path:
    """The folder of the page's code, built if it isn't there: Grafana's components are fetched once (620 MB, a minute).

    :raises NotThere: Node.js or npm is missing, or the components can't be had
    """
    manifest = (HERE / "package.json").read_bytes()
    sources = sorted((HERE / "src").iterdir())
    digest = hashlib.sha256(manifest)
    for source in sources:
        digest.update(source.read_bytes())
    built = CACHE / f"page-{digest.hexdigest()[:16]}"
    if (built / "page.js").exists():
        return built
    if not is_fetched():
        if shutil.which("npm") is None:
            raise NotThere("npm is not here: install Node.js 20 or newer with npm (Debian: apt install nodejs npm)")
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "package.json").write_bytes(manifest)
        print("fetching Grafana's display components into .cache/dashboards (once)", flush=True)
        _run(
            ["npm", "install", "--legacy-peer-deps", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"]
        )
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        _run(
            [
                *("node_modules/.bin/esbuild", str(HERE / "src" / "page.tsx"), "--bundle", "--format=iife"),
                *("--loader:.woff2=file", "--loader:.woff=empty", "--loader:.ttf=empty", "--define:global=window"),
                *('--define:process.env.NODE_ENV="production"', f"--outfile={folder}/page.js", "--log-level=warning"),
            ]
        )
        shutil.rmtree(built, ignore_errors=True)
        Path(folder).rename(built)
        Path(folder).mkdir()
    return built


def _run(command: list[str]) -> None:
    environment = os.environ | {"NODE_PATH": str(CACHE / "node_modules")}
    done = subprocess.run(command, cwd=CACHE, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise NotThere(f"{' '.join(command[:2])} failed:\n{done.stderr[-3000:] or done.stdout[-3000:]}")


class Drawing:
    """A browser and the page, for any number of pictures; as a context manager.

    :param store: url, token and database of the store, which has to answer InfluxQL
    :raises NotThere: something that it takes is not on this machine
    """

    def __init__(self, store: dict[str, str]) -> None:
        self._store = store
        self._job: dict[str, Any] = {}
        self._page = page()

    def __enter__(self) -> Self:
        drawing = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/":
                    self._answer(200, _PAGE.encode(), "text/html")
                elif self.path == "/job":
                    self._answer(200, json.dumps(drawing._job).encode())
                else:
                    super().do_GET()

            def do_POST(self) -> None:
                query = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._answer(*drawing._ask(query))

            def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def translate_path(self, path: str) -> str:
                inner = urllib.parse.urlsplit(path).path.lstrip("/")
                root = CACHE / "node_modules/@grafana/ui/dist" if inner.startswith("public/") else drawing._page
                found = (root / inner).resolve()
                return str(found if found.is_relative_to(root.resolve()) else root / "none")

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            self._browser = Chromium()
        except NotThere:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.__exit__()
        self._close()

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def draw(
        self,
        dashboard: dict[str, Any],
        *,
        width: int = 1600,
        picture: Path | None = None,
        variables: dict[str, list[str]] | None = None,
        start: str | None = None,
        end: str | None = None,
        menu: bool = False,
        shuffled: bool = False,
    ) -> dict[str, Any]:
        """The texts that a user reads in each panel, its colours, cut texts and queries; and the picture, if a path is given.

        :param width: of the window, in pixels
        :param variables: values of the dashboard's variables, ["$__all"] for all; without: those that it opens with
        :param start: the range, as ``now-15m``, to ``end``; without: the dashboard's
        :param menu: Grafana's menu takes 300 pixels at the left, as it does by itself from 1,440 on
        :param shuffled: tag columns come in any order
        :raises Failed: the page's code has failed
        """
        times = dashboard.get("time", {})
        self._job = {
            "dashboard": dashboard,
            "width": width,
            "variables": variables or {},
            "from": start or times.get("from", "now-15m"),
            "to": end or times.get("to", "now"),
            "menu": menu,
            "shuffled": shuffled,
        }
        places = [panel["gridPos"] for panel in dashboard["panels"]]
        # A table draws its rows only where the window reaches, so the window has room for all: rows of 38 pixels and a head.
        height = 100 + 38 * max((place["y"] + place["h"] for place in places), default=0)
        return self._browser.draw(f"http://127.0.0.1:{self._server.server_port}/", (width, height), picture)

    def _ask(self, query: str) -> tuple[int, bytes]:
        data = urllib.parse.urlencode({"q": query, "db": self._store["database"], "epoch": "ms"}).encode()
        request = urllib.request.Request(f"{self._store['url']}/query", data)
        request.add_header("Authorization", f"Token {self._store['token']}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return 200, answer.read()
        except urllib.error.HTTPError as error:
            return 200, error.read() or json.dumps({"error": f"the store answers {error.code}"}).encode()
        except OSError as error:
            return 200, json.dumps({"error": f"the store does not answer: {error}"}).encode()


__all__ = ["Drawing", "Failed", "NotThere", "is_fetched", "page"]

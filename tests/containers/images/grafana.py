"""In Grafana's place: its health check, its provisioned datasource, and its proxy to that datasource.

It reads what Grafana reads at its start (administrator's password, provisioning, dashboards, the token's file), ends if
something of that is missing, and writes where Grafana keeps its database. A query goes to the store with the header that
the provisioning gives, so with the read-only token.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

DATA = Path(os.environ["GF_PATHS_DATA"])
PROVISIONING = Path(os.environ["GF_PATHS_PROVISIONING"])


def admin_password() -> str:
    """That of the first start: as with Grafana, the setting counts for nothing once the database is there."""
    database = DATA / "grafana.db"
    if not database.exists():
        database.write_text(Path(os.environ["GF_SECURITY_ADMIN_PASSWORD__FILE"]).read_text().strip())
    return database.read_text()


def of_file(value: str) -> str:
    return re.sub(r"\$__file\{([^}]+)\}", lambda match: Path(match[1]).read_text().strip(), value)


def datasource() -> tuple[str, str, dict[str, str]]:
    """The address, the database and the headers of the one datasource."""
    (path,) = (PROVISIONING / "datasources").glob("*.yaml")
    (source,) = yaml.safe_load(path.read_text())["datasources"]
    settings, secure = source["jsonData"], source["secureJsonData"]
    headers = {settings["httpHeaderName1"]: of_file(secure["httpHeaderValue1"])}
    return source["url"], settings["dbName"], headers


def dashboards() -> int:
    (path,) = (PROVISIONING / "dashboards").glob("*.yaml")
    folders = [Path(one["options"]["path"]) for one in yaml.safe_load(path.read_text())["providers"]]
    for rules in (PROVISIONING / "alerting").glob("*.yaml"):
        yaml.safe_load(rules.read_text())
    found = [json.loads(file.read_text()) for folder in folders for file in folder.glob("*.json")]
    json.loads(Path(os.environ["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).read_text())
    return len(found)


class Grafana(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/api/health":
            self.answer(200, b'{"database": "ok"}')
        else:
            self.answer(404, b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        expected = base64.b64encode(f"admin:{admin_password()}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self.answer(401, b'{"message": "Invalid username or password"}')
            return
        url, database, headers = SOURCE
        allowed = "/api/datasources/proxy/uid/psu/"
        if not self.path.startswith(allowed):
            self.answer(404, b"{}")
            return
        request = urllib.request.Request(f"{url}/{self.path.removeprefix(allowed)}?db={database}", body, headers)
        request.add_header("Content-Type", self.headers["Content-Type"])
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                self.answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            self.answer(error.code, error.read())
        except OSError as error:
            self.answer(502, str(error).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        print(*arguments[1:], file=sys.stderr, flush=True)


if __name__ == "__main__":
    if "reset-admin-password" in sys.argv:  # as `grafana cli` does it
        assert "--password-from-stdin" in sys.argv
        (DATA / "grafana.db").write_text(sys.stdin.read().strip())
        sys.exit()
    admin_password()
    SOURCE = datasource()  # as Grafana, which reads a token's file once, when it starts
    print(f"{dashboards()} dashboards, datasource {SOURCE[0]}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("", 3000), Grafana).serve_forever()

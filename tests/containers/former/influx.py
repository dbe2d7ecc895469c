#!/usr/bin/env python3
"""Of InfluxDB's client, which can't be had here, what the former stack and its pages asked of it."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

HOST = os.environ.get("INFLUX_HOST", "http://127.0.0.1:8086")


def ask(method: str, path: str, body: object = None, **query: str) -> Any:
    url = f"{HOST}{path}?{urllib.parse.urlencode(query)}"
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Token {os.environ['INFLUX_TOKEN']}"} if "INFLUX_TOKEN" in os.environ else {}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=20) as answer:
        return json.load(answer)


def organization() -> str:
    return str(ask("GET", "/api/v2/orgs", org=os.environ["INFLUX_ORG"])["orgs"][0]["id"])


def ping() -> None:
    urllib.request.urlopen(f"{HOST}/ping", timeout=5).close()


def setup() -> None:
    init = {key.removeprefix("DOCKER_INFLUXDB_INIT_"): value for key, value in os.environ.items()}
    while True:
        try:
            ping()
            break
        except OSError:
            time.sleep(0.2)
    token = Path(init["ADMIN_TOKEN_FILE"]).read_text()
    weeks = int(init["RETENTION"].removesuffix("w"))
    body = {"username": init["USERNAME"], "password": Path(init["PASSWORD_FILE"]).read_text(), "token": token}
    body |= {"org": init["ORG"], "bucket": init["BUCKET"]}
    ask("POST", "/api/v2/setup", body | {"retentionPeriodSeconds": weeks * 7 * 86400})
    Path("/etc/influxdb2/influx-configs").write_text(f'[default]\n  token = "{token}"\n')


def main(words: list[str]) -> None:
    options = dict(itertools.pairwise(words))
    found: Any = []
    match words[:2]:
        case ["ping"]:
            ping()
        case ["setup"]:
            setup()
        case ["bucket", "list"]:
            found = ask("GET", "/api/v2/buckets", name=options["--name"])["buckets"]
        case ["bucket", "update"]:
            weeks = int(options["-r"].removesuffix("w"))
            rules = [{"type": "expire", "everySeconds": weeks * 7 * 86400}]
            ask("PATCH", f"/api/v2/buckets/{options['--id']}", {"retentionRules": rules})
        case ["auth", "list"]:
            found = ask("GET", "/api/v2/authorizations")["authorizations"]
        case ["auth", "create"]:
            action = "write" if "--write-bucket" in options else "read"
            resource = {"type": "buckets", "id": options[f"--{action}-bucket"], "orgID": organization()}
            permissions = [{"action": action, "resource": resource}]
            wish = {"orgID": organization(), "description": options["--description"], "permissions": permissions}
            found = ask("POST", "/api/v2/authorizations", wish)
        case _:
            sys.exit(f"what is {words}?")
    if "--json" in words:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])

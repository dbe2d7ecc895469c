"""A store of InfluxDB 2.7.12, as the former stack made it, goes on under the version of compose.yaml, through influxdb/start.sh.

2.7.12 is not built for every run of the tests, as that takes some ten minutes: `bash .ci/influxdb-tools 2.7.12` builds it.
"""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from agent.local.ports import free_port
from tests.stack.services import BUILT, influxd
from tests.support.processes import ROOT

from .influxd import Influxd, SetupService

FORMER = "2.7.12"
WEEK = 7 * 86400

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


def former_influxd() -> str:
    """The former program, or a skip."""
    influxd()
    program = BUILT / f"influxd-{FORMER}"
    if not program.exists():
        pytest.skip(f"InfluxDB {FORMER} is not here: bash .ci/influxdb-tools {FORMER} builds it in some ten minutes")
    return str(program)


class Former:
    """A store that the former compose.yaml has made: by the image's DOCKER_INFLUXDB_INIT_… settings, and by setup.sh."""

    def __init__(self, folder: Path, weeks: int = 52) -> None:
        self.store = Influxd(folder / "influxdb")
        self.store.command = [former_influxd(), *self.store.command[1:]]
        self.service = SetupService(folder / "setup", self.store.url, "the-former-password")
        (self.service.secrets / "admin_token").write_text("the-former-admin-token")
        self.store.start()
        body = {"username": "admin", "password": self.service.password, "org": "lab", "bucket": "psu"}
        wish = body | {"token": "the-former-admin-token", "retentionPeriodSeconds": weeks * WEEK}
        status, made = self.ask("POST", "/api/v2/setup", wish)
        assert status == 201
        self.old: dict[str, str] = {}
        for name, action in (("telegraf", "write"), ("grafana", "read")):
            # As `influx auth create --write-bucket ID` asks.
            resource = {"type": "buckets", "id": made["bucket"]["id"], "orgID": made["org"]["id"]}
            permissions = [{"action": action, "resource": resource}]
            wish = {"orgID": made["org"]["id"], "description": f"psu {name}", "permissions": permissions}
            self.old[name] = self.ask("POST", "/api/v2/authorizations", wish)[1]["token"]
            (self.service.tokens / name).write_text(self.old[name])

    def ask(self, method: str, path: str, body: object = None, **query: str) -> tuple[int, Any]:
        text = "" if body is None else json.dumps(body)
        return self.store.ask(method, path, "the-former-admin-token", text, **query)

    def write(self, *numbers: int) -> None:
        for number in numbers:
            assert self.store.write(self.old["telegraf"], f"kept,psu=psu1 v={number}i") == 204

    def upgrade(self) -> None:
        """Start what compose.yaml starts now."""
        folder = self.store.folder
        settings = {
            "INFLUXD_BOLT_PATH": folder / "influxd.bolt",
            "INFLUXD_SQLITE_PATH": folder / "influxd.sqlite",
            "INFLUXD_ENGINE_PATH": folder / "engine",
            "INFLUXD_HTTP_BIND_ADDRESS": f"127.0.0.1:{self.store.port}",
            "PSU_MENDING_PORT": free_port(),
        }
        words = [f"{name}={value}" for name, value in settings.items()]
        self.store.command = ["env", *words, "bash", str(ROOT / "influxdb" / "start.sh"), influxd()]
        self.store.start()


def test_samples_tokens_and_retention_stay(tmp_path: Path) -> None:
    former = Former(tmp_path, weeks=104)
    former.write(1, 2, 3)
    former.store.stop(signal.SIGTERM)  # as `docker compose stop` did
    former.upgrade()
    store, service = former.store, former.service
    try:
        # Before anything was set up: what Telegraf and Grafana have is good for what it was.
        former.write(4)
        assert store.values(former.old["grafana"], "kept") == [1, 2, 3, 4]
        # And after it, by the former administrator's token; the former default of PSU_RETENTION deletes nothing.
        refused = service.setup(retention="52w")
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        done = service.setup(retention="")
        assert done.returncode == 0, done.stderr
        assert re.findall(r"token for (\w+): new", done.stdout) == ["setup", "telegraf", "grafana"]
        for name, old in former.old.items():
            assert service.token(name) != old
            assert store.values(old, "kept") is None
            assert store.write(old, "kept v=0i") == 401
        assert store.write(service.token("telegraf"), "kept,psu=psu1 v=5i") == 204
        assert store.values(service.token("grafana"), "kept") == [1, 2, 3, 4, 5]
        _, found = former.ask("GET", "/api/v2/buckets", name="psu")
        assert found["buckets"][0]["retentionRules"][0]["everySeconds"] == 104 * WEEK
        # The password is the one in secrets/, and the former token goes on until it is renewed.
        assert store.ask("GET", "/api/v2/me", "the-former-admin-token")[0] == 200
        assert service.setup("--renew", "admin", retention="").returncode == 0
        assert store.ask("GET", "/api/v2/me", "the-former-admin-token")[0] == 401
    finally:
        store.stop()


@pytest.mark.parametrize("lost", ["admin_token", "admin_password"])
def test_either_of_the_former_secrets_is_enough(tmp_path: Path, lost: str) -> None:
    former = Former(tmp_path)
    former.write(1)
    former.store.stop(signal.SIGKILL)
    former.upgrade()
    try:
        if lost == "admin_token":
            (former.service.secrets / lost).unlink()
        else:
            former.service.password = "another-one-than-before"
        done = former.service.setup()
        assert done.returncode == 0, done.stderr
        assert former.store.values(former.service.token("grafana"), "kept") == [1]
    finally:
        former.store.stop()


def test_a_log_that_the_former_one_left_torn(tmp_path: Path) -> None:
    """What 2.7.12 wrote behind a torn end it does not read itself; from the upgrade on nothing is written there."""
    former = Former(tmp_path)
    log = former.store.folder / "engine" / "wal"
    former.write(1, 2)
    former.store.stop(signal.SIGKILL)
    (segment,) = log.rglob("*.wal")
    os.truncate(segment, segment.stat().st_size - 7)  # so much of the second did not reach the disk
    former.upgrade()
    try:
        former.write(3)
        for number in (4, 5):
            former.store.stop(signal.SIGKILL)
            former.store.start()
            former.write(number)
        assert former.store.values(former.old["grafana"], "kept") == [1, 3, 4, 5]
    finally:
        former.store.stop()
    assert [path for path in log.rglob("*.wal") if path.stat().st_size] == []

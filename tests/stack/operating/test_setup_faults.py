"""influxdb/setup.py against what is no InfluxDB, or answers badly, and with wrong settings: one sentence, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .influxd import Influxd, SetupService

Answers = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def answering(answers: Answers) -> Iterator[tuple[str, list[str]]]:
    """A program that answers every request so, behind a `/health` that is well; its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked.append(f"{self.command} {self.path}")
            if self.path == "/health":
                give(200, "{}")(self)
            else:
                answers(self)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def give(status: int, text: str, length: int | None = None, **headers: str) -> Answers:
    def answers(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(text) if length is None else length))
        handler.end_headers()
        handler.wfile.write(text.encode())
        handler.close_connection = True

    return answers


def garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    handler.close_connection = True


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (give(200, "<html><body>\nplease log in</body></html>"), "<html><body> please log in"),
        (give(200, "[]"), "with 200: []"),
        (give(200, '{"status": "pass"}'), "lacks 'allowed': is it InfluxDB 2 that INFLUX_HOST names?"),
        (give(204, ""), "lacks 'allowed'"),
        (give(503, '{"message": "starting"}'), "GET /api/v2/setup with 503: starting"),
        (give(302, "", Location="http://127.0.0.1:9/"), "GET /api/v2/setup with 302: nothing"),
        (give(200, "{", length=50), "does not answer at"),
        (give(500, "{", length=50), "does not answer at"),
        (garbage, "does not answer at"),
    ],
)
def test_what_answers_is_no_store(tmp_path: Path, answers: Answers, told: str) -> None:
    with answering(answers) as (url, _):
        done = SetupService(tmp_path, url).setup()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert told in done.stderr


#: What a store that is set up answers, as far as the cases below let it come.
WELL = {
    "/api/v2/setup": '{"allowed": false}',
    "/api/v2/me": '{"id": "1"}',
    "/api/v2/orgs": '{"orgs": [{"id": "1"}]}',
    "/api/v2/authorizations": '{"authorizations": null}',
    "/api/v2/signin": "{}",
    "/api/v2/buckets": '{"buckets": [{"name": "psu", "id": "1", "retentionRules": null}]}',
}


@pytest.mark.parametrize(
    ("path", "answers", "code", "told"),
    [
        ("me", give(204, ""), 1, "GET /api/v2/me with 204: nothing"),
        ("me", give(200, '{"id": 5}'), 1, "has 5 as 'id': is it InfluxDB 2 that INFLUX_HOST names?"),
        ("orgs", give(204, ""), 1, "GET /api/v2/orgs with 204: nothing"),
        ("orgs", give(503, '{"message": "busy"}'), 1, "GET /api/v2/orgs with 503: busy"),
        ("orgs", give(404, "{}"), 2, "has no organization lab: INFLUX_ORG has to name the one"),
        ("orgs", give(200, '{"orgs": [5]}'), 1, "has no objects in 'orgs'"),
        ("authorizations", give(204, ""), 1, "lacks 'authorizations'"),
        ("authorizations", give(200, '{"authorizations": 5}'), 1, "has no objects in 'authorizations'"),
        ("buckets", give(204, ""), 1, "lacks 'buckets'"),
        ("buckets", give(200, '{"buckets": [{"name": null}]}'), 1, "has None as 'name'"),
    ],
)
def test_one_answer_is_of_another_kind(tmp_path: Path, path: str, answers: Answers, code: int, told: str) -> None:
    """One sentence, and none of Python's own."""

    def store(handler: BaseHTTPRequestHandler) -> None:
        asked = handler.path.partition("?")[0]
        known = give(200, WELL[asked]) if asked in WELL else give(204, "")
        (answers if asked == f"/api/v2/{path}" else known)(handler)

    with answering(store) as (url, _):
        service = SetupService(tmp_path, url)
        (service.state / "admin").write_text(json.dumps({"id": "1", "token": "own"}))
        done = service.setup()
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert told in done.stderr


def test_a_token_goes_to_no_other_address(tmp_path: Path) -> None:
    with answering(give(200, '{"allowed": false, "id": "1"}')) as (other, asked):

        def elsewhere(handler: BaseHTTPRequestHandler) -> None:
            if handler.path == "/api/v2/setup":
                give(200, '{"allowed": false}')(handler)
            else:
                give(307, "", Location=f"{other}{handler.path}")(handler)

        with answering(elsewhere) as (url, _):
            service = SetupService(tmp_path, url)
            (service.state / "admin").write_text(json.dumps({"id": "1", "token": "own"}))
            done = service.setup()
    assert (done.returncode, asked) == (1, [])
    assert "GET /api/v2/me with 307" in done.stderr


@pytest.mark.parametrize("url", ["", "influxdb:8086", "http://[::1", "http://a b", "http://a:port", "ftp://influxdb"])
def test_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    command, environment = SetupService(tmp_path, "").command()
    done = subprocess.run(command, env=environment | {"INFLUX_HOST": url}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        f"INFLUX_HOST: {url!r} is no address: write for instance http://influxdb:8086\n",
    )


@pytest.mark.parametrize(
    ("password", "told"),
    [(b"\xff\xfe", "is not in UTF-8. Delete it, and run `make secrets`"), (b"\xef\xbb\xbfshort\r\n", "8 to 72")],
)
def test_a_password_that_cannot_be_one(tmp_path: Path, password: bytes, told: str) -> None:
    service = SetupService(tmp_path, "http://127.0.0.1:9")
    (service.secrets / "admin_password").write_bytes(password)
    done = service.setup()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SetupService]:
    folder = tmp_path_factory.mktemp("faults")
    with Influxd(folder / "influxd") as store:
        service = SetupService(folder / "setup", store.url)
        (service.secrets / "admin_password").write_bytes(b"\xef\xbb\xbfp\xc3\xa4ss \"$HOME\" 'x': #\r\n")
        done = service.setup()
        assert done.returncode == 0, done.stderr
        yield service


def test_a_password_with_any_characters_and_a_mark_before_it(service: SetupService, tmp_path: Path) -> None:
    """Written by an editor of Windows. Without the program's own token the password has to be right."""
    copy = service.copy(tmp_path)
    assert "password set" not in copy.setup().stdout
    for path in copy.state.iterdir():
        path.unlink()
    (copy.secrets / "admin_password").write_text("päss \"$HOME\" 'x': #")
    done = copy.setup()
    assert (done.returncode, done.stderr) == (0, "")
    assert "token for setup: new" in done.stdout
    for path in copy.state.iterdir():
        (service.state / path.name).write_text(path.read_text())
    assert service.setup().returncode == 0


def test_a_proxy_of_the_host_is_not_asked(service: SetupService) -> None:
    """Docker hands it to every container (`proxies` in ~/.docker/config.json)."""
    command, environment = service.command()
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(command, env=environment | proxies | {"STARTING": "1"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_retention_that_the_store_cannot_count(service: SetupService) -> None:
    done = service.setup(retention="99999w")
    assert (done.returncode, done.stderr) == (
        2,
        "PSU_RETENTION: 99999w is more than 290 years: 0 keeps all for ever\n",
    )
    assert service.setup(retention="15000w").returncode == 0
    assert service.setup().returncode == 0


def test_a_token_that_cannot_be_handed_over_leaves_the_old_one_in_force(service: SetupService) -> None:
    """As on a full disk: a folder stands where the new one is to be written."""
    old = service.token("telegraf")
    obstacle = service.tokens / ".telegraf.new"
    (obstacle / "x").mkdir(parents=True)
    done = service.setup("--renew", "telegraf")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{service.tokens / 'telegraf'}: Is a directory. The next run goes on from here" in done.stderr
    store = Influxd.__new__(Influxd)
    store.url = service.url
    assert store.write(old, "x v=1") == 204
    (obstacle / "x").rmdir()
    os.rmdir(obstacle)
    assert "handed over" in service.setup().stdout
    assert store.write(old, "x v=1") == 401
    assert store.write(service.token("telegraf"), "x v=1") == 204


def test_a_damaged_token_is_replaced(service: SetupService) -> None:
    """No header can carry it, so it is refused without a question."""
    for name in ("admin", "telegraf"):
        kept = json.loads((service.state / name).read_text())
        (service.state / name).write_text(json.dumps(kept | {"token": "x\ny\u20ac"}))
        done = service.setup()
        assert (done.returncode, done.stderr) == (0, ""), name
        assert f"token for {name.replace('admin', 'setup')}: new" in done.stdout


def test_an_onboarding_that_the_store_has_not_ended_is_waited_for(tmp_path: Path) -> None:
    """Its asker was killed. The store has a user already, and neither the password nor the token."""
    judged: list[str] = []

    def answers(handler: BaseHTTPRequestHandler) -> None:
        judged.append(handler.path)
        if handler.path == "/api/v2/setup":
            give(200, '{"allowed": false}')(handler)
        else:
            give(401 if len(judged) < 6 else 503, "{}")(handler)

    with answering(answers) as (url, _):
        service = SetupService(tmp_path, url)
        (service.state / "admin").write_text(json.dumps({"token": "given by the onboarding"}))
        done = service.setup()
    assert (done.returncode, "503" in done.stderr) == (1, True), done.stderr
    assert len(judged) == 6

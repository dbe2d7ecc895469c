"""influxdb/setup.py on the real InfluxDB: a new store, one that is there, one that refuses, and the program killed on its way."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.services import influxd

from .influxd import Influxd, SetupService
from .proxy import KillingProxy


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    with Influxd(tmp_path_factory.mktemp("influxd")) as store:
        yield store


@pytest.fixture(scope="module")
def first(
    store: Influxd, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SetupService, subprocess.CompletedProcess[str]]:
    service = SetupService(tmp_path_factory.mktemp("setup"), store.url)
    return service, service.setup()


@pytest.fixture(scope="module")
def service(first: tuple[SetupService, subprocess.CompletedProcess[str]]) -> SetupService:
    """A store that was set up. Each test leaves everything as it should be."""
    service, done = first
    assert done.returncode == 0, done.stderr
    return service


def rights(store: Influxd, token: str) -> str:
    """The rights of a token: ``w`` for a write, ``r`` for a query."""
    written = store.write(token, "probe v=1")
    assert written in (204, 401, 403)
    return "w" * (written == 204) + "r" * (store.values(token, "probe") is not None)


def assert_sound(store: Influxd, service: SetupService) -> None:
    """Each service has the one token that does what it needs, and there are no others."""
    assert rights(store, service.token("telegraf")) == "w"
    assert rights(store, service.token("grafana")) == "r"
    assert sorted(os.listdir(service.tokens)) == ["grafana", "telegraf"]
    _, answer = store.ask("GET", "/api/v2/authorizations", own(service))
    descriptions = sorted(one["description"] for one in answer["authorizations"])
    assert descriptions in (
        ["admin's Token", "psu grafana", "psu telegraf"],
        ["psu grafana", "psu setup", "psu telegraf"],
    )


def own(service: SetupService) -> str:
    token: str = json.loads((service.state / "admin").read_text())["token"]
    return token


def test_an_empty_store(store: Influxd, first: tuple[SetupService, subprocess.CompletedProcess[str]]) -> None:
    service, done = first
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "a new store: user admin, organization lab, bucket psu"
    assert_sound(store, service)
    # Telegraf, Grafana and this program run as three users.
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in service.tokens.iterdir()} == {
        "telegraf": "0o444",
        "grafana": "0o444",
    }
    assert {path.stat().st_mode & 0o077 for path in service.state.iterdir() if path.name != ".lock"} == {0}
    for secret in (service.password, service.token("telegraf"), service.token("grafana"), own(service)):
        assert secret not in done.stdout


def test_a_second_run_changes_nothing(service: SetupService) -> None:
    before = {path: path.read_text() for path in (*service.tokens.iterdir(), *service.state.iterdir())}
    done = service.setup()
    assert done.stdout == "token for telegraf: works, kept\ntoken for grafana: works, kept\n"
    assert {path: path.read_text() for path in before} == before


@pytest.mark.parametrize("name", ["telegraf", "grafana"])
def test_a_token_is_renewed_and_the_old_one_refused(store: Influxd, service: SetupService, name: str) -> None:
    old = service.token(name)
    done = service.setup("--renew", name)
    assert f"token for {name}: new\ntoken for {name}: handed over; `docker compose restart {name}`" in done.stdout
    assert rights(store, old) == ""
    assert_sound(store, service)


def test_the_programs_own_token_is_renewed_and_that_of_the_onboarding_ended(
    store: Influxd, service: SetupService
) -> None:
    old = own(service)
    assert "token for setup: new" in service.setup("--renew", "admin").stdout
    assert store.ask("GET", "/api/v2/me", old)[0] == 401
    # The new one can do what this program does, and no more.
    assert rights(store, own(service)) != "r"
    assert service.setup("--renew", "telegraf", retention="53w").returncode == 0
    assert_sound(store, service)


def test_a_new_password_in_the_file_becomes_the_stores(store: Influxd, service: SetupService) -> None:
    """ "Delete its file, run `make secrets`" is enough: nobody needs the old one."""
    service.password = "another-password"
    assert "user admin: password set to the one in" in service.setup().stdout
    (service.state / "admin").unlink()  # so the password is all there is
    assert "token for setup: new" in service.setup().stdout
    assert_sound(store, service)


@pytest.mark.parametrize("lost", ["tokens", "state"])
def test_a_volume_that_was_lost_is_filled_again(store: Influxd, service: SetupService, lost: str) -> None:
    folder = getattr(service, lost)
    for path in folder.iterdir():
        path.unlink()
    assert service.setup().returncode == 0
    assert_sound(store, service)


@pytest.mark.parametrize("name", ["telegraf", "grafana"])
def test_a_token_that_can_do_too_much_or_nothing_is_replaced(store: Influxd, service: SetupService, name: str) -> None:
    for wrong in (own(service), "no-token-of-this-store"):
        (service.state / name).write_text(json.dumps({"id": "0000000000000000", "token": wrong}))
        assert f"token for {name}: new" in service.setup().stdout
    assert_sound(store, service)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_spoilt_note_of_its_own_is_as_none(store: Influxd, service: SetupService, text: str) -> None:
    for path in service.state.iterdir():
        path.write_text(text)
    assert service.setup().returncode == 0
    assert_sound(store, service)


def retention(store: Influxd, service: SetupService) -> int:
    _, answer = store.ask("GET", "/api/v2/buckets", own(service), name="psu")
    seconds: int = answer["buckets"][0]["retentionRules"][0]["everySeconds"]
    return seconds


def test_the_retention_is_what_the_environment_says(store: Influxd, service: SetupService) -> None:
    for text, seconds in (("90d", 7776000), ("1h", 3600), ("0", 0), ("1d12h", 129600), ("52w", 31449600)):
        done = service.setup(retention=text)
        assert done.returncode == 0, done.stderr
        assert retention(store, service) == seconds, text
    assert "bucket psu: keeps samples for 364 d, before for 36 h" in done.stdout


def test_without_a_setting_a_store_keeps_the_retention_that_it_has(store: Influxd, service: SetupService) -> None:
    for text, seconds in (("104w", 62899200), ("", 62899200), ("52w", 31449600), ("", 31449600)):
        assert service.setup(retention=text).returncode == 0
        assert retention(store, service) == seconds


def test_a_store_of_a_former_release_is_not_shortened(store: Influxd, service: SetupService) -> None:
    """Those told how to lengthen it in the store; PSU_RETENTION went on to say what it was at first."""
    for there, told in (("104w", "for 728 d"), ("0", "for ever")):
        assert service.setup(retention=there).returncode == 0
        before = retention(store, service)
        for path in service.state.iterdir():
            path.unlink()
        for _ in range(2):
            done = service.setup(retention="52w")
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
            assert done.stderr.startswith("PSU_RETENTION would delete samples: it is 364 d, and the store")
            assert told in done.stderr
        assert service.setup(retention="").returncode == 0
        assert retention(store, service) == before
    assert service.setup().returncode == 0
    assert_sound(store, service)


@pytest.mark.parametrize(
    ("text", "told"),
    [("a year", "is no duration: write for instance 52w"), ("30m", "less than an hour"), ("-1w", "is no duration")],
)
def test_a_retention_that_is_none(service: SetupService, text: str, told: str) -> None:
    done = service.setup(retention=text)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "PSU_RETENTION" in done.stderr
    assert told in done.stderr


def test_a_bucket_that_was_deleted_is_made_again_with_tokens_for_it(store: Influxd, service: SetupService) -> None:
    _, answer = store.ask("GET", "/api/v2/buckets", own(service), name="psu")
    assert store.ask("DELETE", f"/api/v2/buckets/{answer['buckets'][0]['id']}", own(service))[0] == 204
    assert "bucket psu: new" in service.setup().stdout
    assert_sound(store, service)


@pytest.mark.parametrize(
    ("password", "told"),
    [
        (None, "No such file or directory: run `make secrets`"),
        ("short", "8 to 72 characters"),
        ("", "8 to 72 characters"),
    ],
)
def test_a_password_that_is_none(service: SetupService, tmp_path: Path, password: str | None, told: str) -> None:
    copy = service.copy(tmp_path)
    if password is None:
        (copy.secrets / "admin_password").unlink()
    else:
        copy.password = password
    done = copy.setup()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr


def test_who_is_locked_out_is_told_what_to_do(service: SetupService, tmp_path: Path) -> None:
    copy = service.copy(tmp_path)
    copy.password = "not-the-password"
    (copy.state / "admin").unlink()
    done = copy.setup()
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        f"InfluxDB refuses the password in {copy.secrets}/admin_password, and this program's own token is not in {copy.state}."
    )
    assert '"Locked out of the store"' in done.stderr
    assert service.setup().returncode == 0, "nothing was changed"


def test_a_store_that_is_not_there(service: SetupService) -> None:
    command, environment = service.command(url="http://127.0.0.1:9")
    done = subprocess.run(command, env=environment | {"STARTING": "0.3"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "InfluxDB does not answer at http://127.0.0.1:9: [Errno 111] Connection refused" in done.stderr


# -- stopped on its way --------------------------------------------------------------------------------------------------


def is_change(request: str) -> bool:
    """True if it leaves something else in the store."""
    return not request.startswith("GET") and not any(word in request for word in ("/signin", "/query", "/write"))


def test_it_may_be_killed_while_it_sets_up_an_empty_store(tmp_path: Path) -> None:
    with Influxd(tmp_path / "influxd") as store, KillingProxy(store.port) as proxy:
        service = SetupService(tmp_path / "setup", store.url)
        command, environment = service.command(url=proxy.url)
        # Each run finds what the ones before have left: before its first change nothing, after it a store that was set up.
        kills = [
            proxy.kill(command, environment, 1, is_done, is_change) for is_done in (False, True, False, True, True)
        ]
        assert kills == [True] * 5
        assert proxy.asked[-1] == "POST /api/v2/authorizations"
        assert service.setup().returncode == 0
        assert_sound(store, service)


@pytest.mark.stack
@pytest.mark.timeout(600)
def test_it_may_be_killed_at_every_request(store: Influxd, service: SetupService) -> None:
    """Before the store has it and once it has carried it out; a plain run has to put everything right, each time."""
    kills = 0
    with KillingProxy(store.port) as proxy:
        command, environment = service.command(
            "--renew", "admin", "--renew", "telegraf", "--renew", "grafana", url=proxy.url
        )
        for number in itertools.count(1):
            for is_done in (False, True):
                if not proxy.kill(command, environment, number, is_done, lambda _: True):
                    assert kills > 30
                    return
                kills += 1
                done = service.setup()
                assert done.returncode == 0, (proxy.asked, done.stderr)
                assert_sound(store, service)


# -- the store's own ways out ----------------------------------------------------------------------------------------------


def test_a_lost_password_is_set_while_the_store_stands_still(tmp_path: Path) -> None:
    """docs/operating.md, "Locked out of the store": the same command, where the container has its files elsewhere."""
    store = Influxd(tmp_path / "influxd")
    service = SetupService(tmp_path / "setup", store.url)
    with store:
        assert service.setup().returncode == 0
        old = service.token("telegraf")
    service.password = "what-is-in-the-file-now"
    (service.state / "admin").unlink()
    command = [influxd(), "recovery", "user", "update", "--username", "admin", "--password", service.password]
    done = subprocess.run([*command, f"--bolt-path={store.folder / 'influxd.bolt'}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with store:
        done = service.setup()
        assert done.returncode == 0, done.stderr
        assert service.token("telegraf") == old, "nobody but the administrator notices"


def test_a_store_from_before_this_program_goes_on(tmp_path: Path) -> None:
    """The image's own setup made it, and tokens of which nobody noted the ids; the administrator's token is in secrets/.

    It kept them in the clear, as InfluxDB before 2.8 does; at its next start this one hashes them.
    """
    clear = "--use-hashed-tokens=false"
    with Influxd(tmp_path / "influxd", clear) as store:
        service = SetupService(tmp_path / "setup", store.url)
        body = {
            "username": "admin",
            "password": service.password,
            "org": "lab",
            "bucket": "psu",
            "token": "legacy-token",
        }
        status, made = store.ask("POST", "/api/v2/setup", "", json.dumps(body | {"retentionPeriodSeconds": 31449600}))
        assert status == 201
        resource = {"type": "buckets", "id": made["bucket"]["id"], "orgID": made["org"]["id"]}
        for name, action in (("telegraf", "write"), ("grafana", "read")):
            permissions = [{"action": action, "resource": resource}]
            wish = {"orgID": made["org"]["id"], "description": f"psu {name}", "permissions": permissions}
            _, answer = store.ask("POST", "/api/v2/authorizations", "legacy-token", json.dumps(wish))
            (service.tokens / name).write_text(answer["token"])
        assert store.write(service.token("telegraf"), "kept v=7") == 204
        shown = store.ask("GET", "/api/v2/authorizations", "legacy-token")[1]["authorizations"]
        assert {one["token"] for one in shown} > {"legacy-token"}
    store.command = [word for word in store.command if word != clear]
    with store:
        shown = store.ask("GET", "/api/v2/authorizations", "legacy-token")[1]["authorizations"]
        assert {one["token"] for one in shown} == {""}
        assert (rights(store, service.token("telegraf")), rights(store, service.token("grafana"))) == ("w", "r")
        old = service.token("telegraf")
        (service.secrets / "admin_token").write_text("legacy-token\n")
        service.password = "and-the-password-was-lost"
        assert service.setup().returncode == 0
        assert store.values(service.token("grafana"), "kept") == [7]
        assert rights(store, old) == ""
        assert service.setup("--renew", "admin").returncode == 0
        assert store.ask("GET", "/api/v2/me", "legacy-token")[0] == 401
        assert_sound(store, service)

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

from .front import Front
from .influxd import Influxd, Room


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    with Influxd(tmp_path_factory.mktemp("influxd")) as store:
        yield store


@pytest.fixture(scope="module")
def first(store: Influxd, tmp_path_factory: pytest.TempPathFactory) -> tuple[Room, subprocess.CompletedProcess[str]]:
    room = Room(tmp_path_factory.mktemp("room"), store.url)
    return room, room.setup()


@pytest.fixture(scope="module")
def room(first: tuple[Room, subprocess.CompletedProcess[str]]) -> Room:
    """A store that was set up. Each test leaves everything as it should be."""
    room, done = first
    assert done.returncode == 0, done.stderr
    return room


def rights(store: Influxd, token: str) -> str:
    """What a token may: ``w`` for a write, ``r`` for a query."""
    written = store.write(token, "probe v=1")
    assert written in (204, 401, 403)
    return "w" * (written == 204) + "r" * (store.values(token, "probe") is not None)


def assert_sound(store: Influxd, room: Room) -> None:
    """Each service has the one token that does what it needs, and there are no others."""
    assert rights(store, room.token("telegraf")) == "w"
    assert rights(store, room.token("grafana")) == "r"
    assert sorted(os.listdir(room.tokens)) == ["grafana", "telegraf"]
    _, answer = store.ask("GET", "/api/v2/authorizations", own(room))
    descriptions = sorted(one["description"] for one in answer["authorizations"])
    assert descriptions in (
        ["admin's Token", "psu grafana", "psu telegraf"],
        ["psu grafana", "psu setup", "psu telegraf"],
    )


def own(room: Room) -> str:
    token: str = json.loads((room.state / "admin").read_text())["token"]
    return token


def test_an_empty_store(store: Influxd, first: tuple[Room, subprocess.CompletedProcess[str]]) -> None:
    room, done = first
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "a new store: user admin, organization lab, bucket psu"
    assert_sound(store, room)
    # Telegraf, Grafana and this program run as three users.
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in room.tokens.iterdir()} == {
        "telegraf": "0o444",
        "grafana": "0o444",
    }
    assert {path.stat().st_mode & 0o077 for path in room.state.iterdir() if path.name != ".lock"} == {0}
    for secret in (room.password, room.token("telegraf"), room.token("grafana"), own(room)):
        assert secret not in done.stdout


def test_a_second_run_changes_nothing(room: Room) -> None:
    before = {path: path.read_text() for path in (*room.tokens.iterdir(), *room.state.iterdir())}
    done = room.setup()
    assert done.stdout == "token for telegraf: works, kept\ntoken for grafana: works, kept\n"
    assert {path: path.read_text() for path in before} == before


@pytest.mark.parametrize("name", ["telegraf", "grafana"])
def test_a_token_is_renewed_and_the_old_one_refused(store: Influxd, room: Room, name: str) -> None:
    old = room.token(name)
    done = room.setup("--renew", name)
    assert f"token for {name}: new\ntoken for {name}: handed over; `docker compose restart {name}`" in done.stdout
    assert rights(store, old) == ""
    assert_sound(store, room)


def test_the_programs_own_token_is_renewed_and_that_of_the_onboarding_ended(store: Influxd, room: Room) -> None:
    old = own(room)
    assert "token for setup: new" in room.setup("--renew", "admin").stdout
    assert store.ask("GET", "/api/v2/me", old)[0] == 401
    # The new one can do what this program does, and no more.
    assert rights(store, own(room)) != "r"
    assert room.setup("--renew", "telegraf", retention="53w").returncode == 0
    assert_sound(store, room)


def test_a_new_password_in_the_file_becomes_the_stores(store: Influxd, room: Room) -> None:
    """ "Delete its file, run `make secrets`" is enough: nobody needs the old one."""
    room.password = "another-password"
    assert "user admin: password set to the one in" in room.setup().stdout
    (room.state / "admin").unlink()  # so the password is all there is
    assert "token for setup: new" in room.setup().stdout
    assert_sound(store, room)


@pytest.mark.parametrize("lost", ["tokens", "state"])
def test_a_volume_that_was_lost_is_filled_again(store: Influxd, room: Room, lost: str) -> None:
    folder = getattr(room, lost)
    for path in folder.iterdir():
        path.unlink()
    assert room.setup().returncode == 0
    assert_sound(store, room)


@pytest.mark.parametrize("name", ["telegraf", "grafana"])
def test_a_token_that_can_do_too_much_or_nothing_is_replaced(store: Influxd, room: Room, name: str) -> None:
    for wrong in (own(room), "no-token-of-this-store"):
        (room.state / name).write_text(json.dumps({"id": "0000000000000000", "token": wrong}))
        assert f"token for {name}: new" in room.setup().stdout
    assert_sound(store, room)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_spoilt_note_of_its_own_is_as_none(store: Influxd, room: Room, text: str) -> None:
    for path in room.state.iterdir():
        path.write_text(text)
    assert room.setup().returncode == 0
    assert_sound(store, room)


def retention(store: Influxd, room: Room) -> int:
    _, answer = store.ask("GET", "/api/v2/buckets", own(room), name="psu")
    seconds: int = answer["buckets"][0]["retentionRules"][0]["everySeconds"]
    return seconds


def test_the_retention_is_what_the_environment_says(store: Influxd, room: Room) -> None:
    for text, seconds in (("90d", 7776000), ("1h", 3600), ("0", 0), ("1d12h", 129600), ("52w", 31449600)):
        done = room.setup(retention=text)
        assert done.returncode == 0, done.stderr
        assert retention(store, room) == seconds, text
    assert "bucket psu: keeps samples for 364 d, before for 36 h" in done.stdout


@pytest.mark.parametrize(
    ("text", "told"),
    [("a year", "is no duration: write for instance 52w"), ("30m", "less than an hour"), ("-1w", "is no duration")],
)
def test_a_retention_that_is_none(room: Room, text: str, told: str) -> None:
    done = room.setup(retention=text)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "PSU_RETENTION" in done.stderr
    assert told in done.stderr


def test_a_bucket_that_was_deleted_is_made_again_with_tokens_for_it(store: Influxd, room: Room) -> None:
    _, answer = store.ask("GET", "/api/v2/buckets", own(room), name="psu")
    assert store.ask("DELETE", f"/api/v2/buckets/{answer['buckets'][0]['id']}", own(room))[0] == 204
    assert "bucket psu: new" in room.setup().stdout
    assert_sound(store, room)


@pytest.mark.parametrize(
    ("password", "told"),
    [
        (None, "No such file or directory: run `make secrets`"),
        ("short", "8 to 72 characters"),
        ("", "8 to 72 characters"),
    ],
)
def test_a_password_that_is_none(room: Room, tmp_path: Path, password: str | None, told: str) -> None:
    copy = room.copy(tmp_path)
    if password is None:
        (copy.secrets / "admin_password").unlink()
    else:
        copy.password = password
    done = copy.setup()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr


def test_who_is_locked_out_is_told_what_to_do(room: Room, tmp_path: Path) -> None:
    copy = room.copy(tmp_path)
    copy.password = "not-the-password"
    (copy.state / "admin").unlink()
    done = copy.setup()
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        f"InfluxDB refuses the password in {copy.secrets}/admin_password, and this program's own token is not in {copy.state}."
    )
    assert '"Locked out of the store"' in done.stderr
    assert room.setup().returncode == 0, "nothing was changed"


def test_a_store_that_is_not_there(room: Room) -> None:
    command, environment = room.command(url="http://127.0.0.1:9")
    done = subprocess.run(command, env=environment | {"STARTING": "0.3"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "InfluxDB does not answer at http://127.0.0.1:9: [Errno 111] Connection refused" in done.stderr


# -- stopped on its way --------------------------------------------------------------------------------------------------


def is_change(request: str) -> bool:
    """True if it leaves something else in the store."""
    return not request.startswith("GET") and not any(word in request for word in ("/signin", "/query", "/write"))


def test_it_may_be_killed_while_it_sets_up_an_empty_store(tmp_path: Path) -> None:
    with Influxd(tmp_path / "influxd") as store, Front(store.port) as front:
        room = Room(tmp_path / "room", store.url)
        command, environment = room.command(url=front.url)
        # Each run finds what the ones before have left: before its first change nothing, after it a store that was set up.
        kills = [
            front.kill(command, environment, 1, is_done, is_change) for is_done in (False, True, False, True, True)
        ]
        assert kills == [True] * 5
        assert front.asked[-1] == "POST /api/v2/authorizations"
        assert room.setup().returncode == 0
        assert_sound(store, room)


@pytest.mark.stack
@pytest.mark.timeout(600)
def test_it_may_be_killed_at_every_request(store: Influxd, room: Room) -> None:
    """Before the store has it and once it has carried it out; a plain run has to put everything right, each time."""
    kills = 0
    with Front(store.port) as front:
        command, environment = room.command(
            "--renew", "admin", "--renew", "telegraf", "--renew", "grafana", url=front.url
        )
        for number in itertools.count(1):
            for is_done in (False, True):
                if not front.kill(command, environment, number, is_done, lambda _: True):
                    assert kills > 30
                    return
                kills += 1
                done = room.setup()
                assert done.returncode == 0, (front.asked, done.stderr)
                assert_sound(store, room)


# -- the store's own ways out ----------------------------------------------------------------------------------------------


def test_a_lost_password_is_set_while_the_store_stands_still(tmp_path: Path) -> None:
    """docs/operating.md, "Locked out of the store": the same command, where the container has its files elsewhere."""
    store = Influxd(tmp_path / "influxd")
    room = Room(tmp_path / "room", store.url)
    with store:
        assert room.setup().returncode == 0
        old = room.token("telegraf")
    room.password = "what-is-in-the-file-now"
    (room.state / "admin").unlink()
    command = [influxd(), "recovery", "user", "update", "--username", "admin", "--password", room.password]
    done = subprocess.run([*command, f"--bolt-path={store.folder / 'influxd.bolt'}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with store:
        done = room.setup()
        assert done.returncode == 0, done.stderr
        assert room.token("telegraf") == old, "nobody but the administrator notices"


def test_a_store_from_before_this_program_goes_on(tmp_path: Path) -> None:
    """The image's own setup made it, and tokens of which nobody noted the ids; the administrator's token is in secrets/.

    It kept them in the clear, as InfluxDB before 2.8 does; at its next start this one hashes them.
    """
    clear = "--use-hashed-tokens=false"
    with Influxd(tmp_path / "influxd", clear) as store:
        room = Room(tmp_path / "room", store.url)
        body = {"username": "admin", "password": room.password, "org": "lab", "bucket": "psu", "token": "legacy-token"}
        status, made = store.ask("POST", "/api/v2/setup", "", json.dumps(body | {"retentionPeriodSeconds": 31449600}))
        assert status == 201
        resource = {"type": "buckets", "id": made["bucket"]["id"], "orgID": made["org"]["id"]}
        for name, action in (("telegraf", "write"), ("grafana", "read")):
            permissions = [{"action": action, "resource": resource}]
            wish = {"orgID": made["org"]["id"], "description": f"psu {name}", "permissions": permissions}
            _, answer = store.ask("POST", "/api/v2/authorizations", "legacy-token", json.dumps(wish))
            (room.tokens / name).write_text(answer["token"])
        assert store.write(room.token("telegraf"), "kept v=7") == 204
        shown = store.ask("GET", "/api/v2/authorizations", "legacy-token")[1]["authorizations"]
        assert {one["token"] for one in shown} > {"legacy-token"}
    store.command = [word for word in store.command if word != clear]
    with store:
        shown = store.ask("GET", "/api/v2/authorizations", "legacy-token")[1]["authorizations"]
        assert {one["token"] for one in shown} == {""}
        assert (rights(store, room.token("telegraf")), rights(store, room.token("grafana"))) == ("w", "r")
        old = room.token("telegraf")
        (room.secrets / "admin_token").write_text("legacy-token\n")
        room.password = "and-the-password-was-lost"
        assert room.setup().returncode == 0
        assert store.values(room.token("grafana"), "kept") == [7]
        assert rights(store, old) == ""
        assert room.setup("--renew", "admin").returncode == 0
        assert store.ask("GET", "/api/v2/me", "legacy-token")[0] == 401
        assert_sound(store, room)

"""Commands that were taken and not answered, and responses that were not delivered, are there after a restart."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agent.store import commands as commands_module
from agent.store.commands import OpenCommand, OpenCommands
from agent.store.database import Database
from agent.store.store import Store
from tests.lab import PATIENCE, wait_until
from tests.store.disk import Disk, opened, saved


def command(name: str) -> OpenCommand:
    return OpenCommand(0, "psu/psu1/1/response", name.encode(), "psu1", 1, name)


def ids(found: list[OpenCommand]) -> list[str | None]:
    return [one.command_id for one in found]


def opened_command(commands: OpenCommands, name: str) -> int:
    """Its number, once the file has it."""
    done = threading.Event()
    number = commands.open(command(name), done.set)
    assert done.wait(PATIENCE)
    return number


def test_what_was_taken_is_known_after_a_restart_until_its_response_is_delivered(file: Path) -> None:
    with opened(file) as store:
        numbers = {name: opened_command(store.commands, name) for name in "abcd"}
        done = threading.Event()
        store.commands.answer(numbers["b"], b"done", done.set)
        assert done.wait(PATIENCE)
        store.commands.close(numbers["c"])
    with opened(file) as store:
        commands = store.commands
        assert ids(commands.take_unanswered()) == ["a", "d"]
        (answered,) = commands.answered()
        assert answered == OpenCommand(numbers["b"], "psu/psu1/1/response", b"b", "psu1", 1, "b", b"done")
        newest = opened_command(commands, "e")
        assert newest > numbers["d"]
        for number in (*numbers.values(), newest):
            commands.close(number)
    with opened(file) as store:
        assert len(store.commands) == 0


def test_it_is_in_the_file_when_it_is_said_to_be(file: Path) -> None:
    """Not after the time that samples gather: the broker waits, and sends no more."""
    store = Store(file, 100)
    store.start()
    number = opened_command(store.commands, "a")
    assert store._database.select("SELECT number, payload FROM commands") == [(number, None)]
    done = threading.Event()
    store.commands.answer(number, b"done", done.set)
    assert done.wait(PATIENCE)
    assert store._database.select("SELECT number, payload FROM commands") == [(number, b"done")]
    assert store.close(PATIENCE)


@pytest.mark.parametrize("failing", ["BEGIN", "INSERT", "DELETE", "COMMIT"])
def test_a_disk_that_fails_says_nothing_until_it_works(file: Path, failing: str) -> None:
    with opened(file) as store:
        closed = opened_command(store.commands, "closed")
        disk = Disk(store, failing)
        store.commands.close(closed)
        told = []
        number = store.commands.open(command("a"), lambda: told.append("kept"))
        store.commands.answer(number, b"done", lambda: told.append("answered"))
        wait_until(lambda: store._retry_at, "a try that fails")
        assert told == []
        disk.failing = ""
        wait_until(lambda: told == ["kept", "answered"], "the disk")
    with opened(file) as store:
        assert [one.payload for one in store.commands.answered()] == [b"done"]
        assert store.commands.take_unanswered() == []


def test_one_that_comes_and_goes_while_the_disk_hangs_never_reaches_it(file: Path) -> None:
    with opened(file) as store:
        disk = Disk(store)
        disk.works.clear()
        number = store.commands.open(command("a"), lambda: None)
        assert disk.hangs.wait(PATIENCE)
        store.commands.close(number)
        later = store.commands.open(command("b"), lambda: None)
        store.commands.close(later)
        disk.works.set()
        saved(store)
        assert store._database.select("SELECT count(*) FROM commands") == [(0,)]


def test_only_so_many_are_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands_module, "MOST_OPEN", 3)
    with opened(file) as store:
        numbers = [store.commands.open(command(name), lambda: None) for name in "abcd"]
        assert all(numbers[:3])
        assert numbers[3] == 0
        store.commands.close(numbers[0])
        assert store.commands.open(command("e"), lambda: None)


def test_a_new_file_in_the_place_of_a_damaged_one_gets_them(file: Path) -> None:
    with opened(file) as store:
        opened_command(store.commands, "a")
        saved(store)
        for part in store._parts:
            part.restart()
        store._database.connection.execute("DELETE FROM commands")
        opened_command(store.commands, "b")
        saved(store)
    with opened(file) as store:
        assert ids(store.commands.take_unanswered()) == ["a", "b"]


def test_a_file_that_is_opened_late_keeps_both_runs_apart(file: Path, tmp_path: Path) -> None:
    with opened(file) as store:
        number = opened_command(store.commands, "a")
        saved(store)
    with Database(file).reading() as reading, opened(tmp_path / "memory.sqlite3") as memory:
        assert opened_command(memory.commands, "b") == number
        memory.commands.load(reading)
        (left,) = memory.commands.take_unanswered()
        assert (left.command_id, memory.commands.take_unanswered()) == ("a", [])
        assert left.number != number
        assert len(memory.commands) == 2


def test_a_secret_is_the_same_after_a_restart_and_another_one_elsewhere(file: Path, tmp_path: Path) -> None:
    with opened(file) as store, opened(tmp_path / "other" / "bench.sqlite3") as other:
        secret = store.identity.secret("client id")
        assert len(secret) == 16
        assert store.identity.secret("client id") == secret
        assert other.identity.secret("client id") != secret
    with opened(file) as store:
        assert store.identity.secret("client id") == secret

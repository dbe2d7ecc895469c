"""Sleeping and being woken: no wish to wake is missed, and nobody else has the turn while the thread is at work."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from agent.mqtt.turn import Turn
from tests.lab import PATIENCE, wait_until


@pytest.fixture
def turn() -> Iterator[Turn]:
    turn = Turn()
    with turn.held():
        yield turn


def nothing() -> bool:
    return False


def in_a_thread(turn: Turn, act: str) -> threading.Thread:
    """Act as soon as the turn's owner sleeps."""

    def run() -> None:
        wait_until(lambda: turn._is_sleeping, "the sleep")
        getattr(turn, act)()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_another_thread_ends_the_sleep(turn: Turn) -> None:
    thread = in_a_thread(turn, "wake")
    assert not turn.sleep(PATIENCE, nothing)
    thread.join()
    begun = time.monotonic()
    turn.sleep(0, nothing)  # the wish was for the sleep that it ended
    assert time.monotonic() - begun < PATIENCE


def test_who_has_work_does_not_sleep(turn: Turn) -> None:
    turn.sleep(10 * PATIENCE, lambda: True)


def test_a_wish_that_comes_just_before_the_sleep_is_not_missed(turn: Turn) -> None:
    def wish() -> bool:
        turn.wake()  # by another thread, after this one has looked for work
        return False

    turn.sleep(10 * PATIENCE, wish)


def test_the_connection_ends_the_sleep(turn: Turn) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        assert turn.sleep(PATIENCE, nothing, ours.fileno())
        ours.recv(1)
        assert not turn.sleep(PATIENCE, nothing, ours.fileno(), to_write=True)


def test_others_have_the_turn_only_while_its_owner_sleeps(turn: Turn) -> None:
    assert not turn.try_to_take()
    taken: list[bool] = []

    def take() -> None:
        wait_until(lambda: turn._is_sleeping, "the sleep")
        wait_until(turn.try_to_take, "the turn")
        turn.wake()
        taken.append(True)
        turn.give_back()

    thread = threading.Thread(target=take)
    thread.start()
    turn.sleep(PATIENCE, nothing)
    assert taken  # its owner goes on only when it has the turn again
    thread.join()
    assert not turn.try_to_take()


def test_what_is_urgent_ends_a_nap(turn: Turn) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not turn.nap(10 * PATIENCE, lambda: True, ours.fileno())
        thread = in_a_thread(turn, "wake")
        assert not turn.nap(10 * PATIENCE, nothing, ours.fileno())
        thread.join()
    assert not turn.is_napping


def test_the_connection_ends_a_nap(turn: Turn) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        assert turn.nap(10 * PATIENCE, nothing, ours.fileno())
    assert not turn.is_napping


def test_nobody_can_wake_a_thread_that_has_ended() -> None:
    turn = Turn()
    with turn.held():
        pass
    turn.wake()
    assert turn.try_to_take()


def test_a_thread_that_ends_while_it_is_woken_closes_its_pipe_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the byte went to a file that has got the same number meanwhile."""
    turn = Turn()
    ours, theirs = socket.socketpair()
    write = os.write

    def run() -> None:
        with turn.held():
            turn.sleep(PATIENCE, nothing, ours.fileno())

    def slowly(number: int, data: bytes) -> int:
        theirs.send(b"x")  # ends the sleep, and with it the thread
        thread.join(0.1)
        return write(number, data)

    with ours, theirs:
        thread = threading.Thread(target=run)
        thread.start()
        wait_until(lambda: turn._is_sleeping, "the sleep")
        monkeypatch.setattr(os, "write", slowly)
        turn.wake()
        thread.join()

"""Retained messages of units that the agent does not serve any more: removed after a while, if it published them itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from agent.mqtt.incoming import Incoming
from agent.protocol.messages import UnitInfo
from agent.protocol.report import Report
from agent.protocol.topics import Topics
from agent.service.fleet.retained import LINGERING, OwnInfos
from agent.store.store import Store
from tests.mqtt import reports
from tests.support.waiting import wait_until


@pytest.fixture
def session() -> MagicMock:
    return MagicMock(protocol="5", retains=True, speaks=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "bench.sqlite3", 10)
    store.start()
    yield store
    store.close(5)


def info(agent: str = "bench", unit: str = "psu2", instance: str | None = "one") -> UnitInfo:
    return reports.info(False, unit).model_copy(update={"agent": agent, "channels": [], "instance": instance})


def own_infos(session: MagicMock, store: Store, *served: str) -> OwnInfos:
    return OwnInfos("bench", "one", Topics("psu"), session, store.published, served.__contains__, MagicMock())


def heard(infos: OwnInfos, message: UnitInfo | None, retain: bool = True) -> None:
    unit = "psu2" if message is None else message.psu
    infos.handle(unit, Incoming(f"psu/{unit}/info", b"" if message is None else message.to_json(), retain, False))


def removed(session: MagicMock) -> list[str]:
    assert all(call.args[1] == b"" for call in session.keep.call_args_list)
    return [call.args[0] for call in session.keep.call_args_list]


def test_what_is_left_over_is_removed_after_a_while(session: MagicMock, store: Store) -> None:
    store.published.remember("psu3", [1])
    store.published.remember("psu3", [2])
    infos = own_infos(session, store, "psu1")
    infos.report(Report(info=info()))
    began = time.monotonic()
    heard(infos, info(instance="an earlier one"))
    infos.retire("psu3")
    infos.tick(began)
    assert removed(session) == []
    infos.tick(time.monotonic() + LINGERING)
    assert set(removed(session)) == {
        "psu/psu2/status", "psu/psu2/info", "psu/psu3/1/state", "psu/psu3/2/state", "psu/psu3/status", "psu/psu3/info"
    }  # fmt: skip
    session.keep.reset_mock()
    infos.tick(time.monotonic() + 2 * LINGERING)
    assert removed(session) == []  # once
    assert store.published.channels("psu3") is None


def test_a_unit_that_is_served_again_keeps_its_messages(session: MagicMock, store: Store) -> None:
    served: set[str] = set()
    infos = OwnInfos("bench", "one", Topics("psu"), session, store.published, served.__contains__, MagicMock())
    store.published.remember("psu2", [1])
    infos.retire("psu2")
    served.add("psu2")
    infos.tick(time.monotonic() + LINGERING)
    assert removed(session) == []


def test_another_agents_unit_is_left_alone(session: MagicMock, store: Store) -> None:
    store.published.remember("psu2", [1])
    infos = own_infos(session, store)
    for message, retain in ((info("another"), True), (info(), False), (None, True)):
        heard(infos, message, retain)
    infos.handle("psu2", Incoming("psu/psu2/info", b"no JSON", True, False))
    infos.tick(time.monotonic() + LINGERING)
    assert removed(session) == []


def test_a_unit_that_another_agent_has_taken_up_meanwhile_is_left_to_it(session: MagicMock, store: Store) -> None:
    store.published.remember("psu2", [1])
    infos = own_infos(session, store)
    infos.retire("psu2")
    heard(infos, info("another"))
    heard(infos, info())  # a late one of its own, as from a broker of several nodes
    infos.tick(time.monotonic() + LINGERING)
    assert removed(session) == []


def test_an_info_under_this_name_that_the_state_directory_does_not_know_is_told_of_once_and_left(
    session: MagicMock, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A new state directory, or another agent of this name."""
    infos = own_infos(session, store)
    heard(infos, info())
    heard(infos, info())
    infos.tick(time.monotonic() + LINGERING)
    assert removed(session) == []
    assert caplog.text.count("it is left there") == 1


def test_a_twin_is_not_told_to_remove_what_the_first_one_published(
    session: MagicMock, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    session.speaks = False
    infos = own_infos(session, store)
    heard(infos, info())
    infos.tick(time.monotonic())
    assert not caplog.records
    session.speaks = True  # there was no other one
    infos.tick(time.monotonic())
    assert caplog.text.count("it is left there") == 1


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (info(unit="psu1"), True),
        (info(unit="psu1", instance="another"), False),
        (info("another", "psu1"), False),
    ],
)
def test_a_hidden_retain_flag_is_told_by_this_runs_own_infos_alone(
    session: MagicMock, store: Store, caplog: pytest.LogCaptureFixture, message: UnitInfo, told: bool
) -> None:
    heard(own_infos(session, store, "psu1"), message, retain=False)
    assert ("hides the retain flag" in caplog.text) == told


def test_what_was_published_is_known_to_the_next_run(tmp_path: Path) -> None:
    store = Store(tmp_path / "bench.sqlite3", 10)
    store.start()
    store.published.remember("psu1", [1, 2])
    store.published.remember("psu2", [])
    store.published.remember("psu3", [1])
    wait_until(lambda: store.is_saved, "the disk")
    store.published.forget("psu3")
    assert store.close(5)
    again = Store(tmp_path / "bench.sqlite3", 10)
    try:
        assert [again.published.channels(name) for name in ("psu1", "psu2", "psu3")] == [(1, 2), (), None]
    finally:
        again.close(5)

"""Retained messages of units that the agent does not serve any more: removed after a while, unless the unit is back."""

from __future__ import annotations

import time
from unittest.mock import MagicMock

import pytest

from agent.mqtt.incoming import Incoming
from agent.protocol.messages import UnitInfo, utc_now
from agent.protocol.topics import Topics
from agent.service.retained import LINGERING, OwnInfos


@pytest.fixture
def session() -> MagicMock:
    return MagicMock()


def info(agent: str = "bench") -> bytes:
    return UnitInfo(
        time=utc_now(), agent=agent, psu="psu2", online=False, reason=None, model=None, manufacturer=None, serial=None,
        firmware=None, uri="TCPIP::192.0.2.1::INSTR", poll_interval=1.0, channels=[],
    ).to_json()  # fmt: skip


def removed(session: MagicMock) -> list[str]:
    assert all(call.args[1] == b"" for call in session.keep.call_args_list)
    return [call.args[0] for call in session.keep.call_args_list]


def test_what_is_left_over_is_removed_after_a_while(session: MagicMock) -> None:
    infos = OwnInfos("bench", Topics("psu"), session, lambda name: name == "psu1")
    began = time.monotonic()
    infos.handle("psu2", Incoming("psu/psu2/info", info(), True, False))
    infos.retire("psu3", [1, 2])
    infos.tick(began)
    assert removed(session) == []
    infos.tick(time.monotonic() + LINGERING)
    assert set(removed(session)) == {
        "psu/psu2/status", "psu/psu2/info", "psu/psu3/1/state", "psu/psu3/2/state", "psu/psu3/status", "psu/psu3/info"
    }  # fmt: skip
    session.keep.reset_mock()
    infos.tick(time.monotonic() + 2 * LINGERING)
    assert removed(session) == []  # once


def test_a_unit_that_is_served_again_keeps_its_messages(session: MagicMock) -> None:
    served: set[str] = set()
    infos = OwnInfos("bench", Topics("psu"), session, served.__contains__)
    infos.retire("psu2", [1])
    served.add("psu2")
    infos.tick(time.monotonic() + LINGERING)
    assert removed(session) == []


def test_another_agents_unit_is_left_alone(session: MagicMock) -> None:
    infos = OwnInfos("bench", Topics("psu"), session, lambda name: False)
    for payload, retain in ((info("another"), True), (b"no JSON", True), (info(), False), (b"", True)):
        infos.handle("psu2", Incoming("psu/psu2/info", payload, retain, False))
    infos.tick(time.monotonic() + LINGERING)
    assert removed(session) == []

"""The session's thread while it lets states of many units gather, to send them together."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.mqtt import sending
from agent.mqtt import session as session_module
from agent.protocol.report import Report
from tests.lab import PATIENCE, wait_until
from tests.mqtt.alone import Alone
from tests.mqtt.reports import response, state

STATE = "psu/psu1/1/state"


def is_sent_or_waits(alone: Alone, count: int) -> bool:
    return alone.session._turn.is_napping or alone.observer.count(STATE) == count


def test_a_command_does_not_wait_while_states_gather(
    broker: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many units the thread gathers states nearly all the time."""
    for module in (session_module, sending):
        monkeypatch.setattr(module, "NAP", 10 * PATIENCE)
    with contextlib.closing(Alone(broker, tmp_path)) as alone:
        alone.start()
        # The session's thread gathers from the second on that it has to send itself; this thread may be able to send the first.
        seq = 0
        while not alone.session._turn.is_napping:
            seq += 1
            alone.session.report(Report(states=[state(seq)]))
            wait_until(partial(is_sent_or_waits, alone, seq), f"state {seq}")
        assert seq <= 3
        alone.observer.send("psu/psu1/1/set", {"id": "now", "state": False})
        wait_until(lambda: alone.heard, "the command")
        wait_until(lambda: alone.session._turn.is_napping, "it goes on to gather states")
        assert [message.json["seq"] for message in alone.observer.on(STATE)] == list(range(1, seq))
        alone.session.report(Report(response=response("now")))
        alone.observer.wait("psu/psu1/1/response", lambda found: found["id"] == "now")

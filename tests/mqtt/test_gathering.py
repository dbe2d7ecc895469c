"""The session's thread while it lets states of many units gather, to send them together."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.mqtt import sending
from agent.mqtt import session as session_module
from agent.protocol.report import Report
from tests.lab import PATIENCE, wait_until
from tests.mqtt.alone import Alone
from tests.mqtt.reports import response, state


def test_a_command_does_not_wait_while_states_gather(
    broker: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many units the thread gathers states nearly all the time."""
    for module in (session_module, sending):
        monkeypatch.setattr(module, "NAP", 10 * PATIENCE)
    with contextlib.closing(Alone(broker, tmp_path)) as alone:
        alone.start()
        for seq in range(
            1, 4
        ):  # the first is sent by this thread, the second begins the time, the third waits for its end
            after = alone.observer.mark()
            alone.session.report(Report(states=[state(seq)]))
            if seq < 3:
                alone.observer.wait_state("psu1", after=after)
        wait_until(lambda: alone.session._turn.is_napping, "it gathers states")
        alone.observer.send("psu/psu1/1/set", {"id": "now", "state": False})
        wait_until(lambda: alone.heard, "the command")
        wait_until(lambda: alone.session._turn.is_napping, "it goes on to gather states")
        assert [message.json["seq"] for message in alone.observer.on("psu/psu1/1/state")] == [1, 2]
        alone.session.report(Report(response=response("now")))
        alone.observer.wait("psu/psu1/1/response", lambda found: found["id"] == "now")

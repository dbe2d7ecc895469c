"""The session of a recording at its end."""

from __future__ import annotations

from typing import Any

import pytest
from paho.mqtt.client import Client as PahoClient

from agent.client.address import Address
from agent.client.recording.session import RecordingSession


@pytest.mark.parametrize(("client_id", "is_kept"), [("a-file", True), (None, False)])
def test_after_a_fault_the_broker_keeps_messages_for_a_recording_that_can_go_on_alone(
    monkeypatch: pytest.MonkeyPatch, client_id: str | None, is_kept: bool
) -> None:
    """For one to standard output it kept them for an hour, and nobody could take them."""
    ends: list[Any] = []
    monkeypatch.setattr(PahoClient, "disconnect", lambda _, properties=None: ends.append(properties))
    address = Address("127.0.0.1", 1)
    session = RecordingSession(address, ["psu/#"], protocol="5", client_id=client_id, goes_on=False)
    monkeypatch.setattr(PahoClient, "loop_start", lambda _: None)
    with pytest.raises(BrokenPipeError), session:
        raise BrokenPipeError
    assert [None if end is None else end.SessionExpiryInterval for end in ends] == [None if is_kept else 0]

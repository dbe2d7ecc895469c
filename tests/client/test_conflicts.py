"""Two agents that have a unit of one name, as a client meets them: each answers, and the one that serves it is heard."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import paho.mqtt.publish
import pytest

from agent.cli import terminal
from agent.client import request
from agent.client.address import Address
from agent.client.connection import Client, Message, NobodyAnsweredError
from agent.client.fleet import Fleet
from agent.client.request import Target, send, take_over
from agent.local.broker import LocalBroker
from agent.protocol.topics import Topics
from tests.client.test_fleet import info
from tests.commandline import invoke
from tests.lab import PATIENCE

TIME = "2026-11-23T09:15:02Z"
CONFLICT = {"code": "conflict", "message": "agent bench1 on host1 serves it; send settings there"}


def address(broker: LocalBroker, protocol: str | None = None) -> Address:
    port = broker.port_311 if protocol == "3.1.1" else broker.port
    return Address(host=broker.host, port=port, protocol=protocol)  # type: ignore[arg-type]


def outcome(error: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    made = {"ok": error is None, "time": TIME, "psu": "psu1", "index": None, "error": error}
    return {name: value for name, value in (made | changes).items() if name != "error" or value}


@contextmanager
def agents(where: Address, topic: str, *outcomes: dict[str, Any]) -> Iterator[list[bytes]]:
    """What agents answer to the first message on a topic, in this order. The payloads that came."""
    heard: list[bytes] = []
    with Client(where) as client:
        client.subscribe([topic], qos=1)

        def answer() -> None:
            item = client.inbox.get(timeout=PATIENCE)
            assert isinstance(item, Message)
            heard.append(item.payload)
            known = {}
            if item.topic.endswith("/set"):
                known = {"id": json.loads(item.payload)["id"]}
            for each in outcomes:
                payload = json.dumps({"id": None, **known, **each}).encode()
                with suppress(NobodyAnsweredError):  # the client has heard enough and gone
                    client.publish("psu/psu1/response", payload, correlation=item.correlation)

        thread = threading.Thread(target=answer)
        thread.start()
        yield heard
        thread.join(PATIENCE)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "ANOTHER_WAIT", 0.2)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other agent's answer follows in a moment, which may be a long one on a busy machine."""
    monkeypatch.setattr(request, "ANOTHER_WAIT", PATIENCE)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("order", ["first", "last"])
def test_the_agent_that_serves_the_unit_is_heard(broker: LocalBroker, protocol: str, order: str) -> None:
    answers = [outcome(CONFLICT), outcome()]
    where = address(broker, protocol)
    with agents(where, "psu/psu1/set", *(answers if order == "last" else reversed(answers))), Client(where) as client:
        found = send(client, Target("psu1"), {"id": "a", "state": True}, expiry=5, patience=PATIENCE)
    assert [response.ok for response in found.responses] == [True]


@pytest.mark.usefixtures("impatient")
def test_one_that_does_not_serve_it_is_heard_if_there_is_no_other(broker: LocalBroker) -> None:
    where = address(broker)
    with agents(where, "psu/psu1/set", outcome(CONFLICT)), Client(where) as client:
        found = send(client, Target("psu1"), {"id": "a", "state": True}, expiry=5, patience=PATIENCE)
    (response,) = found.responses
    assert response.error is not None
    assert response.error.code == "conflict"
    assert found.exit_code == 1


def retain(broker: LocalBroker, topic: str, payload: bytes) -> None:
    paho.mqtt.publish.single(topic, payload, qos=1, retain=True, hostname=broker.host, port=broker.port_311)


def two_agents(broker: LocalBroker) -> None:
    """Two that have a psu1 each, as the broker retains them."""
    for agent in ("bench1", "bench2"):
        info = {"time": TIME, "agent": agent, "version": "1", "host": "h", "start_time": TIME, "units": ["psu1"]}
        retain(broker, f"psu/agents/{agent}/status", b"online")
        retain(broker, f"psu/agents/{agent}/info", json.dumps(info | {"base_topic": "psu"}).encode())


def test_everything_off_waits_for_both(broker: LocalBroker) -> None:
    two_agents(broker)
    where = address(broker)
    failed = outcome({"code": "offline", "message": "this agent could not open a link for the off"})
    with agents(where, "psu/all/set", outcome(), failed), Client(where) as client:
        found = send(client, Target("all"), {"id": "a", "state": False}, expiry=5, patience=PATIENCE)
    assert sorted(response.ok for response in found.responses) == [False, True]
    assert (found.silent, found.exit_code) == (set(), 1)


def test_everything_off_tells_that_one_of_two_did_not_answer(broker: LocalBroker) -> None:
    two_agents(broker)
    where = address(broker)
    with agents(where, "psu/all/set", outcome()), Client(where) as client:
        found = send(client, Target("all"), {"id": "a", "state": False}, expiry=5, patience=1.0)
    assert (found.silent, found.exit_code) == ({"psu1"}, 2)


# psu-agent takeover.


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_takeover_s_way_and_its_response_s(broker: LocalBroker, protocol: str) -> None:
    where = address(broker, protocol)
    with agents(where, "psu/psu1/takeover", outcome()) as heard, Client(where) as client:
        response = take_over(client, "psu1", "bench2", patience=PATIENCE)
    assert heard == [b"bench2"]
    assert response is not None
    assert response.ok


def an_info(agent: str, **changes: Any) -> bytes:
    return info(**{"agent": agent, "online": True, "reason": None, **changes})


@pytest.mark.parametrize(
    ("info", "printed"),
    [
        (an_info("bench2", host="host2"), "psu1: served by agent bench2 on host2\n"),
        (an_info("bench2"), "psu1: served by agent bench2\n"),
        (
            an_info("bench2", serves=False, online=False, reason="it takes over after 15 s"),
            "psu1: the agent serves it soon: it takes over after 15 s\n",
        ),
        (None, "psu1: the agent serves it, or will\n"),
    ],
)
@pytest.mark.usefixtures("patient")
def test_it_is_done_and_the_agent_named(broker: LocalBroker, info: bytes | None, printed: str) -> None:
    if info is not None:
        retain(broker, "psu/psu1/info", info)
    with agents(address(broker), "psu/psu1/takeover", outcome(CONFLICT), outcome()) as heard:
        result = invoke("takeover", "psu1", PSU_AGENT_BROKER=f"mqtt://127.0.0.1:{broker.port}")
    assert (result.exit_code, result.stdout, result.stderr) == (0, printed, "")
    assert heard == [b""]


@pytest.mark.usefixtures("impatient")
def test_a_refusal_is_told(broker: LocalBroker) -> None:
    with agents(address(broker), "psu/psu1/takeover", outcome(CONFLICT)):
        result = invoke("takeover", "psu1", "--agent", "b2", PSU_AGENT_BROKER=f"mqtt://127.0.0.1:{broker.port}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "psu1 refused: agent bench1 on host1 serves it; send settings there (conflict)\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["all"], "'all' is reserved"),
        (["psu1/2"], "'psu1/2' is no unit name"),
        (["psu1", "--agent", "a b"], "'a b' is no agent name"),
        (["psu1", "--timeout", "0.2"], "nobody answered for psu1 within 0.2 s"),
    ],
)
def test_what_can_t_be(broker: LocalBroker, arguments: list[str], text: str) -> None:
    with Client(address(broker)) as listener:
        listener.subscribe(["psu/+/takeover"])
        result = invoke("takeover", *arguments, PSU_AGENT_BROKER=f"mqtt://127.0.0.1:{broker.port}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert text in result.stderr


def test_a_conflict_is_shown() -> None:
    fleet = Fleet(Topics("psu"))
    conflict = {"agent": "bench2", "instance": "i2", "host": "host2", "unit": "psu1", "why": "name"}
    fleet.update("psu/psu1/status", b"online")
    fleet.update("psu/psu1/info", an_info("bench1", conflict=conflict))
    (note,) = terminal.notes(fleet, ["psu1"])
    assert note.plain.startswith("psu1: agent bench2 on host2 has another supply of this name")
    told = terminal.conflict_of(fleet, "psu1")["conflict"]
    assert (told["agent"], told["why"]) == ("bench2", "name")
    assert told["text"] in note.plain
    assert terminal.conflict_of(fleet, "psu2") == {}

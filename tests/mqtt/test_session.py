"""The connection to the broker, seen from its other side."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.mqtt.exchange import Exchange
from agent.simulator import Simulator
from tests.lab import Bench, wait_until
from tests.soak.tap import Publish, Tap


class _Silent:
    """Looks at nothing."""

    def connected(self, connection: int) -> None: ...
    def delivered(self, connection: int, packet: Publish) -> None: ...
    def agent_acknowledged(self, connection: int, mid: int) -> None: ...
    def published(self, connection: int, packet: Publish) -> None: ...
    def broker_acknowledged(self, connection: int, mid: int) -> None: ...
    def disconnected(self, connection: int) -> None: ...


def test_a_present_state_never_goes_back_in_time_while_the_broker_takes_its_time(
    tmp_path: Path, broker: LocalBroker
) -> None:
    tap = Tap(broker.port, _Silent())
    with Simulator() as simulator, Bench(tap.port, tmp_path, [simulator], observer_port=broker.port) as bench:
        tap.cut()
        tap.hold()  # the next connection is made, and nothing answers on it
        wait_until(lambda: not bench.daemon.session.connected, "the agent knows")
        wait_until(lambda: len(bench.daemon.session._inbox.items) > 9, "states come while it connects")
        after = bench.observer.mark()
        tap.release()
        bench.observer.wait("psu/psu1/1/backlog", after=after)
        newest = bench.observer.wait_state("psu1", after=after)["seq"]
        bench.observer.wait("psu/psu1/1/state", lambda state: state["seq"] > newest + 10, after=after)
        topic = "psu/psu1/1/state"
        live = [m.json["seq"] for m in bench.observer.received[after:] if m.topic == topic and not m.retain]
        assert live == sorted(live)
    tap.close()


def test_what_units_report_in_the_moment_of_connecting_keeps_its_order(
    tmp_path: Path, broker: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_retained = Exchange.tell_retained

    def slowly(self: Exchange, first: str) -> None:
        tell_retained(self, first)
        wait_until(lambda: len(self._inbox.items) > 9, "states that come right after")

    with Simulator() as simulator, Bench(broker.port, tmp_path, [simulator]) as bench:
        after = bench.observer.mark()
        monkeypatch.setattr(Exchange, "tell_retained", slowly)
        bench.daemon.session._exchange._connection._client.socket().close()  # type: ignore[union-attr]
        wait_until(lambda: bench.daemon.session.reconnects, "a new connection")
        monkeypatch.undo()
        newest = bench.observer.wait_state("psu1", after=after)["seq"]
        bench.observer.wait("psu/psu1/1/state", lambda state: state["seq"] > newest + 30, after=after)
        live = [
            m.json["seq"] for m in bench.observer.received[after:] if m.topic == "psu/psu1/1/state" and not m.retain
        ]
        assert live == sorted(live)


def test_whoever_has_a_response_has_the_states_that_it_tells_of(tmp_path: Path, broker: LocalBroker) -> None:
    with (
        Simulator() as one,
        Simulator() as two,
        Bench(broker.port, tmp_path, [one, two], poll_interval=0.01) as bench,
    ):
        observer = bench.observer
        for number in range(60):
            unit, channel = f"psu{number % 2 + 1}", number % 3 + 1
            if number % 7:
                topic, payload = f"psu/{unit}/{channel}/set", {"id": str(number), "voltage_limit": number % 5}
            else:
                topic, payload = f"psu/{unit}/set", {"id": str(number), "state": False}
            observer.send(topic, payload)
        topics = [f"psu/{unit}{channel}/response" for unit in ("psu1", "psu2") for channel in ("", "/1", "/2", "/3")]
        wait_until(lambda: sum(map(observer.count, topics)) == 60, "every response")
        newest: dict[str, int] = {}
        for message in list(observer.received):
            if message.topic.endswith("/state") and message.payload:
                state = message.json
                assert state["seq"] > newest.get(message.topic, 0)
                newest[message.topic] = state["seq"]
            elif message.topic.endswith("/response"):
                result = message.json.get("result", [])  # some are overtaken by the unit being turned off
                for state in result if isinstance(result, list) else [result]:
                    assert newest[f"psu/{state['psu']}/{state['index']}/state"] >= state["seq"]


def test_a_response_that_finds_the_connection_broken_is_sent_on_the_next_one(
    tmp_path: Path, broker: LocalBroker
) -> None:
    with Simulator() as simulator, Bench(broker.port, tmp_path, [simulator], poll_interval=60) as bench:
        agent, observer = bench.daemon.session, bench.observer

        def cut(message: str, answer: str | None) -> str | None:
            if message.startswith("VOLT 2"):  # while the unit is at it, and the broker's thread asleep
                agent._exchange._connection._client.socket().shutdown(socket.SHUT_WR)  # type: ignore[union-attr]
            return answer

        simulator.tamper = cut
        observer.send("psu/psu1/1/set", {"id": "cut", "voltage_limit": 2})
        assert observer.wait("psu/psu1/1/response", lambda response: response["id"] == "cut")["ok"]
        wait_until(lambda: agent.reconnects and agent.connected, "a new connection")
        assert len(observer.on("psu/psu1/1/response")) == 1

"""The step between the subscriptions of a connection and what is published on it: nothing that the broker keeps escapes it."""

from __future__ import annotations

from pathlib import Path

from agent.local.broker import LocalBroker
from agent.mqtt.broker.joining import Publish
from agent.mqtt.incoming import Incoming
from tests.lab import wait_until
from tests.mqtt.alone import TOPICS, Alone


class Recorder:
    """Joins when its question has come back, and writes down what happens in which order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def listen(self) -> None:
        self.events.append("listen")

    def begin(self, publish: Publish) -> None:
        self.events.append("begin")
        publish("psu/agents/bench/info", Question())

    def is_over(self) -> bool:
        return "psu/agents/bench/info" in self.events[self.events.index("begin") :]

    def end(self) -> bool:
        self.events.append("end")
        return True

    def handle(self, incoming: Incoming) -> None:
        self.events.append(incoming.topic)


class Question:
    def to_json(self) -> bytes:
        return b"{}"


def test_all_that_the_broker_keeps_comes_between_listening_and_the_end(broker: LocalBroker, tmp_path: Path) -> None:
    alone = Alone(broker, tmp_path)
    kept = {f"psu/unit{number}/info" for number in range(50)}
    for topic in kept:
        alone.observer.send(topic, b"{}", retain=True)
    recorder = Recorder()
    alone.session.join_by(recorder, lambda topic: None)
    alone.session.listen([TOPICS.every_info, TOPICS.agent_info("+")])
    alone.start(recorder.handle)
    for _ in range(2):
        events = recorder.events
        wait_until(lambda: "end" in events, "the end")  # noqa: B023
        assert events[0] == "listen"
        assert kept <= set(events[: events.index("end")])
        recorder.events = []
        alone.lost()
        alone.reconnected()
    alone.close()

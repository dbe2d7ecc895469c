"""From PUBLISH of a ``set`` to its response with the verified readback, against its parts.

The parts: a bare MQTT echo through the same broker, whose answer is as long as the agent's response, plus the very SCPI
messages that the agent sends for the command, one after another on a bare socket. Command, echo and SCPI are measured in turn,
several rounds; of each round the medians count, of the rounds the median of their ratios. Everybody sends without delay
(TCP_NODELAY), with QoS 1, and with MQTT 5's Response Topic and Correlation Data.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import select
import statistics
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.rig import POLL_MESSAGE, Agent, BareSocket, BenchmarkError, Counter, Units, workbench
from tests.support.figures import Figure, machine, table
from tests.support.observer import no_delay
from tests.support.processes import ROOT, Process

TARGET = 1.2
ECHO_TOPIC = "echo"
_TIMEOUT = 5.0


class Requester:
    """Sends a request, waits for its response; in the calling thread, so that no hand-over is measured."""

    def __init__(self, port: int) -> None:
        self._numbers = itertools.count(1)
        self._topic = "requester/response"
        self._answer: MQTTMessage | None = None
        self._subscribed = False
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_socket_open = no_delay
        client.on_message = self._on_message
        client.on_subscribe = lambda *_: setattr(self, "_subscribed", True)
        client.connect("127.0.0.1", port)
        client.subscribe(self._topic, qos=1)
        self._client = client
        deadline = time.monotonic() + _TIMEOUT
        while not self._subscribed:
            self._turn(0.5)
            if time.monotonic() > deadline:
                raise BenchmarkError("the broker takes no subscription")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.disconnect()

    def _on_message(self, client: Client, _: object, message: MQTTMessage) -> None:
        self._answer = message

    def _turn(self, timeout: float) -> None:
        while self._client.want_write():
            self._client.loop_write()
        connection = self._client.socket()
        if connection is None:
            raise BenchmarkError("the broker ended the connection")
        if select.select([connection], [], [], timeout)[0]:
            self._client.loop_read()
        self._client.loop_misc()

    def ask(self, topic: str, payload: bytes, timeout: float = _TIMEOUT) -> tuple[float, bytes]:
        """Seconds until the response, and the response.

        :raises BenchmarkError: there is none within the timeout (s)
        """
        correlation = b"%d" % next(self._numbers)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = self._topic
        properties.CorrelationData = correlation
        self._answer = None
        start = time.perf_counter()
        self._client.publish(topic, payload, qos=1, properties=properties)
        # A response that came after its timeout is not the one to this request.
        while self._answer is None or getattr(self._answer.properties, "CorrelationData", None) != correlation:
            self._turn(0.1)
            if time.perf_counter() - start > timeout:
                raise BenchmarkError(f"no response to {payload!r} on {topic} within {timeout:g} s")
        return time.perf_counter() - start, self._answer.payload


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds, medians; ``ratio`` is the median of the rounds' ratios."""

    command: float
    echo: float
    scpi: float
    ratio: float
    ratios: tuple[float, ...]
    messages: tuple[str, ...]  # what the agent sends for one command

    def __str__(self) -> str:
        sent = ", ".join(message.replace(POLL_MESSAGE, "(poll)") for message in self.messages)
        return (
            f"command {self.command * 1e3:.2f} ms; echo {self.echo * 1e3:.2f} ms + SCPI {self.scpi * 1e3:.2f} ms; ratio "
            f"{self.ratio:.2f} of {' '.join(f'{ratio:.2f}' for ratio in self.ratios)}; sent: {sent}"
        )


def _setting(volts: float) -> bytes:
    return b'{"voltage_limit": %.3f}' % volts


def measure(rounds: int = 7, count: int = 60, latency: float = 0.0) -> Result:
    """Send ``count`` commands a round to a unit that takes ``latency`` s a message."""
    with workbench() as (folder, broker), Units(latency=latency) as units:
        with (
            # Polled seldom, so that the log holds the command's messages alone.
            Agent(folder, broker.port, units.resources, poll_interval=600) as agent,
            Requester(broker.port) as requester,
            BareSocket(units.address) as bare,
        ):
            topic = f"psu/{agent.names[0]}/1/set"
            voltages = itertools.cycle((1.0, 1.5))

            def command() -> float:
                took, answer = requester.ask(topic, _setting(next(voltages)))
                if not json.loads(answer)["ok"]:
                    raise BenchmarkError(f"the command was refused: {answer.decode()}")
                return took

            # The broker is found and the unit is online when states have come. Nobody else listens afterwards: on a small machine
            # a subscriber would cost the agent time, and the echo none.
            with Counter(folder, broker.port, "psu/+/+/state") as states:
                agent.wait_until(lambda: states.count >= 3, "the agent publishes states")
            # On a machine that stood still for a moment the agent refuses what may be old.
            agent.wait_until(
                lambda: json.loads(requester.ask(topic, _setting(1.0))[1])["ok"], "the agent takes a setting"
            )
            messages, size = _recorded(units, requester, topic)
            questions = [(message, "?" in message) for message in messages]

            def scpi() -> float:
                start = time.perf_counter()
                for message, has_answer in questions:
                    if has_answer:
                        bare.ask(message)
                    else:
                        bare.tell(message)
                return time.perf_counter() - start

            options = [str(broker.port), ECHO_TOPIC, str(size)]
            with Process([sys.executable, "-m", "benchmarks.echo", *options], folder / "echo.log", folder=ROOT):
                _find_echo(requester)
                medians = [
                    tuple(
                        statistics.median(measure() for _ in range(count))
                        for measure in (command, lambda: requester.ask(ECHO_TOPIC, b"x" * 24)[0], scpi)
                    )
                    for _ in range(rounds)
                ]
        ratios = tuple(whole / (echo + bare_scpi) for whole, echo, bare_scpi in medians)
        commands, echos, scpis = zip(*medians, strict=True)
        return Result(
            command=statistics.median(commands),
            echo=statistics.median(echos),
            scpi=statistics.median(scpis),
            ratio=statistics.median(ratios),
            ratios=ratios,
            messages=messages,
        )


def _recorded(units: Units, requester: Requester, topic: str) -> tuple[tuple[str, ...], int]:
    """The messages that the unit receives for one command, and the size of the response. Warms everything up as well."""
    seen: collections.Counter[tuple[str, ...]] = collections.Counter()
    answer = b""
    for number in range(20):
        units.clear()
        _, answer = requester.ask(topic, _setting(1.0 + number % 2 / 2))
        if not json.loads(answer)["ok"]:
            raise BenchmarkError(f"the command was refused: {answer.decode()}")
        seen[tuple(message.replace("1.5", "1") for message in units.messages())] += 1
    return seen.most_common(1)[0][0], len(answer)


def _find_echo(requester: Requester) -> None:
    """Wait for the echo to have subscribed: until then nobody answers."""
    deadline = time.monotonic() + 30
    while True:
        try:
            requester.ask(ECHO_TOPIC, b"", timeout=0.5)
            return
        except BenchmarkError:
            if time.monotonic() > deadline:
                raise


def figures(rounds: int = 7, count: int = 60) -> list[Figure]:
    """All figures of this module."""
    found = []
    for what, latency in (
        ("a unit that answers at once", 0.0),
        ("a unit that takes 1 ms a message", 0.001),
        ("a unit that takes 10 ms a message", 0.01),
    ):
        result = measure(rounds, count if latency < 0.01 else max(1, count // 4), latency)
        print(f"command, {what}: {result}", file=sys.stderr, flush=True)
        found.append(
            Figure(
                f"`set` to verified response, {what}: agent / (bare echo + bare SCPI)",
                f"{result.ratio:.2f} ({result.command * 1e3:.2f} ms; {result.echo * 1e3:.2f} + {result.scpi * 1e3:.2f} ms)",
                f"≤ {TARGET:g}",
                result.ratio <= TARGET,
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=60, help="commands a round")
    arguments = parser.parse_args()
    print(table(figures(arguments.rounds, arguments.count)))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()

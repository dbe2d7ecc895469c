"""The agent on a broker: what a lab asks of it, each tried with a real agent and a simulated E36313A."""

from __future__ import annotations

import contextlib
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.simulator import Simulator
from tests.brokers.listener import Listener, gaps
from tests.brokers.program import AGENT, READER, BrokerProgram, Protocol
from tests.lab import AgentProcess, settings, unit, wait_until
from tests.support.relay import Relay
from tests.support.waiting import WaitedInVainError

_COMMANDS = 10
_UNIT = "psu1"
_SPOKEN = re.compile(r"connected, MQTT ([\d.]+)")
_SET = f"psu/{_UNIT}/1/set"
_STATUS = "psu/agents/bench/status"
_KEPT = "psu/agents/bench/check/kept"
_MARK = "psu/agents/bench/check/mark"
#: s for what a broker has to do that is slow.
_LONG = 60.0


@dataclass
class Trial:
    """What was seen. Each is True where it went as it should; a text says what did not; None: not tried."""

    #: The version of MQTT that the agent spoke.
    protocol: Protocol | None = None
    states: bool | str | None = None
    #: A setting was carried out and answered; the median of some, ms.
    command: bool | str | None = None
    milliseconds: float | None = None
    off: bool | str | None = None
    #: A command that was retained before the agent came is not carried out.
    old_command: bool | str | None = None
    #: A new client hears at once what is retained.
    newcomer: bool | str | None = None
    #: The broker was killed and started: no sample lost, and what was retained is there.
    samples: bool | str | None = None
    kept: bool | str | None = None
    #: The agent was killed: the broker says that it is offline.
    will: bool | str | None = None
    #: A user who may not command sent a command: what he was told, and that it was not carried out.
    denied: str | None = None
    denial_holds: bool | str | None = None
    log: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What did not go as it should, a sentence each."""
        return [value for name, value in vars(self).items() if isinstance(value, str) and name not in _TEXTS]


_TEXTS = ("protocol", "denied")


class _Scene:
    """A broker, an agent and a supply. The agent reaches the broker through a relay, which can be closed."""

    def __init__(
        self, broker: BrokerProgram, folder: Path, protocol: Protocol, simulator: Simulator, *, is_told: bool = False
    ) -> None:
        self.broker = broker
        self.protocol: Protocol = protocol
        self.simulator = simulator
        self.relay = Relay(broker.port_for(protocol))
        data = settings(
            self.relay.port,
            [unit(_UNIT, simulator)],
            folder / "state",
            mqtt={**broker.login(), **({"protocol": protocol} if is_told else {})},
        )
        self.agent = AgentProcess(data, folder / "agent")

    def listener(self, topic: str = "psu/#", user: str = AGENT) -> Listener:
        return Listener(self.broker.port_for(self.protocol), self.protocol, topic, self.broker.login(user))

    def output(self, channel: int = 1) -> Any:
        return self.simulator.instrument.channels[channel]

    def close(self) -> None:
        self.agent.kill()
        self.relay.close()


def try_agent(broker: BrokerProgram, folder: Path, protocol: Protocol) -> Trial:
    """Try the agent on a broker that runs; at the end it still does. Mostly the agent finds out itself which version it takes.

    :param folder: for the agent
    :param protocol: of the listeners
    """
    trial = Trial()
    with Simulator() as simulator, contextlib.ExitStack() as stack:
        scene = _Scene(broker, folder, protocol, simulator, is_told=broker.needs_version)
        stack.callback(scene.close)
        listener = stack.enter_context(scene.listener())
        listener.deliver(_SET, {"id": "old", "state": True}, retain=True)
        scene.agent.start()
        for name, step in _STEPS.items():
            try:
                setattr(trial, name, step(scene, listener, trial) or True)
            except (WaitedInVainError, AssertionError) as error:
                setattr(trial, name, f"{name}: {' '.join(str(error).split())[:200] or 'it did not hold'}")
                if name == "states":
                    break
        trial.log = scene.agent.text().splitlines()
        spoken = _SPOKEN.findall(scene.agent.text())
        trial.protocol = spoken[-1] if spoken else None
    return trial


def _states(_: _Scene, listener: Listener, __: Trial) -> None:
    listener.wait(f"psu/{_UNIT}/1/state", online=True)
    for channel in (1, 2, 3):
        wait_until(lambda c=channel: len(listener.on(f"psu/{_UNIT}/{c}/state")) > 5, "states to arrive")  # type: ignore[misc]


def _carried_out(listener: Listener, command: dict[str, Any]) -> None:
    """Send a setting until it is carried out: an agent that has just come back may refuse it, as another may serve its unit."""

    def ask() -> bool:
        response, _seconds = listener.ask(_UNIT, 1, command)
        assert response["ok"] or response["error"]["code"] in ("conflict", "expired"), response
        return bool(response["ok"])

    wait_until(ask, f"{command} to be carried out")


def _old_command(scene: _Scene, listener: Listener, _: Trial) -> None:
    """When the agent comes, and when it comes again."""
    for _attempt in range(2):
        _carried_out(listener, {"voltage_limit": 0.5})
        assert not scene.output().output, "a retained command has turned an output on"
        after = len(listener.received)
        scene.relay.end_all()
        listener.wait(f"psu/{_UNIT}/1/state", after=after, online=True)
        wait_until(lambda a=after: any(m.payload == b"online" for m in listener.on(_STATUS, a)), "the agent again")  # type: ignore[misc]
    listener.deliver(_SET, "", retain=True)


def _command(scene: _Scene, listener: Listener, trial: Trial) -> None:
    _carried_out(listener, {"voltage_limit": 0.05, "state": True})
    took = []
    for number in range(1, _COMMANDS + 1):
        response, seconds = listener.ask(_UNIT, 1, {"voltage_limit": number / 10, "state": True})
        assert response["ok"], response
        assert scene.output().settings.voltage == number / 10
        took.append(seconds)
    assert scene.output().output
    trial.milliseconds = round(statistics.median(took) * 1000, 1)


def _off(scene: _Scene, listener: Listener, _: Trial) -> None:
    response, _seconds = listener.ask(_UNIT, 1, {"state": False})
    assert response["ok"], response
    assert not scene.output().output


def _newcomer(scene: _Scene, _: Listener, __: Trial) -> str | None:
    topics = (f"psu/{_UNIT}/info", f"psu/{_UNIT}/1/state", f"psu/{_UNIT}/status", _STATUS)
    with scene.listener() as late:
        missing = [topic for topic in topics if not _has_retained(late, topic)]
    if not missing:
        return None
    for topic in missing:
        with scene.listener(topic) as late:
            if not _has_retained(late, topic):
                return "a new client gets nothing that is marked as retained"
    return "what is retained comes to filters without wildcards alone"


def _has_retained(listener: Listener, topic: str) -> bool:
    try:
        wait_until(lambda: any(m.retain for m in listener.on(topic)), f"the retained message on {topic}", 2)
    except WaitedInVainError:
        return False
    return True


def _will(scene: _Scene, listener: Listener, _: Trial) -> None:
    after = len(listener.received)
    scene.agent.kill()
    wait_until(lambda: any(m.payload == b"offline" for m in listener.on(_STATUS, after)), "the agent's will", _LONG)


def _samples(scene: _Scene, listener: Listener, _: Trial) -> None:
    """The relay lets the agent to the broker only when the listener is there again, so it can miss nothing."""
    listener.deliver(_KEPT, "1", retain=True)
    time.sleep(scene.broker.settling)
    scene.relay.stop()
    # The listener's own session ends with the broker: what is on the way to it would be lost, and that is no fault.
    listener.deliver(_MARK, "{}")
    listener.wait(_MARK)
    scene.broker.kill()
    scene.broker.start()
    listener.wait_subscribed(_LONG)
    scene.relay.start()
    after = len(listener.received)
    listener.wait(f"psu/{_UNIT}/3/state", after=after, online=True, timeout=_LONG)
    count = len(listener.on(f"psu/{_UNIT}/3/state", after))
    wait_until(lambda: len(listener.on(f"psu/{_UNIT}/3/state", after)) > count + 5, "more states")
    wait_until(
        lambda: not any(gaps(seqs) for seqs in listener.samples().values()),
        "the samples of the broker's absence",
        _LONG,
    )


def _kept(scene: _Scene, _: Listener, __: Trial) -> str | None:
    with scene.listener(_KEPT) as late:
        if not _has_retained(late, _KEPT):
            return "it forgets what was retained when it is killed and started again"
        late.deliver(_KEPT, "", retain=True)
    return None


_STEPS: dict[str, Callable[[_Scene, Listener, Trial], str | None]] = {
    "states": _states,
    "old_command": _old_command,
    "command": _command,
    "off": _off,
    "newcomer": _newcomer,
    "samples": _samples,
    "kept": _kept,
    "will": _will,
}


def try_denial(broker: BrokerProgram, folder: Path, protocol: Protocol, trial: Trial) -> None:
    """A command of a user who may not send any, on a broker that runs with access control; the agent's user may do all."""
    with Simulator() as simulator, contextlib.ExitStack() as stack:
        scene = _Scene(broker, folder, protocol, simulator, is_told=True)
        stack.callback(scene.close)
        listener = stack.enter_context(scene.listener())
        scene.agent.start()
        listener.wait(f"psu/{_UNIT}/1/state", online=True)
        reader = stack.enter_context(scene.listener(user=READER))
        mid = reader.send(f"psu/{_UNIT}/1/set", {"id": "denied", "state": True})
        with contextlib.suppress(WaitedInVainError):
            wait_until(lambda: mid in reader.acknowledged or reader.lost, "an answer to what is denied", 3)
        if reader.lost:
            trial.denied = "the connection is closed"
        elif mid in reader.acknowledged:
            said = reader.acknowledged[mid].lower()
            trial.denied = "acknowledged as if it were taken" if said == "success" else f"acknowledged: {said}"
        else:
            trial.denied = "never acknowledged"
        # A command that is allowed, and comes later, is answered; by then the denied one would have been.
        _carried_out(listener, {"voltage_limit": 1})
        seen = [m for m in listener.on(f"psu/{_UNIT}/1/response") if m.json["id"] == "denied"]
        held = not seen and not scene.output().output
        trial.denial_holds = True if held else "denied: the command was carried out"

"""The client library on a real broker, a real agent and a simulated supply."""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_examples
from hypothesis import strategies as st

from agent.client import (
    BrokerError,
    ChannelClient,
    NobodyAnsweredError,
    OfflineError,
    RefusedError,
    Supplies,
    WaitTimeoutError,
    connect,
    feeds,
)
from agent.client.address import Address
from agent.client.connection import Client
from agent.local.broker import LocalBroker
from agent.protocol.quantities import COMMANDED, COMMANDED_OF_UNIT
from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.lab import PATIENCE, AgentProcess, Bench, Observer, settings, unit, wait_until
from tests.support.processes import ROOT
from tests.support.relay import Relay


@pytest.fixture
def bench(broker: LocalBroker, tmp_path: Path) -> Iterator[Bench]:
    simulator = Simulator(loads={2: Resistor(20.0)}).start()
    units = [unit("psu1", simulator, channels={2: {"name": "DUT", "voltage_max": 12, "current_max": 1}})]
    made = Bench(broker.port, tmp_path, [simulator], units)
    simulator.instrument.execute("CURR 0.8,(@2)")
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def supplies(bench: Bench, broker: LocalBroker) -> Iterator[Supplies]:
    with connect(f"mqtt://127.0.0.1:{broker.port}", holder="me") as made:
        yield made


def test_a_command_returns_what_was_read_back(bench: Bench, supplies: Supplies) -> None:
    dut = supplies.channel("psu1/DUT")
    state = dut.set(voltage_limit=4, current_limit=0.5, state=True)
    assert (state.state, state.voltage_limit, state.current_limit, state.index) == (True, 4.0, 0.5, 2)
    assert state.current == pytest.approx(0.2, abs=0.05)
    assert supplies.channel("psu1/2").off().state is False
    assert dut.on().state is True
    assert dut.cycle(0.1).state is True
    response = dut.send(state=False)
    assert response.ok
    assert response.also_off == []
    assert [state.state for state in supplies.unit("psu1").off()] == [False] * 3
    assert [len(supplies.unit("psu1").clear_protection()), len(supplies.unit("psu1").states())] == [3, 3]
    assert [str(channel) for channel in supplies.unit("psu1").channels()] == ["psu1/1", "psu1/2", "psu1/3"]
    assert supplies.unit("psu1").info().model == "E36313A"
    assert dut.info().voltage_limit_range == (0.0, 12.0)


def test_a_refusal_has_its_code_and_its_sentence(bench: Bench, supplies: Supplies) -> None:
    dut = supplies.channel("psu1/DUT")
    with pytest.raises(RefusedError, match="12 V that channel 2") as refused:
        dut.set(voltage_limit=12.5)
    assert refused.value.code == "limit_exceeded"
    with pytest.raises(RefusedError, match="psu1 has no channel VDD; it has 1, 2 \\(DUT\\), 3") as unknown:
        supplies.channel("psu1/VDD").state()
    assert unknown.value.code == "unknown_channel"
    with pytest.raises(RefusedError) as by_agent:
        supplies.channel("psu1/VDD").on()
    assert by_agent.value.code == "unknown_channel"


def test_an_off_is_done_although_something_with_it_is_wrong(bench: Bench, supplies: Supplies) -> None:
    dut = supplies.channel("psu1/2")
    dut.set(voltage_limit=1, state=True)
    with pytest.raises(RefusedError, match="it was turned off, but voltage_limit takes a number") as refused:
        dut.set(state=False, voltage_limit=object())  # type: ignore[arg-type]
    assert refused.value.response is not None
    assert dut.state().state is False


def test_numbers_of_other_kinds_are_numbers(bench: Bench, supplies: Supplies) -> None:
    class Scalar:  # as of NumPy
        def item(self) -> float:
            return 2.5

    dut = supplies.channel("psu1/2")
    assert dut.set(voltage_limit=Decimal("1.5")).voltage_limit == 1.5  # type: ignore[arg-type]
    assert dut.set(voltage_limit=Scalar()).voltage_limit == 2.5  # type: ignore[arg-type]


def test_it_takes_what_can_be_commanded() -> None:
    of_channel = inspect.signature(ChannelClient.set).parameters.keys() - {"self", "timeout", "expires_in"}
    assert of_channel == set(COMMANDED)
    assert set(COMMANDED_OF_UNIT) == {"state", "clear_protection"}  # of which `UnitClient` has a method each


def test_a_state_is_never_older_than_the_call(make_bench: Callable[..., Bench]) -> None:
    """Also of a unit that publishes changes alone, and polls once an hour."""
    simulator = Simulator(loads={2: Resistor(20.0)})
    bench = make_bench([simulator], poll_interval=3600, publish={"changes_only": True, "heartbeat": 3600})
    with connect(Address(port=bench.data["settings"]["mqtt"]["port"], host="127.0.0.1")) as supplies:
        channel = supplies.channel("psu1/2")
        for volts in (1.0, 2.0, 3.0):
            simulator.instrument.execute(f"VOLT {volts},(@2)")  # at the front panel
            assert channel.state().voltage_limit == volts
        seq = channel.state().seq
        assert channel.state(max_age=3600).seq == seq
        assert channel.state().seq > seq


def test_a_unit_that_is_gone_has_no_state(bench: Bench, supplies: Supplies) -> None:
    dut = supplies.channel("psu1/DUT")
    states = dut.follow()
    assert dut.state().online
    bench.simulator.stop()
    with pytest.raises((OfflineError, NobodyAnsweredError)):
        dut.state()
    wait_until(lambda: not supplies.states("psu1/DUT")[0].online, "the unit to be told offline")
    with pytest.raises(OfflineError, match="psu1 is offline: "):
        dut.state()
    (state,) = supplies.states("psu1/DUT")
    assert (state.voltage, state.state) == (None, None)
    assert any(not state.online for state in iter(lambda: states.get(PATIENCE), None) if not state.online)


def test_an_agent_that_hangs_gives_no_old_state(broker: LocalBroker, tmp_path: Path) -> None:
    """The broker takes it for alive, and keeps its last states."""
    simulator = Simulator().start()
    process = AgentProcess(settings(broker.port, [unit("psu1", simulator)], tmp_path / "state"), tmp_path)
    observer = Observer(broker.port)
    try:
        process.start()
        observer.wait_online("psu1")
        with connect(f"mqtt://127.0.0.1:{broker.port}") as supplies:
            channel = supplies.channel("psu1/1")
            assert channel.state().online
            process.signal(signal.SIGSTOP)
            with contextlib.suppress(NobodyAnsweredError):  # what was under way
                channel.state(timeout=0.5)
            with pytest.raises((NobodyAnsweredError, OfflineError)):
                channel.state(timeout=0.5)
            with pytest.raises(NobodyAnsweredError, match=r"nobody answered for psu1/1 within 0\.5 s"):
                channel.set(voltage_limit=1, timeout=0.5)
    finally:
        process.signal(signal.SIGCONT)
        process.kill()
        observer.close()
        simulator.stop()


def test_waiting_for_a_state(bench: Bench, supplies: Supplies) -> None:
    dut = supplies.channel("psu1/DUT")
    bench.simulator.instrument.execute("VOLT 10,(@2)")
    bench.simulator.instrument.execute("OUTP 1,(@2)")
    state = dut.wait(lambda state: state.state is True and (state.current or 0) > 0.4)
    assert state.mode == "CV"
    with pytest.raises(WaitTimeoutError, match=r"psu1/DUT did not come to that within 0\.3 s; it is on, ") as late:
        dut.wait(lambda state: state.state is False, timeout=0.3)
    assert late.value.state is not None
    off = supplies.wait(lambda states: any(state.state for state in states))
    assert [state.index for state in off if state.state] == [2]
    with pytest.raises(WaitTimeoutError, match=r"within 0\.3 s"):
        supplies.wait(lambda states: not states, timeout=0.3)


def test_events_and_states_as_they_come(bench: Bench, supplies: Supplies) -> None:
    with supplies.events("psu1/DUT") as events, supplies.follow() as states, supplies.unit("psu1").events() as of_unit:
        assert {states.get(PATIENCE).index for _ in range(3)} == {1, 2, 3}  # type: ignore[union-attr]
        supplies.channel("psu1/1").set(voltage_limit=1)
        supplies.channel("psu1/2").set(voltage_limit=2)
        event = next(events)
        assert (event.index, event.field, event.to, event.by) == (2, "voltage_limit", 2.0, "command")
        assert next(of_unit).index == 1
        assert next(state for state in states if state.index == 2 and state.voltage_limit == 2).online
        # The topics of psu1 are subscribed to twice by now, and a broker may deliver each message for both.
        samples = [(state.index, state.seq) for state, _ in zip(states, range(9), strict=False)]
        assert len(set(samples)) == len(samples)
        assert events.get(0) is None
    assert list(events) == []


def test_a_feed_that_nobody_reads_keeps_the_newest(
    bench: Bench, supplies: Supplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "LONGEST", 3)
    feed: feeds.Feed[int] = feeds.Feed(lambda _: None)
    for number in range(10):
        feed.put(number)
    feed.close()
    assert list(feed) == [7, 8, 9]


def test_everything_off(bench: Bench, supplies: Supplies) -> None:
    supplies.channel("psu1/1").set(voltage_limit=1, state=True)
    supplies.channel("psu1/2").set(voltage_limit=1, state=True)
    (response,) = supplies.all_off()
    assert (response.psu, response.ok) == ("psu1", True)
    assert [state.state for state in supplies.states()] == [False] * 3


def test_a_lease_is_named_by_this_program_s_commands(bench: Bench, broker: LocalBroker, supplies: Supplies) -> None:
    address = f"mqtt://127.0.0.1:{broker.port}"
    with connect(address, holder="other") as other, supplies.channel("psu1/DUT").lease(60) as lease:
        assert lease.state.holder == "me"
        with pytest.raises(RefusedError, match="reserved for me") as refused:
            other.channel("psu1/2").set(voltage_limit=1)
        assert refused.value.code == "claimed"
        with pytest.raises(RefusedError):
            other.unit("psu1").channel(2).lease(60)
        assert supplies.channel("psu1/2").set(voltage_limit=1, state=True).state
        assert supplies.channel("psu1/1").set(voltage_limit=1).voltage_limit == 1  # which nobody has reserved
        assert other.channel("psu1/2").off().state is False
        lease.renew()
    with connect(address, holder="other") as other:
        other.unit("psu1").lease(60)
        assert other.channel("psu1/DUT").set(voltage_limit=2).voltage_limit == 2
        with pytest.raises(ValueError, match="604800 s"):
            other.unit("psu1").lease(1e9)


def test_each_of_many_threads_gets_its_own_answer(bench: Bench, supplies: Supplies) -> None:
    found: dict[int, tuple[float | None, float | None]] = {}

    def ask(number: int) -> None:
        channel = supplies.channel(f"psu1/{number % 3 + 1}")
        result = channel.set(voltage_limit=1 + number / 100, timeout=30)
        found[number] = result.voltage_limit, channel.state(timeout=30).current_limit

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: volts for number, (volts, _) in found.items()} == {
        number: pytest.approx(1 + number / 100, abs=0.002) for number in range(12)
    }
    assert all(amperes is not None for _, amperes in found.values())


# The connection is lost


def test_it_tells_at_once_that_the_broker_is_away_and_goes_on_after_it(
    bench: Bench, broker: LocalBroker, supplies: Supplies
) -> None:
    dut = supplies.channel("psu1/DUT")
    states = dut.follow()
    assert dut.state().online
    broker.kill()
    assert any(not state.online for state in states)
    for call in (lambda: dut.set(voltage_limit=1), dut.state, supplies.states, dut.off, supplies.all_off, dut.info):
        with pytest.raises(BrokerError):
            call()
    broker.start()
    wait_until(lambda: _is_back(dut), "the connection to come back")
    assert dut.set(voltage_limit=3).voltage_limit == 3
    assert any(state.online and state.voltage_limit == 3 for state in states)


def _is_back(channel: ChannelClient) -> bool:
    try:
        return channel.state().online
    except (BrokerError, OfflineError, NobodyAnsweredError):
        return False


def test_what_could_not_be_sent_is_not_sent_later(
    make_broker: Callable[..., LocalBroker], bench: Bench, broker: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """paho sends again what was not acknowledged, as soon as it has reconnected. A board would get its volts then."""
    monkeypatch.setattr("agent.client.connection.CONNECT_TIMEOUT", 1.0)
    with connect(f"mqtt://127.0.0.1:{broker.port}") as supplies:
        dut = supplies.channel("psu1/DUT")
        dut.set(voltage_limit=1)
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGSTOP)
        with pytest.raises(BrokerError, match="does not answer"):
            dut.set(state=True)
        broker.kill()
        broker.start()
        wait_until(lambda: _is_back(dut), "the connection to come back")
        assert dut.state().state is False
    commands = [message for message in bench.observer.on("psu/psu1/2/event") if message.json["field"] == "state"]
    assert commands == []


class _Hanging(Relay):
    """Nothing passes on the connections that there are when it begins to hang."""

    def __init__(self, target: int) -> None:
        self.passes = threading.Event()
        self.passes.set()
        self.last = 0
        super().__init__(target)

    def opened(self, number: int) -> None:
        self.last = number

    def passing(self, number: int, upward: bool, data: bytes) -> tuple[bytes, ...]:
        return (data,) if self.passes.is_set() or number > self.last_that_hangs else ()

    def hang(self) -> None:
        self.last_that_hangs = self.last
        self.passes.clear()


def test_an_off_does_not_wait_for_a_link_that_hangs(
    bench: Bench, broker: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.client.connection.CONNECT_TIMEOUT", 1.0)
    with _Hanging(broker.port) as relay, connect(f"mqtt://127.0.0.1:{relay.port}") as supplies:
        dut = supplies.channel("psu1/DUT")
        dut.set(voltage_limit=1, state=True)
        relay.hang()
        assert dut.off().state is False
        wait_until(lambda: _is_back(dut), "a new connection")
        dut.on()
        relay.hang()
        assert supplies.all_off()[0].ok
        relay.hang()
        with pytest.raises(BrokerError):
            dut.on()
        wait_until(lambda: _is_back(dut), "a new connection")
        assert dut.state().state is False


@pytest.mark.parametrize("may_be_late", [False, True])
def test_a_link_that_hangs_is_reset_but_not_for_an_off(monkeypatch: pytest.MonkeyPatch, may_be_late: bool) -> None:
    """After a close in good order the kernel goes on sending, for a minute and more."""
    monkeypatch.setattr("agent.client.connection.CONNECT_TIMEOUT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def publish() -> None:
            address = Address(host="127.0.0.1", port=server.getsockname()[1], protocol="5")
            with contextlib.suppress(BrokerError), Client(address, reconnects=False) as client:
                client.publish("psu/a/1/set", b"{}", may_be_late=may_be_late)

        thread = threading.Thread(target=publish)
        thread.start()
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK, and nothing more ever
            ends: list[bytes | type[OSError]] = []
            while not ends or (ends[-1] and isinstance(ends[-1], bytes)):
                try:
                    ends.append(connection.recv(4096))
                except OSError as error:
                    ends.append(type(error))
        thread.join()
    assert ends[-1] == (b"" if may_be_late else ConnectionResetError)


_DIES = """
import os, sys
from agent.client import connect
supplies = connect(sys.argv[1], off_if_lost="psu1/DUT")
supplies.channel("psu1/DUT").set(voltage_limit=1, state=True)
if sys.argv[2] == "ends":
    supplies.close()
else:
    os.kill(os.getpid(), 9)
"""


def test_off_if_the_program_dies(bench: Bench, broker: LocalBroker) -> None:
    def run(end: str) -> None:
        command = [sys.executable, "-c", _DIES, f"mqtt://127.0.0.1:{broker.port}", end]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=PATIENCE * 4)

    run("ends")
    mark = bench.observer.mark()
    assert bench.observer.wait_state("psu1", 2, after=mark)["state"] is True
    run("dies")
    bench.observer.wait_state("psu1", 2, after=mark, state=False)


# Arguments


@settings_of_examples(max_examples=50, deadline=None)
@given(st.text() | st.tuples(st.text(), st.text()).map("/".join))
def test_every_text_is_a_channel_or_told_to_be_none(text: str) -> None:
    supplies = object.__new__(Supplies)
    supplies._commander = None  # type: ignore[assignment]
    try:
        channel = supplies.channel(text)
    except ValueError as error:
        found = str(error)
    else:
        found = str(channel)
    assert found == text or "give" in found


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"broker": "http://here"}, "http:// is no address"),
        ({"broker": "mqtt://user:secret@here"}, "password"),
        ({"broker": "localhost", "base": "a/#"}, "base"),
        ({"broker": "localhost", "off_if_lost": "a b"}, "'a b' names no unit"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        connect(**arguments)


def test_the_environment_names_the_broker(bench: Bench, broker: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSU_AGENT_BROKER", f"mqtt://127.0.0.1:{broker.port}")
    with connect() as supplies:
        assert len(supplies.states()) == 3
        assert str(broker.port) in repr(supplies)
    with pytest.raises(BrokerError, match="there is no connection"):
        supplies.states()
    with pytest.raises(BrokerError, match="is it running there"):
        connect("mqtt://127.0.0.1:1")

"""The client library on a real broker, a real agent and a simulated supply."""

from __future__ import annotations

import contextlib
import inspect
import signal
import subprocess
import threading
import time
from collections.abc import Callable
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
    NotAllowedError,
    OfflineError,
    RefusedError,
    Supplies,
    WaitTimeoutError,
    connect,
    feeds,
)
from agent.client.address import Address
from agent.local.broker import LocalBroker
from agent.protocol.quantities import COMMANDED, COMMANDED_OF_UNIT
from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.client.conftest import is_back
from tests.lab import PATIENCE, AgentProcess, Bench, Observer, needs, settings, unit, wait_until
from tests.mqtt import reports


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
    with pytest.raises(RefusedError, match="psu1 has no channel VDD; it has 1, 2 \\(DUT\\) and 3") as unknown:
        supplies.channel("psu1/VDD").state()
    assert unknown.value.code == "unknown_channel"
    with pytest.raises(NobodyAnsweredError, match=r"nothing is known of psu7. There is no unit psu7; known is psu1\."):
        supplies.channel("psu7/1").state()
    with pytest.raises(NobodyAnsweredError, match=r"nobody answered .* known is psu1\."):
        supplies.channel("psu7/1").set(state=True, timeout=0.3)
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


def test_a_state_is_never_older_than_the_call_while_the_unit_is_polled_all_the_time(
    make_bench: Callable[..., Bench],
) -> None:
    """Every second call returned the reading of a poll that was under way, or on its way, at the call.

    A poll takes longer here than its states are on their way, on a busy machine, too: that is the condition of docs/python.md.
    """

    def lag(_message: str, answer: str | None) -> str | None:
        """The unit has read itself, and answers later."""
        time.sleep(0.25)
        return answer

    simulator = Simulator(loads={2: Resistor(20.0)})
    bench = make_bench([simulator], poll_interval=0)
    simulator.tamper = lag
    with connect(Address(port=bench.data["settings"]["mqtt"]["port"], host="127.0.0.1")) as supplies:
        channel = supplies.channel("psu1/2")
        for number in range(6):
            volts = 1.0 + number
            simulator.instrument.execute(f"VOLT {volts},(@2)")
            assert channel.state().voltage_limit == volts


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


def test_a_second_delivery_that_comes_late_is_no_news(broker: LocalBroker, supplies: Supplies) -> None:
    """As by a broker that has a queue for each of two filters."""
    with contextlib.closing(Observer(broker.port)) as other, supplies.follow("psu7") as states:
        payloads = [reports.state(seq, unit="psu7").to_json() for seq in range(1, 4)]
        for payload in (payloads[0], payloads[1], payloads[0], payloads[2], payloads[1], payloads[2]):
            other.send("psu/psu7/1/state", payload)
        other.send("psu/psu7/1/state", reports.state(9, unit="psu7").to_json())
        came = [next(states).seq]
        while came[-1] != 9:
            came.append(next(states).seq)
    assert came == [1, 2, 3, 9]


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
        ({"broker": Address("localhost"), "base": "a/#"}, "base"),
        ({"broker": Address("localhost"), "ca": "ca.crt"}, "an Address has tls"),
        ({"broker": "localhost", "ca": "ca.crt"}, "ca is for TLS"),
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
    monkeypatch.setenv("PSU_AGENT_BROKER", "mqtts://127.0.0.1:1")
    with pytest.raises(ValueError, match=r"none\.crt"):  # not that its address is no mqtts://
        connect(ca="none.crt")


def test_a_user_who_may_only_read(
    make_broker: Callable[..., LocalBroker], make_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    """Below a base topic of several levels, by both versions of MQTT."""
    needs("mosquitto_passwd")
    (tmp_path / "acl").write_text("topic readwrite #\nuser reader\ntopic read lab3/psu/#\n")
    (tmp_path / "passwords").touch(0o600)
    subprocess.run(["mosquitto_passwd", "-b", tmp_path / "passwords", "reader", "secret"], check=True, timeout=60)
    conf = f"acl_file {tmp_path / 'acl'}\npassword_file {tmp_path / 'passwords'}\n"
    broker = make_broker(conf=conf, kind="mosquitto")
    make_bench(port=broker.port, mqtt={"base_topic": "lab3/psu"}, online=False)
    for protocol in ("5", "3.1.1"):
        address = Address(
            host="127.0.0.1",
            port=broker.port,
            username="reader",
            base_topic="lab3/psu",
            protocol=protocol,
        )
        with connect(address, password="secret") as supplies:
            channel = supplies.channel("psu1/1")
            wait_until(lambda here=channel: is_back(here), "the unit to be online")  # type: ignore[misc]
            assert channel.state().online
            with supplies.events() as events, channel.follow() as states:
                assert next(states).online
                assert events.get(0) is None
            with pytest.raises(NotAllowedError if protocol == "5" else NobodyAnsweredError):
                channel.set(voltage_limit=1, timeout=PATIENCE if protocol == "5" else 1)
    with pytest.raises(BrokerError, match=r"refused the connection: (bad user name or password|not authorized)"):
        connect(f"mqtt://reader@127.0.0.1:{broker.port}", password="wrong")

"""Units and networks that misbehave, on each transport.

For each fault: the unit goes offline and says why, with a state that knows nothing; no value is published that was not the
unit's at that moment; the other unit keeps its rate; and everything heals by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.local.broker import LocalBroker
from agent.protocol.messages import format_time
from agent.simulator import Simulator
from tests.faults import proxy as ways
from tests.faults.proxy import Proxy
from tests.lab import Bench, unit, wait_until
from tests.support import inside

#: ms. Long enough for one that answers while the machine is busy, as each test ends with it well.
TIMEOUTS = {"timeout": 1000, "open_timeout": 1000}


class Patient(Bench):
    """``psu1`` behind a proxy, and ``psu2`` beside it, well."""

    proxy: Proxy
    transport: str

    @property
    def sick(self) -> Simulator:
        return self.simulators[0]


def _resource(transport: str, port: int) -> str:
    return {
        "socket": f"TCPIP::127.0.0.1::{port}::SOCKET",
        "vxi11": f"TCPIP::127.0.0.1,{port}::inst0::INSTR",
        "hislip": f"TCPIP::127.0.0.1::hislip0,{port}::INSTR",
    }[transport]


class Rate:
    """The other unit's samples a second, from its making on."""

    def __init__(self, patient: Patient) -> None:
        self._patient = patient
        self._before, self._begun = self._newest(), time.monotonic()

    def _newest(self) -> int:
        """The number of the newest sample: those that a newer one has overtaken count as well."""
        return int(wait_until(lambda: self._patient.observer.states("psu2"), "a sample of the other unit")[-1]["seq"])

    def over(self, samples: int) -> float:
        wait_until(lambda: self._newest() >= self._before + samples, "the other unit's samples")
        return (self._newest() - self._before) / (time.monotonic() - self._begun)


def rate(patient: Patient) -> float:
    return Rate(patient).over(10)


def fresh(patient: Patient) -> Any:
    """A state of ``psu1`` whose answer arrived after this call."""
    now = format_time(datetime.now(UTC) + timedelta(milliseconds=1))
    return patient.observer.wait("psu/psu1/1/state", lambda s: s["online"] and s["time"] > now)


BYTES: dict[str, Callable[[Proxy], None]] = {
    "refuses": lambda proxy: proxy.stop(),
    "closes": lambda proxy: _set(proxy, down=ways.drop),
    "resets": lambda proxy: _set(proxy, down=ways.reset),
    "closes on a question": lambda proxy: _set(proxy, up=ways.drop),
    "closes in mid-answer": lambda proxy: _set(proxy, down=ways.drop_in_the_middle),
    "resets in mid-answer": lambda proxy: _set(proxy, down=ways.reset_in_the_middle),
    "is a black hole": lambda proxy: _set(proxy, up=ways.swallow),
    "answers nothing": lambda proxy: _set(proxy, down=ways.swallow),
    "sends half an answer": lambda proxy: _set(proxy, down=ways.half),
    "sends garbage": lambda proxy: _set(proxy, down=ways.garbage),
    "sends high bytes": lambda proxy: _set(proxy, down=ways.high_bytes),
    "sends without an end": lambda proxy: _set(proxy, down=ways.endless),
    "drips": lambda proxy: _set(proxy, down=ways.drip),
}


def _set(proxy: Proxy, *, up: ways.Way = ways.straight, down: ways.Way = ways.straight) -> None:
    proxy.up, proxy.down = up, down


def nothing_is_known(state: Any) -> bool:
    names = ("state", "voltage", "current", "power", "voltage_limit", "current_limit", "mode", "voltage_protection")
    return state["online"] is False and all(state[name] is None for name in names)


_POLL = "MEAS:VOLT?"
ANSWERS: dict[str, Callable[[str], str | None]] = {
    "an empty line": lambda _: "",
    "too few values": lambda answer: answer.rpartition(",")[0],
    "too many values": lambda answer: f"{answer},+0",
    "a part too few": lambda answer: answer.rpartition(";")[0],
    "a part too many": lambda answer: f"{answer};+0",
    "parts in another order": lambda answer: ";".join(reversed(answer.split(";"))),
    "words": lambda _: "NO;SUCH;LUCK",
    "its name": lambda _: "Keysight Technologies,E36313A,MY1,1.0",
    "an error": lambda _: '-410,"Query INTERRUPTED"',
    "NaN as a setting": lambda answer: ";".join([*answer.split(";")[:2], "9.91E37,9.91E37,9.91E37", *answer.split(";")[3:]]),
    "control characters": lambda _: "\x1b[2J\x07\x00",
    "60 KB": lambda answer: answer + ",0" * 30_000,
    "200 KB": lambda answer: answer + ",0" * 100_000,
    "nothing": lambda _: None,
}  # fmt: skip


@pytest.fixture(scope="class")
def ward(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    transport = request.cls.transport
    patch = pytest.MonkeyPatch()
    inside.retry_soon(patch.setattr)
    inside.wait_little_for_instruments(patch.setattr)
    with LocalBroker(tmp_path_factory.mktemp("broker")) as broker:
        sick = Simulator(socket_port=0, vxi11_port=0, hislip_port=0).start()
        well = Simulator().start()
        port = {"socket": sick.socket_port, "vxi11": sick.vxi11_port, "hislip": sick.hislip_port}[transport]
        assert port is not None
        with Proxy(port) as proxy:
            units = [
                unit("psu1", sick, uri=_resource(transport, proxy.port), pyvisa_args=TIMEOUTS),
                unit("psu2", well, poll_interval=0.02),
            ]
            bench = Patient(broker.port, tmp_path_factory.mktemp("bench"), [sick, well], units, poll_interval=0.05)
            bench.proxy, bench.transport = proxy, transport
            bench.start()
            yield bench
            proxy.heal()
            proxy.end_all()
            bench.close()
    patch.undo()


class Link:
    """All that holds on every transport. Each has a class of its own, so that they run beside each other."""

    transport = ""

    @pytest.fixture
    def patient(self, ward: Patient) -> Patient:
        ward.sick.tamper = None
        ward.sick.latency = 0.0
        ward.proxy.heal()
        fresh(ward)
        reconnects = inside.reconnects(ward.daemon, "psu1")
        ward.proxy.end_all()  # what hangs in it is none of the next test's business
        # Nor is what the agent tells of that: it may read an answer of the old link before it notices.
        wait_until(lambda: inside.reconnects(ward.daemon, "psu1") > reconnects, "the next link")
        fresh(ward)
        ward.observer.clear()
        return ward

    @pytest.mark.parametrize("fault", BYTES)
    def test_a_link_that_misbehaves(self, patient: Patient, fault: str) -> None:
        observer = patient.observer
        before = rate(patient)

        measure = Rate(patient)
        BYTES[fault](patient.proxy)
        state = observer.wait_state("psu1", online=False)
        assert nothing_is_known(state)
        info = observer.wait_online("psu1", online=False)
        assert info["reason"]
        assert observer.wait("psu/psu1/info", lambda i: i["online"] is False)["reason"].isprintable()
        gone = observer.mark()
        # More tries, and nothing but silence about the channels. If the other unit waited for these, it would have a sample a
        # second, a fortieth. A busy machine gives it half as many as before, or a third.
        assert measure.over(20) > before / 5
        assert [m for m in observer.received[gone:] if m.topic == "psu/psu1/1/state" and m.json["online"]] == []
        assert observer.code("psu/psu1/1/set", {"state": True}) == "offline"
        assert not patient.sick.instrument.channels[1].output

        # What is set meanwhile is what is seen afterwards.
        patient.sick.instrument.panel.knob_voltage(1, 1.0 + len(fault) / 100)
        after = observer.mark()
        patient.proxy.heal()
        state = fresh(patient)
        assert state["voltage_limit"] == pytest.approx(1.0 + len(fault) / 100, abs=0.0011)
        observer.wait_online("psu1", after=after)
        assert observer.ask("psu/psu1/2/set/voltage_limit", "2.5")["ok"]
        observer.wait_samples("psu1")

    def test_late_answers_are_never_taken_for_the_next_ones(self, patient: Patient) -> None:
        """Each answer comes after the agent gave up on it: were it read as the next one's, the values would lag behind."""
        observer = patient.observer
        panel = patient.sick.instrument.panel
        for number in range(1, 4):
            after = observer.mark()
            patient.proxy.down = ways.once(ways.late(1.3))
            observer.wait_state("psu1", after=after, online=False)
            panel.knob_voltage(1, float(number))
            panel.knob_current(1, number / 10)
            for _ in range(3):
                state = fresh(patient)
                assert (state["voltage_limit"], state["current_limit"]) == (number, number / 10)

    def test_answers_that_are_off_by_one(self, patient: Patient) -> None:
        """The unit itself lags: each question gets the answer to the one before. None of it is believed."""
        observer = patient.observer
        kept: list[str | None] = [None]

        def lag(_: str, answer: str | None) -> str | None:
            if answer is None:
                return None
            kept.append(answer)
            return kept.pop(0) if len(kept) > 1 else answer

        kept[0] = '+0,"No error"'
        after = observer.mark()
        patient.sick.tamper = lag
        observer.wait_state("psu1", after=after, online=False)
        gone = observer.mark()
        wait_until(lambda: len(kept) and patient.sick.instrument.message_count > 20, "more tries")
        assert [
            m for m in observer.received[gone:] if m.topic.startswith("psu/psu1/1/state") and m.json["online"]
        ] == []

    @pytest.mark.parametrize("fault", ANSWERS)
    def test_a_unit_that_answers_wrongly(self, patient: Patient, fault: str) -> None:
        observer = patient.observer
        patient.sick.instrument.execute("VOLT 4,(@1)")
        observer.wait_state("psu1", after=observer.mark(), voltage_limit=4.0)

        def tamper(message: str, answer: str | None) -> str | None:
            return ANSWERS[fault](answer) if message.startswith(_POLL) and answer is not None else answer

        after = observer.mark()
        patient.sick.tamper = tamper
        state = observer.wait_state("psu1", after=after, online=False)
        assert nothing_is_known(state)
        reason = observer.wait_online("psu1", online=False)["reason"]
        assert reason.isprintable()
        assert len(reason) < 500
        patient.sick.instrument.execute("VOLT 3,(@1)")
        patient.sick.tamper = None
        assert fresh(patient)["voltage_limit"] == 3.0

    def test_a_unit_that_is_slow_is_polled_as_fast_as_it_answers(self, patient: Patient) -> None:
        """100 ms a message, under the timeout of 1000: it stays online, and late polls are left out, not made up for."""
        observer = patient.observer
        patient.sick.latency = 0.1
        after = observer.mark()
        wait_until(
            lambda: len([m for m in observer.received[after:] if m.topic == "psu/psu1/1/state"]) >= 5, "five slow polls"
        )
        assert all(m.json["online"] for m in observer.received[after:] if m.topic == "psu/psu1/1/state")
        assert observer.ask("psu/psu1/1/set/voltage_limit", "2")["ok"]

    def test_an_error_queue_that_is_full(self, patient: Patient) -> None:
        observer = patient.observer
        for _ in range(30):
            patient.sick.instrument.execute("NO:SUCH:HEADER")
        assert observer.ask("psu/psu1/1/set/voltage_limit", "2")["ok"]
        for _ in range(30):
            patient.sick.instrument.execute("NO:SUCH:HEADER")
        assert observer.ask("psu/psu1/1/set", "OFF")["ok"]

    def test_an_error_queue_that_never_ends(self, patient: Patient) -> None:
        """It is read so and so often, not for ever."""
        observer = patient.observer
        patient.sick.tamper = lambda message, answer: (
            answer.replace('+0,"No error"', '-350,"Error queue overflow"') if answer is not None else None
        )
        response = observer.ask("psu/psu1/1/set/voltage_limit", "2")
        assert response["error"]["code"] == "instrument_error"
        assert observer.ask("psu/psu1/1/set", "OFF")["ok"]

    def test_a_link_that_breaks_after_a_setting_was_sent(self, patient: Patient) -> None:
        """It may have happened: the sender is told so, and then everybody the truth."""
        observer = patient.observer

        def break_it(message: str, answer: str | None) -> str | None:
            if message.startswith("VOLT 3.5"):
                patient.proxy.end_all(reset=True)
            return answer

        patient.sick.tamper = break_it
        response = observer.ask("psu/psu1/1/set", {"id": f"u {patient.transport}", "voltage_limit": 3.5})
        assert response["error"]["code"] == "uncertain"
        state = fresh(patient)
        assert state["voltage_limit"] == patient.sick.instrument.channels[1].settings.voltage == 3.5
        event = observer.wait("psu/psu1/1/event", lambda e: e["field"] == "voltage_limit" and e["to"] == 3.5)
        assert (event["by"], event["id"]) == ("command", f"u {patient.transport}")
        deadline = observer.mark()
        observer.wait_state("psu1", after=deadline, online=True)
        assert patient.sick.instrument.log.count("VOLT 3.5,(@1)") == 1

    def test_a_link_that_breaks_before_a_setting_was_sent(self, patient: Patient) -> None:
        observer = patient.observer
        patient.proxy.down = ways.swallow
        response = observer.ask("psu/psu1/1/set", {"voltage_limit": 3.75})
        assert response["error"]["code"] == "offline"
        patient.proxy.heal()
        observer.wait_state("psu1", after=observer.mark(), online=True)
        observer.wait_state("psu1", after=observer.mark(), online=True)
        assert "VOLT 3.75,(@1)" not in patient.sick.instrument.log

    def test_off_is_tried_once_more_at_once(self, patient: Patient) -> None:
        observer = patient.observer
        assert observer.ask("psu/psu1/3/set", {"state": True, "voltage_limit": 2})["ok"]
        breaks = iter([True])

        def break_it(message: str, answer: str | None) -> str | None:
            if message.startswith("OUTP 0") and next(breaks, False):
                patient.sick.instrument.execute("OUTP 1,(@3)")  # it did not happen
                patient.proxy.end_all(reset=True)
            return answer

        patient.sick.tamper = break_it
        assert observer.ask("psu/psu1/3/set", "OFF")["ok"]
        assert not patient.sick.instrument.channels[3].output

    def test_off_that_can_not_be_carried_out_is_told(self, patient: Patient) -> None:
        observer = patient.observer
        assert observer.ask("psu/psu1/3/set", {"state": True, "voltage_limit": 2})["ok"]
        patient.proxy.up = ways.swallow
        code = observer.code("psu/psu1/3/set", "OFF")
        assert code in ("uncertain", "offline")
        assert observer.code("psu/psu1/3/set", "OFF") == "offline"
        patient.proxy.heal()
        # Nothing is kept for later: not even off.
        fresh(patient)
        assert observer.wait_state("psu1", 3, after=observer.mark(), online=True)["state"] is True

    def test_all_is_not_delayed_by_a_unit_that_hangs(self, patient: Patient) -> None:
        observer = patient.observer
        for name in ("psu1", "psu2"):
            assert observer.ask(f"psu/{name}/1/set", {"state": True, "voltage_limit": 1})["ok"]
        patient.proxy.down = ways.swallow
        observer.send("psu/all/set", {"id": f"all {patient.transport}", "state": False})
        done = observer.wait("psu/psu2/response", lambda r: r["id"] == f"all {patient.transport}")
        assert done["ok"]
        assert not any(channel.output for channel in patient.simulators[1].instrument.channels.values())
        answered = [m for m in observer.on("psu/psu2/response") if m.json["id"] == f"all {patient.transport}"]
        failed = observer.wait("psu/psu1/response", lambda r: r["id"] == f"all {patient.transport}")
        assert failed["error"]["code"] in ("uncertain", "offline")
        slow = [m for m in observer.on("psu/psu1/response") if m.json["id"] == f"all {patient.transport}"]
        assert answered[0].moment < slow[0].moment


class TestSocket(Link):
    transport = "socket"


class TestVxi11(Link):
    transport = "vxi11"


class TestHislip(Link):
    transport = "hislip"

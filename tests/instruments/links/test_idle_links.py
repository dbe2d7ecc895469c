"""Links that the unit closes while they are idle: opened again, identified, and nothing sent twice that may have happened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.catalogue import candidates
from agent.instruments.driver import DriverError, IdentityError, LinkClosedError, LinkError, Write, never
from agent.instruments.text import identified
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.identified import IdentifiedLink
from agent.instruments.text.knowledge import Knowledge
from agent.instruments.text.settings import Outgoing
from agent.instruments.visa.session import VisaSession
from agent.simulator import Quirks, Simulator
from tests.lab import Bench, unit, wait_until
from tests.properties import examples
from tests.support import inside

TRANSPORTS = ["socket", "vxi11", "hislip"]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inside.reopen_at_once(monkeypatch.setattr)


def connected(simulator: Simulator, transport: str) -> TextDriver:
    session = VisaSession(simulator.resources[transport], options={"timeout": 1000, "open_timeout": 1000})
    driver = TextDriver(session, name="psu1", models=candidates("E36313A"), knowledge=Knowledge())
    driver.connect()
    return driver


def turn_off(driver: TextDriver) -> None:
    driver.write(Write("state", (1, 2, 3), False))
    assert driver.complaints() == []


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda driver: driver.poll(never), "MEAS:VOLT?"),
        (lambda driver: driver.inspect((1, 2)), "SYST:ERR?;:OUTP:TRAC?"),
        (turn_off, "OUTP 0"),
    ],
)
def test_a_message_that_finds_the_link_closed_goes_on_a_new_one(
    use: Callable[[TextDriver], object], message: str, transport: str, reset: bool
) -> None:
    with Simulator(socket_port=0, vxi11_port=0, hislip_port=0) as simulator:
        driver = connected(simulator, transport)
        simulator.instrument.clear_log()
        simulator.disconnect(reset=reset)
        use(driver)
        log = simulator.instrument.log
        assert log[0] == "*IDN?"
        assert sum(sent.startswith(message[:8]) for sent in log) == 1
        assert driver.reopened == 1
        driver.poll(never)
        assert driver.reopened == 1
        driver.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_another_unit_behind_a_link_that_was_opened_again_is_told_nothing(transport: str) -> None:
    with Simulator(serial="MY61000001", socket_port=0, vxi11_port=0, hislip_port=0) as first:
        driver = connected(first, transport)
        ports: dict[str, Any] = {
            "socket_port": first.socket_port,
            "vxi11_port": first.vxi11_port,
            "hislip_port": first.hislip_port,
        }
    with Simulator(serial="MY61000002", **ports) as second:
        with pytest.raises(IdentityError, match="MY61000002 now, and was E36313A MY61000001"):
            driver.write(Write("state", (1,), False))
        assert second.instrument.log == ["*IDN?"]
        with pytest.raises(LinkError):
            driver.poll(never)
        driver.close()


def test_a_unit_that_takes_no_more_clients_is_said_to() -> None:
    with Simulator(max_socket_sessions=1) as simulator:
        holder = connected(simulator, "socket")
        with pytest.raises(LinkError, match=r"as soon as it was open.*end other programs"):
            connected(simulator, "socket")
        holder.close()


def test_a_link_that_is_closed_at_once_again_is_not_opened_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identified, "SHORT_LIVED", 3600.0)
    with Simulator() as simulator:
        driver = connected(simulator, "socket")
        simulator.disconnect()
        with pytest.raises(LinkError, match="closed the connection"):
            driver.poll(never)
        driver.close()


@pytest.mark.parametrize("is_checked", [False, True])
def test_a_step_of_a_ramp_does_not_go_to_a_unit_that_may_have_been_switched_off_and_on(is_checked: bool) -> None:
    with Simulator() as simulator:
        driver = connected(simulator, "socket")
        driver.poll(never)
        simulator.power_cycle()
        write = driver.write_checked if is_checked else driver.write
        with pytest.raises(LinkClosedError):
            write(Write("voltage_limit", (1,), 5.0))
        assert not any(message.startswith("VOLT 5,(@1)") for message in simulator.instrument.log)
        driver.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_link_on_which_a_refusal_was_found_is_opened_again_as_any_other(transport: str) -> None:
    quirks = Quirks(read_only=("[SOURce:]CURRent[:LEVel][:IMMediate][:AMPLitude]",))
    with Simulator(quirks=quirks, socket_port=0, vxi11_port=0, hislip_port=0) as simulator:
        driver = connected(simulator, transport)
        assert driver.write_checked(Write("current_limit", (1,), 0.5)) == ['-113,"Undefined header"']
        simulator.disconnect()
        assert driver.poll(never)
        assert driver.reopened == 1
        driver.close()


class ClosingUnit:
    """A link in memory to a unit that closes it at given messages: before they are sent, or after they were carried out."""

    uri = "TCPIP::192.0.2.1::5025::SOCKET"

    def __init__(self, faults: list[str]) -> None:
        self.done: list[str] = []
        self.is_open = False
        self.opened = 0
        self.told_since_open: list[str] = []
        self._faults = iter(faults)

    def open(self) -> None:
        self.is_open = True
        self.opened += 1
        self.told_since_open = []

    def close(self) -> None:
        self.is_open = False

    def _send(self, message: str) -> None:
        if not self.is_open:
            raise LinkError("the link is closed")
        if message == "*IDN?":
            self.told_since_open.append(message)
            return
        fault = next(self._faults, "")
        if fault == "before":
            self.close()
            raise LinkClosedError("closed", sent=False)
        assert self.told_since_open, "used before it was identified"
        self.told_since_open.append(message)
        if fault != "after, not done":
            self.done.append(message)
        if fault:
            self.close()
            raise LinkClosedError("closed", sent=True)

    def ask(self, message: str, length: tuple[int, int] | None = None) -> str:
        self._send(message)
        return "Maker,MODEL,1,1" if message == "*IDN?" else "0"

    def tell(self, message: str) -> None:
        self._send(message)

    def ask_ahead(self, message: str) -> bool:
        return False

    def hear(self) -> str:
        raise NotImplementedError

    def listen(self, length: tuple[int, int] | None = None) -> str:
        raise NotImplementedError

    def exchange(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def unasked(self) -> list[str]:
        return []

    def rest(self, seconds: float) -> None:
        pass

    def wait_until_ready(self) -> bool:
        return False


@pytest.mark.hypothesis
@given(
    faults=st.lists(st.sampled_from(["", "", "before", "after", "after, not done"]), max_size=20),
    uses=st.lists(st.sampled_from(["question", "setting", "setting with a question"]), max_size=20),
)
@examples()
def test_nothing_that_may_have_happened_is_sent_twice(faults: list[str], uses: list[str]) -> None:
    unit = ClosingUnit(faults)
    link = IdentifiedLink(unit, candidates("E36300")[0].series)
    link.keep(link.open())
    for number, use in enumerate(uses):
        is_question = use == "question"
        message = f"{number}?" if is_question else f"{number}"
        try:
            if use == "setting with a question":
                link.tell_and_ask(message)
            else:
                link.ask(message) if is_question else link.set(Outgoing(message), again=True)
        except DriverError:
            is_done = False
            link.keep(link.open())
        else:
            is_done = True
        if is_question:
            assert not is_done or message in unit.done
        else:
            assert unit.done.count(message) <= 1
            assert not is_done or unit.done.count(message) == 1
    assert [int(m.rstrip("?")) for m in unit.done] == sorted(int(m.rstrip("?")) for m in unit.done)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_setting_on_a_link_that_was_closed_while_idle_is_carried_out(
    make_bench: Callable[..., Bench], transport: str
) -> None:
    simulator = Simulator(socket_port=0, vxi11_port=0, hislip_port=0).start()
    entry = unit("psu1", simulator, uri=simulator.resources[transport], poll_interval=3600)
    bench = make_bench([simulator], [entry])
    told = bench.observer.count("psu/psu1/status")
    settings: list[dict[str, Any]] = [{"voltage_limit": 2}, {"state": True}, {"state": False}]
    for number, setting in enumerate(settings, 1):
        simulator.disconnect(reset=number == 2)
        response = bench.observer.ask("psu/psu1/1/set", {"id": str(number), **setting})
        assert response["ok"], response
    wait_until(lambda: inside.reconnects(bench.daemon, "psu1") == 3, "the count")
    assert bench.observer.count("psu/psu1/status") == told

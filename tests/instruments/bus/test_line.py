"""Several units on one line: a simulated line of Genesys supplies, over a socket and a serial port."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.bus.line import Line, Seat
from agent.instruments.bus.selection import Selection
from agent.instruments.catalogue import candidates
from agent.instruments.driver import LinkClosedError, LinkError
from agent.instruments.link import LinkForm
from agent.instruments.linking import Lines, make_link
from agent.instruments.visa.session import VisaSession
from agent.simulator.genesys import GenesysLine, GenesysUnit
from tests.instruments.links.bytewise import ByteUnit
from tests.lab import wait_until
from tests.properties import examples

CR = LinkForm(write="\r", read="\r")
ADDRESSES = (3, 6, 9)
#: ms. A unit and its driver share a processor with others: an answer has taken more than 300.
TIMEOUT = 1000


def selection(address: int) -> Selection:
    return Selection(f"ADR {address}", None, lambda answer: answer == "OK")


@pytest.fixture(params=["socket", "serial"])
def bench(request: pytest.FixtureRequest) -> Iterator[tuple[GenesysLine, Line]]:
    """A line with a unit at each address, set to as many volts as its address."""
    units = [GenesysUnit("GEN40-38", address, serial=str(address)) for address in ADDRESSES]
    with GenesysLine(*units, pty=True) as simulated:
        for unit in units:
            unit.pv = str(unit.address)
        link = VisaSession(
            simulated.resources[request.param], options={"timeout": TIMEOUT, "open_timeout": 2000}, form=CR
        )
        yield simulated, Line(link)


def seats(line: Line) -> dict[int, Seat]:
    made = {address: line.seat(address, selection(address)) for address in ADDRESSES}
    for seat in made.values():
        seat.open()
    return made


def in_threads(*works: object) -> list[str]:
    """Run these at the same time. What went wrong in them."""
    faults: list[str] = []

    def run(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - it is told by the test
            faults.append(repr(error))

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return faults


def test_each_message_goes_to_its_unit(bench: tuple[GenesysLine, Line]) -> None:
    simulated, line = bench
    made = seats(line)

    def use(address: int) -> None:
        for number in range(15):
            assert made[address].ask("PV?") == str(address)
            assert made[address].ask(f"PC {number}.{address}") == "OK"

    assert in_threads(*(lambda a=address: use(a) for address in ADDRESSES)) == []
    for address, unit in simulated.units.items():
        assert unit.log == [one for number in range(15) for one in ("PV?", f"PC {number}.{address}")]
    assert not any(line.startswith("G") for line in simulated.log)  # no broadcasts


def test_a_unit_that_stays_selected_is_not_selected_again(bench: tuple[GenesysLine, Line]) -> None:
    simulated, line = bench
    seat = line.seat(6, selection(6))
    seat.open()
    with seat.exchange():
        assert [seat.ask("PV?"), seat.ask("PC?")] == ["6", "0"]
    assert simulated.log == ["ADR 6", "PV?", "PC?"]


def test_nothing_goes_to_an_address_that_is_not_confirmed(bench: tuple[GenesysLine, Line]) -> None:
    simulated, line = bench
    made = seats(line)
    assert made[3].ask("PV?") == "3"
    simulated.silent.add(6)
    with pytest.raises(LinkError):
        made[6].tell("PV 20")
    assert made[3].ask("PV?") == "3"
    stranger = line.seat(17, selection(17))
    stranger.open()
    with pytest.raises(LinkError):
        stranger.ask("OUT 1")
    assert "PV 20" not in simulated.log
    assert "OUT 1" not in simulated.log


def test_a_refused_address_is_no_confirmed_one() -> None:
    with GenesysLine(GenesysUnit("GEN40-38", 6)) as simulated:
        link = VisaSession(simulated.resources["socket"], options={"timeout": TIMEOUT}, form=CR)
        seat = Line(link).seat(6, Selection("ADR 6", None, lambda answer: answer == "YES"))
        seat.open()
        with pytest.raises(LinkError, match="did not confirm its address: no right answer to ADR 6"):
            seat.tell("PV 1")
        assert set(simulated.log) == {"ADR 6"}


def test_a_unit_that_was_switched_off_and_on_is_selected_again(bench: tuple[GenesysLine, Line]) -> None:
    simulated, line = bench
    made = seats(line)
    assert made[6].ask("PV?") == "6"
    simulated.power_cycle(6)
    simulated.units[6].pv = "7"
    try:
        told = made[6].ask("PV?")
    except LinkError:  # it was so soon that the address counted as confirmed
        made[6].open()
        told = made[6].ask("PV?")
    assert told == "7"
    assert made[3].ask("PV?") == "3"


def test_a_silent_unit_makes_no_other_one_fail(bench: tuple[GenesysLine, Line]) -> None:
    simulated, line = bench
    made = seats(line)
    simulated.silent.add(6)
    done = threading.Event()

    def poll(address: int) -> None:
        for _ in range(4):
            for _ in range(4):
                assert made[address].ask("PV?") == str(address)
            done.wait(0.1)  # the pause between two polls

    def try_again_and_again() -> None:
        while not done.is_set():
            with pytest.raises(LinkError):
                made[6].ask("PV?")
            made[6].open()

    def polls() -> None:
        try:
            assert in_threads(lambda: poll(3), lambda: poll(9)) == []
        finally:
            done.set()

    assert in_threads(polls, try_again_and_again) == []
    # One timeout a poll at most: no poll of four messages has two tries of the silent unit within it.
    asked = [one for one in simulated.log if one == "ADR 6" or one == "PV?"]
    assert "ADR 6" in asked
    answered = {address: unit.log.count("PV?") for address, unit in simulated.units.items()}
    assert answered == {3: 16, 6: 0, 9: 16}
    assert asked.count("ADR 6") <= 2 * 4 + 2
    simulated.silent.clear()
    made[6].open()
    assert made[6].ask("PV?") == "6"


@pytest.mark.parametrize("message", ["PV?", "PC 2", "STT?"])
def test_a_late_answer_is_not_taken_for_another_units(bench: tuple[GenesysLine, Line], message: str) -> None:
    """The unit answers when it has been given up for a moment, or a little longer: into the select, the question, or behind."""
    simulated, line = bench
    made = seats(line)
    for unit in simulated.units.values():
        unit.pc = str(unit.address)
    for step in range(4):
        simulated.delays[6] = TIMEOUT / 1000 + 0.11 + 0.02 * step
        made[6].open()
        with pytest.raises(LinkError):
            made[6].ask(message)
        for _ in range(25):
            assert made[3].ask("PV?") == "3"
            assert made[9].ask("PC?") == "9"
        simulated.delays.clear()
        made[6].open()
        assert made[6].ask("PV?") == "6"


def test_an_off_waits_for_one_message_of_another_at_most(bench: tuple[GenesysLine, Line]) -> None:
    simulated, line = bench
    made = seats(line)
    off_waits = threading.Event()
    made[9].off_waits = off_waits.is_set
    busy, ends = threading.Event(), threading.Event()

    def hold() -> None:
        with made[3].exchange():
            assert made[3].ask("PV?") == "3"
            busy.set()
            assert ends.wait(30)

    def poll() -> None:
        assert made[6].ask("PV?") == "6"

    def off() -> None:
        assert made[9].ask("OUT 0") == "OK"

    threads = [threading.Thread(target=work) for work in (hold, poll, off)]
    threads[0].start()
    assert busy.wait(30)
    threads[1].start()
    wait_until(lambda: waiting(line) == 1, "the poll waits")
    threads[2].start()
    wait_until(lambda: waiting(line) == 2, "the off waits")
    off_waits.set()
    ends.set()
    for thread in threads:
        thread.join(30)
    assert simulated.log == ["ADR 3", "PV?", "ADR 9", "OUT 0", "ADR 6", "PV?"]


def waiting(line: Line) -> int:
    return len(line._turns._order._waiting)


def test_a_line_that_was_lost_is_told_to_each_unit_once(bench: tuple[GenesysLine, Line]) -> None:
    simulated, line = bench
    if line.name.startswith("ASRL"):
        pytest.skip("nobody closes a serial line")
    made = seats(line)
    for address, seat in made.items():
        assert seat.ask("PV?") == str(address)
    simulated.disconnect()
    for address, seat in made.items():
        with pytest.raises(LinkClosedError) as error:
            seat.ask("PV?")
        assert not error.value.sent
        seat.open()
        assert seat.ask("PV?") == str(address)


def test_the_last_unit_closes_the_line(bench: tuple[GenesysLine, Line]) -> None:
    _, line = bench
    made = seats(line)
    link = line._link
    for seat in list(made.values())[:-1]:
        seat.close()
        seat.close()
        assert link.is_open
    made[9].close()
    assert not link.is_open
    made[3].open()
    assert made[3].ask("PV?") == "3"
    made[3].close()
    assert not link.is_open


def test_a_unit_that_goes_while_another_one_is_served(bench: tuple[GenesysLine, Line]) -> None:
    _, line = bench
    made = seats(line)
    link = line._link
    with made[3].exchange():
        assert in_threads(made[6].close, made[9].close) == []
        assert made[3].ask("PV?") == "3"
    assert link.is_open
    made[3].close()
    assert not link.is_open
    made[6].open()
    with made[6].exchange():  # as a driver does that can't read an answer
        made[6].ask("PV?")
        made[6].close()
    assert not link.is_open
    made[6].open()
    assert made[6].ask("PV?") == "6"


def test_a_line_that_nobody_can_open(bench: tuple[GenesysLine, Line]) -> None:
    link = VisaSession("ASRL/nowhere/ttyUSB9::INSTR", options={"timeout": TIMEOUT}, form=CR)
    seat = Line(link).seat(1, selection(1))
    with pytest.raises(LinkError, match="can't open"):
        seat.open()
    with pytest.raises(LinkError, match="closed"):
        seat.ask("PV?")
    assert seat.uri == "ASRL/nowhere/ttyUSB9::INSTR (address 1)"


@pytest.mark.hypothesis
@given(
    st.lists(
        st.tuples(
            st.sampled_from(ADDRESSES),
            st.sampled_from(["PV?", "STT?", "PC", "silent", "slow", "well", "power"]),
        ),
        max_size=30,
    )
)
@examples(12)
def test_whatever_happens_no_unit_gets_the_messages_or_answers_of_another(steps: list[tuple[int, str]]) -> None:
    units = [GenesysUnit("GEN40-38", address) for address in ADDRESSES]
    with GenesysLine(*units) as simulated:
        link = VisaSession(simulated.resources["socket"], options={"timeout": 300, "open_timeout": 2000}, form=CR)
        line = Line(link)
        made = {address: line.seat(address, selection(address)) for address in ADDRESSES}
        for unit in units:
            unit.pv = unit.pc = str(unit.address)
        for address, step in steps:
            unit, seat = simulated.units[address], made[address]
            if step == "silent":
                simulated.silent.add(address)
            elif step == "slow":
                simulated.delays[address] = 0.4
            elif step == "well":
                simulated.silent.discard(address)
                simulated.delays.pop(address, None)
            elif step == "power":
                simulated.power_cycle(address)
                unit.pv = unit.pc = str(address)
            else:
                try:
                    seat.open()
                    if step == "PC":
                        assert seat.ask(f"PC {address}") == "OK"
                    elif step == "PV?":
                        assert seat.ask("PV?") == str(address)
                    else:
                        assert f"PV({address})" in seat.ask("STT?")
                except LinkError:
                    assert address in simulated.silent or simulated.delays or any(s == "power" for _, s in steps)
        for address, seat in made.items():
            seat.close()
            assert {one for one in simulated.units[address].log if one.startswith("PC")} <= {f"PC {address}"}


class Chain:
    """Units that are selected by ``INST:NSEL`` and confirm it when they are asked, as bytes on a line."""

    def __init__(self, *addresses: int) -> None:
        self.settings = dict.fromkeys(addresses, "0")
        self.selected: int | None = None
        self.heard: list[str] = []

    def answer(self, data: bytes) -> bytes:
        answers = [self._line(line) for line in data.decode().split("\r")[:-1]]
        return "".join(f"{answer}\r" for answer in answers if answer is not None).encode()

    def _line(self, line: str) -> str | None:
        self.heard.append(line)
        name, _, value = line.partition(" ")
        if name == "INST:NSEL":
            self.selected = int(value) if int(value) in self.settings else self.selected
        if self.selected is None or name == "INST:NSEL":
            return None
        if name == "VOLT":
            self.settings[self.selected] = value
            return None
        return str(self.selected) if name == "INST:NSEL?" else self.settings[self.selected]


@pytest.mark.parametrize("serial", [True, False])
def test_an_address_is_confirmed_by_a_question_before_anything_is_set(serial: bool) -> None:
    chain = Chain(1, 2)
    series = candidates("Z+,Z36-6")[0].series
    with ByteUnit(chain.answer, serial=serial) as line:
        lines = Lines()
        made = {
            n: make_link(line.uri, series, arguments={"timeout": TIMEOUT}, address=n, lines=lines) for n in (1, 2, 7)
        }
        for number in (1, 2):
            made[number].open()
            made[number].tell(f"VOLT {number}0")
            assert made[number].ask("VOLT?") == f"{number}0"
        made[7].open()
        with pytest.raises(LinkError, match="did not confirm its address"):
            made[7].tell("VOLT 99")
        assert made[1].ask("VOLT?") == "10"
        for seat in made.values():
            seat.close()
    assert chain.settings == {1: "10", 2: "20"}
    assert chain.heard[:3] == ["INST:NSEL 1", "INST:NSEL?", "VOLT 10"]
    assert "VOLT 99" not in chain.heard

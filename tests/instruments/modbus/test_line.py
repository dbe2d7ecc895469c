"""Several units on one line."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from agent.instruments.driver import IdentityError, LinkError, Write, never
from agent.instruments.modbus.driver import ModbusDriver
from agent.instruments.modbus.line import RegisterLine
from agent.instruments.modbus.link import ModbusLink
from agent.simulator.riden import ModbusLine, Riden
from agent.simulator.simulator import NetworkInstrument
from tests.instruments.modbus.bench import BRIEF, PATIENCE, driver_for, on_line
from tests.instruments.modbus.paper import MODELS, Paper, registers
from tests.support.waiting import wait_until

ON, OFF = Write("state", (1,), True), Write("state", (1,), False)
WAYS = ["socket", "serial"]


@contextmanager
def three(way: str) -> Iterator[tuple[ModbusLine, NetworkInstrument, list[ModbusDriver]]]:
    """Three units on one line, each with its driver; the second one's waits for answers but briefly."""
    units = [Riden("RD6006", serial=str(1000 + address), address=address, noise=False) for address in (1, 2, 3)]
    line = ModbusLine(units)
    with on_line(line) as network, ExitStack() as stack:
        uri = network.resources[way]
        drivers = [driver_for(unit, uri, timeout=BRIEF if unit.address == 2 else PATIENCE) for unit in units]
        for driver in drivers:
            stack.callback(driver.close)
            driver.connect()
        yield line, network, drivers


@pytest.mark.parametrize("way", WAYS)
def test_each_unit_gets_its_own(way: str) -> None:
    with three(way) as (line, network, drivers):
        for address, driver in enumerate(drivers, 1):
            driver.write(Write("voltage_limit", (1,), float(address)))
        assert [unit.output.voltage_set for unit in line.units.values()] == [1.0, 2.0, 3.0]
        assert [(driver.poll(never) or {})[1].voltage_limit for driver in drivers] == [1.0, 2.0, 3.0]
        uri = network.resources[way]
        assert [driver.address for driver in drivers] == [f"{uri} (address {number})" for number in (1, 2, 3)]


@pytest.mark.parametrize("way", WAYS)
def test_a_silent_unit_is_the_only_one_that_is_offline(way: str) -> None:
    with three(way) as (line, _, (first, second, third)):
        line.units[2].is_silent = True
        for _ in range(3):
            with pytest.raises(LinkError):
                second.connect()
            for driver in (first, third):
                assert (driver.poll(never) or {})[1].state is False
        line.units[2].is_silent = False
        second.connect()
        assert second.poll(never)


@pytest.mark.parametrize("way", WAYS)
def test_the_late_answer_of_one_is_not_taken_for_anothers(way: str) -> None:
    with three(way) as (line, _, (first, second, _third)):
        line.units[1].turn(1, 1.0, 1.0)
        line.units[2].turn(1, 2.0, 1.0)
        line.late.add(2)
        with pytest.raises(LinkError):
            second.poll(never)
        assert (first.poll(never) or {})[1].voltage_limit == 1.0
        second.connect()
        assert (second.poll(never) or {})[1].voltage_limit == 2.0


def test_a_new_connection_is_asked_who_is_there_before_anything_is_written() -> None:
    """A gateway's address may be another gateway's by now: the same Modbus address is another unit there."""
    with three("socket") as (line, network, (first, _, _third)):
        network.disconnect()
        first.write(Write("voltage_limit", (1,), 5.0))
        assert line.units[1].output.voltage_set == 5.0
        stranger = Riden("RD6006", serial="77", address=1)
        line.units[1] = stranger
        network.disconnect()
        with pytest.raises(IdentityError, match="another unit now: number 77"):
            first.write(ON)
        with pytest.raises(LinkError):
            first.write(ON)
        assert stranger.written == []


@pytest.mark.parametrize("way", WAYS)
def test_the_line_closes_with_its_last_unit(way: str) -> None:
    with three(way) as (_, _, (first, second, third)):
        second.close()
        third.close()
        assert first.poll(never)
        first.close()
        for driver in (first, second, third):
            driver.connect()
            assert driver.poll(never)


@pytest.mark.parametrize("address", [-1, 0, 248, 256])
def test_no_unit_has_the_address_of_all(address: int) -> None:
    with pytest.raises(ValueError, match="1 to 247"):
        ModbusLink("ASRL/dev/ttyUSB0::INSTR", RegisterLine(Paper(), "rtu"), address, 1.0)


class Gate(Paper):
    """A line whose units answer when the test opens the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        self.questions: list[bytes] = []

    def send(self, data: bytes, deadline: float) -> None:
        self.questions.append(data)
        address, function = data[0], data[1]
        count = int.from_bytes(data[4:6], "big")
        if function == 6:
            self._answer = data
        elif count == 4:
            self._answer = registers(60062, 0, 1000 + address, 142, address=address)
        else:
            self._answer = self._block(address, count)

    def _block(self, address: int, count: int) -> bytes:
        numbers = [60062, 0, 1000 + address, 142, *range(100)] if count == 21 else range(100)
        return registers(*numbers[:count], address=address)

    def receive(self, deadline: float) -> bytes:
        self.asked.release()
        assert self.gate.acquire(timeout=PATIENCE)
        return super().receive(deadline)


def test_the_line_closes_behind_the_exchange_of_a_unit_that_has_left_it() -> None:
    """The worker of a unit that was given up may be in an exchange still when the last of the others leaves."""
    stream = Gate()
    line = RegisterLine(stream, "rtu")
    gone, other = (ModbusLink("ASRL1::INSTR", line, address, PATIENCE) for address in (1, 2))
    for link in (gone, other):
        stream.gate.release()
        link.open(0, 4)
    stream.asked = threading.Semaphore(0)
    thread = threading.Thread(target=gone.read, args=(0, 4))
    thread.start()
    assert stream.asked.acquire(timeout=PATIENCE)
    gone.close()
    other.close()
    stream.gate.release()
    thread.join(PATIENCE)
    assert not stream.is_open


def waits_for_its_turn(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "_wait" and frame.f_code.co_filename.endswith("turns.py"):
            return True
        frame = frame.f_back
    return False


def test_an_off_waits_for_one_exchange_of_others_at_most() -> None:
    line = Gate()
    shared = RegisterLine(line, "rtu")
    drivers = [
        ModbusDriver(ModbusLink("ASRL1::INSTR", shared, address, PATIENCE), models=[MODELS["RD6006"]])
        for address in (1, 2, 3)
    ]
    for driver in drivers:
        line.gate = threading.Semaphore(2)
        driver.connect()
    line.gate, line.asked = threading.Semaphore(0), threading.Semaphore(0)
    line.questions.clear()
    first, second, third = drivers
    threads = [threading.Thread(target=first.poll, args=(never,))]
    threads[0].start()
    assert line.asked.acquire(timeout=PATIENCE)  # the first has the line
    for work in ((second.poll, never), (third.write, OFF)):
        threads.append(threading.Thread(target=work[0], args=work[1:]))
        threads[-1].start()
        wait_until(lambda: waits_for_its_turn(threads[-1]), "the others to wait for their turns")
    line.gate.release(100)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert [data[0] for data in line.questions[:2]] == [1, 3]
    assert line.questions[1][1] == 6
    for driver in drivers:
        driver.close()


def test_an_off_does_not_wait_until_the_poll_before_it_gets_its_turn() -> None:
    """The question under way of a unit with an off goes before those of others, so that the off follows."""
    line = Gate()
    shared = RegisterLine(line, "rtu")
    first, second, third = (
        ModbusDriver(ModbusLink("ASRL1::INSTR", shared, address, PATIENCE), models=[MODELS["RD6006"]])
        for address in (1, 2, 3)
    )
    for driver in (first, second, third):
        line.gate = threading.Semaphore(2)
        driver.connect()
    line.gate, line.asked = threading.Semaphore(0), threading.Semaphore(0)
    line.questions.clear()
    off = threading.Event()
    third.off_waits = off.is_set
    threads = [threading.Thread(target=first.poll, args=(never,))]
    threads[0].start()
    assert line.asked.acquire(timeout=PATIENCE)
    for driver, give_way in ((second, never), (third, off.is_set)):
        threads.append(threading.Thread(target=driver.poll, args=(give_way,)))
        threads[-1].start()
        wait_until(lambda: waits_for_its_turn(threads[-1]), "the others to wait for their turns")
    off.set()
    line.gate.release(100)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert [data[0] for data in line.questions[:2]] == [1, 3]
    assert [data[0] for data in line.questions].count(3) == 1  # the rest of its poll was dropped
    for driver in (first, second, third):
        driver.close()

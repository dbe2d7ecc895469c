"""Questions as bytes, and answers found among bytes."""

from __future__ import annotations

import builtins
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.driver import LinkError
from agent.instruments.modbus.frames import Frames, Question, RefusedError
from agent.local.installing import how_to_install
from tests.instruments.modbus.paper import check_sum, frame, registers
from tests.properties import examples

RTU = Frames("rtu")
NUMBER = st.integers(0, 0xFFFF)


def test_the_check_sum_of_these_tests_is_that_of_the_specification() -> None:
    """The examples of Modbus over serial line 1.02, 6.2.2, and of many a manual."""
    assert check_sum(bytes.fromhex("02 07")).hex() == "4112"
    assert check_sum(bytes.fromhex("01 03 00 00 00 0a")).hex() == "c5cd"


def test_questions_as_bytes() -> None:
    assert RTU.reading(1, 0, 4).data.hex(" ") == "01 03 00 00 00 04 44 09"
    assert RTU.writing(1, 18, 1).data.hex(" ") == "01 06 00 12 00 01 e8 0f"
    tcp = Frames("tcp")
    assert tcp.reading(3, 8, 13).data.hex(" ") == "00 01 00 00 00 06 03 03 00 08 00 0d"
    assert tcp.writing(3, 8, 330).data.hex(" ") == "00 02 00 00 00 06 03 06 00 08 01 4a"


@given(slave=st.integers(1, 247), first=NUMBER, count=st.integers(1, 125))
@examples()
def test_a_question_for_registers(slave: int, first: int, count: int) -> None:
    body = bytes([slave, 3]) + first.to_bytes(2, "big") + count.to_bytes(2, "big")
    assert RTU.reading(slave, first, count).data == body + check_sum(body)


@given(numbers=st.lists(NUMBER, min_size=1, max_size=125), cut=st.data())
@examples()
def test_an_answer_that_comes_in_pieces(numbers: list[int], cut: st.DataObject) -> None:
    question, whole = RTU.reading(7, 0, len(numbers)), registers(*numbers, address=7)
    place = cut.draw(st.integers(0, len(whole) - 1))
    assert RTU.answer(question, whole[:place]) is None
    assert RTU.answer(question, whole) == tuple(numbers)


@given(st.binary(max_size=60))
@examples(200)
def test_bytes_that_are_no_answer(noise: bytes) -> None:
    """They are taken for none, and an answer behind them is found. A frame with a right sum is too seldom to be drawn."""
    question, whole = RTU.reading(1, 8, 3), registers(1, 2, 3)
    found = RTU.answer(question, noise)
    assert found is None
    assert RTU.answer(question, noise + whole) in ((1, 2, 3), None)


@given(st.integers(0, 10), st.integers(0, 7))
@examples()
def test_an_answer_with_a_wrong_bit(place: int, bit: int) -> None:
    broken = bytearray(registers(1, 2, 3))
    broken[place] ^= 1 << bit
    assert RTU.answer(RTU.reading(1, 8, 3), bytes(broken)) is None


@pytest.mark.parametrize(
    "late",
    [
        registers(1, 2),  # of a question for two registers
        registers(9, 9, 9, address=2),  # of another unit
        frame("01 06 00 08 01 4a"),  # of a write
        frame("01 86 02"),  # of a write that was refused
        frame("02 83 02"),
    ],
    ids=["length", "unit", "write", "refused write", "refused unit"],
)
def test_answers_to_other_questions_are_passed_over(late: bytes) -> None:
    question = RTU.reading(1, 8, 3)
    assert RTU.answer(question, late) is None
    assert RTU.answer(question, late + registers(1, 2, 3)) == (1, 2, 3)
    assert RTU.answer(question, late + registers(1, 2, 3)[:4]) is None


@pytest.mark.parametrize("echo", ["01 06 00 08 01 4b", "01 06 00 09 01 4a", "02 06 00 08 01 4a", "01 03 02 01 4a"])
def test_a_write_is_confirmed_by_its_register_and_number_alone(echo: str) -> None:
    question = RTU.writing(1, 8, 330)
    assert RTU.answer(question, frame(echo)) is None
    assert RTU.answer(question, frame(echo) + frame("01 06 00 08 01 4a")) == ()


def test_a_unit_that_refuses() -> None:
    with pytest.raises(RefusedError, match=r"^illegal data value \(Modbus exception 3\)$"):
        RTU.answer(RTU.writing(1, 8, 330), frame("01 86 03"))
    with pytest.raises(RefusedError, match=r"^unknown \(Modbus exception 77\)$"):
        RTU.answer(RTU.reading(1, 8, 3), frame("01 83 4d"))


def test_a_gateway_that_does_not_reach_the_unit() -> None:
    with pytest.raises(LinkError, match=r"^no answer to registers 8 to 10: the unit does not answer the gateway"):
        RTU.answer(RTU.reading(1, 8, 3), frame("01 83 0b"))


def test_modbus_tcp_tells_questions_apart_by_their_numbers() -> None:
    tcp = Frames("tcp")
    first, second = tcp.reading(1, 8, 2), tcp.reading(1, 8, 2)

    def answer(question: Question, *numbers: int) -> bytes:
        body = bytes([1, 3, 2 * len(numbers)]) + b"".join(number.to_bytes(2, "big") for number in numbers)
        return question.data[:4] + len(body).to_bytes(2, "big") + body

    assert tcp.answer(second, answer(first, 7, 8)) is None
    assert tcp.answer(second, answer(first, 7, 8) + answer(second, 1, 2)) == (1, 2)
    assert tcp.answer(second, answer(first, 7, 8) + answer(second, 1, 2)[:-1]) is None
    with pytest.raises(RefusedError, match="illegal data address"):
        tcp.answer(second, second.data[:4] + bytes.fromhex("0003 01 83 02"))


@given(st.binary(max_size=40), st.integers(1, 9))
@examples(200)
def test_modbus_tcp_bears_all_bytes(noise: bytes, number: int) -> None:
    """Frames that are none, of other functions too, are passed over or waited for; nothing else is raised."""
    tcp = Frames("tcp")
    question = tcp.reading(1, 8, 2)
    framed = question.data[:4] + len(noise).to_bytes(2, "big") + noise
    for received in (noise, framed, question.data[:4] + bytes([0, number]) + b"\x01" + noise):
        with contextlib.suppress(RefusedError, LinkError):
            found = tcp.answer(question, received)
            assert found is None or len(found) == 2


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("pymodbus"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(LinkError) as raised:
        Frames("rtu")
    assert str(raised.value) == f"needs pymodbus: {how_to_install('modbus')}"

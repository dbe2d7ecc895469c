"""Questions to units and the answers to them as frames: Modbus RTU, and Modbus TCP.

pymodbus makes the frames, checks their sums and takes them apart. Its client is not used: it takes the late answer to one
question for the answer to the next, as it compares neither function nor length; it opens a lost connection again by itself; and
it measures its timeout by a clock that can be set.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from agent.instruments.driver import LinkError
from agent.local.installing import how_to_install

if TYPE_CHECKING:
    from pymodbus.pdu import ModbusPDU

READ: Final = 3
WRITE: Final = 6
_EXCEPTION = 0x80
#: A gateway says so, not the unit (Modbus application protocol 1.1b3, 7).
_FROM_GATEWAY = (10, 11)
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "accepted, but not done yet",
    6: "busy",
    8: "memory parity error",
    10: "the gateway has no path to the unit",
    11: "the unit does not answer the gateway",
}
#: Bytes of an RTU frame that are no data of a read: address, function, count, check sum.
_AROUND = 5
_WRITE_LENGTH = 8
#: Bytes of a frame of Modbus TCP with an exception.
_SHORTEST_TCP = 9


class RefusedError(Exception):
    """The unit answered with an exception of Modbus; the text is in words. Nothing was done."""


class Question(NamedTuple):
    """A request as it is sent, and what its answer must be like.

    ``first``: the register; ``value``: the number of registers that are read, or the number that is written.
    """

    data: bytes
    slave: int
    function: Literal[3, 6]
    first: int
    value: int
    transaction: int

    def __str__(self) -> str:
        """The registers that are asked for, or the number that is written, for people."""
        if self.function == WRITE:
            return f"{self.value} for register {self.first}"
        return f"registers {self.first} to {self.first + self.value - 1}"


class Frames:
    """Makes questions and finds their answers, in one of the two forms.

    :raises LinkError: the library is missing; the text says what to do
    """

    def __init__(self, form: Literal["rtu", "tcp"]) -> None:
        try:
            from pymodbus.framer import FramerRTU, FramerSocket
            from pymodbus.pdu import DecodePDU
            from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, WriteSingleRegisterRequest
        except ImportError:
            raise LinkError(f"needs pymodbus: {how_to_install('modbus')}") from None
        # It logs each frame that is none as an error; the agent says by itself what is wrong.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self._is_rtu = form == "rtu"
        self._framer = (FramerRTU if self._is_rtu else FramerSocket)(DecodePDU(False))
        self._read, self._write = ReadHoldingRegistersRequest, WriteSingleRegisterRequest
        self._transaction = 0

    def reading(self, slave: int, first: int, count: int) -> Question:
        """The question for holding registers."""
        return self._question(slave, READ, first, count)

    def writing(self, slave: int, register: int, value: int) -> Question:
        """The order to write a number into one register."""
        return self._question(slave, WRITE, register, value)

    def _question(self, slave: int, function: Literal[3, 6], first: int, value: int) -> Question:
        self._transaction = self._transaction % 0xFFFF + 1
        transaction = 0 if self._is_rtu else self._transaction
        pdu: ModbusPDU
        if function == READ:
            pdu = self._read(dev_id=slave, transaction_id=transaction, address=first, count=value)
        else:
            pdu = self._write(dev_id=slave, transaction_id=transaction, address=first, registers=[value])
        return Question(self._framer.buildFrame(pdu), slave, function, first, value, transaction)

    def answer(self, question: Question, received: bytes) -> tuple[int, ...] | None:
        """The registers of the answer to a read, none of that to a write; None while it is not there yet.

        Answers to other questions are passed over: those of other units, and late ones.

        :raises RefusedError: the unit refused
        :raises LinkError: a gateway does not reach it
        """
        for pdu in self._rtu(received) if self._is_rtu else self._tcp(question, received):
            if pdu.dev_id != question.slave or pdu.transaction_id != question.transaction:
                continue
            if pdu.function_code == question.function | _EXCEPTION:
                code = pdu.exception_code
                text = f"{_EXCEPTIONS.get(code, 'unknown')} (Modbus exception {code})"
                if code in _FROM_GATEWAY:
                    raise LinkError(f"no answer to {question}: {text}")
                raise RefusedError(text)
            if pdu.function_code != question.function:
                continue
            if question.function == READ:
                if len(pdu.registers) == question.value:
                    return tuple(pdu.registers)
            elif (pdu.address, list(pdu.registers)) == (question.first, [question.value]):
                return ()
        return None

    def _rtu(self, received: bytes) -> Iterator[ModbusPDU]:
        """The whole frames among bytes, whose beginning may be cut off or disturbed."""
        start = 0
        while start < len(received):
            length = _length(received[start : start + 3])
            pdu = None
            if length is not None and start + length <= len(received):
                pdu = self._decoded(received[start : start + length])
            if pdu is None or length is None:
                start += 1
                continue
            yield pdu
            start += length

    def _tcp(self, question: Question, received: bytes) -> Iterator[ModbusPDU]:
        start = 0
        while len(received) - start >= 8:
            length = 6 + int.from_bytes(received[start + 4 : start + 6], "big")
            if start + length > len(received):
                return
            frame = received[start : start + length]
            # pymodbus reads other functions, too, and not all of them guard against nonsense.
            if length >= _SHORTEST_TCP and frame[7] & ~_EXCEPTION in (READ, WRITE):
                pdu = self._decoded(frame, question)
                if pdu is not None:
                    yield pdu
            start += length

    def _decoded(self, frame: bytes, question: Question | None = None) -> ModbusPDU | None:
        from pymodbus.exceptions import ModbusException

        try:
            # Of another unit or another question: it is not logged, as its numbers are not given here.
            slave, transaction = (question.slave, question.transaction) if question is not None else (0, 0)
            return self._framer.handleFrame(frame, slave, transaction)[1]
        except ModbusException:
            return None


def missing() -> str | None:
    """Why there can be no frames, with what to do; None if the library is there."""
    try:
        Frames("rtu")
    except LinkError as error:
        return str(error)
    return None


def _length(head: bytes) -> int | None:
    """The length of the RTU frame that begins so; None if none does, or too few bytes are there to tell."""
    if len(head) < 3:
        return None
    function = head[1]
    if function in (READ | _EXCEPTION, WRITE | _EXCEPTION):
        return _AROUND
    if function == READ:
        return _AROUND + head[2] if head[2] % 2 == 0 and head[2] <= 250 else None
    return _WRITE_LENGTH if function == WRITE else None

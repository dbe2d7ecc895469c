"""Several units on one line, and a gateway that speaks Modbus TCP for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent.simulator.base import Framing, Instrument
from agent.simulator.riden.frames import check_sum, cut_rtu, cut_tcp
from agent.simulator.riden.supply import Riden

_NO_ANSWER = 11  # the exception of a gateway whose unit does not answer


class ModbusLine(Instrument):
    """Units on one serial line, or behind a gateway that passes bytes on.

    ``late``: addresses of units whose next answer comes late: in front of the next answer of any unit of the line.
    """

    framing = Framing(message_end=b"", answer_end=b"", cut=cut_rtu)

    def __init__(self, units: Iterable[Riden], **others: Any) -> None:
        super().__init__(**others)
        self.units = {unit.address: unit for unit in units}
        self.late: set[int] = set()
        self._held = b""

    def respond(self, message: str) -> str | None:
        """Have the unit carry out a request that it is for."""
        address = message.encode("latin-1")[0]
        unit = self.units.get(address)
        answer = None if unit is None else unit.execute(message)
        if answer is None:
            return None
        if address in self.late:
            self.late.discard(address)
            self._held += answer.encode("latin-1")
            return None
        held, self._held = self._held, b""
        return held.decode("latin-1") + answer


class Gateway(Instrument):
    """A gateway from Modbus TCP to the units of a line."""

    framing = Framing(message_end=b"", answer_end=b"", cut=cut_tcp)
    port = 502

    def __init__(self, units: Iterable[Riden], **others: Any) -> None:
        super().__init__(**others)
        self.units = {unit.address: unit for unit in units}

    def respond(self, message: str) -> str | None:
        """Have the unit carry out a request that it is for, or tell that it does not answer."""
        frame = message.encode("latin-1")
        request = frame[6:]
        unit = self.units.get(request[0])
        answer = None if unit is None else unit.execute(request.decode("latin-1"))
        body = bytes([request[0], request[1] | 0x80, _NO_ANSWER]) if answer is None else _unsealed(answer)
        return (frame[:4] + len(body).to_bytes(2, "big") + body).decode("latin-1")


def _unsealed(answer: str) -> bytes:
    frame = answer.encode("latin-1")
    assert check_sum(frame[:-2]) == frame[-2:]
    return frame[:-2]

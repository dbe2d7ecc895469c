"""A line on paper: the frames that are sent, and what is answered to each, as hexadecimal texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from agent.instruments import catalogue
from agent.instruments.catalogue import Model, models_of, read
from agent.instruments.modbus.driver import ModbusDriver
from agent.instruments.modbus.line import RegisterLine
from agent.instruments.modbus.link import ModbusLink
from agent.instruments.modbus.streams import Stream

FOLDER = Path(catalogue.__file__).parent / "series" / "riden"
MODELS: dict[str, Model] = {
    model.name: model for name in ("rd60xx", "dps") for model in models_of(read(FOLDER / f"{name}.yaml"))
}


def check_sum(data: bytes) -> bytes:
    """CRC-16 of Modbus by its definition, one bit after another (Modbus over serial line 1.02, 6.2.2)."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value, carry = value >> 1, value & 1
            value ^= 0xA001 * carry
    return bytes((value & 0xFF, value >> 8))


def frame(text: str) -> bytes:
    """A frame from its bytes in hexadecimal, with its check sum behind it."""
    data = bytes.fromhex(text)
    return data + check_sum(data)


def registers(*numbers: int, address: int = 1) -> bytes:
    """The answer to a question for registers."""
    return frame(f"{address:02x} 03 {2 * len(numbers):02x} " + "".join(f"{number:04x}" for number in numbers))


#: The first exchange of a poll, by series.
RD_POLL, DPS_POLL = "01 03 0000 0015", "01 03 0000 000d"


def rd_block(identity: Sequence[int], *numbers: int) -> bytes:
    """The answer of an RD60xx to `RD_POLL`: who it is (registers 0 to 3), temperatures, registers 8 to 20."""
    assert (len(identity), len(numbers)) == (4, 13)
    return registers(*identity, 0, 27, 0, 80, *numbers)


def dps_block(model: int, *numbers: int) -> bytes:
    """The answer of a DPS to `DPS_POLL`: registers 0 to 9, backlight, model, version."""
    assert len(numbers) == 10
    return registers(*numbers, 5, model, 17)


class Paper(Stream):
    """What is sent and answered. A question without an answer, None, is one that the unit does not answer."""

    def __init__(self) -> None:
        self.expected: list[tuple[bytes, bytes | None]] = []
        self.sent: list[bytes] = []
        self.opened = 0
        self.is_open = False
        self._answer = b""

    def will(self, *exchanges: tuple[str | bytes, str | bytes | None]) -> None:
        """Expect these exchanges next. Texts are frames in hexadecimal, without their check sums."""
        for asked, answered in exchanges:
            self.expected.append((_bytes(asked), None if answered is None else _bytes(answered)))

    def open(self) -> None:
        assert not self.is_open
        self.opened += 1
        self.is_open = True

    def discard(self) -> None:
        self._answer = b""

    def send(self, data: bytes, deadline: float) -> None:
        assert self.is_open
        self.sent.append(data)
        assert self.expected, f"nobody expects {data.hex(' ')}"
        asked, answered = self.expected.pop(0)
        assert data.hex(" ") == asked.hex(" ")
        self._answer += answered or b""

    def receive(self, deadline: float) -> bytes:
        answer, self._answer = self._answer, b""
        if not answer:
            raise TimeoutError
        return answer

    def recover(self) -> bool:
        self._answer = b""
        return self.is_open

    def close(self, *, in_order: bool) -> None:
        self.is_open = False


def _bytes(text: str | bytes) -> bytes:
    return frame(text) if isinstance(text, str) else text


def on_paper(models: str | Iterable[str], address: int = 1, serial: str | None = None) -> tuple[ModbusDriver, Paper]:
    """A driver for these models, not connected yet, and its line."""
    paper = Paper()
    names = [models] if isinstance(models, str) else list(models)
    link = ModbusLink("ASRL/dev/ttyUSB0::INSTR", RegisterLine(paper, "rtu"), address, timeout=0.5)
    return ModbusDriver(link, models=[MODELS[name] for name in names], serial=serial), paper

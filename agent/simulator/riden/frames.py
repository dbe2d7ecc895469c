"""Frames of Modbus as a unit sees them: RTU (Modbus over serial line 1.02, 2.5.1) and Modbus TCP."""

from __future__ import annotations

_READ_OR_WRITE_ONE = 8  # bytes of a request with function 3 or 6
_BEFORE_DATA, _CHECK_SUM = 7, 2  # bytes of a request with function 16


def check_sum(data: bytes) -> bytes:
    """The two bytes of CRC-16 behind a frame, the low one first."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ 0xA001 if register & 1 else register >> 1
    return register.to_bytes(2, "little")


def sealed(body: bytes) -> bytes:
    """A frame with its check sum."""
    return body + check_sum(body)


def cut_rtu(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole requests among bytes, without their check sums, and what is left. Bytes that begin no request are lost."""
    frames: list[bytes] = []
    start = 0
    while start < len(data):
        length = _length(data[start:])
        if length is None or start + length > len(data):
            # Maybe the rest of it comes. Bytes that no request can begin with are passed over.
            if length is not None or len(data) - start < _BEFORE_DATA:
                return frames, data[start:]
        elif check_sum(data[start : start + length - 2]) == data[start + length - 2 : start + length]:
            frames.append(data[start : start + length - 2])
            start += length
            continue
        start += 1
    return frames, b""


def _length(data: bytes) -> int | None:
    if len(data) >= 2 and data[1] == 16:
        return _BEFORE_DATA + data[6] + _CHECK_SUM if len(data) > 6 else None
    return _READ_OR_WRITE_ONE if len(data) >= 2 and data[1] in range(1, 7) else None


def cut_tcp(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole requests among bytes of Modbus TCP, and what is left."""
    frames: list[bytes] = []
    while len(data) >= 6 and len(data) >= (length := 6 + int.from_bytes(data[4:6], "big")):
        frames.append(data[:length])
        data = data[length:]
    return frames, data

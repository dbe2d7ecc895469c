"""Pictures of a page with a palette: a third of the bytes, and nobody sees the difference."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
Colour = tuple[int, int, int]


def with_palette(png: bytes) -> bytes:
    """The picture in 256 colours at most; others are given the nearest of these.

    :param png: 8 bits a channel, RGB or RGBA, not interlaced, as browsers write it. Transparency is dropped
    :raises ValueError: it is of another kind
    """
    width, height, rows = _decoded(png)
    counted: Counter[Colour] = Counter()
    pixels = []
    for row, step in rows:
        pixels.append(list(zip(row[0::step], row[1::step], row[2::step], strict=True)))
        counted.update(pixels[-1])
    palette = _palette(counted)
    index = {colour: number for number, colour in enumerate(palette)}
    for colour in counted:
        if colour not in index:
            index[colour] = min(range(len(palette)), key=lambda number: _distance(palette[number], colour))
    data = b"".join(b"\0" + bytes([index[pixel] for pixel in row]) for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", bytes(sum(palette, ()))), (b"IDAT", zlib.compress(data, 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _palette(counted: Counter[Colour]) -> list[Colour]:
    """The most frequent colours, then those that differ from them, so that a gradient leaves some for a thin curve."""
    frequent = [colour for colour, _ in counted.most_common()]
    palette = frequent[:32]
    for colour in frequent[32:]:
        if len(palette) == 256:
            break
        if all(_distance(colour, other) >= 300 for other in palette):
            palette.append(colour)
    chosen = set(palette)
    return palette + [colour for colour in frequent if colour not in chosen][: 256 - len(palette)]


def _distance(one: Colour, other: Colour) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(_SIGNATURE)
    while position < len(png):
        length, kind = struct.unpack(">I4s", png[position : position + 8])
        yield kind, png[position + 8 : position + 8 + length]
        position += 12 + length


def _decoded(png: bytes) -> tuple[int, int, list[tuple[bytearray, int]]]:
    chunks = list(_chunks(png))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if depth != 8 or kind not in (2, 6) or interlaced:
        raise ValueError("not an RGB picture with 8 bits a channel")
    step = 3 if kind == 2 else 4
    data = zlib.decompress(b"".join(content for name, content in chunks if name == b"IDAT"))
    length = width * step
    rows = []
    above = bytearray(length)
    for y in range(height):
        start = y * (length + 1)
        above = _unfiltered(data[start], bytearray(data[start + 1 : start + 1 + length]), above, step)
        rows.append((above, step))
    return width, height, rows


def _unfiltered(kind: int, row: bytearray, above: bytearray, step: int) -> bytearray:
    if kind == 2:
        return bytearray((value + up) & 255 for value, up in zip(row, above, strict=True))
    for x in range(len(row)) if kind else ():
        left = row[x - step] if x >= step else 0
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + above[x]) // 2
        else:
            guess = _paeth(left, above[x], above[x - step] if x >= step else 0)
        row[x] = (row[x] + guess) & 255
    return row


def _paeth(left: int, up: int, corner: int) -> int:
    far_left, far_up, far_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if far_left <= far_up and far_left <= far_corner:
        return left
    return up if far_up <= far_corner else corner

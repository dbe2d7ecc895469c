"""Pictures with a palette."""

from __future__ import annotations

import struct
import zlib

import pytest

from tests.pictures.png import _chunk, _chunks, _decoded, with_palette

Pixels = list[list[tuple[int, int, int]]]


def png(rows: list[tuple[int, bytes]], width: int, kind: int = 2) -> bytes:
    """A picture of rows that are filtered as their number says."""
    header = struct.pack(">IIBBBBB", width, len(rows), 8, kind, 0, 0, 0)
    data = zlib.compress(b"".join(bytes([number]) + row for number, row in rows))
    parts = ((b"IHDR", header), (b"IDAT", data[:9]), (b"IDAT", data[9:]), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in parts)


def pixels(picture: bytes) -> Pixels:
    """The pixels that a viewer shows of a picture with a palette."""
    chunks = dict(_chunks(picture))
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    palette = [tuple(chunks[b"PLTE"][n : n + 3]) for n in range(0, len(chunks[b"PLTE"]), 3)]
    data = zlib.decompress(chunks[b"IDAT"])
    return [[palette[i] for i in data[y * (width + 1) + 1 :][:width]] for y in range(height)]  # type: ignore[misc]


def test_every_filter_is_undone_and_few_colours_stay_as_they_are() -> None:
    """The five filters by the format's own definition, each on a row of two pixels of 10, 20, 30 and 20, 40, 60."""
    rows = [
        (0, bytes([10, 20, 30, 20, 40, 60])),
        (1, bytes([10, 20, 30, 10, 20, 30])),
        (2, bytes(6)),
        (3, bytes([5, 10, 15, 5, 10, 15])),
        (4, bytes(6)),
    ]
    shown = pixels(with_palette(png(rows, 2)))
    assert shown == [[(10, 20, 30), (20, 40, 60)]] * 5


def test_transparency_is_dropped() -> None:
    assert pixels(with_palette(png([(0, bytes([1, 2, 3, 255, 4, 5, 6, 255]))], 2, kind=6))) == [[(1, 2, 3), (4, 5, 6)]]


def test_a_thin_curve_keeps_its_colour_beside_a_gradient() -> None:
    gradient = [(red, green, 30) for red in range(250) for green in range(4)]
    curve = (0, 255, 255)
    row = b"".join(bytes(pixel) for pixel in [*gradient, *gradient, curve])
    (shown,) = pixels(with_palette(png([(0, row)], 2001)))
    assert shown[-1] == curve
    assert len(set(shown)) <= 256
    assert (
        max(abs(a - b) for old, new in zip(gradient, shown, strict=False) for a, b in zip(old, new, strict=True)) < 18
    )


def test_another_kind_of_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="not an RGB picture"):
        _decoded(png([(0, bytes(2))], 2, kind=0))

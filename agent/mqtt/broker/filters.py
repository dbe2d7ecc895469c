"""The number of filters that a broker takes in one packet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

#: Filters in one SUBSCRIBE or UNSUBSCRIBE. AWS IoT Core takes 8 and closes the connection otherwise (MQTTnet #1427).
MOST_FILTERS = 8


def packets(filters: Sequence[T]) -> Iterator[list[T]]:
    """The filters, in their order, for one packet after the other."""
    for start in range(0, len(filters), MOST_FILTERS):
        yield list(filters[start : start + MOST_FILTERS])

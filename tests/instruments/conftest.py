"""Fixtures of the tests of links."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from tests.instruments.peer import Peer


@pytest.fixture
def make_peer() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def make(*answers: bytes | Callable[[socket.socket], None]) -> Peer:
        peers.append(Peer(*answers))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()

"""The address of `--metrics`."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.local.ports import free_port
from agent.service.exposition.address import AddressError, listen, parse
from tests.properties import examples


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("127.0.0.1:9100", ("127.0.0.1", 9100)),
        ("[::1]:9100", ("::1", 9100)),
        (":9100", ("", 9100)),
        (" localhost:1 ", ("localhost", 1)),
        ("bench3.lab:65535", ("bench3.lab", 65535)),
    ],
)
def test_an_address(text: str, meant: tuple[str, int]) -> None:
    assert parse(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", "9100", "localhost", "localhost:", ":0", ":65536", ":0065536777", "a:-1", "a:+1", "a:1_0", "a:٣"),
        *("::1:9100", "[::1]", "[::1]9100", "http://a:9100", "a b:9100", "user@a:9100", "[a]b:1", "a:9100/metrics"),
    ],
)
def test_what_is_no_address_is_told_with_an_example(text: str) -> None:
    with pytest.raises(AddressError, match=r"such as 127\.0\.0\.1:9100"):
        parse(text)


@given(st.text(max_size=30))
@examples()
def test_any_text_is_an_address_or_is_told(text: str) -> None:
    try:
        host, port = parse(text)
    except AddressError:
        return
    assert 1 <= port <= 65535
    assert not any(character.isspace() for character in host)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_an_empty_host_is_every_address(family: socket.AddressFamily) -> None:
    port = free_port()
    host = "127.0.0.1" if family is socket.AF_INET else "::1"
    with listen(f":{port}"), socket.socket(family) as client:
        try:
            client.connect((host, port))
        except OSError:
            if family is socket.AF_INET:
                raise
            pytest.skip("this host has no IPv6")


def test_an_address_with_its_interface() -> None:
    """It has no meaning without: nothing could listen there."""
    told = Path("/proc/net/if_inet6")
    lines = told.read_text().split("\n") if told.exists() else []
    found = next((fields for line in lines if len(fields := line.split()) == 6 and fields[3] == "20"), None)
    if found is None:
        pytest.skip("this host has no link-local address")
    host = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(found[0]))
    with listen(f"[{host}%{found[5]}]:{free_port()}") as listener:
        assert listener.getsockname()[0] == host


def test_what_can_not_be_listened_on_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=f"port {port} is taken by another program; give another port"):
            listen(f"127.0.0.1:{port}")
    with pytest.raises(AddressError, match="this host does not have that address"):
        listen("192.0.2.1:9100")
    with pytest.raises(AddressError, match=r"'a\.invalid' is not known"):
        listen("a.invalid:9100")
    with pytest.raises(AddressError, match="is no host name"):
        listen(f"{'a' * 70}.b:9100")

"""Names of holders, lengths of leases, and the requests that are made of them."""

from __future__ import annotations

import getpass
import socket

import pytest

from agent.client import leases
from agent.client.request import Target
from agent.protocol.leases import parse_lease


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), ("1.5 h", 5400), (" 2H ", 7200), ("0", 0)],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert leases.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "2 hours", "-1", "1e3", "2h30m", "٣", "1:30", "9" * 20])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="such as 90, 15m or 2h"):
        leases.duration(text)


@pytest.mark.parametrize(("text", "right"), [("1,5h", "1.5h"), ("0,5", "0.5")])
def test_a_decimal_comma(text: str, right: str) -> None:
    with pytest.raises(ValueError, match=f"has a decimal comma; write {right}"):
        leases.duration(text)


def test_the_holder_is_the_user_at_his_host_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(leases.HOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    monkeypatch.setattr(socket, "gethostname", lambda: "bench3")
    assert leases.default_holder() == "ann@bench3"
    monkeypatch.setattr(socket, "gethostname", lambda: "b\n" * 100)
    parse_lease(b'{"ttl": 1, "holder": "%s"}' % leases.default_holder().encode())

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert leases.default_holder().startswith("uid-")
    monkeypatch.setenv(leases.HOLDER_VARIABLE, "ci-42")
    assert leases.default_holder() == "ci-42"


def test_requests() -> None:
    taken = leases.request(Target("psu1", "2"), "ci-42", ttl=60)
    assert (taken.holder, taken.ttl, taken.force, taken.release) == ("ci-42", 60, False, False)
    assert taken.id
    given_back = leases.request(Target("psu1"), "ci-42", force=True)
    assert (given_back.ttl, given_back.force, given_back.release) == (None, True, True)
    assert given_back.id != taken.id


@pytest.mark.parametrize(
    ("target", "holder", "ttl"),
    [("all", "ci", 60), ("psu1", "", 60), ("psu1", "a\tb", 60), ("psu1", "ci", 0.5), ("psu1", "ci", 8 * 86400)],
)
def test_what_an_agent_would_refuse_is_not_sent(target: str, holder: str, ttl: float) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        leases.request(Target(target), holder, ttl=ttl)

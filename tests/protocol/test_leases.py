"""Requests for leases: what is one, and that anything else is refused with its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.commands import parse_command, parse_field
from agent.protocol.errors import Refusal
from agent.protocol.leases import LONGEST_LEASE, LeaseRequest, parse_lease
from tests.properties import examples

_HOLDERS = (
    st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable() and text == text.strip())
    | st.sampled_from(["ci-42", "lab/+/#", "$share", "née", "null"])
)  # fmt: skip
_VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | st.lists(st.integers(), max_size=2)
)


def refusal(payload: bytes | dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal) as refused:
        parse_lease(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    assert refused.value.code == "bad_payload"
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 500
    return refused.value


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({}, "holder is missing"),
        ({"holder": "ci"}, "ttl is missing"),
        ({"ttl": 60}, "holder is missing"),
        ({"holder": "ci", "ttl": 60, "release": True}, "can't go together"),
        ({"holder": "ci", "release": False}, "ttl is missing"),
        ({"holder": "ci", "ttl": 0.9}, "1 to 604800 s"),
        ({"holder": "ci", "ttl": 604801}, "1 to 604800 s"),
        ({"holder": "ci", "ttl": -1}, "1 to 604800 s"),
        ({"holder": "ci", "ttl": True}, "1 to 604800 s"),
        ({"holder": "ci", "ttl": "2h"}, "1 to 604800 s"),
        ({"holder": "ci", "ttl": 10**400}, "1 to 604800 s"),
        ({"holder": "ci", "ttl": None}, '"ttl" is null'),
        ({"holder": None, "ttl": 60}, '"holder" is null'),
        ({"holder": "", "ttl": 60}, "1 to 64 characters"),
        ({"holder": "x" * 65, "ttl": 60}, "1 to 64 characters"),
        ({"holder": "a\nb", "ttl": 60}, "1 to 64 characters"),
        ({"holder": "a\x1b[2J", "ttl": 60}, "1 to 64 characters"),
        ({"holder": "a\u202eb", "ttl": 60}, "1 to 64 characters"),
        ({"holder": "\ud800", "ttl": 60}, "1 to 64 characters"),
        ({"holder": " ci", "ttl": 60}, "space"),
        ({"holder": 42, "ttl": 60}, "1 to 64 characters"),
        ({"holder": ["ci"], "ttl": 60}, "1 to 64 characters"),
        ({"holder": "ci", "ttl": 60, "force": 1}, "true or false"),
        ({"holder": "ci", "release": "true"}, "true or false"),
        ({"holder": "ci", "ttl": 60, "until": "2026-11-26T00:00:00Z"}, "no field"),
        ({"holder": "ci", "ttl": 60, "id": ""}, "id takes"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b"ci-42", "not JSON"),
        (b'"ci-42"', "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'{"holder": "a", "holder": "b", "ttl": 60}', "more than once"),
        (b'{"holder": "a", "ttl": NaN}', "finite"),
        (b'{"holder": "a", "ttl": Infinity}', "finite"),
        (b'{"holder": "\xff", "ttl": 60}', "UTF-8"),
        (b"[" * 16_000, "nested"),
        (b'{"holder": "a", "ttl": ' + b"9" * 5000 + b"}", "digits"),
        (b" " * 20_000, "too many"),
    ],
)
def test_refused(payload: bytes | dict[str, Any], said: str) -> None:
    assert said in refusal(payload).message


def test_a_refusal_has_the_id() -> None:
    assert refusal({"holder": "ci", "id": "7"}).command_id == "7"


@given(_HOLDERS, st.floats(1, LONGEST_LEASE), st.booleans(), st.none() | st.just("7"))
@examples()
def test_a_request_is_read_as_it_was_sent(holder: str, ttl: float, force: bool, request_id: str | None) -> None:
    sent = {"holder": holder, "ttl": ttl, "force": force, "id": request_id}
    assert parse_lease(json.dumps(sent).encode()) == LeaseRequest(holder=holder, ttl=ttl, force=force, id=request_id)
    given_back = parse_lease(json.dumps({"holder": holder, "release": True}).encode())
    assert (given_back.holder, given_back.ttl, given_back.release) == (holder, None, True)


@given(st.binary(max_size=200))
@examples()
def test_any_bytes_are_a_request_or_refused(payload: bytes) -> None:
    try:
        request = parse_lease(payload)
    except Refusal:
        refusal(payload)
    else:
        assert request.release == (request.ttl is None)


@given(st.dictionaries(st.sampled_from([*LeaseRequest.model_fields, "x"]), _VALUES))
@examples(300)
def test_any_object_is_a_request_or_refused(data: dict[str, Any]) -> None:
    try:
        request = parse_lease(json.dumps(data).encode())
    except Refusal:
        refusal(data)
        return
    assert 0 < len(request.holder) <= 64
    assert request.release or (request.ttl is not None and 1 <= request.ttl <= LONGEST_LEASE)


# The name of the holder in a command.


@pytest.mark.parametrize("lease", ["", "x" * 65, "a\nb", " ci", 42, None, ["ci"], True])
def test_a_command_takes_no_other_name_and_an_off_is_done_all_the_same(lease: object) -> None:
    with pytest.raises(Refusal) as refused:
        parse_command(json.dumps({"voltage_limit": 3, "lease": lease}).encode())
    assert refused.value.code == "bad_payload"
    assert "lease" in refused.value.message
    off = parse_command(json.dumps({"state": False, "lease": lease}).encode())
    assert off.turns_off
    assert off.fault is not None


def test_a_command_names_the_holder() -> None:
    command = parse_command(b'{"voltage_limit": 3, "lease": "lab/+/#"}')
    assert command.lease == "lab/+/#"
    assert command.fields == {"voltage_limit": 3.0}
    assert parse_command(b'{"state": false, "lease": "ci"}', "all").turns_off
    with pytest.raises(Refusal, match="asks for nothing"):
        parse_command(b'{"lease": "ci"}')
    with pytest.raises(Refusal, match="no field"):
        parse_field("lease", b"ci")

"""Plain values: what a tool reads that knows no JSON, and no more digits than the channel has."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.fields import LEVELS, UNKNOWN, decimals, plain
from agent.protocol.messages import ChannelState
from agent.protocol.quantities import BY_NAME, REPORTED
from tests.mqtt.reports import state as a_state
from tests.properties import examples

PLACES = {"V": 4, "A": 4}
_NUMBERS = [name for name in REPORTED if BY_NAME[name].kind == "number"]


def of(field: str, /, **values: object) -> bytes:
    return plain(a_state(1).model_copy(update=values), field, PLACES)


def test_each_field_of_a_state_has_a_topic_of_its_own_and_none_that_of_the_json() -> None:
    assert set(LEVELS) == {"name", "online", *REPORTED}
    assert len(set(LEVELS.values())) == len(LEVELS)
    assert not set(LEVELS.values()) & {"state", "backlog", "event", "response", "lease", "homeassistant", "set", "get"}


@pytest.mark.parametrize(
    ("field", "value", "payload"),
    [
        ("state", True, b"ON"),
        ("state", False, b"OFF"),
        ("state", None, UNKNOWN),
        ("online", True, b"online"),
        ("online", False, b"offline"),
        ("name", "5 V é", "5 V é".encode()),
        ("mode", "CV", b"CV"),
        ("mode", None, UNKNOWN),
        ("tripped", "OVP", b"OVP"),
        ("tripped", None, b"none"),
        ("current_protection", False, b"OFF"),
        ("voltage", 5.0, b"5.0000"),
        ("voltage", -0.00001, b"0.0000"),
        ("voltage", 1e-7, b"0.0000"),
        ("voltage", 4.99978, b"4.9998"),
        ("voltage", float("nan"), UNKNOWN),
        ("voltage", float("inf"), UNKNOWN),
        ("voltage", None, UNKNOWN),
        ("power", 0.60147, b"0.6015"),
        ("energy", 12.041700001, b"12.04170"),
        ("charge", 3e-5, b"0.00003"),
    ],
)
def test_payloads(field: str, value: object, payload: bytes) -> None:
    assert of(field, **{field: value}) == payload


def test_of_a_unit_that_is_away_it_is_not_known_what_has_tripped() -> None:
    assert of("tripped", online=False, tripped=None) == UNKNOWN


@pytest.mark.parametrize(
    ("resolution", "digits"),
    [
        (0.001, 4),
        (0.002, 4),
        (0.0005, 5),
        (0.01, 3),
        (0.1, 2),
        (1.0, 1),
        (1e-6, 6),
        (0.0122, 5),
        (0.0, 6),
        (float("nan"), 6),
    ],
)
def test_decimals(resolution: float, digits: int) -> None:
    assert decimals(resolution) == digits


@given(st.sampled_from(_NUMBERS), st.floats(), st.floats(0, 1))
@examples()
def test_any_number_is_one_that_json_has_or_is_not_known(field: str, value: float, resolution: float) -> None:
    digits = decimals(resolution)
    payload = plain(a_state(1).model_copy(update={field: value}), field, {"V": digits, "A": digits})
    if payload == UNKNOWN:
        assert value != value or abs(value) == float("inf")
        return
    assert re.fullmatch(rb"-?(0|[1-9]\d*)\.\d{1,6}", payload)
    assert not re.fullmatch(rb"-[0.]*", payload)
    assert json.loads(payload) == pytest.approx(value, abs=0.051)


def test_every_field_of_a_state_can_be_told() -> None:
    state = a_state(1)
    assert isinstance(state, ChannelState)
    assert all(isinstance(plain(state, field, PLACES), bytes) for field in LEVELS)

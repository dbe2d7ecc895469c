"""The table of quantities and the types that have a field for each of its rows name the same things."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal, get_args, get_origin

import pytest

from agent.instruments.driver import Reading
from agent.protocol import quantities
from agent.protocol.commands import Command
from agent.protocol.messages import ChannelInfo, ChannelState
from agent.protocol.quantities import BY_NAME, LEVELS, QUANTITIES, REPORTED, Quantity
from tests.mqtt.reports import channel_info

#: The fields of a state that say which sample it is.
ENVELOPE = ("time", "seq", "agent", "psu", "index", "name", "model", "online")
#: Those of them that a driver reads from the instrument.
READ = quantities.names(lambda quantity: quantity.reported and not quantity.computed)


def is_of_kind(annotation: Any, kind: quantities.Kind) -> bool:
    """True if a field's type (None left out) is the one for a kind."""
    if isinstance(annotation, types.UnionType) or get_origin(annotation) is typing.Union:
        (annotation,) = (part for part in get_args(annotation) if part is not types.NoneType)
    match kind:
        case "number":
            return annotation is float
        case "switch":
            return annotation is bool
        case "word":
            return get_origin(annotation) is Literal and all(isinstance(word, str) for word in get_args(annotation))
        case "action":
            return get_origin(annotation) is Literal and get_args(annotation) == (True,)


def test_names_are_unique_and_every_row_has_a_label() -> None:
    assert len(BY_NAME) == len(QUANTITIES)
    assert len({quantity.label for quantity in QUANTITIES}) == len(QUANTITIES)
    assert all(quantity.label for quantity in QUANTITIES)


def test_a_state_has_the_reported_rows_in_their_order() -> None:
    assert tuple(ChannelState.model_fields) == (*ENVELOPE, *REPORTED)


def test_a_command_has_the_commanded_rows_in_their_order() -> None:
    assert tuple(Command.model_fields) == (*quantities.COMMANDED, "id", "expires_at", "lease")


def test_a_reading_has_the_rows_that_a_driver_reads() -> None:
    assert set(Reading._fields) == set(READ)
    assert len(Reading._fields) == len(READ)


def test_a_driver_writes_the_rows_that_are_settings() -> None:
    assert quantities.names(lambda quantity: quantity.written) == get_args(quantities.Setting)
    assert all(quantity.commanded for quantity in QUANTITIES if quantity.written)


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.name)
def test_fields_have_the_type_of_their_kind(quantity: Quantity) -> None:
    if quantity.reported:
        assert is_of_kind(ChannelState.model_fields[quantity.name].annotation, quantity.kind)
    if quantity.commanded is not None:
        assert is_of_kind(Command.model_fields[quantity.name].annotation, quantity.kind)
        assert quantity.kind in ("number", "switch", "action")
        assert quantity.purpose
    if quantity.name in READ:
        assert is_of_kind(typing.get_type_hints(Reading)[quantity.name], quantity.kind)


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_has_a_range_and_a_resolution(level: str) -> None:
    fields: dict[str, Any] = {f"{level}_range": (0.0, 6.0)}
    info = channel_info(current_resolution=0.002, **fields)
    assert f"{level}_range" in ChannelInfo.model_fields
    assert info.range_of(level) == (0.0, 6.0)
    assert info.resolution_of(BY_NAME[level].unit) in (0.001, 0.002)
    assert info.resolution_of("s") is None


def test_watched_rows_are_reported_and_the_outputs_own_changes_come_first() -> None:
    assert quantities.WATCHED[:3] == ("state", "tripped", "mode")
    assert set(quantities.WATCHED) == {quantity.name for quantity in QUANTITIES if quantity.watched}
    assert set(quantities.WATCHED) <= set(REPORTED)


def test_what_is_known_where_an_instrument_tells_some() -> None:
    computed = {"power", "energy", "charge"}
    assert quantities.reported(["voltage", "current", "OVP", "status"]) == {"voltage", "current"} | computed
    assert quantities.reported(["current", "mode"]) == {"current", "mode"}
    assert quantities.reported(READ) == set(REPORTED)
    assert quantities.reported(["cycle"]) == set()


def test_values_for_people() -> None:
    limit = BY_NAME["voltage_limit"]
    assert [limit.shown(value) for value in (3.3, 5, 5.0, None)] == ["3.3 V", "5 V", "5 V", "none"]
    assert BY_NAME["mode"].shown("CV") == "CV"
    assert [BY_NAME["state"].shown(value) for value in (True, False)] == ["on", "off"]


def test_bounds() -> None:
    cycle, ramp, limit = BY_NAME["cycle"], BY_NAME["ramp"], BY_NAME["voltage_limit"]
    assert [cycle.is_within(value) for value in (-0.1, 0.0, 3600.0, 3600.1)] == [False, True, True, False]
    assert [ramp.is_within(value) for value in (-1.0, 0.0, 1e-9, 1e9)] == [False, False, True, True]
    assert limit.is_within(-1e9)

"""A channel's ranges and limits, and the messages of refusals."""

from __future__ import annotations

from typing import Any

import pytest

from agent.config import ChannelSettings as ConfiguredChannel
from agent.instruments.driver import Profile, Range
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.protocol.messages import UnitInfo
from agent.unit.limits.channel import DEFAULTS, Channel, ChannelSettings, DefaultSettings, channels_of
from agent.unit.limits.checking import check, supported
from agent.unit.status import Status, unit_info
from tests.unit.fakedriver import IDENTITY, output


def channel(own: ChannelSettings = DEFAULTS, name: str = "CH1", **changed: Any) -> Channel:
    return Channel("psu1", name, output(1, **changed), own)


def test_the_configuration_satisfies_the_settings_and_its_defaults_are_the_same() -> None:
    configured: ChannelSettings = ConfiguredChannel()
    for name in DefaultSettings.__slots__:
        assert getattr(configured, name) == getattr(DEFAULTS, name)


def test_the_info_has_what_a_channel_tells_in_the_order_of_its_state() -> None:
    outputs = (output(1), output(2, tells=frozenset()), output(3, tells=frozenset(("mode", "voltage", "state"))))
    profile = Profile("FAKE3", outputs, IDENTITY)
    status = Status(True, None, profile, channels_of("psu1", profile, {}))
    info = unit_info(name="psu1", agent="bench", address="FAKE", poll_interval=1.0, status=status)
    assert [one.tells for one in info.channels] == [None, [], ["state", "voltage", "mode"]]
    assert UnitInfo.model_validate_json(info.to_json()).channels == info.channels


def test_names() -> None:
    profile = Profile("FAKE2", (output(1), output(2)))
    channels = channels_of("psu1", profile, {1: DefaultSettings(name="VDD"), 9: DefaultSettings(name="none")})
    assert [str(c) for c in channels.values()] == ["channel 1 (VDD) of psu1", "channel 2 of psu1"]
    assert channels[2].settings is DEFAULTS


def test_the_narrower_of_rating_and_limit_is_allowed() -> None:
    limited = channel(DefaultSettings(voltage_max=5.0, current_max=9.0))
    assert limited.allowed("voltage_limit") == (0.0, 5.0)
    assert limited.allowed("current_limit") == (0.0, 5.15)
    assert limited.allowed("voltage_protection") == (0.5, 6.6)
    negative = channel(DefaultSettings(voltage_max=5.0), voltage=Range(-6.0, 0.0))
    assert negative.allowed("voltage_limit") == (-5.0, 0.0)
    assert channel(voltage=None).allowed("voltage_limit") is None
    assert channel().range("state") is None


def test_the_fields_of_a_channel() -> None:
    assert supported(channel()) == [
        "state",
        "voltage_limit",
        "current_limit",
        "voltage_protection",
        "current_protection",
        "clear_protection",
        "cycle",
        "ramp",
    ]
    assert supported(channel(settings=frozenset({"state", "voltage_limit"}), voltage=None)) == ["state", "cycle"]


@pytest.mark.parametrize(
    ("fields", "changed", "said"),
    [
        ({"voltage_limit": 5.1}, {}, "voltage_limit 5.1 V is above the 5 V that channel 1 (VDD) of psu1 is limited to"),
        ({"current_limit": 5.2}, {}, "current_limit 5.2 A is outside the 0 to 5.15 A of channel 1 (VDD) of psu1"),
        (
            {"current_limit": 1},
            {"current": None},
            "has no current_limit whose range is known; give it a current_max in",
        ),
        ({"voltage_protection": 1}, {"voltage_protection": None}, "channel 1 (VDD) of psu1 has no voltage_protection"),
        ({"state": True}, {"settings": frozenset()}, "has no state, it can only be watched"),
        ({"state": True}, {"settings": frozenset({"voltage_limit"})}, "channel 1 (VDD) of psu1 has no state"),
    ],
)
def test_what_is_refused_and_why(fields: dict[str, Any], changed: dict[str, Any], said: str) -> None:
    one = channel(DefaultSettings(name="VDD", voltage_max=5.0), "VDD", **changed)
    with pytest.raises(Refusal) as refusal:
        check(Command(**fields), [one])
    assert said in refusal.value.message


def test_a_ramp_without_a_known_range_needs_a_limit() -> None:
    with pytest.raises(Refusal, match="give it a voltage_max"):
        check(Command(ramp=1), [channel(voltage=None)])


def test_rounding_at_the_ends_is_no_excess() -> None:
    limited = channel(DefaultSettings(voltage_max=0.3))
    check(Command(voltage_limit=0.1 + 0.2), [limited])
    check(Command(voltage_limit=6.18 + 1e-10), [channel()])

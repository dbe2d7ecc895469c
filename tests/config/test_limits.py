"""The sentences on channels without a limit."""

from __future__ import annotations

import pytest

from agent.config.sentences.limits import unlisted, without_limits
from tests.config.samples import read


@pytest.mark.parametrize(
    ("channels", "others", "said"),
    [
        ("", "channels 1, 2 and 3",
         ["psu1: no limit but the rating on channels 1, 2 and 3; voltage_max and current_max set one"]),
        ("{1: {voltage_max: 5, current_max: 1}, 2: {voltage_max: 5, current_max: 1}}", "channel 3",
         ["psu1: no limit but the rating on channel 3; voltage_max and current_max set one"]),
        ("{1: {voltage_max: 5}, 2: {name: VDD}}", "channel 3",
         ["psu1: no limit but the rating on channels 2 and 3; voltage_max and current_max set one",
          "psu1: no current_max but the rating on channel 1"]),
        ("{1: &both {voltage_max: 5, current_max: 1}, 2: *both, 3: *both}", None, []),
    ],
)  # fmt: skip
def test_of_a_model_whose_channels_are_known(channels: str, others: str | None, said: list[str]) -> None:
    text = "units:\n  - name: psu1\n    model: E36313A\n    uri: TCPIP::a::INSTR\n"
    (unit,) = read(f"{text}    channels: {channels}\n" if channels else text).units
    assert unlisted(unit) == others
    assert list(without_limits(unit)) == said


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ("", ["relays: no limit but the rating on every channel; voltage_max and current_max set one"]),
        ("    channels: {0: {voltage_max: 5, current_max: 1}, 7: {name: PUMP}}\n",
         ["relays: no limit but the rating on channel 7 and every other channel; voltage_max and current_max set one"]),
    ],
)  # fmt: skip
def test_of_a_unit_whose_programs_tell_its_channels(channels: str, said: list[str]) -> None:
    text = "units:\n  - name: relays\n    model: external\n    commands: {get_channels: [./read]}\n"
    (unit,) = read(text + channels).units
    assert list(without_limits(unit)) == said

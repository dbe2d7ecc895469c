"""The pauses between messages that supplies need, without which they lose messages without a word: as the link gets them."""

from __future__ import annotations

import pytest

from agent.instruments.linking import link_form
from tests.instruments.series.on_paper import series_of

SERIAL, LAN, GPIB = "ASRL/dev/ttyUSB0::INSTR", "TCPIP::192.0.2.1::5025::SOCKET", "GPIB0::5::INSTR"


@pytest.mark.parametrize(
    ("series", "uri", "least"),
    [
        ("2230", SERIAL, 0.1),
        ("E3632A-34A", SERIAL, 0.05),
        ("E3640A-45A", SERIAL, 0.05),
        ("E3646A-49A", SERIAL, 0.05),
        ("GPD-X303S", SERIAL, 0.07),
        ("HMP", SERIAL, 0.03),
        ("Korad KA", SERIAL, 0.05),
        ("PS 9000", SERIAL, 0.015),
        ("PS3005D", SERIAL, 0.53),
        ("SPD1000X", LAN, 0.025),
        ("SPD3303", LAN, 0.01),
    ],
)
def test_the_link_keeps_the_pause(series: str, uri: str, least: float) -> None:
    assert link_form(series_of(series), uri).gap >= least


def test_a_pause_of_a_serial_line_is_not_made_on_other_links() -> None:
    assert link_form(series_of("E3640A-45A"), GPIB).gap == 0

"""The link that a unit gets: as its series has it, alone or on a line with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.instruments.bus.line import Seat
from agent.instruments.catalogue import candidates
from agent.instruments.claims import Claims
from agent.instruments.driver import Driver
from agent.instruments.factory import Lines, make_driver
from agent.instruments.linking import bus_address, link_form, make_link
from agent.instruments.visa.session import VisaSession
from agent.protocol.commands import Command
from agent.unit.job import Job
from agent.unit.supply import Supply

SERIAL, GATEWAY, LAN = "ASRL/dev/ttyUSB0::INSTR", "TCPIP::192.0.2.1::4001::SOCKET", "TCPIP::192.0.2.1::inst0::INSTR"


def series(model: str) -> Any:
    return candidates(model)[0].series


@pytest.mark.parametrize("uri", [SERIAL, GATEWAY])
def test_a_line_without_terminators(uri: str) -> None:
    """A Korad: raw bytes, and a pause between messages."""
    form = link_form(series("KA3005P"), uri)
    assert (form.write, form.read, form.encoding) == ("", None, "latin-1")
    assert form.gap > 0
    assert dict(form.arguments)["baud_rate"] == 9600


@pytest.mark.parametrize(
    ("model", "uri", "ends"),
    [
        ("Genesys,GEN40-38", SERIAL, ("\r", "\r")),
        ("Genesys,GEN40-38", GATEWAY, ("\r", "\r")),
        ("E36313A", LAN, ("\n", "\n")),
    ],
)
def test_terminators(model: str, uri: str, ends: tuple[str, str]) -> None:
    form = link_form(series(model), uri)
    assert (form.write, form.read) == ends


def test_lines_that_a_unit_sends_unasked_have_their_pattern() -> None:
    pattern = link_form(series("Genesys,GEN40-38"), SERIAL).unasked
    assert pattern is not None
    assert pattern.fullmatch("!06")
    assert not pattern.fullmatch("06.000")


def test_a_series_that_wants_its_address_always_gets_the_one_it_is_delivered_with() -> None:
    genesys, e36300 = series("Genesys,GEN40-38"), series("E36313A")
    assert [bus_address(genesys, None), bus_address(genesys, 0), bus_address(genesys, 9)] == [6, 0, 9]
    assert bus_address(e36300, None) is None
    assert isinstance(make_link(SERIAL, genesys, address=6), Seat)
    assert isinstance(make_link(LAN, e36300), VisaSession)


def test_units_of_one_agent_share_a_line_under_all_its_names() -> None:
    lines, genesys = Lines(), series("Genesys,GEN40-38")
    found = [
        lines.line(uri, "@py", arguments, link_form(genesys, uri))
        for uri, arguments in [
            (GATEWAY, {}),
            (GATEWAY.replace("TCPIP", "TCPIP0"), {}),
            (GATEWAY, {"timeout": 500}),
            (SERIAL, {}),
        ]
    ]
    assert found[0] is found[1]
    assert len(set(map(id, found))) == 3


def unit_on_a_line(tmp_path: Path) -> Driver:
    entry = {"name": "psu1", "model": "Genesys,GEN40-38", "uri": SERIAL, "address": 3}
    (unit,) = config.from_data({"units": [entry]}).units
    return make_driver(unit, tmp_path)


def test_an_off_that_waits_for_a_unit_makes_its_seat_urgent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Seat] = []
    seat = Seat.__init__

    def noted(self: Seat, *arguments: Any) -> None:
        seat(self, *arguments)
        made.append(self)

    monkeypatch.setattr(Seat, "__init__", noted)
    driver = unit_on_a_line(tmp_path)
    assert driver.address == f"{SERIAL} (address 3)"
    supply = Supply(name="psu1", agent="bench", driver=driver, outlets=(), claims=Claims(["psu1"]))
    assert not made[0].urgent()
    supply._inbox.open()
    supply.submit(Job(Command(state=False), tuple(supply.channels), by="command"))
    assert made[0].urgent()

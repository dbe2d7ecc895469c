"""Who is at an address: units of every language are recognized, and no question of a scan is a setting to any of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import astuple
from typing import Any

import pytest
import yaml

from agent.cli.printing import print_scan
from agent.config.source import as_yaml
from agent.instruments import scan
from agent.instruments.driver import DriverError, Identity, IdentityError, LinkError
from agent.instruments.finding.candidates import Candidate
from agent.instruments.recognizing import questions, recognize, recognize_serial, recognized
from agent.instruments.scan import Found, unit_entries
from agent.simulator import SUPPLIES, NetworkInstrument, Simulator, Supply, make_supply
from agent.simulator.genesys import GenesysLine, GenesysUnit

#: ms for an answer: these units take less, and a test has no minutes.
QUICK = 300


def settings(supply: Any) -> list[Any]:
    """All that can be set, and what is at the outputs but for the noise."""
    return [
        (one.voltage_set, one.current_set, one.on, one.ovp_level, one.ovp_on, one.ocp_level, one.ocp_on, one.trip)
        for one in supply.outputs.values()
    ]


@pytest.mark.parametrize("model", ["KA3005P", "E3640A", "E3631A", "DP832A", "HMP4040", "CPX400DP", "RD6006", "DPS5005"])
def test_a_unit_on_a_serial_line_is_recognized_and_nothing_is_set(model: str) -> None:
    supply = make_supply(model)
    assert isinstance(supply, Supply)
    before = settings(supply)
    with NetworkInstrument(supply, socket_port=None, pty=True) as network:
        (found,) = recognize_serial(network.resource, QUICK)
        assert found.model is not None
        assert found.model.name == model
        assert found.identity.model
        assert found.address is None
        # Whoever it was meant for, each further question sets nothing either.
        for text in all_texts():
            supply.execute(text)
    assert settings(supply) == before


def test_serial_ports_are_asked_only_where_that_was_wanted() -> None:
    supply = make_supply("KA3005P", log_size=100)
    with NetworkInstrument(supply, socket_port=None, pty=True) as network:
        candidate = Candidate([network.resource])
        (found,) = scan._ask_all([candidate], False)
        assert "--serial asks it" in (found.problem or "")
        assert supply.log == []
        (found,) = scan._ask_all([candidate], True)
        (entry,) = unit_entries([found])
    assert entry == {"name": "psu1", "model": "Korad,KA3005P", "uri": network.resource}


def test_each_genesys_of_a_line_is_recognized_by_its_address_and_named_with_the_series_of_its_language() -> None:
    with GenesysLine(GenesysUnit("GEN40-38", 2), GenesysUnit("GEN100-33", 30), pty=True) as line:
        uri = line.resources["serial"]
        before = [(unit.pv, unit.pc, unit.ovp, unit.is_on, unit.foldback) for unit in line.units.values()]
        found = recognize_serial(uri, QUICK)
        assert [(one.identity.model, one.address) for one in found] == [("GEN40-38", 2), ("GEN100-33", 30)]
        after = [(unit.pv, unit.pc, unit.ovp, unit.is_on, unit.foldback) for unit in line.units.values()]
        assert after == before
    items = [Found(uri, [uri], one.identity, one.model, address=one.address, baud=one.baud) for one in found]
    entries = unit_entries(items)
    assert entries == [
        {"name": "psu1", "model": "Genesys,GEN40-38", "uri": uri, "address": 2},
        {"name": "psu2", "model": "Genesys,GEN100-33", "uri": uri, "address": 30},
    ]
    assert yaml.safe_load(as_yaml({"units": entries})) == {"units": entries}


def test_units_of_one_line_are_shown_with_their_addresses_and_speed(capsys: pytest.CaptureFixture[str]) -> None:
    uri = "ASRL/dev/ttyUSB0::INSTR"
    found = [
        Found(uri, [uri], Identity("Somebody", "X1", "1", "1"), address=2, baud=19200),
        Found(uri, [uri], Identity("Somebody", "X1", "1", "1")),
    ]
    print_scan(scan.Scan(found))
    assert capsys.readouterr().out.splitlines() == [
        f"# {uri}, address 2, 19200 baud: Somebody,X1,1,1; not a model that psu-agent supports",
        f"# {uri}: Somebody,X1,1,1; not a model that psu-agent supports",
    ]
    assert [(one["address"], one["baud"]) for one in (item.as_dict() for item in found)] == [(2, 19200), (None, None)]


def all_texts() -> Iterator[str]:
    """Every message that a scan sends on a serial line, without its end."""
    for _, together in questions():
        for series in together[:1]:
            if series.modbus is not None:
                continue
            if series.bus is not None:
                least, most = series.bus.addresses
                yield from (series.bus.select.format(address=number) for number in range(least, most + 1))
            yield series.identify.ask


@pytest.mark.parametrize(
    "model", ["DP832A", *sorted(model for model in SUPPLIES if not model.startswith(("RD", "DP", "E363")))]
)
def test_no_question_of_a_scan_sets_anything_on_any_supply(model: str) -> None:
    supply = make_supply(model)
    assert isinstance(supply, Supply)
    before = [astuple(output)[3:11] for output in supply.outputs.values()]
    for _ in range(2):
        for text in all_texts():
            supply.execute(text)
    assert [astuple(output)[3:11] for output in supply.outputs.values()] == before


def test_questions_stand_in_the_order_in_which_none_disturbs_another() -> None:
    order = [together[0] for _, together in questions()]
    kinds = [(series.modbus is not None, series.bus is not None, series.identify.ask != "*IDN?") for series in order]
    first_asked = list(dict.fromkeys(kinds))
    assert first_asked == sorted(first_asked)
    assert first_asked[0] == (False, False, False)
    assert first_asked[-1][0]  # Modbus
    sent = set(all_texts())
    assert sent == {"*IDN?", "GMAX", "GMOD", "IDN?", *(f"ADR {number}" for number in range(31))}
    assert not any(text.startswith("INST") for text in sent)


def test_a_line_where_nobody_answers_is_told_with_the_speeds() -> None:
    silent = make_supply("KA3005P")
    with NetworkInstrument(silent, socket_port=None, pty=True) as network:
        network.freeze()
        with pytest.raises(DriverError, match=r"nobody answered in any known language at 300, 600, .*115200"):
            recognize_serial(network.resource, 10)


def test_a_port_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(DriverError, match="can't open ASRL/dev/ttyNONE::INSTR"):
        recognize_serial("ASRL/dev/ttyNONE::INSTR", 10)


@pytest.mark.parametrize(
    ("answer", "model"),
    [
        ("Keysight Technologies,E36313A,MY1,1.0", "E36313A"),
        ("KORADKA3005PV2.0", "KA3005P"),
        ("TENMA 72-2540 V2.1", "72-2540"),
        ("THURLBY THANDAR, CPX400DP, 0, 3.00-4.12", "CPX400DP"),
        ("RIGOL TECHNOLOGIES,DP832A,DP8B1,00.01.16", "DP832A"),
        ("HEWLETT-PACKARD,E3631A,0,2.1-5.0-1.0", "E3631A"),
        ("Somebody,X1,1,1", None),
    ],
)
def test_answers_of_any_language_are_understood(answer: str, model: str | None) -> None:
    _, found = recognized(answer)
    assert (found.name if found else None) == model


def test_an_answer_that_is_no_identity_is_none() -> None:
    with pytest.raises(IdentityError):
        recognized("login:")


def test_a_unit_on_the_network_is_asked_who_it_is_and_nothing_else() -> None:
    with Simulator("E36312A", "MY42") as simulator:
        who = recognize(simulator.resource, open_timeout=2000, timeout=2000).identity
        assert who == Identity("Keysight Technologies", "E36312A", "MY42", who.firmware)
        assert set(simulator.instrument.log) == {"*IDN?"}
    with pytest.raises(LinkError):
        recognize(simulator.resource, open_timeout=200, timeout=200)


def test_something_on_the_network_that_is_no_instrument() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"SSH-2.0-OpenSSH\n")

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(IdentityError, match=r"is no answer to \*IDN\?"):
            recognize(f"TCPIP::127.0.0.1::{listener.getsockname()[1]}::SOCKET", open_timeout=2000, timeout=2000)

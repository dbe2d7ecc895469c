"""`psu-agent verify` against each simulated supply, written from its manual: what its series file claims holds there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.simulator import NetworkInstrument, make_supply
from agent.simulator.genesys import GenesysLine, GenesysUnit
from tests.commandline import psu_agent


def verified(resource: str, model: str, folder: Path, *more: str) -> dict[str, Any]:
    """The report of a verification that ended well: no claim has failed."""
    done = psu_agent("verify", resource, "--model", model, "--yes", "--report", str(folder), *more, timeout=110)
    (file,) = folder.glob("*.json")
    data: dict[str, Any] = json.loads(file.read_text())
    failed = [
        (check["name"], check["channel"], check["text"]) for check in data["checks"] if check["verdict"] == "failed"
    ]
    assert failed == [], failed
    assert done.returncode == 0, done.stdout + done.stderr
    return data


def of(data: dict[str, Any], verdict: str) -> set[str]:
    return {check["name"] for check in data["checks"] if check["verdict"] == verdict}


#: The model, a serial port or a socket, what is done at the panel before, and claims that have to be tried.
CASES = [
    ("DP832A", False, (), {"over-voltage trip", "current_protection_level", "voltage_protection_state", "errors"}),
    ("SPD3303X", False, (), {"voltage_limit", "output on", "mode", "errors"}),
    ("HMP4040", False, ("OUTP:GEN 1",), {"voltage_limit", "output on", "over-voltage trip"}),
    ("CPX400DP", False, (), {"voltage_protection", "current_protection_level", "output on", "errors"}),
    # A raw socket of a supply without LAN is a gateway's, with its serial port behind: remote mode has to be entered.
    ("E3631A", False, (), {"voltage_limit", "output on", "mode", "remote and panel lock"}),
    ("E3640A", True, (), {"voltage_protection", "voltage_protection_state", "output on", "remote and panel lock"}),
    ("KA3005P", True, (), {"voltage_limit", "current_limit", "output on", "mode", "timing"}),
    ("RD6006", True, (), {"voltage_limit", "current_limit", "output on", "mode"}),
]


@pytest.mark.parametrize(("model", "on_serial", "before", "tried"), CASES, ids=[case[0] for case in CASES])
def test_what_the_series_file_claims_holds_on_its_simulator(
    model: str, on_serial: bool, before: tuple[str, ...], tried: set[str], tmp_path: Path
) -> None:
    supply = make_supply(model)
    with NetworkInstrument(supply, socket_port=None if on_serial else 0, pty=on_serial) as network:
        for message in before:
            supply.execute(message)
        data = verified(network.resource, model, tmp_path, "--channel", "1")
        assert tried <= of(data, "ok"), of(data, "skipped")
        assert data["left"]["output"] == "off"


def test_one_of_two_units_on_a_line_is_verified_and_the_other_gets_no_setting(tmp_path: Path) -> None:
    with GenesysLine(GenesysUnit("GEN40-38", 6), GenesysUnit("GEN40-38", 7)) as line:
        data = verified(line.resources["socket"], "Genesys,GEN40-38", tmp_path, "--address", "6")
        assert {"voltage_limit", "current_limit", "output on", "mode"} <= of(data, "ok"), data["checks"]
        assert line.units[7].log == [] or all(
            "?" in message or message.startswith("ADR") for message in line.units[7].log
        )
        assert not line.units[6].is_on

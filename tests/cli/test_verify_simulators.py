"""`psu-agent verify` against each simulated supply, written from its manual: what its series file claims holds there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.simulator import NetworkInstrument, make_supply
from agent.simulator.genesys import GenesysLine, GenesysUnit
from tests.commandline import Running


class Verification(Running):
    """A verification that is under way, of the unit at a resource name."""

    def __init__(self, resource: str, model: str, folder: Path, *more: str) -> None:
        self._reports = folder
        super().__init__("verify", resource, "--model", model, "--yes", "--report", str(folder), *more)

    def report(self) -> dict[str, Any]:
        """The report when it has ended well: no claim has failed."""
        code = self.process.wait(110)
        assert code in (0, 1), self.text()
        (file,) = self._reports.glob("*.json")
        data: dict[str, Any] = json.loads(file.read_text())
        failed = [
            (check["name"], check["channel"], check["text"]) for check in data["checks"] if check["verdict"] == "failed"
        ]
        assert failed == [], failed
        assert code == 0, self.text()
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


#: Simulated pauses are much shorter than those of the series files: a busy machine brings messages together that were sent apart.
OPTIONS: dict[str, dict[str, Any]] = {"KA3005P": {"gap": 0.01}, "SPD3303X": {"gap": 0.0}}
LINE = "Genesys,GEN40-38"


@pytest.fixture(scope="module")
def line() -> Iterator[GenesysLine]:
    with GenesysLine(GenesysUnit("GEN40-38", 6), GenesysUnit("GEN40-38", 7)) as started:
        yield started


@pytest.fixture(scope="module")
def verifications(line: GenesysLine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Verification]]:
    """By model, all at the same time: each of them waits for its unit nearly always."""
    with contextlib.ExitStack() as stack:

        def start(resource: str, model: str, *more: str) -> Verification:
            return stack.enter_context(Verification(resource, model, tmp_path_factory.mktemp("report"), *more))

        found = {LINE: start(line.resources["socket"], LINE, "--address", "6")}
        for model, on_serial, before, _ in CASES:
            supply = make_supply(model, **OPTIONS.get(model, {}))
            for message in before:
                supply.execute(message)
            network = NetworkInstrument(supply, socket_port=None if on_serial else 0, pty=on_serial)
            stack.enter_context(network)
            found[model] = start(network.resource, model, "--channel", "1")
        yield found


@pytest.mark.parametrize(("model", "tried"), [(case[0], case[3]) for case in CASES], ids=[case[0] for case in CASES])
def test_what_the_series_file_claims_holds_on_its_simulator(
    model: str, tried: set[str], verifications: dict[str, Verification]
) -> None:
    data = verifications[model].report()
    assert tried <= of(data, "ok"), of(data, "skipped")
    assert data["left"]["output"] == "off"


def test_one_of_two_units_on_a_line_is_verified_and_the_other_gets_no_setting(
    line: GenesysLine, verifications: dict[str, Verification]
) -> None:
    data = verifications[LINE].report()
    assert {"voltage_limit", "current_limit", "output on", "mode"} <= of(data, "ok"), data["checks"]
    assert all("?" in message or message.startswith("ADR") for message in line.units[7].log)
    assert not line.units[6].is_on

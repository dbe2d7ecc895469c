"""check --connect against a real broker and a simulated supply."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from agent.simulator import Simulator
from agent.simulator.genesys import GenesysLine, GenesysUnit
from tests.cli.lab import Lab
from tests.commandline import invoke


def test_check_connects(lab: Lab) -> None:
    result = invoke("check", "--connect", str(lab.file))
    assert result.exit_code == 1  # psu2 is not there
    assert re.search(r"^ok +broker at mqtt://127.0.0.1:\d+: connected, MQTT 5", result.stdout, re.MULTILINE)
    assert re.search(r"^ok +psu1 at TCPIP.*: Keysight Technologies E36313A, serial MY", result.stdout, re.MULTILINE)
    assert re.search(r"^FAULT +psu2 at TCPIP.*: ", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "E36312A"}, "and the configuration says E36312A"),
        ({"serial": "MY0"}, "and the configuration says serial MY0"),
    ],
)
def test_check_finds_the_wrong_instrument(lab: Lab, changes: dict[str, str], message: str, tmp_path: Path) -> None:
    data = yaml.safe_load(lab.file.read_text())
    data["units"] = [data["units"][0] | {"channels": {}} | changes]
    file = tmp_path / "psu-agent.yaml"
    file.write_text(yaml.safe_dump(data))
    result = invoke("check", "--connect", str(file))
    assert result.exit_code == 1
    assert message in result.stdout
    data["units"][0] = {key: value for key, value in data["units"][0].items() if key != "serial"} | {"model": "E36300"}
    file.write_text(yaml.safe_dump(data))
    assert invoke("check", "--connect", str(file)).exit_code == 0


def test_two_addresses_of_one_instrument(lab: Lab, tmp_path: Path) -> None:
    data = yaml.safe_load(lab.file.read_text())
    first = data["units"][0]
    second = first | {"name": "other", "uri": first["uri"].replace("127.0.0.1", "localhost")}
    data["units"] = [first, second]
    file = tmp_path / "psu-agent.yaml"
    file.write_text(yaml.safe_dump(data))
    result = invoke("check", "--connect", str(file))
    assert result.exit_code == 1
    assert "two addresses, one serial number" in result.stdout


def test_a_serial_number_that_pins_no_unit(lab: Lab, tmp_path: Path) -> None:
    with Simulator(serial="0") as simulator:
        data = yaml.safe_load(lab.file.read_text())
        uri, model = simulator.resources["socket"], data["units"][0]["model"]
        data["units"] = [{"name": "one", "model": model, "uri": uri, "serial": "0"}]
        file = tmp_path / "psu-agent.yaml"
        file.write_text(yaml.safe_dump(data))
        result = invoke("check", "--connect", str(file))
    assert result.exit_code == 1
    assert "tells 0 as its serial number" in result.stdout
    assert "`serial` can't pin it; take `serial` out of its entry" in result.stdout


def test_two_units_with_serial_number_0_are_two(lab: Lab, tmp_path: Path) -> None:
    with Simulator(serial="0") as one, Simulator(serial="0") as other:
        data = yaml.safe_load(lab.file.read_text())
        data["units"] = [
            {"name": name, "model": data["units"][0]["model"], "uri": simulator.resources["socket"]}
            for name, simulator in (("one", one), ("other", other))
        ]
        file = tmp_path / "psu-agent.yaml"
        file.write_text(yaml.safe_dump(data))
        result = invoke("check", "--connect", str(file))
    assert result.exit_code == 0, result.stdout


def test_a_broken_series_file_is_told_with_its_line(lab: Lab, tmp_path: Path) -> None:
    data = yaml.safe_load(lab.file.read_text())
    data["settings"]["series"] = ["mine.yaml"]
    data["units"] = data["units"][:1]
    file, mine = tmp_path / "psu-agent.yaml", tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data))
    mine.write_text("series: Mine\nmanufacturer: Me\nsorces: mine\n")
    result = invoke("check", str(file))
    assert result.exit_code == 2
    assert f"{mine}:3: sorces: unknown key" in result.stderr
    assert "no fault" not in result.stdout
    result = invoke("check", "--connect", str(file))
    assert result.exit_code == 2
    assert re.search(r"^ok +psu1 at TCPIP", result.stdout, re.MULTILINE)


def test_units_on_one_line_are_checked_together(lab: Lab, tmp_path: Path) -> None:
    """None of them has a serial number; and none waits for ever for another one."""
    data = yaml.safe_load(lab.file.read_text())
    units = [GenesysUnit("GEN40-38", address, serial="0") for address in (1, 2, 3)]
    with GenesysLine(*units) as line:
        line.silent.add(2)
        data["units"] = [
            {
                "name": f"psu{address}",
                "model": "Genesys,GEN40-38",
                "uri": line.resources["socket"],
                "address": address,
                "pyvisa_args": {"timeout": 2000},
            }
            for address in (1, 2, 3)
        ]
        file = tmp_path / "psu-agent.yaml"
        file.write_text(yaml.safe_dump(data))
        result = invoke("check", "--connect", str(file))
    assert result.exit_code == 1
    for word, address in (("ok", 1), ("FAULT", 2), ("ok", 3)):
        assert re.search(rf"^{word} +psu{address} at TCPIP.* \(address {address}\): ", result.stdout, re.MULTILINE)
    assert "same instrument" not in result.stdout

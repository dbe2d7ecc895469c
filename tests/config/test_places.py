"""Several units on one line: which addresses and resource names a file may have."""

from __future__ import annotations

import pytest

from agent import config
from agent.config import ConfigError

LINE = "ASRL/dev/ttyUSB0::INSTR"
#: A unit on the line; each gets a name of its own.
G = {"model": "Genesys,GEN40-38", "uri": LINE}


def units(*entries: dict[str, object]) -> dict[str, object]:
    return {"units": [{"name": f"psu{number}", **entry} for number, entry in enumerate(entries, 1)]}


def test_units_with_addresses_share_a_line() -> None:
    read = config.from_data(units({**G, "address": 1}, {**G, "address": 6}, {**G, "address": 0}))
    assert [unit.place for unit in read.units] == [f"{LINE} (address {n})" for n in (1, 6, 0)]
    assert not read.warnings


@pytest.mark.parametrize(
    ("entries", "key", "said"),
    [
        ([G, G], "uri", f"'{LINE}' is the address of units[0] too; give each unit on this line its `address`"),
        ([{**G, "address": 1}, G], "uri", "give each unit on this line its `address`"),
        ([G, {**G, "address": 1}], "uri", "give each unit on this line its `address`"),
        ([{**G, "address": 6}, {**G, "address": 6}], "address", "6 is the address of units[0] on this line too"),
        ([{**G, "address": 1}, {**G, "address": 31}], "address", "31 is no address of a Genesys; give a number from 0 to 30"),
        ([G, {"model": "E36313A", "uri": LINE, "address": 3}], "address", "E36300 has no addresses on a line; take it out"),
        ([{"model": "E36313A", "uri": LINE}] * 2, "uri", "too; give each unit its own"),
        (
            [{**G, "address": 1, "pyvisa_args": {"baud_rate": 9600}}, {**G, "address": 2, "pyvisa_args": {"baud_rate": 4800}}],
            "pyvisa_args",
            "differs from that of units[0], which is on the same line; give both the same pyvisa_args",
        ),
        (
            [{**G, "address": 1, "pyvisa_args": {"baud_rate": 9600}}, {**G, "address": 2}],
            "uri",
            "give both the same pyvisa_args",
        ),
        (
            [{**G, "address": 1}, {**G, "address": 2, "visabackend": "@ivi"}],
            "visabackend",
            "give both the same visabackend",
        ),
        (
            [{**G, "address": 1}, {"model": "E36313A", "uri": LINE}],
            "uri",
            "too; give each unit its own",
        ),
    ],
)  # fmt: skip
def test_faults_of_a_line(entries: list[dict[str, object]], key: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.from_data(units(*entries))
    (fault,) = error.value.faults
    assert fault.key == f"units[1].{key}"
    assert said in fault.message


def test_units_of_two_series_share_a_line_if_they_speak_alike() -> None:
    other = {"model": "Z+,Z36-6", "uri": LINE, "address": 2}
    with pytest.raises(ConfigError, match=r"units\[1\].model: shares a line with units\[0\], whose series \(Genesys\)"):
        config.from_data(units({**G, "address": 1}, other))


@pytest.mark.parametrize("address", [-1, 256, "six", 1.5, True])
def test_what_is_no_address(address: object) -> None:
    with pytest.raises(ConfigError, match=r"units\[0\].address: .*; give the number of this unit on a line"):
        config.from_data(units({**G, "address": address}))


def test_an_external_unit_has_none() -> None:
    commands = {"ping": "/bin/true", "get_channels": "/bin/true", "set": "/bin/true"}
    with pytest.raises(ConfigError, match="address: has no meaning with model external"):
        config.from_data(units({"model": "external", "commands": commands, "address": 1}))


@pytest.mark.parametrize(("serial", "pins"), [("0", False), ("00000", False), ("N/A", False), ("MY61004803", True)])
def test_a_number_that_is_none_pins_no_unit(serial: str, pins: bool) -> None:
    read = config.from_data(units({**G, "serial": serial}))
    assert [warning.key for warning in read.warnings] == ([] if pins else ["units[0].serial"])


def test_another_address_is_another_unit() -> None:
    one, other = (config.from_data(units({**G, "address": address})).units[0] for address in (1, 2))
    assert one.served() != other.served()

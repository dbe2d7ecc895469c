"""UNI-T UDP3305S: the output as an argument, the letter behind a value, one register for the unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

OUTPUTS = (1, 2, 3)
#: No literal identity was seen; the maker answers Uni-Trend, in four fields.
UDP = Supply(
    series="UDP3000S",
    models={"UNI-TREND,UDP3305S,ADP0000000001,1.05": "UDP3305S"},
    answers={
        **{f"MEAS:ALL? CH{ch}": f"{ch}.001,0.5,{ch * 0.5}" for ch in OUTPUTS},
        **{f"APPL? CH{ch},VOLT": f"CH{ch},{ch}.000" for ch in OUTPUTS},
        **{f"APPL? CH{ch},CURR": f"CH{ch},1.000" for ch in OUTPUTS},
        **{f"OUTP:STAT? CH{ch}": "ON" for ch in OUTPUTS},
        **{f"OUTP:OVP:VAL? CH{ch}": "34.000" for ch in OUTPUTS},
        **{f"OUTP:OVP:STAT? CH{ch}": "OFF" for ch in OUTPUTS},
        **{f"OUTP:OCP:VAL? CH{ch}": "5.3000" for ch in OUTPUTS},
        **{f"OUTP:OCP:STAT? CH{ch}": "ON" for ch in OUTPUTS},
        "SYST:STAT?": "0x0224",
        "SOUR:MODE?": "NORMAL",
    },
    poll=[
        *(
            f"{before} CH{ch}{behind}"
            for before, behind in [
                ("MEAS:ALL?", ""),
                ("APPL?", ",VOLT"),
                ("APPL?", ",CURR"),
                ("OUTP:STAT?", ""),
                ("OUTP:OVP:VAL?", ""),
                ("OUTP:OVP:STAT?", ""),
                ("OUTP:OCP:VAL?", ""),
                ("OUTP:OCP:STAT?", ""),
            ]
            for ch in OUTPUTS
        ),
        "SYST:STAT?",
    ],
    readings={
        ch: reading(
            voltage=ch + 0.001,
            current=0.5,
            voltage_limit=float(ch),
            current_limit=1.0,
            state=True,
            voltage_protection=34.0,
            voltage_protection_state=False,
            current_protection_level=5.3,
            current_protection=True,
            mode=None if ch == 3 else "CV",
        )
        for ch in OUTPUTS
    },
    settings=[
        (2, "state", True, ["OUTP:STAT CH2,ON"]),
        (1, "state", False, ["OUTP:STAT CH1,OFF"]),
        (1, "voltage_limit", 5.0, ["APPL CH1,5.000V"]),
        (1, "current_limit", 1.0, ["APPL CH1,1.0000A"]),
        (1, "voltage_protection_state", True, ["OUTP:OVP:STAT CH1,ON"]),
        (1, "current_protection", False, ["OUTP:OCP:STAT CH1,OFF"]),
    ],
)
UDP_E = replace(
    UDP,
    models={"UNI-TREND,UDP3305S-E,ADP0000000001,1.05": "UDP3305S-E"},
    settings=[
        *UDP.settings[:2],
        (1, "voltage_limit", 3.333, ["APPL CH1,3.33V"]),
        (1, "current_limit", 1.0, ["APPL CH1,1.000A"]),
        *UDP.settings[4:],
    ],
)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("supply", [UDP, UDP_E], ids=["UDP3305S", "UDP3305S-E"])
def test_series(supply: Supply, check: Callable[[Supply], None]) -> None:
    check(supply)


@pytest.mark.parametrize(
    ("register", "modes"), [("0x0001", ("CC", "CV")), ("0x0002", ("CV", "CC")), ("0x0003", ("CC", "CC"))]
)
def test_modes(register: str, modes: tuple[str, str]) -> None:
    assert (
        UDP.reading({"SYST:STAT?": register}, 1).mode,
        UDP.reading({"SYST:STAT?": register}, 2).mode,
        UDP.reading({"SYST:STAT?": register}, 3).mode,
    ) == (*modes, None)


@pytest.mark.parametrize("mode", ["SER", "PARA"])
def test_connected_outputs(mode: str) -> None:
    driver, _, _ = connected(UDP, answers={"SOUR:MODE?": mode})
    assert any("are connected" in bar for bar in driver.inspect([2]).bars)
    assert driver.inspect([3]).bars == []

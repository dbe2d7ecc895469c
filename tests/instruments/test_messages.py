"""Several commands and questions in one message."""

from __future__ import annotations

import pytest

from agent.instruments.text.messages import combine, joined


@pytest.mark.parametrize(
    ("separator", "parts", "message"),
    [
        (";:", ["MEAS:VOLT?", "VOLT?", "OUTP?"], "MEAS:VOLT?;:VOLT?;:OUTP?"),
        # Two colons are a syntax error on any unit.
        (";:", [":MEAS:ALL? CH1", ":APPL? CH1", "OUTP?"], ":MEAS:ALL? CH1;:APPL? CH1;:OUTP?"),
        (";:", ["INST:NSEL 1", "*ESR?"], "INST:NSEL 1;*ESR?"),
        (";", ["V1?", "I1?"], "V1?;I1?"),
        (";", [":V1?", ":I1?"], ":V1?;:I1?"),
        (";:", ["VOLT 5"], "VOLT 5"),
    ],
)
def test_parts_have_one_colon_between(separator: str, parts: list[str], message: str) -> None:
    assert joined(separator, *parts) == message


def test_all_that_is_asked_around_a_setting() -> None:
    assert combine(":SYST:ERR?", [":OUTP:TRAC? CH1"], ":MEAS:ALL? CH1") == ":SYST:ERR?;:OUTP:TRAC? CH1;:MEAS:ALL? CH1"

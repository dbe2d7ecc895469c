from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.numbers import instead
from tests.properties import examples


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("5,5", "write 5.5"),
        (" 5,5 ", "write 5.5"),
        ("-0,25", "write -0.25"),
        (",5", "write 0.5"),  # JSON takes no .5, and no +5
        ("+5,5", "write 5.5"),
        ("1,5e3", "write 1.5e3"),
        ("0,125", "write 0.125"),
        ("12,3456", "write 12.3456"),
        ("1,000", "write a point before decimals, and nothing between thousands"),
        ("1.000,5", "write a point before decimals, and nothing between thousands"),
        ("1,000.5", "write a point before decimals, and nothing between thousands"),
        ("1'000", "write a point before decimals, and nothing between thousands"),
        ("5 V", "write 5, the number alone"),
        ("5.5V", "write 5.5, the number alone"),
        ("1A", "write 1, the number alone"),
        ("500mA", "write 0.5, the number alone"),
        ("1.2 kV", "write 1200, the number alone"),
        ("250 µA", "write 0.00025, the number alone"),
        ("10 s", "write 10, the number alone"),
        ("12 volts", "write 12, the number alone"),
        ("5,5 V", "write 5.5, the number alone"),
        ("0,25A", "write 0.25, the number alone"),
        ("5. V", "write 5, the number alone"),
        ("250 \u03bcA", "write 0.00025, the number alone"),  # a Greek letter
        ("1,000 V", "write a point before decimals, and nothing between thousands, and the number alone"),
    ],
)
def test_what_to_write_instead(written: str, said: str) -> None:
    assert instead(written) == said


@pytest.mark.parametrize(
    "written", ["", "5", "5.5", "-1e3", "five", "5%", "12:30", "0x10", "nan", "1,2,3", "5.5.5", "off", "V"]
)
def test_of_what_nobody_knows_nothing_is_said(written: str) -> None:
    assert instead(written) is None


@given(st.text(max_size=12) | st.from_regex(r"[-+]?[0-9.,' ]{1,12}(e[-+]?[0-9]{1,3})?[a-zA-Z%]{0,3}", fullmatch=True))
@examples(200)
def test_what_is_said_is_a_number_as_json_has_it(written: str) -> None:
    said = instead(written)
    if said is not None and (found := re.match(r"write ([-+0-9.e]+)", said)):
        json.loads(found[1])

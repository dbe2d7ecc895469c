"""Which of two entries serves one supply."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments import claims as module
from agent.instruments.claims import Claims, check_serial, tells_no_serial
from agent.instruments.driver import Identity, IdentityError
from tests.properties import examples


def supply(serial: str, model: str = "E36313A", firmware: str = "1.0") -> Identity:
    return Identity("Keysight Technologies", model, serial, firmware)


def test_the_first_to_reach_it_serves_it() -> None:
    claims = Claims()
    assert claims.claim("psu1", supply("MY61000001")) is None
    assert claims.claim("psu2", supply("MY61000001", firmware="another")) == "psu1"
    assert claims.claim("psu2", supply("my61000001")) == "psu1"
    assert claims.claim("psu2", supply("MY61000002")) is None
    assert claims.claim("psu3", supply("MY61000001", "E36312A")) is None
    assert claims.claim("psu1", supply("MY61000001")) is None


def test_it_is_free_when_its_unit_is_removed_or_found_at_another_supply() -> None:
    claims = Claims()
    claims.claim("psu1", supply("MY61000001"))
    claims.retain(["psu2"])
    assert claims.claim("psu2", supply("MY61000001")) is None
    assert claims.claim("psu2", supply("MY61000002")) is None
    assert claims.holder(supply("MY61000001")) is None
    assert claims.claim("psu1", supply("MY61000001")) is None


def test_it_passes_on_when_its_unit_does_not_reach_it_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("agent.instruments.claims.time.monotonic", lambda: now)
    claims = Claims()
    claims.claim("psu1", supply("MY61000001"))
    now += 3600
    claims.lost("psu1")
    now += module.PATIENCE - 1
    claims.lost("psu1")  # still: it counts from the first time
    assert claims.claim("psu2", supply("MY61000001")) == "psu1"
    now += 2
    assert claims.claim("psu2", supply("MY61000001")) is None
    assert claims.claim("psu1", supply("MY61000001")) == "psu2"


@pytest.mark.parametrize(
    "serial", ["", "0", "000000", "XXXX", "N/A", "none", "unknown", "1", "11111", "123456", "0123456789", "1234567890"]
)
def test_a_number_that_makers_give_to_all_their_units_tells_nothing(serial: str) -> None:
    claims = Claims()
    assert claims.claim("psu1", supply(serial)) is None
    assert claims.claim("psu2", supply(serial)) is None


@pytest.mark.parametrize("serial", ["MY61000001", "17", "SN1", "CN-0042", "DP8C1"])
def test_a_number_that_tells(serial: str) -> None:
    claims = Claims()
    assert claims.claim("psu1", supply(serial)) is None
    assert claims.claim("psu2", supply(serial)) == "psu1"


@pytest.mark.hypothesis
@given(
    st.lists(
        st.tuples(st.sampled_from(["claim", "lost", "retain"]), st.sampled_from("ABC"), st.sampled_from(["S1", "S2"]))
    )
)
@examples()
def test_one_supply_has_one_unit_and_one_unit_has_one_supply(steps: list[tuple[str, str, str]]) -> None:
    claims = Claims()
    serves: dict[str, str] = {}
    for step, unit, serial in steps:
        if step == "lost":
            claims.lost(unit)
        elif step == "retain":
            claims.retain([unit])
            serves = {other: s for other, s in serves.items() if other == unit}
        elif (holder := claims.claim(unit, supply(serial))) is None:
            assert serial not in {s for other, s in serves.items() if other != unit}
            serves[unit] = serial
        else:
            assert serves[holder] == serial
            serves.pop(unit, None)


def test_the_one_that_stands_first_in_the_file_displaces_the_other() -> None:
    claims, told = Claims(["psu1", "psu2"]), []
    claims.watch("psu1", lambda by: told.append(("psu1", by)))
    claims.watch("psu2", lambda by: told.append(("psu2", by)))
    assert claims.claim("psu2", supply("MY61000001")) is None
    assert claims.claim("psu1", supply("MY61000001")) is None
    assert told == [("psu2", "psu1")]
    assert claims.claim("psu2", supply("MY61000001")) == "psu1"
    claims.retain(["psu2", "psu1"])
    assert claims.claim("psu2", supply("MY61000001")) is None
    assert told == [("psu2", "psu1"), ("psu1", "psu2")]


def test_two_at_once() -> None:
    for _ in range(50):
        claims, answers, start = Claims(), dict[str, str | None](), threading.Barrier(2)

        def claim(unit: str) -> None:
            start.wait()  # noqa: B023
            answers[unit] = claims.claim(unit, supply("MY61000001"))  # noqa: B023

        threads = [threading.Thread(target=claim, args=(unit,)) for unit in ("psu1", "psu2")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers.values(), key=str) == [None, "psu1"] or sorted(answers.values(), key=str) == [
            None,
            "psu2",
        ]


@pytest.mark.parametrize("serial", ["0", "", "000000", "XXXX", "12345678"])
def test_a_serial_number_of_every_unit_pins_none(serial: str) -> None:
    assert tells_no_serial(supply(serial))
    check_serial(supply(serial), None, "GPIB::5")
    for wanted in (serial, "MY61000001"):
        with pytest.raises(IdentityError, match="can't pin it; take `serial` out of its entry"):
            check_serial(supply(serial), wanted, "GPIB::5")


def test_a_serial_number_pins_its_unit() -> None:
    check_serial(supply("MY61000001"), "MY61000001", "GPIB::5")
    with pytest.raises(IdentityError, match="at GPIB::5 is number MY61000001, not MY61000002; it gets no commands"):
        check_serial(supply("MY61000001"), "MY61000002", "GPIB::5")

"""The faults of a series file: each by file, line and key, with what would be right; and never another exception."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.catalogue import Series, SeriesFileError, models_of, read
from tests.instruments.catalogue.samples import E36300, FILES, changed, faults
from tests.properties import examples


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("manufacturer: Keysight", "manufactuer: Keysight", "3: manufactuer", "unknown key; nearest: manufacturer"),
        ("state: {send:", "state: {snd:", "31: settings.state.snd", "unknown key; nearest: send"),
        ("  voltage_limit: {", "  voltage_limt: {", "32: settings.voltage_limt", "unknown key; nearest: voltage_limit"),
        ("compound: probe", "compound: prob", "73: link.compound", "nearest: probe"),
        ("usb: tmc", "usb: tmc, colour: red", "73: link.colour", "unknown key; known are "),
        ("'{voltage}'", "'{voltag}'", "12: polls[0].answer", "'voltag' is no quantity"),
        ("'MEAS:CURR? {list}'", "'MEAS:CURR? {lst}'", "13: polls[1].ask", "{lst} stands for nothing here"),
        ("tried: no", "tried: [{model: E36313A}]", "7: tried[0].firmware", "missing"),
        ("[0, 6.18]", "[0, 6.18, 9]", "81: models.E36311A.channels.1.voltage", "two numbers"),
        ("[0, 6.18]", "[0, six]", "81: models.E36311A.channels.1.voltage", "two numbers"),
        ("[0, 6.18]", "[6.18, 0]", "80: models.E36311A.channels.1", "6.18 is not below 0"),
        ("[0, 6.18]", "[0, .inf]", "80: models.E36311A.channels.1", "should be numbers"),
        ("polls:", "polls: 5\nx:", "11: polls", "should be a list"),
        ("gives: OTP, bit: 4", "gives: OTP, bit: four", "28: registers.condition[1].bit", "integer"),
        ("values: {0: UR", "values: {0: XX", "27: registers.condition[0].values", "'XX' is no value of mode"),
        ("errors: {ask: 'SYST:ERR?'", "errors: {ask: 5", "72: errors.ask", "should be a text; put it in quotes"),
        ("tried: no", "tried: no\nwords: {t: {1: true, off: false}}", "8: words.t.1", "put it in quotes"),
        ("tried: no", "tried: no\ntried: no", "8: tried", "stands twice, first in line 7"),
        (
            "{list}', answer: '{state}'",
            "{list}', answer: '{state}', ask: 'X?'",
            "16: ask",
            "stands twice, first in line 16",
        ),
    ],
)
def test_a_fault_has_its_line_its_key_and_what_would_be_right(
    old: str, new: str, place: str, said: str, tmp_path: Path
) -> None:
    file = changed(tmp_path, old, new)
    found = faults(file)
    wanted = [fault for fault in found if fault.startswith(f"{file}:{place}: ")]
    assert wanted, found
    assert said in wanted[0]
    assert "function-after" not in str(found)
    assert "tuple" not in str(found).casefold()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "1: is no series file"),
        ("- a\n- b", "1: is no series file"),
        ("series: [", "2: is no YAML"),
        ("series: a\nmanufacturer: \x07", "1: is no YAML"),
        ("series: a\nday: 2026-13-45", "2: 2026-13-45: is no value that YAML can read"),
        ("series: a\nx: &a [*a]", "2: x: unknown key"),
        ("series: a\npolls: &a [*a]", "2: polls[0]: "),
        ("[" * 5000, "is "),
    ],
)
def test_a_text_that_is_no_series_file_is_told(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(SeriesFileError, match=r"mine\.yaml:") as caught:
        read(file)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(SeriesFileError, match="can't be read: No such file"):
        read(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"series: \xe9")
    with pytest.raises(SeriesFileError, match="no text in UTF-8"):
        read(tmp_path / "latin.yaml")


def check(content: str) -> None:
    """A text is a series or it has faults, each with a line."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mine.yaml"
        file.write_text(content, encoding="utf-8")
        faults: list[str] = []
        series: Series | None = None
        try:
            series = read(file)
        except SeriesFileError as error:
            faults = error.faults
        if series is None:
            assert faults
            assert all(fault.startswith(f"{file}:") and "\n" not in fault for fault in faults), faults
        else:
            assert models_of(series)


TEXTS = [file.read_text(encoding="utf-8") for file in FILES]


@examples(75)
@given(text=st.sampled_from(TEXTS), data=st.data())
def test_a_file_with_lines_and_characters_changed_is_a_series_or_has_faults(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        until = min(len(text), at + data.draw(st.integers(0, 12)))
        new = data.draw(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6))
        text = text[:at] + new + text[until:]
    check(text)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["{voltage}", "{list}", "{value:d3*10}", "(", "(?P<volts>.*)(?P<amps>x?)", "GEN", "all", "ranges", "CV"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=4,
)


@examples(75)
@given(text=st.sampled_from(TEXTS), data=st.data())
def test_a_file_with_a_value_exchanged_is_a_series_or_has_faults(text: str, data: st.DataObject) -> None:
    whole = yaml.safe_load(text)
    place = whole
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        child = place[key]
        if not isinstance(child, dict | list) or not child or data.draw(st.integers(0, 3)) == 0:
            break
        place = child
    if data.draw(st.booleans()):
        place[key] = data.draw(VALUES)
    elif isinstance(place, dict):
        del place[key]
    else:
        place.append(data.draw(VALUES))
    check(yaml.safe_dump(whole, allow_unicode=True))


def test_the_unchanged_file_is_a_series() -> None:
    assert read(E36300).name == "E36300"


@pytest.mark.parametrize("word", ["true tracking", "falsehood", "trueish", "false: no"])
def test_a_word_that_begins_like_a_truth_is_a_word(word: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"series: {word.replace(': ', '_')}\n"
        + FILES[0].read_text(encoding="utf-8").split("series:", 1)[1].split("\n", 1)[1]
    )
    assert read(file).name == word.replace(": ", "_")

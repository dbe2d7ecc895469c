"""Changing a value of a YAML text, and not one byte of anything else."""

from __future__ import annotations

import difflib

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.config.editing import EditError, set_values
from agent.config.scalars import plain
from agent.config.source import read
from tests.properties import examples

BLOCK = """# The bench by the window.
settings:
  mqtt: {host: localhost,   port: 1883}   # two spaces more, on purpose

units:
  - name: psu1          # the big one
    model: 'Keysight Technologies,E36313A'
    channels:
      1: {name: VDD, voltage_max: 5.5}  # board
      3:
        name: "MOTOR"   # loud

        voltage_limit: 11.50
    # nothing below this line is of psu1
  - {name: psu2, model: E36313A}

  - name: psu3
    uri: |
      a block
# the end
"""


def changed(before: str, after: str) -> list[str]:
    """The lines that differ, as diff tells them."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            ("units", 0, "channels", 1, "voltage_limit"),
            3.3,
            [
                "-      1: {name: VDD, voltage_max: 5.5}  # board",
                "+      1: {name: VDD, voltage_max: 5.5, voltage_limit: 3.3}  # board",
            ],
        ),
        (
            ("units", 0, "channels", 3, "voltage_limit"),
            12.0,
            ["-        voltage_limit: 11.50", "+        voltage_limit: 12.0"],
        ),
        (("units", 0, "channels", 3, "current_limit"), 0.5, ["+        current_limit: 0.5"]),
        (("units", 0, "channels", 2, "voltage_limit"), 1.5, ["+      2: {voltage_limit: 1.5}"]),
        (
            ("units", 1, "channels", 2, "name"),
            'a "b" # é',
            [
                "-  - {name: psu2, model: E36313A}",
                '+  - {name: psu2, model: E36313A, channels: {2: {name: "a \\"b\\" # é"}}}',
            ],
        ),
        (("units", 2, "channels", 1, "voltage_limit"), 2.0, ["+    channels:", "+      1: {voltage_limit: 2.0}"]),
        (
            ("units", 0, "name"),
            "other",
            ["-  - name: psu1          # the big one", '+  - name: "other"          # the big one'],
        ),
    ],
)
def test_only_what_is_meant_changes(path: tuple[str | int, ...], value: str | float, expected: list[str]) -> None:
    assert changed(BLOCK, set_values(BLOCK, {path: value})) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a:\n", "a: {b: 1.0}\n"),
        ("a: {}\n", "a: {b: 1.0}\n"),
        ("a: {c: 1,}\n", "a: {c: 1, b: 1.0,}\n"),
        ("a: {\n  c: 1 # one\n}\n", "a: {\n  c: 1, b: 1.0 # one\n}\n"),
        ("a: {\n  c: 1\n}\n", "a: {\n  c: 1, b: 1.0\n}\n"),
        ("a:\n  c: |\n    text\n# end\n", "a:\n  c: |\n    text\n  b: 1.0\n# end\n"),
        ("a:\n  c: 1", "a:\n  c: 1\n  b: 1.0"),
        ("a:\r\n  c: 1\r\nd: 2\r\n", "a:\r\n  c: 1\r\n  b: 1.0\r\nd: 2\r\n"),
        ("a:\n  c: [1,\n   2]  # list\nd: 2\n", "a:\n  c: [1,\n   2]  # list\n  b: 1.0\nd: 2\n"),
        ("a:\n  c:\n  - 1\n  - 2 # two\n", "a:\n  c:\n  - 1\n  - 2 # two\n  b: 1.0\n"),
        ("a:\n  'b': old # why\n", "a:\n  'b': 1.0 # why\n"),
        ("x: &x {b: 2}\na:\n  <<: *x\n", "x: &x {b: 2}\na:\n  <<: *x\n  b: 1.0\n"),
        ("x: &x 1\na:\n  c: *x  # alias\n", "x: &x 1\na:\n  c: *x  # alias\n  b: 1.0\n"),
        ("a:\n  c: ${NAME}\n", "a:\n  c: ${NAME}\n  b: 1.0\n"),
    ],
)
def test_forms_of_mappings(before: str, after: str) -> None:
    assert set_values(before, {("a", "b"): 1.0}) == after


def test_several_changes_of_one_text() -> None:
    changes: dict[tuple[str | int, ...], str | float]
    changes = {("units", 1, "channels", n, field): 1.0 for n in (1, 2) for field in ("voltage_limit", "current_limit")}
    after = set_values(BLOCK, changes)
    both = "{voltage_limit: 1.0, current_limit: 1.0}"
    assert changed(BLOCK, after)[1] == f"+  - {{name: psu2, model: E36313A, channels: {{1: {both}, 2: {both}}}}}"


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("x: &x {c: 1}\na: *x\n", "is an alias"),
        ("a: &x {c: 1}\nd: *x\n", "alias or a merge key"),
        ("a: [1]\n", "line 1 holds no mapping"),
        ("a: text\n", "line 1 holds no mapping"),
        ("a:\n  b: {c: 1}\n", "holds more than one value"),
    ],
)
def test_what_can_not_be_changed_alone_is_refused(before: str, why: str) -> None:
    with pytest.raises(EditError, match=why):
        set_values(before, {("a", "b"): 1.0})


_keys = st.sampled_from(["a", "b", "c", "1", "2"])
_values = (
    st.integers(0, 9)
    | st.sampled_from(["x", "it's", "", "true", "# no", "a: b", "é", "${V}"])
    | st.none()
    | st.booleans()
)
_tree = st.recursive(
    st.dictionaries(_keys, _values, min_size=1),
    lambda inner: st.dictionaries(_keys, inner | st.lists(inner | _values, max_size=2) | _values, min_size=1),
    max_leaves=8,
)


@examples(150)
@given(
    _tree,
    st.booleans() | st.none(),
    st.lists(_keys, min_size=1, max_size=3),
    st.floats(-30, 30) | st.text(max_size=5),
    st.data(),
)
def test_the_result_holds_what_was_meant(
    tree: dict[str, object], flow: bool | None, path: list[str], value: float | str, data: st.DataObject
) -> None:
    """With every layout, a comment at the end of every line is still there afterwards."""
    text = yaml.safe_dump(
        tree, default_flow_style=flow, allow_unicode=True, width=1000, indent=data.draw(st.integers(2, 4))
    )
    commented = "".join(f"{line}  # {number}\n" for number, line in enumerate(text.splitlines()))
    if yaml.safe_load(commented) == tree:
        text = commented
    assume(not isinstance(value, str) or value.isprintable())
    environment = {"V": "${V}"}
    try:
        after = set_values(text, {tuple(path): value})
    except EditError:
        return
    wanted = plain(read(text.encode(), environment).data)
    found = plain(read(after.encode(), environment).data)
    at, known = wanted, found
    for part in path[:-1]:
        at = at.setdefault(part, {}) if not isinstance(at.get(part), dict) else at[part]
        known = known[part]
    assert known[path[-1]] == value
    at[path[-1]] = value
    assert found == wanted
    assert [line.rsplit("#", 1)[1] for line in after.splitlines() if "  # " in line] == [
        line.rsplit("#", 1)[1] for line in text.splitlines() if "  # " in line
    ]

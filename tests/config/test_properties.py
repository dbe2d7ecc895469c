"""Any file is read as a configuration, or as faults with their lines."""

from __future__ import annotations

import contextlib
import re
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent import config
from agent.config import ConfigError

_words = st.sampled_from(
    [
        name
        for section in (config.Settings, config.Mqtt, config.UnitSettings, config.ChannelSettings)
        for name in section.model_fields
    ]
    + ["settings", "units", "E36313A", "TCPIP::a::INSTR", "age", "off", "samples", "timeout", "<<", "x-a"]
)
_scalars = st.one_of(
    _words,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([1, 2, 3, "1h", "~", "~x", "${HOME}", "${NOPE}", "$$", "${", "\0", "a/b", "/dev/null", "1e999"]),
)
_trees = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words | _scalars, inner, max_size=5),
    max_leaves=25,
)
_units = st.fixed_dictionaries({}, optional=dict.fromkeys(config.UnitSettings.model_fields, _trees))
_files = st.fixed_dictionaries(
    {},
    optional={
        "settings": st.fixed_dictionaries({}, optional=dict.fromkeys(config.Settings.model_fields, _trees)),
        "units": st.lists(_units, max_size=3),
    },
)


def _faults_of(content: bytes) -> list[config.Fault]:
    try:
        config.parse(content, Path("f.yaml"))
    except ConfigError as error:
        return error.faults or pytest.fail("a ConfigError without a fault")
    return []


def _parse_or_faults(content: bytes) -> None:
    lines = len(re.split(rb"\r\n|[\n\r]|\xc2\x85|\xe2\x80[\xa8\xa9]", content))
    for fault in _faults_of(content):
        assert 1 <= fault.line <= lines
        assert fault.message
        assert str(fault).isprintable()
        assert str(fault).startswith(f"f.yaml:{fault.line}: ")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_configuration_or_faults(content: bytes) -> None:
    _parse_or_faults(content)


@settings(deadline=None)
@given(st.text(alphabet=string.ascii_letters + "{}[]:,-&*!|>'\"%@` \n\t#?~.$0123456789", max_size=300))
@example("units: [{name: &a x, uri: *a}]")
def test_any_text_is_a_configuration_or_faults(text: str) -> None:
    _parse_or_faults(text.encode())


@settings(deadline=None)
@given(_files | _trees)
def test_any_tree_is_a_configuration_or_faults(tree: object) -> None:
    _parse_or_faults(yaml.safe_dump(tree, allow_unicode=True).encode(errors="surrogatepass"))


@settings(deadline=None)
@given(_files)
def test_any_data_is_a_configuration_or_faults(data: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        assert config.from_data(data).units

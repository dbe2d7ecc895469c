from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from agent.client.address import Address, find_address
from agent.config import ConfigError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PSU_AGENT_CONF", "PSU_AGENT_MQTT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "secure"),
    [
        ("mqtt://broker", "broker", 1883, None, False),
        ("mqtts://broker", "broker", 8883, None, True),
        ("mqtt://lab@broker:1884", "broker", 1884, "lab", False),
        ("mqtts://a%40b@10.0.0.1:8884/", "10.0.0.1", 8884, "a@b", True),
        ("mqtt://[::1]:1884", "::1", 1884, None, False),
        ("localhost", "localhost", 1883, None, False),
        ("localhost:1884", "localhost", 1884, None, False),
    ],
)
def test_forms(url: str, host: str, port: int, user: str | None, secure: bool) -> None:
    address = Address.parse(url)
    assert (address.host, address.port, address.username, address.tls is not None) == (host, port, user, secure)
    assert address.protocol == "auto"


def test_how_it_is_shown() -> None:
    address = Address.parse("mqtts://lab@[::1]:8884", password=SecretStr("s3cret"))
    assert str(address) == "mqtts://lab@[::1]:8884"
    assert "s3cret" not in repr(address)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        address = Address.parse(text)
        assert 1 <= address.port <= 65535
        assert address.host


def test_the_configuration_s_broker(tmp_path: Path) -> None:
    file = tmp_path / "psu-agent.yaml"
    file.write_text("settings: {mqtt: {host: broker, username: a, password: b, base_topic: lab/psu, protocol: 3.1.1}}")
    for address in (find_address(), find_address(config_path=file)):
        assert (address.host, address.username, address.base_topic, address.protocol) == (
            "broker",
            "a",
            "lab/psu",
            "3.1.1",
        )
        assert address.password is not None
        assert address.password.get_secret_value() == "b"
    assert find_address(base_topic="other").base_topic == "other"
    assert find_address("mqtt://x").host == "x"
    file.write_text("settings: {mqtt: {host: ''}}")
    with pytest.raises(ConfigError):
        find_address()


def test_where_the_password_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_address("mqtt://a@x").password is None
    monkeypatch.setenv("PSU_AGENT_MQTT_PASSWORD", "from environment")
    (tmp_path / "file").write_text("from file\r\n")
    for password, address in (
        ("from environment", find_address("mqtt://a@x")),
        ("from file", find_address("mqtt://a@x", password_file=tmp_path / "file")),
    ):
        assert address.password is not None
        assert address.password.get_secret_value() == password
    (tmp_path / "file").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="is no text"):
        find_address("mqtt://a@x", password_file=tmp_path / "file")
    (tmp_path / "file").write_bytes(b"\n")
    with pytest.raises(ValueError, match="is empty"):
        find_address("mqtt://a@x", password_file=tmp_path / "file")


def test_no_broker_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.config.loading.SYSTEM_FILE", tmp_path / "nope")
    for address in (find_address(), find_address(base_topic="lab/psu")):
        assert (address.host, address.port, address.tls, address.is_assumed) == ("localhost", 1883, None, True)
    assert address.base_topic == "lab/psu"
    with pytest.raises(ValueError, match="--ca goes with --broker"):
        find_address(ca=tmp_path / "ca.crt")


def test_a_configuration_that_was_named_or_found_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        find_address(config_path=tmp_path / "nope")
    monkeypatch.setenv("PSU_AGENT_CONF", str(tmp_path / "nope"))
    with pytest.raises(ConfigError, match="can't be read"):
        find_address()
    monkeypatch.delenv("PSU_AGENT_CONF")
    (tmp_path / "psu-agent.yaml").write_text("settings: {mqtt: {hosts: x}}")
    with pytest.raises(ConfigError, match="did you mean host"):
        find_address()

"""A broker's address and how to log in there, from the command line or from the configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import SecretStr, ValidationError

from agent import config
from agent.config import Mqtt, Tls
from agent.config.passwords import PasswordFileError, read_password

PASSWORD_VARIABLE = "PSU_AGENT_MQTT_PASSWORD"  # noqa: S105  # its name

_FORM = "give mqtt[s]://[user@]host[:port], such as mqtt://localhost:1883"
#: Keys of `settings.mqtt` that are options on the command line.
_OPTIONS = {"ca": "--ca", "base_topic": "--base-topic"}


@dataclass(frozen=True, slots=True)
class Address:
    """A broker's address, how to log in there, and the topic that everything stands under.

    It has the fields of `agent.mqtt.settings.LoginSettings`. ``protocol`` auto: MQTT 5, and 3.1.1 where the broker refuses 5.
    """

    host: str = "localhost"
    port: int = 1883
    tls: Tls | None = None
    username: str | None = None
    password: SecretStr | None = None
    base_topic: str = "psu"
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    #: True if nobody named it: the broker of this computer is tried, as other MQTT clients do.
    is_assumed: bool = False

    @classmethod
    def from_settings(cls, settings: Mqtt) -> Address:
        """The configuration's broker. The agent's client identifier is left out: the broker would disconnect the agent for it."""
        return cls(
            host=settings.host,
            port=settings.port,
            tls=settings.tls,
            username=settings.username,
            password=settings.password,
            base_topic=settings.base_topic,
            protocol=settings.protocol,
        )

    @classmethod
    def parse(
        cls,
        url: str,
        *,
        base_topic: str = "psu",
        ca: Path | None = None,
        password: SecretStr | None = None,
    ) -> Address:
        """The address that ``mqtt[s]://[user@]host[:port]`` means; a bare ``host[:port]`` is MQTT without TLS.

        :raises ValueError: it is no such address; the text says what would be right
        """
        parts, port = _split(url)
        is_secure = parts.scheme == "mqtts"
        if ca is not None and not is_secure:
            raise ValueError("a CA is for TLS; give --broker mqtts://…")
        try:
            # The configuration file's own checks.
            settings = Mqtt.model_validate(
                {
                    "host": parts.hostname,
                    "port": port or (8883 if is_secure else 1883),
                    "base_topic": base_topic,
                    "tls": {"ca": str(ca)} if ca is not None else is_secure,
                }
                | ({"username": unquote(parts.username)} if parts.username else {})
            )
        except ValidationError as error:
            details = error.errors(include_url=False)[0]
            key = str(details["loc"][-1])
            raise ValueError(f"{_OPTIONS.get(key, key)} {details['msg']}") from None
        return replace(cls.from_settings(settings), password=password)

    def __str__(self) -> str:
        user = f"{self.username}@" if self.username else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt{'s' if self.tls else ''}://{user}{host}:{self.port}"


def _split(url: str) -> tuple[SplitResult, int | None]:
    """The parts of an address, and its port where it has one.

    :raises ValueError: it is no address of a broker; the text says what would be right
    """
    try:
        parts = urlsplit(url if "://" in url else f"mqtt://{url}")
        port = parts.port
    except ValueError as error:
        raise ValueError(f"the broker's address is wrong ({error}); {_FORM}") from None
    if parts.scheme not in ("mqtt", "mqtts"):
        raise ValueError(f"{parts.scheme}:// is no address of an MQTT broker; {_FORM}")
    if parts.password is not None:
        raise ValueError(
            f"a password on the command line can be read by every user of this host; "
            f"set ${PASSWORD_VARIABLE}, or give --password-file"
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment or not parts.hostname:
        raise ValueError(f"the broker's address is wrong; {_FORM}; the base topic is --base-topic")
    if port == 0:
        raise ValueError(f"0 is no port; {_FORM}")
    return parts, port


def find_address(
    broker: str | None = None,
    *,
    config_path: Path | None = None,
    base_topic: str | None = None,
    ca: Path | None = None,
    password_file: Path | None = None,
) -> Address:
    """The address of the broker that was named, else of the configuration's; without either ``localhost:1883``.

    :raises ValueError: the address, or an option with it, is wrong
    :raises ConfigError: no broker was named, and the configuration has a fault
    """
    password = password_from_file(password_file) if password_file is not None else password_from_environment()
    if broker is not None:
        return Address.parse(broker, base_topic=base_topic or "psu", ca=ca, password=password)
    if ca is not None:
        raise ValueError("--ca goes with --broker; the configuration has settings.mqtt.tls.ca")
    try:
        path = config.find(config_path)
    except config.ConfigError:  # there is none
        assumed = Address.parse("localhost", base_topic=base_topic or "psu", password=password)
        return replace(assumed, is_assumed=True)
    address = Address.from_settings(config.load(path, units_required=False).settings.mqtt)
    changes: dict[str, Any] = {}
    if base_topic is not None:
        changes["base_topic"] = Address.parse("localhost", base_topic=base_topic).base_topic
    if password is not None:
        changes["password"] = password
    return replace(address, **changes)


def password_from_environment() -> SecretStr | None:
    """The value of ``$PSU_AGENT_MQTT_PASSWORD``: unlike an argument, other users of the host can't see it."""
    value = os.environ.get(PASSWORD_VARIABLE)
    return SecretStr(value) if value else None


def password_from_file(path: Path) -> SecretStr:
    """The password that stands in a file.

    :raises ValueError: it can't be read, or holds no password
    """
    try:
        return read_password(path)
    except OSError as error:
        raise ValueError(f"the password file {path} can't be read: {error.strerror}") from None
    except PasswordFileError as error:
        raise ValueError(f"the password file {path} {error}") from None

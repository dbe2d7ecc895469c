"""The settings that a connection to a broker needs. The configuration's sections and the command line's address have them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from pydantic import SecretStr


class TlsSettings(Protocol):
    """How a connection is secured. ``ca`` is None for the system's certificate authorities, the others for no certificate."""

    @property
    def ca(self) -> Path | None:
        """The PEM file of the CA that signed the broker's certificate."""

    @property
    def cert(self) -> Path | None:
        """The PEM file of the client's certificate."""

    @property
    def key(self) -> Path | None:
        """The PEM file of the private key of ``cert``."""

    @property
    def insecure(self) -> bool:
        """True if the broker's certificate may be for another host name."""


class LoginSettings(Protocol):
    """Where a broker is, and how to log in."""

    @property
    def host(self) -> str:
        """The broker's host name or IP address."""

    @property
    def port(self) -> int:
        """The broker's TCP port."""

    @property
    def username(self) -> str | None:
        """The user's name; None: no login."""

    @property
    def password(self) -> SecretStr | None:
        """The password of ``username``."""

    @property
    def tls(self) -> TlsSettings | None:
        """How the connection is secured; None: without TLS."""


class BrokerSettings(LoginSettings, Protocol):
    """The settings of an agent's session."""

    @property
    def protocol(self) -> Literal["auto", "5", "3.1.1"]:
        """The version of MQTT; auto: 5, and 3.1.1 where the broker refuses 5."""

    @property
    def keepalive(self) -> int:
        """s. The broker ends a connection that is silent for one and a half times as long."""

    @property
    def client_id(self) -> str | None:
        """The client identifier; None: one that nobody can guess."""

"""The set-up of every paho client, the agent's and the command line's: login, TLS, no delay."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from paho.mqtt.client import Client

from agent.mqtt import tls
from agent.mqtt.settings import LoginSettings


def prepare(client: Client, settings: LoginSettings) -> None:
    """Give a client that is not connected yet its login, its TLS context and a socket without Nagle's algorithm.

    :raises tls.TlsError: a file of ``settings.tls`` is no certificate or no key, or they do not belong together
    """
    if settings.username is not None:
        password = settings.password.get_secret_value() if settings.password is not None else None
        client.username_pw_set(settings.username, password)
    if settings.tls is not None:
        client.tls_set_context(tls.context(settings.tls))
        client.tls_insecure_set(settings.tls.insecure)
    client.on_socket_open = _no_delay


def _no_delay(client: Client, userdata: object, connection: Any) -> None:
    # Nagle's algorithm and delayed acknowledgements together cost 40 ms a message.
    del client, userdata
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

"""Sentences for people on a broker that a command line can't reach, or that ends or refuses its connection, and what to do."""

from __future__ import annotations

import socket
import ssl

from agent.client.address import PASSWORD_VARIABLE, Address
from agent.mqtt import faults

_NAME_A_BROKER = "name one with --broker mqtt://HOST or $PSU_AGENT_BROKER, or a configuration file with --config"


def unreachable(address: Address, error: OSError | ValueError, limit: float) -> str:
    """Why no connection to the broker could be opened, and what to do.

    :param limit: s that the connection might take
    """
    if address.is_assumed:
        why = "no answer" if isinstance(error, TimeoutError) else _words(error)
        return f"no broker was named, and there is none at {address} ({why}); {_NAME_A_BROKER}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {address} is not to be trusted: {error.verify_message}; give its CA with --ca, "
            "or as settings.mqtt.tls.ca"
        )
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return f"no TLS with {address}: {reason}; is it the port for TLS?"
    if isinstance(error, TimeoutError):
        return f"{address} does not answer within {limit:g} s; is the host right, and does a firewall let MQTT through?"
    if isinstance(error, socket.gaierror | UnicodeError):
        why = "it is no host name" if isinstance(error, UnicodeError) else _words(error)
        return f"there is no host {address.host!r} ({why}); give the broker's name or IP address"
    if isinstance(error, OSError) and error.errno in faults.NO_WAY:
        return f"there is no way to {address} ({_words(error)}); is the host right, and this computer on that network?"
    is_encrypted = address.tls is not None and isinstance(error, ConnectionResetError)
    hint = "is it the port for TLS?" if is_encrypted else "is it running there?"
    return f"can't reach the broker {address}: {_words(error)}; {hint}"


def refused(address: Address, code: int, text: str, protocol: str) -> str:
    """Why a broker refused the connection, and what to do.

    :param code: a reason code of MQTT 5, and ``text`` its name
    :param protocol: the version that was asked for, 5 or 3.1.1
    """
    text = text.lower()
    if text in ("bad user name or password", "not authorized"):
        why = (
            f"{text}; give the user in --broker and the password in ${PASSWORD_VARIABLE}, or both in the configuration"
        )
    else:
        why = faults.refusal(code, text, address, protocol)
    whose = (
        f"; no broker was named, so this is the one on this computer; {_NAME_A_BROKER}" if address.is_assumed else ""
    )
    return f"{address} refused the connection: {why}{whose}"


def lost(code: int, text: str, *, by_broker: bool) -> str:
    """Why a connection is gone, as a clause with "it" for the broker.

    :param code: a reason code of MQTT 5, and ``text`` its name
    :param by_broker: the broker sent it; else it is how paho calls what happened
    """
    if not by_broker:
        return "it does not answer any more" if code == faults.KEEPALIVE_TIMEOUT else "it closed the connection"
    return f"it closed the connection: {meaning(code, text)}"


def meaning(code: int, text: str) -> str:
    """A reason code of MQTT 5 in words for people; its name, `text`, where that says it."""
    return faults.meaning(code, text)


def _words(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()

"""Sentences for people on a broker that can't be reached or refuses something: what is wrong, and what to do."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from agent.mqtt.settings import BrokerSettings, LoginSettings

PLAIN_PORT, TLS_PORT = 1883, 8883
_UNSPECIFIED = 0x80
#: Reason code of DISCONNECT: nothing came in time (MQTT 5, 3.1.2.10). paho says it of a broker, too.
KEEPALIVE_TIMEOUT = 0x8D
#: Errors of the system where no network leads to the broker's host.
NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
#: What a broker means by names of reason codes that say little to people (MQTT 5, 2.4).
_MEANINGS = {
    _UNSPECIFIED: "it gives no reason",
    0x83: "it does not take this, for a reason of its own",
    0x88: "it is not available",
    0x89: "it is busy",
    0x8A: "it has banned this client",
    0x8B: "it shuts down",
    KEEPALIVE_TIMEOUT: "it heard nothing from here for too long",
    0x8E: "another client connected under the same id",
    0x90: "it takes no messages on such a topic",
    0x95: "a message was too large for it",
    0x96: "messages came too fast for it",
    0x97: "this user has used up what it may",
    0x98: "its administrator ended it",
}

# Remedies by the reason code of CONNACK or DISCONNECT (MQTT 5, 2.4). paho converts the return codes of MQTT 3.1.1.
_REMEDIES = {
    0x84: "{other}",
    0x85: "give another settings.mqtt.client_id",
    0x86: "check settings.mqtt.username and its password",
    0x87: "{login}let {user} connect",
    0x88: "look into the broker's log",
    0x89: "look into the broker's log",
    0x8A: "the broker's administrator can lift it",
    0x8C: "it must take a user name and a password",
    0x90: "change settings.mqtt.base_topic, which the agent's topics begin with",
    0x95: "let the broker take larger packets",
    0x97: "let the broker give this user more",
    0x9A: "the states of this agent are retained messages, so let the broker keep them",
    0x9B: "this agent publishes with QoS 1, so let the broker take it",
    0x9C: "set settings.mqtt.host to that server",
    0x9D: "set settings.mqtt.host to that server",
    0x9F: "let the broker take connections more often",
}
#: Reason code of DISCONNECT: another client has connected with the same client identifier (MQTT 5, 3.14.2.1).
TAKEN_OVER = 0x8E
#: Those by which the broker says that it could not take a message: malformed, against the protocol, not allowed (some brokers
#: close the connection for that), its topic, its size, its payload, its retain flag, its QoS.
BAD_MESSAGE = (0x81, 0x82, 0x87, 0x90, 0x95, 0x99, 0x9A, 0x9B)


def refusal(code: int, text: str, settings: LoginSettings, protocol: str) -> str:
    """The reason for which a broker refused or ended a connection, and what to do.

    :param code: a reason code of MQTT 5
    :param text: its name
    :param protocol: the version that was asked for: auto, 5 or 3.1.1
    """
    remedy = _REMEDIES.get(code, "")
    text = meaning(code, text)
    if not remedy:
        return text
    # Mosquitto says of a wrong password what it says of a user who may not connect.
    login = "check the password, and " if settings.username else "give settings.mqtt.username and its password, or "
    return f"{text}; {remedy.format(other=_other_version(protocol), user=user(settings), login=login)}"


def meaning(code: int, text: str) -> str:
    """A reason code of MQTT 5 in words for people; its name, `text`, where that says it."""
    return _MEANINGS.get(code, text)


def reason(code: int) -> str:
    """The name of a reason code in a PUBACK (MQTT 5, 2.4).

    Brokers give codes there that MQTT has for other packets only, as Mosquitto does for a payload above `message_size_limit`.
    """
    for packet in (PacketTypes.PUBACK, PacketTypes.DISCONNECT, PacketTypes.CONNACK):
        with contextlib.suppress(KeyError, ValueError):
            return meaning(code, str(ReasonCode(packet, identifier=code)))
    return f"reason code {code}"


def user(settings: LoginSettings) -> str:
    """The user that logs in, for a sentence."""
    return f"the user {settings.username!r}" if settings.username else "clients without a user name"


def _other_version(protocol: str) -> str:
    if protocol == "auto":
        return "it takes neither MQTT 5 nor 3.1.1, so look into the broker's log"
    return f"set settings.mqtt.protocol to auto, or to {'3.1.1' if protocol == '5' else '5'}"


def unreachable(error: OSError | ValueError, settings: LoginSettings) -> str:
    """Why no TCP connection, or no TLS on it, could be made, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"TLS failed: {error.verify_message or error}; give the CA of the broker's certificate as settings.mqtt.tls.ca, "
            "and the name that it was made for as settings.mqtt.host"
        )
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return f"TLS failed: {reason}; {_no_tls(settings)}"
    if settings.tls is not None and isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return f"it closed the connection instead of speaking TLS; {_no_tls(settings)}"
    if isinstance(error, TimeoutError):
        return "it does not answer; check settings.mqtt.host and .port, and the firewalls on the way"
    if isinstance(error, socket.gaierror | UnicodeError):
        why = error.strerror if isinstance(error, socket.gaierror) else "it is no host name"
        return f"there is no host {settings.host!r} ({why}); check settings.mqtt.host"
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, ConnectionRefusedError):
        return f"{why}: nothing listens there; start the broker, or check settings.mqtt.host and .port"
    if isinstance(error, OSError) and error.errno in NO_WAY:
        return f"{why}; check settings.mqtt.host, and this host's network"
    return why


def _no_tls(settings: LoginSettings) -> str:
    return (
        f"if port {settings.port} is for MQTT without TLS, as {PLAIN_PORT} is by custom, "
        f"give the port for TLS, by custom {TLS_PORT}, or remove settings.mqtt.tls"
    )


def strange_answer(data: bytes, settings: LoginSettings) -> str:
    """The kind of program that answered CONNECT with something else than CONNACK, and what to do."""
    if settings.tls is None and data[:1] == b"\x15":  # an alert (RFC 8446, 5.1)
        return f"port {settings.port} speaks TLS; set settings.mqtt.tls, or give the port for MQTT without TLS"
    if data.startswith((b"HTTP/", b"<")):
        return f"port {settings.port} speaks HTTP, not MQTT; give the broker's port for MQTT, by custom {PLAIN_PORT}"
    return f"port {settings.port} does not speak MQTT; check settings.mqtt.host and .port"


def closed_early(settings: LoginSettings, protocol: str) -> str:
    """Why a broker closed the connection without an answer to CONNECT, as far as can be told, and what to do."""
    version = "an old broker needs settings.mqtt.protocol 3.1.1; " if protocol == "5" else ""
    if settings.tls is None:
        return (
            f"it closed the connection without an answer; if port {settings.port} is for TLS, as {TLS_PORT} is by custom, "
            f"set settings.mqtt.tls; {version}otherwise look into the broker's log"
        )
    return (
        "it closed the connection without an answer; if it wants a certificate of this client, give settings.mqtt.tls.cert "
        f"and .key; {version}otherwise look into the broker's log"
    )


def disconnected(reason: ReasonCode, settings: BrokerSettings, *, by_agent: str | None) -> str:
    """Why the broker ended the connection.

    :param by_agent: the name of this agent, where a client with the same client identifier took over
    """
    if by_agent is not None:
        return (
            f"another client took over the id of this one: is a second agent called {by_agent!r} running? "
            "Give it another settings.agent"
        )
    if reason.value == _UNSPECIFIED:  # paho says no more of a connection that was closed without a reason
        return "the broker closed the connection"
    return refusal(reason.value, str(reason), settings, settings.protocol)

"""The sentences on a broker that a command line can't reach, or that ends its connection."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from agent.client import faults
from agent.client.address import Address
from agent.mqtt import faults as agent_faults
from agent.mqtt.settings import LoginSettings

NAMED, ASSUMED = Address("lab"), Address(is_assumed=True)
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
NO_ROUTE = OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
#: Words of paho, of MQTT's tables and of Python that say nothing to people.
_JARGON = ("unspecified", "implementation specific", "mqtt_err", "errno", "exception", "none", "[", "0x")


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        (NAMED, REFUSED, "can't reach the broker mqtt://lab:1883: connection refused; is it running there?"),
        (NAMED, NO_ROUTE, "there is no way to mqtt://lab:1883 (no route to host); is the host right"),
        (NAMED, TimeoutError("timed out"), "mqtt://lab:1883 does not answer within 5 s; is the host right, and does a"),
        (NAMED, socket.gaierror(-2, "Name or service not known"), "there is no host 'lab' (name or service not known)"),
        (NAMED, UnicodeError("label too long"), "there is no host 'lab' (it is no host name); give the broker's name"),
        (ASSUMED, REFUSED, "no broker was named, and there is none at mqtt://localhost:1883 (connection refused); name one"),
        (ASSUMED, TimeoutError(), "there is none at mqtt://localhost:1883 (no answer); name one with --broker mqtt://HOST"),
        (NAMED, OSError(), "can't reach the broker mqtt://lab:1883: oserror"),
    ],
)  # fmt: skip
def test_why_it_can_not_be_reached(address: Address, error: OSError | ValueError, said: str) -> None:
    told = faults.unreachable(address, error, 5.0)
    assert said in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("code", "text", "by_broker", "said"),
    [
        (0x80, "Unspecified error", False, "it closed the connection"),
        (0x80, "Unspecified error", True, "it closed the connection: it gives no reason"),
        (0x8D, "Keep alive timeout", False, "it does not answer any more"),
        (0x8D, "Keep alive timeout", True, "it closed the connection: it heard nothing from here for too long"),
        (0x8B, "Server shutting down", True, "it closed the connection: it shuts down"),
        (0x8E, "Session taken over", True, "it closed the connection: another client connected under the same id"),
        (0x98, "Administrative action", True, "it closed the connection: its administrator ended it"),
        (0x87, "not authorized", True, "it closed the connection: not authorized"),
    ],
)
def test_why_a_connection_is_gone(code: int, text: str, by_broker: bool, said: str) -> None:
    assert faults.lost(code, text, by_broker=by_broker) == said


@pytest.mark.parametrize("code", range(0x80, 0xA3))
def test_no_reason_is_told_in_the_words_of_a_table(code: int) -> None:
    """MQTT 5, 2.4: of each code that a broker can give for a connection, a publication or a subscription."""
    told = [
        agent_faults.reason(code),
        agent_faults.refusal(code, agent_faults.reason(code), Address("lab", username="kim"), "5"),
        faults.refused(NAMED, code, agent_faults.reason(code), "5"),
        faults.lost(code, agent_faults.reason(code).lower(), by_broker=True),
    ]
    for sentence in told:
        assert not [word for word in _JARGON if word in sentence.casefold()], sentence


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("kim", "not authorized; check the password, and let the user 'kim' connect"),
        (
            None,
            "not authorized; give settings.mqtt.username and its password, or let clients without a user name connect",
        ),
    ],
)
def test_the_agent_names_what_may_be_wrong_with_a_login(user: str | None, said: str) -> None:
    settings: LoginSettings = Address("lab", username=user)
    assert agent_faults.refusal(0x87, "not authorized", settings, "5") == said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (REFUSED, "Connection refused: nothing listens there; start the broker, or check settings.mqtt.host and .port"),
        (NO_ROUTE, "No route to host; check settings.mqtt.host, and this host's network"),
    ],
)
def test_the_agent_says_what_to_do(error: OSError, said: str) -> None:
    assert agent_faults.unreachable(error, NAMED) == said


def test_a_broker_that_was_not_named_and_lets_nobody_in() -> None:
    told = faults.refused(ASSUMED, 0x87, "Not authorized", "5")
    assert "not authorized; give the user in --broker" in told
    assert "no broker was named, so this is the one on this computer" in told

"""The step between the subscriptions of a connection and everything that is published on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from agent.mqtt.item import Serializable

Publish = Callable[[str, Serializable], None]
"""Publishes a message that is not retained, on a topic."""


class Joining(Protocol):
    """Finds out, on each connection, what other agents have published, before this one publishes. In the session's thread."""

    def listen(self) -> None:
        """Take note that a new connection subscribes: what the broker keeps may come in from now on."""

    def begin(self, publish: Publish) -> None:
        """Take note that the broker has confirmed the subscriptions."""

    def is_over(self) -> bool:
        """True once this agent may go on. Asked after everything that came in, and several times a second."""

    def end(self) -> bool:
        """Take note that it goes on. False: this session is to publish nothing but responses."""


class AtOnce:
    """Joins without looking."""

    def listen(self) -> None:
        """Do nothing."""

    def begin(self, publish: Publish) -> None:
        """Do nothing."""

    def is_over(self) -> bool:
        """True."""
        return True

    def end(self) -> bool:
        """True."""
        return True

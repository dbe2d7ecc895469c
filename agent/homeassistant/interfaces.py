"""The interfaces that this package needs: the configuration's section, the MQTT session and the store."""

from __future__ import annotations

from typing import Protocol


class HomeAssistantSettings(Protocol):
    """The configuration's section on Home Assistant."""

    @property
    def discovery_prefix(self) -> str:
        """The topic below which Home Assistant looks for devices."""

    @property
    def update_interval(self) -> float:
        """s between samples in which nothing but noise changed."""


class Publisher(Protocol):
    """The MQTT session. All of it may be called from any thread and returns at once."""

    @property
    def gone_since(self) -> float | None:
        """The moment (`time.monotonic`) since when the broker is gone; None while it is there."""

    def keep(self, topic: str, payload: bytes) -> None:
        """Publish retained, now and after every reconnection. An empty payload removes the topic from the broker."""

    def forget(self, topic: str) -> None:
        """Publish nothing more on a retained topic, and do not remove what is there."""

    def is_pending(self, topic: str) -> bool:
        """True if the broker has yet to be told of this topic, or to confirm its removal."""


class DiscoveryStore(Protocol):
    """The records of the published devices, by topic. All methods return at once; the disk is written later."""

    def all(self) -> dict[str, str]:
        """Every record."""

    def remember(self, topic: str, record: str) -> None:
        """Add or replace a record."""

    def forget(self, topic: str) -> None:
        """Remove a record, if there is one."""

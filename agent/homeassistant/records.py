"""The records of the devices that were published. They outlive the agent, so that a later run can change or clear a device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.homeassistant.interfaces import DiscoveryStore
from agent.protocol.messages import ChannelInfo, UnitInfo


class Record(BaseModel):
    """The device that was published on one discovery topic."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    #: None for the agent's own device.
    unit: str | None = None
    #: The unit with the identity that it told.
    info: UnitInfo | None = None
    #: The components that are published now: component id → platform.
    platforms: dict[str, str] = {}
    #: The components that were published earlier, and are not any more: component id → platform.
    gone: dict[str, str] = {}
    #: Other retained topics that are removed with the device.
    retained: list[str] = []
    #: Retained topics on which nothing is published any more. They are to be removed.
    stale: list[str] = []
    #: True once the broker has confirmed that the topic is empty.
    removed: bool = False
    #: True if a component was removed while Home Assistant may not have been running.
    unseen: bool = False

    @property
    def is_settled(self) -> bool:
        """True if the device is gone and nothing is left to be done about it."""
        return self.removed and not self.unseen and not self.stale


class Records:
    """The records by topic, in memory and in the store. For one thread at a time."""

    def __init__(self, store: DiscoveryStore) -> None:
        """Read the records of earlier runs from the store."""
        self._store = store
        self._records = {topic: _read(text) for topic, text in store.all().items()}

    def __contains__(self, topic: str) -> bool:
        return topic in self._records

    def __getitem__(self, topic: str) -> Record:
        return self._records[topic]

    def __iter__(self) -> Iterator[str]:
        """The topics, as they are now: records may be changed or forgotten meanwhile."""
        return iter(list(self._records))

    def items(self) -> list[tuple[str, Record]]:
        """Topic and record, of all."""
        return list(self._records.items())

    def get(self, topic: str) -> Record:
        """The record of a topic; an empty one where there is none."""
        return self._records.get(topic, Record())

    def identity_of(self, info: UnitInfo, units: Mapping[str, str]) -> UnitInfo | None:
        """A unit that has not been reached yet, with the identity that it told an earlier run; None where it told none.

        It is known by its address, else by its name where that address is no other unit's now.

        :param units: name → address of every configured unit
        """
        records = sorted(self._records.values(), key=lambda record: record.removed)
        known = [record.info for record in records if record.info is not None]
        found = next((old for old in known if old.uri == info.uri), None)
        if found is None:
            elsewhere = {uri for name, uri in units.items() if name != info.psu}
            found = next((old for old in known if old.psu == info.psu and old.uri not in elsewhere), None)
        if found is None or info.model not in (None, found.model):
            return None
        return info.model_copy(
            update={
                "model": found.model,
                "manufacturer": found.manufacturer,
                "serial": found.serial,
                "firmware": found.firmware,
                # Where a whole series is configured the record alone tells which of its models it is.
                "channels": found.channels if info.model is None else _as_told(info.channels, found.channels),
            }
        )

    def put(self, topic: str, record: Record) -> None:
        """Remember a record in the place of the one that there was."""
        if self._records.get(topic) != record:
            self._records[topic] = record
            self._store.remember(topic, record.model_dump_json())

    def forget(self, topic: str) -> None:
        """Remove a record."""
        del self._records[topic]
        self._store.forget(topic)


def _as_told(channels: Iterable[ChannelInfo], before: Iterable[ChannelInfo]) -> list[ChannelInfo]:
    """The channels with what they told before, where nobody knows yet what they tell.

    Else each start with a unit that is away would offer entities that the next connection takes away again.
    """
    told = {channel.index: channel.tells for channel in before}
    return [
        channel.model_copy(update={"tells": told.get(channel.index)}) if channel.tells is None else channel
        for channel in channels
    ]


def _read(text: str) -> Record:
    try:
        return Record.model_validate_json(text)
    except ValidationError:  # written by another version: the topic is cleared if it is not offered again
        return Record()

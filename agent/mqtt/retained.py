"""What a broker is to be told again after a reconnection, as it may have lost everything that it retained."""

from __future__ import annotations

from agent.mqtt.item import Item, Kind


class Retained:
    """The newest message of each retained topic. A removal (an empty payload) stays until a broker has confirmed it.

    Whoever changes it or asks for all of it has the inbox's lock for that.
    """

    def __init__(self) -> None:
        """Nothing is retained."""
        self._items: dict[str, Item] = {}

    def put(self, item: Item) -> None:
        """Keep a message in the place of its topic's last one."""
        self._items[item.topic] = item

    def is_pending(self, topic: str) -> bool:
        """Whether a broker that comes back is to be told of this topic again; of a removal until one has confirmed it."""
        return topic in self._items

    def confirmed(self, item: Item) -> None:
        """Forget a removal that the broker has acknowledged: another agent may publish on the topic now."""
        if self._items.get(item.topic) is item:
            del self._items[item.topic]

    def present(self) -> list[Item]:
        """Everything as it is now. A state is a message of its own: the sample that it was may be on its way to the backlog."""
        return [
            item if item.kind is Kind.KEEP else Item(Kind.KEEP, item.topic, item.content)
            for item in self._items.values()
        ]

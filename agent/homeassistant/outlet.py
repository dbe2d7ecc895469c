"""Home Assistant's side of the agent: an outlet for the units' reports, beside MQTT's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from agent.homeassistant.discovery import Discovery
from agent.homeassistant.interfaces import DiscoveryStore, HomeAssistantSettings, Publisher
from agent.homeassistant.updates import Meters, Updates
from agent.mqtt.incoming import Incoming
from agent.protocol.messages import AgentInfo
from agent.protocol.report import Report
from agent.protocol.topics import Topics


class HomeAssistantOutlet:
    """Offers an agent and its units to Home Assistant by MQTT discovery, and publishes their states for it.

    Its methods may be called from any thread. They return at once: none waits for the broker or for the disk.
    """

    def __init__(
        self,
        settings: HomeAssistantSettings | None,
        *,
        agent: AgentInfo,
        units: Mapping[str, str],
        topics: Topics,
        store: DiscoveryStore,
        saved: Meters,
        publisher: Publisher,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Publish nothing yet.

        :param settings: None clears what an earlier configuration published, and does nothing else
        :param units: name → address of every configured unit
        :param saved: energy (Wh) and charge (Ah) as they are on disk, by unit and channel
        """
        self._discovery = Discovery(
            None if settings is None else settings.discovery_prefix,
            agent=agent,
            units=units,
            topics=topics,
            store=store,
            publisher=publisher,
            clock=clock,
        )
        self._updates = (
            None
            if settings is None
            else Updates(
                topics=topics,
                publisher=publisher,
                units=units.keys(),
                interval=settings.update_interval,
                saved=saved,
                fit=self._discovery.fit,
                clock=clock,
            )
        )

    @property
    def subscriptions(self) -> list[str]:
        """The filters of the messages that `handle` is to get."""
        return self._discovery.subscriptions

    def start(self) -> None:
        """Offer the agent's own device. The units follow as they report."""
        self._discovery.start()

    @property
    def congested(self) -> bool:
        """False: what is published here is throttled already."""
        return False

    def report(self, report: Report) -> None:
        """Publish the part of a report that Home Assistant needs. In the thread of its unit."""
        if self._updates is None:
            return
        if report.info is not None:
            self._updates.follow(report.info)
            self._discovery.introduce(report.info)
        self._updates.publish(report.states)

    def leave(self, unit: str, is_other: bool) -> None:
        """Leave a unit to another agent, see `Discovery.leave`."""
        if self._updates is not None:
            self._updates.leave(unit)
        self._discovery.leave(unit, is_other=is_other)

    def handle(self, incoming: Incoming) -> bool:
        """Take a message; False for one that has nothing to do with Home Assistant. In the thread of the MQTT session."""
        return self._discovery.handle(incoming)

    def tick(self) -> None:
        """Clear the devices that are gone, once that is certain, and publish held states. To be called several times a second."""
        self._discovery.tick()
        if self._updates is not None:
            self._updates.tick()

    def serve(self, units: Mapping[str, str]) -> None:
        """Serve these units from now on, name → address.

        A device of another unit is cleared as after a restart, unless a unit turns out to be the same under another name.
        """
        if self._updates is not None:
            self._updates.serve(units.keys())
        self._discovery.serve(units)

    def saved(self, meters: Meters) -> None:
        """Tell Home Assistant of energy (Wh) and charge (Ah) up to these, which are on disk now, by unit and channel."""
        if self._updates is not None:
            self._updates.saved(meters)

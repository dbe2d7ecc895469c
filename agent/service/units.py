"""The units that the agent serves: made from the configuration, started, replaced and ended together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.config import Config
from agent.config.sentences.limits import without_limits
from agent.config.units import UnitSettings
from agent.instruments.claims import Claims
from agent.instruments.driver import Driver
from agent.instruments.factory import Knowledge, Lines, make_driver
from agent.protocol.report import Outlet
from agent.protocol.words import counted
from agent.timing import HoldUps
from agent.unit.admission import Admission
from agent.unit.meters import Meter
from agent.unit.rights.permission import Permission
from agent.unit.standing import ALONE, Standing
from agent.unit.supply import STOPPED, Supply

log = logging.getLogger(__name__)

#: s. How long the units may take to end: with the broker's time under the 5 s that a stop may take.
STOP_TIMEOUT = 2.0
#: s. A worker may wait this long for a link to open; one that has done nothing for longer is dead to the watchdog.
LONGEST_SILENCE = 180.0

#: Lines of the log on channels without limits.
_MOST_TOLD = 20
#: Energy (Wh) and charge (Ah) by unit and channel.
Meters = Mapping[str, Mapping[int, tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Names of units that an older and a newer configuration do not have in common, or have in different forms."""

    removed: frozenset[str]
    added: frozenset[str]
    changed: frozenset[str]

    @classmethod
    def between(cls, older: Config, newer: Config) -> Difference:
        """The difference of an older and a newer configuration."""
        known, wanted = (
            {
                unit.name: (unit.served(), config.poll_interval(unit), config.publish(unit), config.series(unit))
                for unit in config.units
            }
            for config in (older, newer)
        )
        changed = {name for name in known.keys() & wanted.keys() if known[name] != wanted[name]}
        return cls(frozenset(known.keys() - wanted.keys()), frozenset(wanted.keys() - known.keys()), frozenset(changed))

    def __bool__(self) -> bool:
        return bool(self.removed or self.added or self.changed)

    def __str__(self) -> str:
        parts = (("removed", self.removed), ("added", self.added), ("changed", self.changed))
        return "; ".join(f"{what} {', '.join(sorted(names))}" for what, names in parts if names)


class Units:
    """The supplies of one agent, by name. `by_name` is replaced as a whole, so any thread may read it."""

    def __init__(
        self,
        config: Config,
        outlets: Sequence[Outlet],
        meters: Meters,
        hold_ups: HoldUps | None = None,
        permissions: Sequence[Permission] = (),
        standing: Standing = ALONE,
    ) -> None:
        """Make every unit without connecting it.

        :param permissions: who else has a say before a setting is sent, for every unit
        :param standing: of a unit at first; one that is changed keeps its own
        """
        self._outlets = tuple(outlets)
        self._hold_ups = hold_ups
        self._permissions = tuple(permissions)
        self._standing = standing
        self._admission = Admission()
        self._claims = Claims(unit.name for unit in config.units)
        self._knowledge = Knowledge()
        self._lines = Lines()
        self._start_moment = time.monotonic()
        # Guards that every unit in `by_name` has been told of it: the MQTT thread may tell while units are replaced.
        self._lock = threading.Lock()
        self._broker_gone_since: float | None = self._start_moment
        self._exchanges = {unit.name: unit.longest_exchange for unit in config.units}
        self._without_limits: dict[str, tuple[str, ...]] = {}  # the sentences on channels that have none, by unit
        self.by_name: Mapping[str, Supply] = {
            unit.name: self._make(config, number, self._driver(config, unit), meters)
            for number, unit in enumerate(config.units)
        }

    def _driver(self, config: Config, unit: UnitSettings) -> Driver:
        return make_driver(unit, config.folder, self._knowledge, config.secrets(), self._lines)

    def _make(
        self, config: Config, number: int, driver: Driver, meters: Meters, predecessor: Supply | None = None
    ) -> Supply:
        unit = config.units[number]
        self._without_limits[unit.name] = tuple(without_limits(unit))
        interval = config.poll_interval(unit)
        return Supply(
            name=unit.name,
            agent=config.settings.agent,
            driver=driver,
            outlets=self._outlets,
            poll_interval=interval,
            publish=config.publish(unit),
            channels=unit.channels,
            meters={index: Meter(*values) for index, values in meters.get(unit.name, {}).items()},
            # Spread over the interval, so that many units do not all want the processor in the same moment.
            phase=self._start_moment + interval * number / len(config.units),
            admission=self._admission,
            claims=self._claims,
            hold_ups=self._hold_ups,
            permissions=self._permissions,
            standing=self._standing if predecessor is None else None,
            predecessor=predecessor,
        )

    def _tell_limits(self, names: Iterable[str]) -> None:
        """Log which channels of these units have no limit."""
        lines = [line for name in names for line in self._without_limits[name]]
        for line in lines[:_MOST_TOLD]:
            log.info("%s", line)
        if len(lines) > _MOST_TOLD:
            log.info("%s on limits; `psu-agent check` tells them all", counted(len(lines) - _MOST_TOLD, "more line"))

    def longest_exchange(self, name: str) -> float:
        """s that a message to a unit may be under way before its link is given up; 0 for a unit that is not served."""
        return self._exchanges.get(name, 0.0)

    def __iter__(self) -> Iterator[Supply]:
        return iter(self.by_name.values())

    def start(self) -> None:
        """Start the thread of every unit."""
        self._tell_limits(self.by_name)
        for supply in self:
            supply.start()

    def broker_gone(self, since: float | None) -> None:
        """Tell every unit since when (`time.monotonic`) there is no broker; None: there is one. Called by the MQTT thread."""
        with self._lock:
            self._broker_gone_since = since
            for supply in self:
                supply.broker_gone(since)

    def drivers(self, difference: Difference, newer: Config) -> dict[str, Driver]:
        """New drivers, not connected, for the units that a newer configuration adds or changes."""
        fresh = difference.added | difference.changed
        return {unit.name: self._driver(newer, unit) for unit in newer.units if unit.name in fresh}

    def replace(self, newer: Config, drivers: Mapping[str, Driver], meters: Meters) -> Mapping[str, Supply]:
        """Serve the units of a newer configuration: new supplies, not started, where there is a driver, the others as they are.

        Supplies that are replaced or go must have been ended by `end`.
        """
        by_name = {
            unit.name: self._make(newer, number, drivers[unit.name], meters, self.by_name.get(unit.name))
            if unit.name in drivers
            else self.by_name[unit.name]
            for number, unit in enumerate(newer.units)
        }
        self._claims.retain(by_name)
        with self._lock:
            self._exchanges = {unit.name: unit.longest_exchange for unit in newer.units}
            self.by_name = by_name
            for name in drivers:
                by_name[name].broker_gone(self._broker_gone_since)
        self._tell_limits(drivers)
        return by_name

    def end(
        self, names: Iterable[str] | None = None, why: str = STOPPED, *, replaced: Collection[str] = frozenset()
    ) -> None:
        """End units, all of them where none are named, within `STOP_TIMEOUT`. No output changes.

        One that its instrument holds up is given up: its link ends with the process.

        :param replaced: those of them for which `replace` is to be called
        """
        supplies = list(self) if names is None else [self.by_name[name] for name in sorted(names)]
        for supply in supplies:
            supply.stop(why, is_replaced=supply.name in replaced)
        deadline = time.monotonic() + STOP_TIMEOUT
        for supply in supplies:
            if not supply.join(max(0.0, deadline - time.monotonic())):
                log.warning("%s: still waiting for the unit; the link is given up", supply.name)
                supply.abandon()

    def alive(self) -> bool:
        """True if the thread of every unit runs and did something within `LONGEST_SILENCE`."""
        return all(supply.alive(LONGEST_SILENCE) for supply in self)

    def credit(self, meters: Meters) -> None:
        """Add what an earlier run counted, where the disk told it late. Once."""
        for name, totals in meters.items():
            if (supply := self.by_name.get(name)) is not None:
                supply.credit(totals)

    def meters(self) -> dict[str, dict[int, tuple[float, float]]]:
        """Energy (Wh) and charge (Ah) of every channel now."""
        return {
            supply.name: {index: (meter.energy, meter.charge) for index, meter in supply.meters().items()}
            for supply in self
        }

"""Reports on their way out: each info says who serves the unit; nothing goes out on topics that are another agent's.

It stands between the units and the outlets. A unit's own reports tell of its link alone. So an agent can tell of a conflict at
once, also while the unit's thread waits for its instrument.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agent.mqtt.item import Serializable
from agent.protocol.messages import UnitInfo, utc_now
from agent.protocol.report import Outlet, Report
from agent.protocol.topics import Topics
from agent.unit.standing import ALONE, Standing

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """The run of the agent that infos name. ``settings_for``: see `UnitInfo`, without the time that an exchange may take."""

    instance: str
    host: str
    settings_for: float | None = None


_EPOCH = datetime.fromtimestamp(0, UTC)
#: Infos of one unit that may be on their way to the broker and back.
_RECENT = 8


@dataclass(slots=True)
class _Place:
    """One unit. The lock is held while something of it is published, so that nothing follows its end."""

    standing: Standing
    since: datetime
    lock: threading.Lock = field(default_factory=threading.Lock)
    told: int | None = None  # hash of the newest that was published, but for its time
    recent: tuple[int, ...] = ()  # hashes of the newest ones that were published
    raw: bytes | None = None  # the newest of the unit itself, as JSON: an info takes 20 KB, its JSON 3 KB

    @property
    def info(self) -> UnitInfo | None:
        """The newest info of the unit itself."""
        return None if self.raw is None else UnitInfo.model_validate_json(self.raw)

    def remember(self, info: UnitInfo) -> None:
        """Take note that an info is about to be published."""
        self.told = _news(info)
        self.recent = (*self.recent[1 - _RECENT :], hash(info.to_json()))


class FleetOutlet:
    """Takes the reports of all units, from any thread, and hands on what may be published.

    An outlet that raises an exception keeps neither the others nor the unit from their work.
    """

    def __init__(
        self,
        outlets: Sequence[Outlet],
        *,
        topics: Topics,
        origin: Origin,
        forget: Callable[[str], None],
        passing: Callable[[str, Serializable], None],
        initial: Standing = ALONE,
        longest_exchange: Callable[[str], float] = lambda unit: 0.0,
        heard: Callable[[str, UnitInfo], None] = lambda unit, info: None,
    ) -> None:
        """
        :param outlets: where reports go, in this order
        :param forget: takes a retained topic out of the session, which does not remove it from the broker
        :param passing: publishes a message that is not retained, if there is a broker
        :param initial: the standing of a unit for which `stand` was not called yet
        :param longest_exchange: gives the s that a message to a unit may be under way; so late a setting may reach it
        :param heard: gets the info of a unit, as the unit itself reports it, before it is published; it returns at once
        """
        self._outlets = tuple(outlets)
        self._topics = topics
        self._origin = origin
        self._forget = forget
        self._passing = passing
        self._initial = initial
        self._longest_exchange = longest_exchange
        self._heard = heard
        self._lock = threading.Lock()  # of the next one
        self._places: dict[str, _Place] = {}

    @property
    def congested(self) -> bool:
        """True while states come faster than an outlet takes them."""
        # As in `Reporter`: asked before each poll.
        for outlet in self._outlets:  # noqa: SIM110
            if outlet.congested:
                return True
        return False

    def report(self, report: Report) -> None:
        """Hand on what may be published of a report."""
        unit = _unit_of(report)
        if unit is None:
            return
        if report.info is not None:
            self._heard(unit, report.info)
        place = self._places.get(unit) or self._place(unit)
        with place.lock:
            if report.info is not None:
                place.raw = report.info.to_json()
                self._publish_info(unit, place, report)
            elif not place.standing.is_muted:
                self._hand_out(report)
            elif report.response is not None:
                self._hand_out(Report(response=report.response, reply_to=report.reply_to))

    def stand(self, unit: str, standing: Standing, since: datetime | None = None) -> None:
        """Publish the unit's info for a new standing, if it says anything new; nothing more if its topics are another agent's.

        :param since: since when this agent has claimed the unit; None for now if it begins with this standing
        """
        place = self._places.get(unit) or self._place(unit)
        with place.lock:
            before, place.standing = place.standing, standing
            if since is not None:
                place.since = since
            elif before.yields and not standing.yields:
                place.since = utc_now()
            info = place.info
            if standing.is_muted and not before.is_muted:
                self._forget_all(unit, info)
                place.told = None
            if info is not None:
                self._tell(unit, place, info, is_wanted=before.is_muted and not standing.is_muted)

    def has_told(self, unit: str, payload: bytes) -> bool:
        """True if this agent has published an info just so, a short while ago; else somebody else did in its name."""
        place = self._places.get(unit)
        return place is not None and hash(payload) in place.recent

    def tell(self, unit: str) -> None:
        """Publish the unit's info once more, as another agent has published its own there. Not retained if the topic is its."""
        place = self._places.get(unit)
        if place is None:
            return
        with place.lock:
            info = place.info
            if info is not None:
                self._tell(unit, place, info, is_wanted=True)

    def drop(self, unit: str) -> None:
        """Forget a unit that this agent has no more."""
        with self._lock:
            self._places.pop(unit, None)

    def _place(self, unit: str) -> _Place:
        with self._lock:
            return self._places.setdefault(unit, _Place(self._initial, utc_now()))

    def _publish_info(self, unit: str, place: _Place, report: Report) -> None:
        assert report.info is not None
        if place.standing.is_muted:
            # Channels that were not known before may have been published in the moment before this.
            self._forget_all(unit, report.info)
            self._tell(unit, place, report.info, is_wanted=False)
            if report.response is not None:
                self._hand_out(Report(response=report.response, reply_to=report.reply_to))
            return
        info = self._dressed(place, report.info)
        place.remember(info)
        self._hand_out(Report(info, report.states, report.events, report.response, report.reply_to))

    def _tell(self, unit: str, place: _Place, info: UnitInfo, *, is_wanted: bool) -> None:
        """Publish the info if it says something new, or if it is wanted all the same."""
        newer = self._dressed(place, info).model_copy(update={"time": utc_now()})
        if not is_wanted and place.told == _news(newer):
            return
        place.remember(newer)
        if place.standing.is_muted:
            self._passing(self._topics.info(unit), newer)
        else:
            self._hand_out(Report(newer))

    def _dressed(self, place: _Place, info: UnitInfo) -> UnitInfo:
        standing, origin = place.standing, self._origin
        settings_for = origin.settings_for
        if settings_for is not None:
            settings_for += self._longest_exchange(info.psu)
        has_yielded = standing.yields
        is_settled_by_others = standing.other is not None and standing.why is not None and (has_yielded or info.online)
        return info.model_copy(
            update={
                "online": info.online and not has_yielded,
                "reason": standing.why if is_settled_by_others else info.reason,
                "instance": origin.instance,
                "host": origin.host,
                "serves": info.serves and not has_yielded,
                "since": place.since,
                "conflict": standing.other,
                "settings_for": settings_for,
            }
        )

    def _forget_all(self, unit: str, info: UnitInfo | None) -> None:
        topics = self._topics
        self._forget(topics.status(unit))
        self._forget(topics.info(unit))
        self._forget(topics.lease(unit))
        for channel in () if info is None else info.channels:
            self._forget(topics.state(unit, channel.index))
            self._forget(topics.lease(unit, channel.index))
            self._forget(topics.homeassistant(unit, channel.index))

    def _hand_out(self, report: Report) -> None:
        for outlet in self._outlets:
            try:
                outlet.report(report)
            except Exception:
                log.exception("a report could not be handed to %s", type(outlet).__name__)


def _news(info: UnitInfo) -> int:
    """A hash of all that an info says but for the time at which it says so."""
    return hash(info.model_copy(update={"time": _EPOCH}).to_json())


def _unit_of(report: Report) -> str | None:
    """The unit that a report is about; None of one that says nothing."""
    if report.states:
        return report.states[0].psu
    if report.info is not None:
        return report.info.psu
    if report.response is not None:
        return report.response.psu
    return report.events[0].psu if report.events else None

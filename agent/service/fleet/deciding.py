"""The decision who serves a unit: what is heard of other agents goes in, the standing of each own unit comes out.

Nothing here has a connection, a clock or a lock. The rules are in docs/decisions/0016-who-serves.md.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Literal

from agent.protocol.errors import Refusal
from agent.protocol.messages import Conflict, utc_now
from agent.service.fleet import sentences
from agent.service.fleet.claims import Claim
from agent.service.fleet.own import UNDECIDED, Found, Kind, Own
from agent.service.fleet.rivals import Rival, Rivals
from agent.unit.standing import Part, Standing

#: s that a claim which the broker has acknowledged waits to be heard again. A broker may not let this agent read it.
ECHO = 3.0
#: s that an agent has to give a unit up to one that claimed it before, and that one waits for that where both think so.
PATIENCE = 2.0
#: s that a taken over unit's claim must stand before settings are taken: an agent that only seemed to be gone contradicts it.
PROBATION = 2.0
#: s between an agent's last setting without a broker and the first one of the agent that takes its unit over, at least.
MARGIN = 5.0
#: s within which agents that gave way to each other claim a unit again.
SPREAD = 4.0
#: s between two repetitions of an info, on a topic that another agent publishes on, too.
REPEAT = 1.0


class Decisions:
    """The standings of the units of one agent. All moments are of one monotonic clock (s)."""

    def __init__(self, agent: str, instance: str, takeover_after: float, settings_for: float) -> None:
        """
        :param takeover_after: s after which this agent takes over from another one that is gone
        :param settings_for: s for which this agent sends settings without hearing from the broker
        """
        #: The standings that are new, by unit, for the caller to take away; and the units whose infos are to be published again.
        self.changes: dict[str, Standing] = {}
        self.repeats: list[str] = []
        #: Sentences for the log.
        self.news: list[str] = []
        self.rivals = Rivals()
        self._agent = agent
        self._instance = instance
        self._takeover_after = takeover_after
        self._settings_for = settings_for
        self._patience = zlib.crc32(instance.encode()) % 1000 / 1000 * SPREAD
        self._units: dict[str, Own] = {}
        self._number = 0
        self._is_joined = False
        self._is_away = False  # the broker, on a connection that has joined it
        self._is_deaf = False
        self._twin: Conflict | None = None

    def serve(self, unit: str, *, is_manual: bool = False, serial: str | None = None) -> None:
        """Have a unit from now on, which the configuration names; or with other settings."""
        own = self._units.get(unit)
        if own is None:
            own = self._units[unit] = Own(unit, is_manual, serial, utc_now())
        own.is_manual, own.serial = is_manual, serial
        self.changes[unit] = own.standing

    def drop(self, unit: str) -> None:
        """Have a unit no more."""
        self._units.pop(unit, None)
        self.changes.pop(unit, None)

    def has(self, unit: str) -> bool:
        """True if this agent has a unit of that name."""
        return unit in self._units

    def since(self, unit: str) -> datetime:
        """Since when this agent has claimed a unit that it has."""
        return self._units[unit].since

    def standing(self, unit: str) -> Standing:
        """The newest standing of a unit that this agent has."""
        return self._units[unit].standing

    # The connection.

    def begin(self) -> None:
        """Take note of a new connection, on which the broker tells first what it keeps."""
        self._is_joined = False
        self.rivals.begin()

    def complete(self, now: float, silence: float, *, are_statuses_lost: bool = False) -> None:
        """Take note that the broker has told what it keeps. All infos are published now.

        :param silence: s for which this agent had not heard the broker
        :param are_statuses_lost: the broker keeps no retained messages
        """
        self._is_joined, self._is_away = True, False
        self.rivals.are_statuses_lost = are_statuses_lost
        self.rivals.complete(now)
        for own in self._units.values():
            has_kept = own.standing.part is Part.SERVES and silence <= self._settings_for
            own.carried = own.carried | own.echoed.keys() if has_kept else frozenset()
            own.echoed.clear()
            own.noticed.clear()
            own.contested.clear()
            own.kept_at = None
            self._decide(own, now)

    def lost(self) -> None:
        """Take note that the broker is gone or silent: nothing is decided until it is back."""
        self._is_away = True

    def back(self, now: float) -> None:
        """Take note that the broker is there. Where it was silent, on a connection that lasts, what it has told holds on."""
        if self._is_joined and self._is_away:
            self._is_away = False
            self.rivals.back(now)
            self._decide_all(now)

    @property
    def muted(self) -> list[str]:
        """The units whose topics are another agent's."""
        return [own.name for own in self._units.values() if own.standing.is_muted]

    def yield_to_twin(self, twin: Conflict | None, now: float) -> None:
        """Leave all units to another agent of this one's name; or claim them again (None)."""
        self._twin = twin
        self._decide_all(now)

    # Messages of others, and the own ones that come back.

    def reports(self, unit: str, claim: Claim, now: float) -> None:
        """Take the claim that is about to be published with a unit's info. Its standing is right when this returns."""
        own = self._units.get(unit)
        if own is None:
            return
        newer = replace(claim, since=own.since)
        if own.claim is not None:
            newer = newer.follows(own.claim)
        if newer != own.claim:
            own.claim = newer
            self._decide(own, now)

    def kept(self, unit: str, now: float) -> None:
        """Take note that the broker has acknowledged a unit's info."""
        own = self._units.get(unit)
        if own is not None and own.kept_at is None and not own.standing.yields:
            own.kept_at = now
            self._decide(own, now)

    def hears(self, claim: Claim, now: float, *, is_genuine: bool = True) -> None:
        """Take an info that came in.

        :param is_genuine: false for one in the name of this run that it did not publish
        """
        self._number += 1
        own = self._units.get(claim.unit)
        is_own = claim.agent == self._agent
        if is_own and claim.instance == self._instance:
            if own is not None and self._is_joined and not is_genuine:
                self._repeat(own, now)
            elif own is not None and self._is_joined and claim.serves and not own.standing.yields:
                for key in claim.keys:
                    own.echoed.setdefault(key, self._number)
                self._decide(own, now)
            return
        if not is_own and self.rivals.claim(claim, self._number, now, is_replay=not self._is_joined):
            self._decide_concerned(claim, now)
        self._repeat(own, now)

    def hears_other(self, unit: str, now: float, *, is_removal: bool) -> None:
        """Take note that a unit's info was removed from the broker, or that something else was published there."""
        self._number += 1
        if is_removal and self.rivals.removed(unit, now):
            self._decide_all(now)
        self._repeat(self._units.get(unit), now)

    def hears_status(self, agent: str, is_online: bool, now: float) -> None:
        """Take the status of another agent."""
        if agent != self._agent and self.rivals.status(agent, is_online, now):
            self._decide_all(now)

    def hears_units(self, agent: str, units: Iterable[str], now: float) -> None:
        """Take the list of the units that another agent says that it has."""
        if agent != self._agent and self.rivals.units(agent, units, now):
            self._decide_all(now)

    def takeover(self, unit: str, now: float) -> None:
        """Take a unit over from an agent that is gone, as soon as that can send no settings any more.

        Nothing happens where this agent serves it already.

        :raises Refusal: ``conflict``: the other agent is there
        """
        own = self._units.get(unit)
        if own is None or not own.standing.yields:
            return
        if self._twin is not None:
            raise Refusal("conflict", sentences.twin(self._twin))
        for who in sorted(own.behind):
            rival = self.rivals.get(who)
            if rival is not None and rival.gone_at is None:
                raise Refusal("conflict", sentences.lives(rival.claim))
        own.wanted = True
        self._decide(own, now)

    def tick(self, now: float) -> None:
        """Decide what time alone decides. To be called several times a second."""
        for own in self._units.values():
            if own.due <= now:
                self._decide(own, now)
            if own.repeat_at is not None and own.repeat_at <= now:
                self._repeat(own, now)

    # Deciding.
    @property
    def _hears(self) -> bool:
        """True while this agent hears what others say."""
        return self._is_joined and not self._is_away

    def _repeat(self, own: Own | None, now: float) -> None:
        """Publish a unit's info again, as something else was published on its topic."""
        if own is None or not self._hears or own.standing.yields or own.claim is None:
            return
        if now < own.repeated + REPEAT:
            own.repeat_at = own.repeated + REPEAT
            return
        own.repeat_at, own.repeated = None, now
        self.repeats.append(own.name)

    def _decide_concerned(self, claim: Claim, now: float) -> None:
        if not self._hears:  # all is decided at once, when the broker has told all that it keeps
            return
        for own in self._units.values():
            mine = own.claim
            if own.name == claim.unit or (
                mine is not None
                and ((mine.address and mine.address == claim.address) or (mine.supply and mine.supply == claim.supply))
            ):
                self._decide(own, now)

    def _decide_all(self, now: float) -> None:
        for own in self._units.values():
            self._decide(own, now)

    def _decide(self, own: Own, now: float) -> None:
        if not self._hears and self._twin is None:
            # The unit may have become another claim, which nobody has heard of.
            if own.standing.part is Part.SERVES and not own.is_known:
                self._set(own, UNDECIDED)
            return
        before = own.standing
        own.due = math.inf
        standing = self._judge(own, now)
        if before.yields and not standing.yields:
            own.since = utc_now()
            own.claim = None if own.claim is None else replace(own.claim, since=own.since)
            own.wanted, own.taken_from = False, before.other
        elif standing.yields and not before.yields:
            own.echoed.clear()
            own.noticed.clear()
            own.contested.clear()
            own.carried, own.kept_at, own.repeat_at = frozenset(), None, None
        self._set(own, standing)

    def _set(self, own: Own, standing: Standing) -> None:
        if standing != own.standing:
            own.standing = standing
            self.changes[own.name] = standing

    def _judge(self, own: Own, now: float) -> Standing:
        if self._twin is not None:
            return Standing(Part.YIELDS_NAME, sentences.twin(self._twin), self._twin, is_muted=True)
        found = self._sort(own, now)
        own.behind = found.behind
        if found.first:
            return self._yields(own, found.first, now)
        if found.contested is not None:
            rival = found.contested.claim
            kind: Kind = "name" if rival.unit == own.name else "supply"
            return Standing(Part.CONTESTED, sentences.contested(rival), rival.conflict(kind))
        return self._serves(own, found.other, now)

    def _sort(self, own: Own, now: float) -> Found:
        """Sort the other agents that claim the same: those that go first, and those that should give it up."""
        mine = own.claim or own.bare_claim(self._agent, self._instance)
        found = Found()
        for rival in self.rivals.meeting(mine):
            for kind, key in mine.meets(rival.claim):
                if rival.is_released and rival.id not in own.behind:
                    own.settle(rival)
                    if self._still_wants(rival):
                        found.other = found.other or rival.claim.conflict(kind)
                    continue
                number = own.counts(rival, key)
                if number is None:
                    continue
                if rival.id not in own.behind and number > own.echoed.get(key, math.inf):
                    verdict = self._insist(own, mine, rival, now)
                    if verdict != "gives way":
                        if verdict == "waits":
                            found.contested = found.contested or rival
                        if self._still_wants(rival):
                            found.other = found.other or rival.claim.conflict(kind)
                        continue
                if self._holds(own, rival, now):
                    found.lets(kind, number, rival)
                elif (rival.gone_at or -math.inf) > -math.inf:  # else its author's status may come yet
                    own.outlasted[rival.id] = self._number
        return found

    def _serves(self, own: Own, other: Conflict | None, now: float) -> Standing:
        """The standing of a unit that no other agent goes first with."""
        claim = own.claim
        if claim is None:
            return UNDECIDED
        if not claim.is_known and (looked := self._looks_like(own, claim)) is not None:
            return Standing(Part.UNDECIDED, sentences.looks(looked.claim), looked.claim.conflict("supply"))
        if not own.is_known:
            if own.kept_at is None or now < own.kept_at + ECHO:
                own.due = min(own.due, math.inf if own.kept_at is None else own.kept_at + ECHO)
                return self._undecided(own, other)
            if not self._is_deaf:
                self.news.append(sentences.DEAF)
            self._is_deaf = True
        elif own.taken_from is not None and own.on_probation_until is None:
            own.on_probation_until = now + PROBATION
        if own.on_probation_until is not None and now < own.on_probation_until:
            own.due = min(own.due, own.on_probation_until)
            return self._undecided(own, other)
        own.taken_from = own.on_probation_until = None
        return Standing(Part.SERVES, None, other)

    def _undecided(self, own: Own, other: Conflict | None) -> Standing:
        if other is None and own.taken_from is not None:
            return Standing(Part.UNDECIDED, sentences.taken_over(own.taken_from), own.taken_from)
        return replace(UNDECIDED, other=other)

    def _insist(self, own: Own, mine: Claim, rival: Rival, now: float) -> Literal["keeps", "gives way", "waits"]:
        """The answer to an agent that has claimed the unit after this one."""
        if not self.rivals.lives(rival):
            own.settle(rival)
            # It died, or nobody knows if it ever lived: what it has said is past.
            own.outlasted[rival.id] = self._number
            return "keeps"
        if rival.id not in own.noticed:
            own.noticed[rival.id] = now
            self._repeat(own, now)
            self.news.append(f"{own.name}: {sentences.keeps(rival.claim)}")
        insists_at = own.noticed[rival.id] + PATIENCE
        if rival.claim.rival != self._instance and now < insists_at:
            own.due = min(own.due, insists_at)
            return "keeps"
        # Both think that they were first: a broker of several nodes, or a bridge, has told them in other orders.
        if rival.claim.order < mine.order:
            return "gives way"
        until = own.contested.setdefault(rival.id, now + PATIENCE)
        if now < until:
            own.due = min(own.due, until)
            return "waits"
        return "keeps"

    def _still_wants(self, rival: Rival) -> bool:
        return self.rivals.lives(rival) or (self.rivals.is_online(rival) and rival.claim.rival == self._instance)

    def _holds(self, own: Own, rival: Rival, now: float) -> bool:
        """True while another agent that goes first has the unit, or may have it."""
        if rival.is_released and rival.id not in own.behind:
            return False
        if rival.gone_at is None or (own.is_manual and not own.wanted):
            return True
        safe = MARGIN + (rival.claim.settings_for or self._takeover_after)
        end = rival.gone_at + (safe if own.wanted else max(self._takeover_after, safe))
        if rival.is_released and self.rivals.is_online(rival):
            end += self._patience  # two that gave way to each other would claim at one moment again, for ever
        own.due = min(own.due, end)
        return now < end

    def _yields(self, own: Own, first: dict[Kind, tuple[tuple[bool, int], Rival]], now: float) -> Standing:
        kind: Kind = "supply" if "supply" in first else "name"
        rival = first[kind][1]
        part = Part.YIELDS_SUPPLY if kind == "supply" else Part.YIELDS_NAME
        why = sentences.yields(rival.claim, kind)
        if rival.gone_at is not None:
            why += sentences.is_away(own.name, None if own.is_manual and not own.wanted else self._takeover_after)
        return Standing(part, why, rival.claim.conflict(kind), is_muted="name" in first)

    def _looks_like(self, own: Own, claim: Claim) -> Rival | None:
        """The agent that serves a supply at the address of a unit that has not said who it is."""
        for rival in self.rivals.meeting(claim):
            theirs = rival.claim
            if not (theirs.is_known and theirs.address == claim.address and self.rivals.lives(rival)):
                continue
            if own.serial is None or theirs.supply is None or theirs.supply[-1] == own.serial.casefold():
                return rival
        return None

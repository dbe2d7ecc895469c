"""One unit of this agent, and what it knows of the others that may claim it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from agent.protocol.messages import Conflict
from agent.service.fleet import sentences
from agent.service.fleet.claims import Claim, Key
from agent.service.fleet.rivals import Rival, RivalId
from agent.unit.standing import Part, Standing

Kind = Literal["name", "supply"]
UNDECIDED: Final = Standing(Part.UNDECIDED, sentences.UNDECIDED)


@dataclass(slots=True)
class Own:
    """One unit of this agent, and what is known of it. Moments are of the clock of `Decisions` (s)."""

    name: str
    is_manual: bool
    serial: str | None  # of the configuration
    since: datetime
    standing: Standing = UNDECIDED
    claim: Claim | None = None  # None until the unit has reported
    echoed: dict[Key, int] = field(default_factory=dict)  # the message with which each own claim came back
    carried: frozenset[Key] = frozenset()  # came back on the connection before, which ended just now
    kept_at: float | None = None  # when the broker acknowledged the info
    behind: set[RivalId] = field(default_factory=set)  # whom this agent lets go first
    outlasted: dict[RivalId, int] = field(default_factory=dict)  # what they said before that message counts no more
    noticed: dict[RivalId, float] = field(default_factory=dict)  # who claims it, too, and should give it up
    contested: dict[RivalId, float] = field(default_factory=dict)  # until when this agent waits for them
    wanted: bool = False  # to be taken over, by a command
    taken_from: Conflict | None = None  # by this agent just now
    on_probation_until: float | None = None
    repeat_at: float | None = None
    repeated: float = -math.inf
    due: float = math.inf  # when it is to be decided again, if nothing happens

    @property
    def is_known(self) -> bool:
        """True if others have heard of all that this agent claims with the unit."""
        return self.claim is not None and all(key in self.echoed or key in self.carried for key in self.claim.keys)

    def bare_claim(self, agent: str, instance: str) -> Claim:
        """The claim of a unit that has not reported yet: its name."""
        return Claim(agent, instance, None, self.name, True, self.since, None, None, None, False, None, None)

    def settle(self, rival: Rival) -> None:
        """Forget that another agent should give the unit up: it has."""
        self.noticed.pop(rival.id, None)
        self.contested.pop(rival.id, None)

    def counts(self, rival: Rival, key: Key) -> int | None:
        """The message with which another agent claimed a thing; None if all that it said was outlasted."""
        if (number := rival.heard.get(key)) is None:
            return None
        outlasted = self.outlasted.get(rival.id, -1)
        if number > outlasted:
            return number
        return rival.latest if rival.latest > outlasted else None


@dataclass(slots=True)
class Found:
    """The other agents that claim what one unit is."""

    # Those that claimed it before, with the message: of those that are there the first, and only then of those that are gone.
    first: dict[Kind, tuple[tuple[bool, int], Rival]] = field(default_factory=dict)
    behind: set[RivalId] = field(default_factory=set)  # all of those
    contested: Rival | None = None
    other: Conflict | None = None  # who claimed it later

    def lets(self, kind: Kind, number: int, rival: Rival) -> None:
        """Add one that goes first, with the number of the message in which it claimed the thing."""
        self.behind.add(rival.id)
        place = (rival.gone_at is not None, number)
        if kind not in self.first or place < self.first[kind][0]:
            self.first[kind] = (place, rival)

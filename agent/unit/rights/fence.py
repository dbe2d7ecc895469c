"""The end of an agent's right to set units when it has not heard the broker for long: another agent may have taken them over."""

from __future__ import annotations

from collections.abc import Callable, Collection

from agent.protocol.errors import Refusal
from agent.timing import LONGEST_ABSENCE, system_clock
from agent.unit.job import Job

#: s. An output is turned on only if the broker was heard within them. Nobody knows otherwise if somebody has turned it off since
#: by way of another agent, as at the end of a cycle. A command that comes in is as young, see `agent.mqtt.freshness`.
TURN_ON_FOR = LONGEST_ABSENCE + 1.0


class Fence:
    """Refuses settings once the broker has not been heard for a time that is known to the other agents.

    They take a unit over later than that. So an agent that is cut off, or whose host was suspended, sends no setting to a
    unit that another one serves meanwhile.
    """

    __slots__ = ("_clock", "_heard", "seconds")

    def __init__(self, heard: Callable[[], float], seconds: float, clock: Callable[[], float] = system_clock) -> None:
        """
        :param heard: gives a moment of ``clock`` (s) after which the broker is known to have answered; from any thread
        :param seconds: s for which settings are allowed after that
        :param clock: counts the time that the host was suspended
        """
        self._heard = heard
        self._clock = clock
        self.seconds = seconds

    def refusal(self, job: Job, indices: Collection[int], *, turns_on: bool = False) -> Refusal | None:
        """``conflict`` once the broker has been away for `seconds`; to turn on, for `TURN_ON_FOR` s."""
        del job, indices
        away = self._clock() - self._heard()
        if turns_on and TURN_ON_FOR < away <= self.seconds:
            return Refusal(
                "conflict",
                f"the broker has been away for {away:.0f} s, so another agent may have been told to turn it off; it is not "
                "turned on",
            )
        if away <= self.seconds:
            return None
        how_long = f"for {away:.0f} s" if away < 1e9 else "since the start"
        return Refusal(
            "conflict",
            f"the broker has been away {how_long}, so another agent may serve this unit by now; send it again when the broker "
            "is back",
        )

"""Rules 8 and 9: an off is done whatever else there is, and what is refused changes nothing."""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.soak.rules.books import Books, Delivery, shown

#: s that a well unit may be without the message of an off that the agent has taken.
LATEST_OFF = 10.0
#: The codes of an off that a unit in trouble gives a reason for.
_OF_THE_UNIT = frozenset({"offline", "uncertain", "instrument_error", "readback_mismatch"})
#: The codes of a command that was not begun.
_REFUSED = frozenset(
    {
        "bad_payload", "busy", "claimed", "conflict", "duplicate", "expired", "limit_exceeded", "offline", "out_of_range",
        "retained", "unknown_channel", "unsupported",
    }
)  # fmt: skip
#: Settings that a ramp and a cycle have nothing to do with.
_BESIDE = frozenset({"current_limit", "current_protection"})


@dataclass(slots=True)
class _Off:
    delivery: Delivery
    index: int


class Effects:
    """Follows offs to their units, and looks for what ended a plan. Call its methods with the lock of the books held."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._offs: list[_Off] = []
        self._recent: dict[str, collections.deque[Delivery]] = {
            unit: collections.deque(maxlen=3000) for unit in books.units
        }

    def delivered(self, delivery: Delivery) -> None:
        """The broker hands a command to the agent."""
        self._recent[delivery.unit].append(delivery)
        if delivery.command.kind != "flood":  # which would leave no room for anything else
            self._books.note(delivery.unit, f"< {shown(delivery)}")

    def taken(self, delivery: Delivery) -> None:
        """The agent has acknowledged a command."""
        if _is_off(delivery):
            self._offs += [_Off(delivery, index) for index in delivery.command.indices]

    def killed(self) -> None:
        """What an agent had not done when it was killed nobody does."""
        self._offs.clear()

    def answered(self, delivery: Delivery, code: str, message: Mapping[str, Any]) -> None:
        """The agent publishes the response to a command."""
        if _is_off(delivery):
            self._judge_off(delivery, code, message)
        elif (
            code == "superseded"
            and "held up" not in message["error"].get("message", "")
            and delivery.command.kind in ("cycle", "ramp")
        ):
            self._judge_end_of_plan(delivery)

    def sweep(self, now: float) -> None:
        """Look for offs that should have reached their units by now."""
        waiting = []
        for off in self._offs:
            delivery, unit = off.delivery, off.delivery.unit
            if self._books.channel(unit, off.index).asked_off >= delivery.time or delivery.code is not None:
                continue  # it is done, or its response has been judged
            if now - delivery.time > LATEST_OFF and self._books.well_for(unit, now) > LATEST_OFF:
                self._books.violated(8, unit, f"channel {off.index} was not turned off by {shown(delivery)}")
                continue
            waiting.append(off)
        self._offs = waiting

    def _judge_off(self, delivery: Delivery, code: str, message: Mapping[str, Any]) -> None:
        command, unit = delivery.command, delivery.unit
        if delivery.orphaned:
            return
        if code in _OF_THE_UNIT:
            well = self._books.is_well(unit, delivery.time, time.monotonic())
            if well and self._books.running_since < delivery.time:
                self._books.violated(8, unit, f"an off of a unit that is well was answered {code}: {shown(delivery)}")
            return
        if code != "ok" and code not in command.may_say:
            self._books.violated(8, unit, f"an off was answered {code}: {shown(delivery)}: {message}")
            return
        for index in command.indices:
            if code != "ok" and self._books.channel(unit, index).asked_off < delivery.time:
                self._books.violated(
                    8, unit, f"channel {index} was not turned off by {shown(delivery)}, which says {code}"
                )
        if code != "ok":
            result = message.get("result")
            states = result if isinstance(result, list) else [result]
            if not all(isinstance(state, dict) and state.get("state") is False for state in states):
                self._books.violated(8, unit, f"no result with the output off to {shown(delivery)}: {message}")

    def _judge_end_of_plan(self, plan: Delivery) -> None:
        """Something has to have ended it: a command that was not refused, a hand, a lost broker, the link, a stop."""
        unit, books = plan.unit, self._books
        if not books.is_well(unit, plan.time, time.monotonic()) or books.running_since > plan.time:
            return
        if books.gone_since is not None:
            return
        for index in plan.command.indices:
            if max(books.channel(unit, index).knob_turned, books.units[unit].coupled, books.last_gone) > plan.time:
                return
        for other in self._recent[unit]:
            if (
                other.order > plan.order
                and set(other.command.indices) & set(plan.command.indices)
                and (other.command.turns_off or other.code not in _REFUSED)
                and not (other.command.wanted and set(other.command.wanted) <= _BESIDE)
            ):
                return
        books.violated(9, unit, f"nothing ended it, and yet it was given up: {shown(plan)}")


def _is_off(delivery: Delivery) -> bool:
    return delivery.command.turns_off and not delivery.command.refusals

"""Rules 2, 3 and 7: an output goes on only for a command that is good for it and young; no setpoint is above a limit."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from tests.soak.commands import CHANNELS, LIMITS
from tests.soak.rules.books import ROUNDING, Books, Setting
from tests.soak.rules.states import States
from tests.support.messages import writes_in

_OUTPUT = re.compile(r"OUTP(?::STAT)? (0|1|ON|OFF),\(@([\d,]+)\)")
_LEVEL = re.compile(r"(VOLT|CURR) ([-+.\dEe]+),\(@([\d,]+)\)")
#: s. Outputs that a hand coupled in the middle of a command: between the agent's look and its message.
_BEHIND_ITS_BACK = 5.0


class Outputs:
    """Checks each message that a unit receives. Call its methods with the lock of the books held."""

    def __init__(self, books: Books, states: States) -> None:
        self._books = books
        self._states = states

    def executed(
        self, unit: str, message: str, before: Mapping[int, Setting], after: Mapping[int, Setting], answer: str | None
    ) -> None:
        """A unit carried out a message. ``answer`` is None where there is none, or where it was garbled on its way."""
        now = time.monotonic()
        book = self._books.units[unit]
        self._books.counts["messages to units"] += 1
        if "?" in message:
            self._states.unit_answered(unit, message, answer, now)
            if "MEAS:VOLT?" in message:
                book.polled = now
        if writes_in([message]):
            self._books.note(unit, f"> {message}")
        turned_on: set[int] = set()
        for match in _OUTPUT.finditer(message):
            indices = [int(index) for index in match[2].split(",")]
            if match[1] in ("0", "OFF"):
                for index in indices:
                    book.channels[index].asked_off = now
            else:
                turned_on.update(indices)
                self._turned_on(unit, indices, before, now)
        for match in _LEVEL.finditer(message):
            for index in map(int, match[3].split(",")):
                self._books.counts["setpoints"] += 1
                limit = LIMITS[index][match[1] == "CURR"]
                if abs(float(match[2])) > limit:
                    self._books.violated(3, unit, f"received {message} above the limit of {limit:g}")
        coupled = book.coupled > book.coupling_looked and now - book.coupled < _BEHIND_ITS_BACK
        for index in CHANNELS:
            if not after[index].on:
                book.channels[index].seen_off = now
            elif not before[index].on and index not in turned_on and not coupled:
                self._books.violated(2, unit, f"channel {index} went on by {message!r}")
            for name, limit in zip(("voltage", "current"), LIMITS[index], strict=True):
                value = getattr(after[index], name)
                if value != getattr(before[index], name) and value > limit + 1e-9 and not coupled:
                    self._books.violated(3, unit, f"{name} of channel {index} was set to {value:g} by {message!r}")

    def _turned_on(self, unit: str, indices: list[int], before: Mapping[int, Setting], now: float) -> None:
        self._books.counts["outputs turned on"] += len(indices)
        rights = [right for right in self._books.channel(unit, indices[0]).rights if not right.spent]
        if set(indices) == set(CHANNELS):
            fitting = [right for right in rights if right.delivery.command.channel is None]
        else:
            fitting = [right for right in rights if right.delivery.command.indices == tuple(indices)]
        good = [right for right in fitting if not right.revoked and (right.closed is None or now <= right.closed)]
        young = [right for right in good if not right.delivery.age]
        if young:
            # The oldest: commands of one unit are carried out in their order, and what is left must not be too old.
            young[0].spent = True
        elif good:
            age = good[0].delivery.age
            self._books.violated(
                7, unit, f"channels {indices} were turned on for a command that was {age:.1f} s old when it came"
            )
        else:
            why = (
                "only for commands older than one that turned it off and was confirmed"
                if any(right.revoked for right in fitting)
                else "only for commands that had been answered"
                if fitting
                else "for no command"
            )
            self._books.violated(2, unit, f"channels {indices} were turned on, {why}")
        for index in indices:
            channel = self._books.channel(unit, index)
            voltage, current = LIMITS[index]
            if before[index].voltage > voltage + ROUNDING or before[index].current > current + ROUNDING:
                if channel.knob_turned > channel.looked:
                    self._books.counts["knob turned between look and on"] += 1
                else:
                    self._books.violated(3, unit, f"channel {index} was turned on at {before[index]}")

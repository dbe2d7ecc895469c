"""A poll in SCPI: the messages that read all quantities of all channels of a model, and the parsing of their answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Literal

from agent.instruments.catalogue import Model
from agent.instruments.catalogue.schema import QUANTITIES, AnswerKind
from agent.instruments.driver import MalformedAnswerError, Reading
from agent.instruments.text.messages import channel_list, shorten
from agent.protocol.messages import Mode, Trip

_FIELD = {
    "number": r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)",
    "boolean": r"([01])",
    "integer": r"\+?(\d+)",
}
#: SCPI-99, volume 1, 7.2.1.4 and .5: 9.9E37 stands for infinity, 9.91E37 for "not a number".
_NOT_A_VALUE = 9.9e37


class Batching(IntEnum):
    """How many questions one message holds: the more, the faster a poll."""

    COMPOUND = 0  # everything in one message
    LISTS = 1  # one quantity of all channels
    SINGLE = 2  # one quantity of one channel


#: A part of a message, and the quantity, channel and kind of each value of its answer.
_Part = tuple[str, list[tuple[str, int, AnswerKind]]]
_BITS: tuple[Literal["CC", "CV", "OTP"], ...] = ("CC", "CV", "OTP")


class PollPlan:
    """The messages of a poll, and the patterns of their answers. It never changes, and all units of a model share it."""

    def __init__(self, model: Model, batching: Batching) -> None:
        self.batching = batching
        series = model.series
        indices = tuple(channel.index for channel in model.channels)
        parts: list[_Part] = []
        for quantity, query in series.queries.items():
            together = query.takes_list and batching < Batching.SINGLE
            for group in [indices] if together else [(index,) for index in indices]:
                text = query.ask.format(list=channel_list(group), channel=group[0])
                parts.append((text, [(quantity, index, query.answer) for index in group]))
        groups = [parts] if batching is Batching.COMPOUND else [[part] for part in parts]
        self.messages = tuple(";:".join(text for text, _ in group) for group in groups)
        self.forms = tuple(re.compile(", ?".join(_FIELD[kind] for *_, kind in fields), re.ASCII) for _, fields in parts)
        # The place of each quantity of a channel among the values of all parts; the None behind them if it is not asked for.
        order = {
            (quantity, index): place
            for place, (quantity, index, _) in enumerate(field for _, fields in parts for field in fields)
        }
        self.picks = tuple(
            (index, itemgetter(*[order.get((quantity, index), len(order)) for quantity in QUANTITIES]))
            for index in indices
        )
        self._cc, self._cv, self._otp = (
            1 << series.condition_bits[name] if name in series.condition_bits else 0 for name in _BITS
        )

    def reading(
        self,
        voltage: float | None,
        current: float | None,
        voltage_limit: float | None,
        current_limit: float | None,
        state: float | None,
        voltage_protection: float | None,
        voltage_tripped: float | None,
        current_protection: float | None,
        current_tripped: float | None,
        condition: float | None,
    ) -> Reading:
        """One channel's reading from the values that `QUANTITIES` names.

        :raises MalformedAnswerError: a setpoint is missing
        """
        if voltage_limit is None or current_limit is None:
            raise MalformedAnswerError("9.9E37, which stands for no value, is no setting")
        bits = 0 if condition is None else int(condition)
        tripped: Trip | None = None
        if voltage_tripped:
            tripped = "OVP"
        elif current_tripped:
            tripped = "OCP"
        elif bits & self._otp:
            tripped = "OTP"
        mode: Mode = "UR"
        if not state or tripped:
            mode = "OFF"
        elif bits & self._cv and not bits & self._cc:
            mode = "CV"
        elif bits & self._cc and not bits & self._cv:
            mode = "CC"
        return Reading(
            voltage,
            current,
            voltage_limit,
            current_limit,
            state == 1,
            voltage_protection,
            None if current_protection is None else current_protection == 1,
            mode,
            tripped,
        )


@lru_cache(maxsize=64)
def poll_plan(model: Model, batching: Batching) -> PollPlan:
    """The plan of a model, made once: 12 patterns and their places are some 20 KB."""
    return PollPlan(model, batching)


class PollReader:
    """Reads the answers to a plan's messages, for one unit.

    Most of an answer is settings, which rarely change: a part that is the same as before is not parsed again.
    """

    __slots__ = ("_texts", "_values", "plan")

    def __init__(self, plan: PollPlan) -> None:
        self.plan = plan
        self._texts: list[str | None] = [None] * len(plan.forms)  # no text: an empty part is no answer either
        self._values: list[tuple[float | None, ...]] = [()] * len(plan.forms)

    def read(self, answers: Sequence[str]) -> dict[int, Reading]:
        """The reading of each channel, from the answers to the plan's messages in their order.

        :raises MalformedAnswerError: an answer has another form than its question asks for
        """
        plan = self.plan
        texts = ";".join(answers).split(";")
        if len(texts) != len(self._texts) or len(answers) != len(plan.messages):
            raise MalformedAnswerError(
                f"{shorten(';'.join(answers))} has {len(texts)} parts, not the {len(self._texts)} that were asked for"
            )
        for part, text in enumerate(texts):
            if text != self._texts[part]:
                match = plan.forms[part].fullmatch(text.strip(" "))
                if match is None:
                    raise MalformedAnswerError(f"{shorten(text)} is no answer to part {part + 1} of a poll")
                self._values[part] = tuple(map(_value, match.groups()))
                self._texts[part] = text
        values = (*chain.from_iterable(self._values), None)
        reading = plan.reading
        return {index: reading(*pick(values)) for index, pick in plan.picks}


def _value(text: str) -> float | None:
    value = float(text)
    return value if -_NOT_A_VALUE < value < _NOT_A_VALUE else None

"""From a model to the messages that it understands, and from its answers back to values. Knows SCPI, not VISA."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

from agent.instruments.catalogue.schema import QUANTITIES, AnswerKind
from agent.protocol.messages import Mode, Trip

if TYPE_CHECKING:
    from agent.instruments.catalogue import Model

_FIELD = {
    "number": r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)",
    "boolean": r"([01])",
    "integer": r"\+?(\d+)",
}
#: SCPI-99, volume 1, 7.2.1.4 and .5: 9.9E37 stands for infinity, 9.91E37 for "not a number".
_NOT_A_VALUE = 9.9e37


class MalformedAnswerError(ValueError):
    """The unit's answer is not of the form that the question asks for."""


class Batching(IntEnum):
    """How much the unit takes in one message: the more, the faster a poll."""

    COMPOUND = 0  # everything in one message
    LISTS = 1  # one quantity of all channels
    SINGLE = 2  # one quantity of one channel


class Reading(NamedTuple):
    """What one poll tells of one channel. V and A; None where the unit can't say."""

    voltage: float | None
    current: float | None
    voltage_limit: float | None
    current_limit: float | None
    state: bool
    voltage_protection: float | None
    current_protection: bool | None
    mode: Mode | None
    tripped: Trip | None


#: A part of a message, and the quantity, channel and kind of each value of its answer.
_Part = tuple[str, list[tuple[str, int, AnswerKind]]]
_BITS: tuple[Literal["CC", "CV", "OTP"], ...] = ("CC", "CV", "OTP")


class PollPlan:
    """The messages that read everything about every channel of a model, and the reader of their answers."""

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
        self._forms = [re.compile(", ?".join(_FIELD[kind] for *_, kind in fields), re.ASCII) for _, fields in parts]
        # Most of an answer is settings, which stay as they are: a part that did not change is not read again.
        self._texts = [""] * len(parts)
        self._values: list[tuple[float | None, ...]] = [()] * len(parts)
        # Where, among the values of all parts, each quantity of a channel stands; what is not asked for is the None behind them.
        order = {
            (quantity, index): place
            for place, (quantity, index, _) in enumerate(field for _, fields in parts for field in fields)
        }
        self._pick = {
            index: itemgetter(*[order.get((quantity, index), len(order)) for quantity in QUANTITIES])
            for index in indices
        }
        self._cc, self._cv, self._otp = (
            1 << series.condition_bits[name] if name in series.condition_bits else 0 for name in _BITS
        )

    def read(self, answers: Sequence[str]) -> dict[int, Reading]:
        """Turn the answers to `messages`, in their order, into one reading for each channel.

        :raises MalformedAnswerError: an answer has another form than its question asks for
        """
        texts = ";".join(answers).split(";")
        if len(texts) != len(self._texts) or len(answers) != len(self.messages):
            raise MalformedAnswerError(
                f"{_shorten(';'.join(answers))} has {len(texts)} parts, not the {len(self._texts)} that were asked for"
            )
        for part, text in enumerate(texts):
            if text != self._texts[part]:
                match = self._forms[part].fullmatch(text.strip(" "))
                if match is None:
                    raise MalformedAnswerError(f"{_shorten(text)} is no answer to part {part + 1} of a poll")
                self._values[part] = tuple(map(_value, match.groups()))
                self._texts[part] = text
        values = (*chain.from_iterable(self._values), None)
        reading = self._reading
        return {index: reading(*pick(values)) for index, pick in self._pick.items()}

    def _reading(
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


class Inspection:
    """What is asked around a setting, in one message: the error queue, some questions of one value each, then a whole poll."""

    def __init__(self, plan: PollPlan, error_query: str, questions: Sequence[str] = ()) -> None:
        self._plan = plan
        self._count = len(questions)
        self.message = ";:".join([error_query, *questions, *plan.messages])

    def read(self, answer: str) -> tuple[tuple[int, str], list[str], dict[int, Reading]]:
        """The oldest entry of the error queue, the answers to the questions, the readings.

        :raises MalformedAnswerError: the answer has another form than the message asks for
        """
        match = _ERROR_AHEAD.match(answer)  # its text may have a semicolon in it
        parts = answer[match.end() :].split(";", self._count) if match is not None else []
        if match is None or len(parts) != self._count + 1:
            raise MalformedAnswerError(
                f"{_shorten(answer)} is no answer to an error query, {self._count} more and a poll"
            )
        *answers, poll = parts
        return parse_error(match[1]), answers, self._plan.read([poll])


_ERROR_AHEAD = re.compile(r'([^,;"]{1,20},\s*(?:"(?:[^"]|"")*"|[^";]*)\s*);')


def _value(text: str) -> float | None:
    value = float(text)
    return value if -_NOT_A_VALUE < value < _NOT_A_VALUE else None


def _shorten(text: str, limit: int = 120) -> str:
    text = ascii(text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


@lru_cache(maxsize=256)
def channel_list(indices: tuple[int, ...]) -> str:
    """SCPI's channel list, ``(@1,2,3)``."""
    return f"(@{','.join(map(str, indices))})"


def format_value(value: float | bool) -> str:
    """A setting as the unit takes it: 1 or 0, or a plain decimal number of up to six places, never in exponents."""
    if isinstance(value, bool):
        return "1" if value else "0"
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def parse_error(answer: str) -> tuple[int, str]:
    """Take an answer to ``SYST:ERR?``, such as ``-222,"Data out of range"``, apart; what can't be printed is escaped.

    :raises MalformedAnswerError: it is no such answer
    """
    match = re.fullmatch(r'\s*([+-]?\d{1,6})\s*,\s*"?(.*?)"?\s*', answer, re.ASCII)
    if match is None:
        raise MalformedAnswerError(f"{_shorten(answer)} is no answer to an error query")
    return int(match[1]), re.sub(r"[^ -~]", lambda odd: ascii(odd[0])[1:-1], match[2])

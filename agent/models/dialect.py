"""From a model to the messages that it understands, and from its answers back to values. Knows SCPI, not VISA."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from agent.models.schema import AnswerKind

if TYPE_CHECKING:
    from agent.models import Model

Mode = Literal["CV", "CC", "UR", "OFF"]
Trip = Literal["OVP", "OCP", "OTP"]

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


@dataclass(frozen=True, slots=True)
class Reading:
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


@dataclass(frozen=True, slots=True)
class _Message:
    text: str
    answer: re.Pattern[str]
    fields: tuple[tuple[str, int, AnswerKind], ...]  # quantity, channel, kind; one for each group of `answer`


class PollPlan:
    """The messages that read everything about every channel of a model, and the reader of their answers."""

    def __init__(self, model: Model, batching: Batching) -> None:
        self.batching = batching
        self._model = model
        self._indices = tuple(channel.index for channel in model.channels)
        parts: list[tuple[str, list[tuple[str, int, AnswerKind]]]] = []
        for quantity, query in model.series.queries.items():
            groups = (
                [self._indices] if query.takes_list and batching < Batching.SINGLE else [(i,) for i in self._indices]
            )
            parts += [
                (
                    query.ask.format(list=channel_list(group), channel=group[0]),
                    [(quantity, index, query.answer) for index in group],
                )
                for group in groups
            ]
        groups_of_parts = [parts] if batching is Batching.COMPOUND else [[part] for part in parts]
        self._messages = tuple(_message(group) for group in groups_of_parts)
        self.messages = tuple(message.text for message in self._messages)

    def read(self, answers: Sequence[str]) -> dict[int, Reading]:
        """Turn the answers to `messages`, in their order, into one reading for each channel.

        :raises MalformedAnswerError: an answer has another form than its question asks for
        """
        values: dict[int, dict[str, float]] = {index: {} for index in self._indices}
        for message, answer in zip(self._messages, answers, strict=True):
            match = message.answer.fullmatch(answer)
            if match is None:
                raise MalformedAnswerError(f"{_shorten(answer)} is no answer to {_shorten(message.text)}")
            for (quantity, index, _), text in zip(message.fields, match.groups(), strict=True):
                values[index][quantity] = float(text)
        return {index: self._reading(values[index]) for index in self._indices}

    def _reading(self, value: dict[str, float]) -> Reading:
        for setting in ("voltage_limit", "current_limit"):
            if abs(value[setting]) >= _NOT_A_VALUE:
                raise MalformedAnswerError(f"{setting} {value[setting]} is no setting")
        state = value["state"] == 1
        condition = int(value.get("condition", 0))
        bits = self._model.series.condition_bits
        set_bits = {name for name, bit in bits.items() if condition >> bit & 1}
        tripped: Trip | None = None
        if value.get("voltage_tripped"):
            tripped = "OVP"
        elif value.get("current_tripped"):
            tripped = "OCP"
        elif "OTP" in set_bits:
            tripped = "OTP"
        mode: Mode = "UR"
        regulation = set_bits & {"CV", "CC"}
        if not state or tripped:
            mode = "OFF"
        elif regulation == {"CV"}:
            mode = "CV"
        elif regulation == {"CC"}:
            mode = "CC"
        protection = value.get("current_protection")
        return Reading(
            voltage=_measured(value["voltage"]),
            current=_measured(value["current"]),
            voltage_limit=value["voltage_limit"],
            current_limit=value["current_limit"],
            state=state,
            voltage_protection=_measured(value.get("voltage_protection")),
            current_protection=None if protection is None else protection == 1,
            mode=mode,
            tripped=tripped,
        )


def _message(parts: Sequence[tuple[str, list[tuple[str, int, AnswerKind]]]]) -> _Message:
    return _Message(
        text=";:".join(text for text, _ in parts),
        answer=re.compile(
            r"\s*;\s*".join(r"\s*,\s*".join(_FIELD[kind] for _, _, kind in fields) for _, fields in parts), re.ASCII
        ),
        fields=tuple(field for _, fields in parts for field in fields),
    )


def _measured(value: float | None) -> float | None:
    return None if value is None or abs(value) >= _NOT_A_VALUE else value


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
    return f"{value:.6f}".rstrip("0").rstrip(".")


def parse_error(answer: str) -> tuple[int, str]:
    """Take an answer to ``SYST:ERR?``, such as ``-222,"Data out of range"``, apart.

    :raises MalformedAnswerError: it is no such answer
    """
    match = re.fullmatch(r'\s*([+-]?\d{1,6})\s*,\s*"?(.*?)"?\s*', answer, re.ASCII)
    if match is None:
        raise MalformedAnswerError(f"{_shorten(answer)} is no answer to an error query")
    return int(match[1]), match[2]

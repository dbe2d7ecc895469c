"""One question of a poll: its text, the forms of its answer, and where each value of the answer belongs."""

from __future__ import annotations

from collections.abc import Mapping

from agent.instruments.catalogue import Model
from agent.instruments.catalogue.answers import AnswerPattern, Value
from agent.instruments.catalogue.language import Ask, Rule
from agent.instruments.driver import MalformedAnswerError
from agent.instruments.text.messages import place_texts, shorten

#: The place of a value: a quantity or a register, and its output; None for one that belongs to the whole unit.
Place = tuple[str, int | None]
#: The value of a register that was cleared by reading, and then told more than one thing at once: it changed in between.
UNKNOWN = "unknown"


class Part:
    """One question and the reading of its answer.

    ``ask``: its text. ``length``: the least and the most bytes of the answer, where nothing ends it. ``selected``: the output
    that has to be selected before, None for none. ``places``: of the values that `read` returns: those of the fields, then
    those of the registers' rules. ``events``: the places whose values the unit tells once, and that have to be remembered.
    """

    __slots__ = ("_forms", "_patterns", "_repeat", "_rules", "_width", "ask", "events", "length", "places", "selected")

    def __init__(self, poll: Ask, model: Model, channels: tuple[int, ...], address: int | None) -> None:
        """``channels``: the outputs that it is on: one, or all that one answer is on."""
        series = model.series
        self.ask = series.ask_template(poll.ask).filled(place_texts(model, channels, address))
        self.length = poll.length
        self.selected = channels[0] if poll.selected else None
        self._repeat = len(channels) if "{list}" in poll.ask else 1
        owners: tuple[int | None, ...] = channels if self._repeat > 1 or len(channels) == 1 else (None,)
        self._patterns: list[AnswerPattern] = [series.pattern(text) for text in poll.answer]
        fields = [_places_of(pattern, owners) for pattern in self._patterns]
        own = list(dict.fromkeys(place for each in fields for place in each))
        slots = [[own.index(place) for place in each] for each in fields]
        self._width = len(own)
        self._forms = [
            (pattern.repeated(self._repeat), None if each == list(range(len(own))) else each)
            for pattern, each in zip(self._patterns, slots, strict=True)
        ]
        self._rules = _rules(own, series.registers)
        self.places: tuple[Place, ...] = (*own, *(place for _, place, _ in self._rules))
        self.events = frozenset(place for _, place, rule in self._rules if rule.event)

    def read(self, answer: str) -> tuple[Value, ...]:
        """The values of its places; None for one that this form of the answer does not tell.

        :raises MalformedAnswerError: the answer has none of the forms that the series file gives it
        """
        for read, slots in self._forms:
            values = read(answer)
            if values is None:
                continue
            if slots is not None:
                spread: list[Value] = [None] * self._width
                for slot, value in zip(slots, values, strict=True):
                    spread[slot] = value
                values = tuple(spread)
            if self._rules:
                values += tuple([_ruled(rule, values[slot]) for slot, _, rule in self._rules])
            return values
        expected = " or ".join(pattern.text for pattern in self._patterns)
        each = f" for each of {self._repeat} outputs, with commas between" if self._repeat > 1 else ""
        raise MalformedAnswerError(f"{self.ask} was answered {shorten(answer)}; expected was {expected}{each}")


def _places_of(pattern: AnswerPattern, owners: tuple[int | None, ...]) -> list[Place]:
    return [
        (field.name, owner if field.channel is None else field.channel) for owner in owners for field in pattern.fields
    ]


def _rules(own: list[Place], registers: Mapping[str, tuple[Rule, ...]]) -> list[tuple[int, Place, Rule]]:
    """The rules for the registers among these places: the register's slot, the place that the rule gives, and the rule."""
    return [
        (slot, (rule.gives, owner if rule.channel is None else rule.channel), rule)
        for slot, (name, owner) in enumerate(own)
        for rule in registers.get(name, ())
        if rule.channel is None or owner is None or rule.channel == owner
    ]


def _ruled(rule: Rule, value: Value) -> Value:
    if value is None:
        return None
    if isinstance(value, str):
        return rule.values.get(value)
    number = int(value)
    if rule.bit is not None:
        return bool(number >> rule.bit & 1) is not rule.inverted
    if rule.mask is not None:
        number &= rule.mask
    return rule.values.get(number, UNKNOWN if rule.event and number else None)

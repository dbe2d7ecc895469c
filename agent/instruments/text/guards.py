"""Guards: questions about settings at the unit that change the effect of a command, and the meaning of the answers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from agent.instruments.catalogue import Guard, Model
from agent.instruments.catalogue.answers import AnswerPattern, Value, plain
from agent.instruments.catalogue.models import RANGE_OF
from agent.instruments.driver import Conditions, MalformedAnswerError, Range
from agent.instruments.text.messages import joined, place_texts, shorten
from agent.protocol.quantities import Setting

_SECONDS = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
#: An answer with outputs: ``CH1,CH3``, ``1,3`` or ``(@1,3)``.
_OUTPUTS = re.compile(r"(?:CH|\(@)?(\d{1,2})\)?", re.ASCII)

#: The value of a register in the last poll, by its name and output.
Registers = Mapping[tuple[str, int], Value]


class Asked(NamedTuple):
    """A message that asks. ``select``: what is sent right before it; ``length``: of its answer, where nothing ends that."""

    text: str
    select: str | None = None
    length: tuple[int, int] | None = None


class Question:
    """One guard of one model: the messages that ask for it, and the reading of their answers.

    ``channels``: the outputs that it is about. ``name``: what is asked, for people.
    """

    __slots__ = ("_address", "_model", "_one_by_one", "_pattern", "channels", "guard", "name")

    def __init__(self, guard: Guard, model: Model, *, takes_lists: bool, address: int | None = None) -> None:
        """``takes_lists``: one message may ask for several outputs."""
        self.guard = guard
        self.name = guard.ask or str(guard.register_)
        self.channels = guard.channels or tuple(channel.index for channel in model.channels)
        self._model, self._address = model, address
        self._one_by_one = guard.takes_channels and not (takes_lists and "{list}" in (guard.ask or ""))
        series = model.series
        self._pattern = None if guard.answer is None else AnswerPattern(guard.answer, series.tables, lambda _: "text")

    def asks(self, channels: Collection[int]) -> list[Asked]:
        """The messages that ask for these outputs; one asks for all where the unit takes that. None for a register."""
        guard, series = self.guard, self._model.series
        if guard.ask is None:
            return []
        groups = [(index,) for index in self._asked_for(channels)] if self._one_by_one else [self.channels]
        found = []
        for group in groups:
            filling = place_texts(self._model, group, self._address)
            text, select = series.ask_template(guard.ask).filled(filling), None
            if guard.selected and self._model.select is not None:
                select = series.ask_template(self._model.select.send).filled(filling)
                if self._model.select.compound:
                    text, select = joined(series.link.separator, select, text), None
            found.append(Asked(text, select, None if guard.length is None else (guard.length, guard.length)))
        return found

    def _asked_for(self, channels: Collection[int]) -> list[int]:
        return [index for index in self.channels if not self._one_by_one or index in channels]

    def concerns(self, channels: Collection[int], settings: Collection[Setting]) -> bool:
        """True if it is to be asked before these settings of these outputs."""
        return not self.guard.settings.isdisjoint(settings) and any(index in channels for index in self.channels)

    def words(self, answers: Iterable[str], channels: Collection[int], registers: Registers) -> dict[int, str]:
        """The answer for each output that was asked for, in capitals and without quotes.

        :raises MalformedAnswerError: there is not one for each
        """
        if self.guard.register_ is not None:
            return {
                index: self._masked(registers.get((self.guard.register_, index)))
                for index in self.channels
                if index in channels
            }
        text, asked_for = ",".join(answers), self._asked_for(channels)
        if not self.guard.takes_channels:
            return dict.fromkeys(asked_for, self._word(text))
        texts = [text] if len(asked_for) == 1 and self._pattern is not None else text.split(",")
        if len(texts) != len(asked_for):
            raise MalformedAnswerError(f"{shorten(text)} is no answer for {len(asked_for)} outputs to {self.name}")
        return dict(zip(asked_for, map(self._word, texts), strict=True))

    def _word(self, text: str) -> str:
        if self._pattern is None:
            word: Value = text.strip().strip('"').upper()
            if self.guard.mask is None:
                return str(word)
        else:
            values = self._pattern.read(text)
            if values is None:
                raise MalformedAnswerError(
                    f"{self.name} was answered {shorten(text)}; expected was {self._pattern.text}"
                )
            word = values[0]
        return self._masked(word)

    def _masked(self, value: Value) -> str:
        if self.guard.mask is not None and value is not None:
            try:
                return str(int(value) & self.guard.mask)
            except ValueError:
                raise MalformedAnswerError(
                    f"{self.name} was answered {shorten(str(value))}, which is no number"
                ) from None
        if isinstance(value, bool):
            return "1" if value else "0"
        return "" if value is None else str(value).strip().upper()

    def bars(self, words: dict[int, str], channels: Collection[int]) -> list[str]:
        """The sentences for all that forbids the command; each once. An answer that tells nothing forbids it, too."""
        guard = self.guard
        found: dict[str, None] = {}
        for index, word in words.items():
            named = plain(word) in map(plain, guard.expect or guard.refuse)
            is_fine = named if guard.expect else not named and word != ""
            if index not in channels or is_fine:
                continue
            values = {"channel": index, "answer": shorten(word, 30).strip("'") or "nothing"}
            found[f"{guard.text.format(**values)}; {guard.remedy.format(**values)}"] = None
        return list(found)

    def outputs(self, words: dict[int, str]) -> frozenset[int]:
        """The outputs that the answer names.

        :raises MalformedAnswerError: it names others than the model has
        """
        text = words[self.channels[0]]
        if text == "ALL":
            return frozenset(self.channels)
        if text in ("NONE", "", "(@)"):
            return frozenset()
        named = [_OUTPUTS.fullmatch(word.strip()) for word in text.split(",")]
        found = frozenset(int(match[1]) for match in named if match is not None)
        if None in named or not found <= set(self.channels):
            raise MalformedAnswerError(f"{shorten(text)} is no answer to {self.name}")
        return found if len(found) > 1 else frozenset()

    def seconds(self, words: dict[int, str]) -> dict[int, float]:
        """The times (s) of the outputs where they are not 0.

        :raises MalformedAnswerError: one is no number
        """
        found = {}
        for index, word in words.items():
            if _SECONDS.fullmatch(word) is None:
                raise MalformedAnswerError(f"{shorten(word)} is no answer to {self.name}")
            if (value := float(word)) > 0:
                found[index] = value
        return found

    def ranges(self, words: dict[int, str]) -> dict[int, dict[str, Range]]:
        """The present ranges of the outputs that have several, by the settings.

        :raises MalformedAnswerError: the answer names a range that the series file does not have
        """
        found = {}
        for channel in self._model.channels:
            word = words.get(channel.index)
            if word is None or not channel.ranges:
                continue
            box = {name.upper(): box for name, box in channel.ranges.items()}.get(word)
            if box is None:
                raise MalformedAnswerError(
                    f"{self.name} was answered {shorten(word)}; expected was {' or '.join(channel.ranges)}"
                )
            each = {level: getattr(box, key) for level, key in RANGE_OF.items()}
            found[channel.index] = {level: interval for level, interval in each.items() if interval is not None}
        return found


def understood(
    questions: Sequence[Question], answers: Sequence[str], channels: Collection[int], registers: Registers | None = None
) -> tuple[list[str], Conditions]:
    """Sentences for all that the answers forbid, and the conditions that they tell.

    :param registers: of the last poll
    :raises MalformedAnswerError: an answer does not have the form that its question asks for
    """
    bars: list[str] = []
    told: dict[str, object] = {}
    left = iter(answers)
    for question in questions:
        words = question.words([next(left) for _ in question.asks(channels)], channels, registers or {})
        match question.guard.tells:
            case None:
                bars += question.bars(words, channels)
            case "coupled":
                told["coupled"] = question.outputs(words)
            case "ranges":
                told["ranges"] = question.ranges(words)
            case name:
                told[name] = question.seconds(words)
    return bars, Conditions(**told)  # type: ignore[arg-type]

"""Guards in SCPI: questions about settings at the unit that change the effect of a command, and the meaning of the answers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from agent.instruments.catalogue import Guard, Model
from agent.instruments.driver import Conditions, MalformedAnswerError
from agent.instruments.text.messages import channel_list, shorten
from agent.protocol.quantities import Setting

_SECONDS = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
#: An answer with outputs: ``CH1,CH3``, ``1,3`` or ``(@1,3)``.
_OUTPUTS = re.compile(r"(?:CH|\(@)?(\d{1,2})\)?", re.ASCII)


class Question:
    """One guard of one model: the messages that ask for it, and the reading of their answers.

    ``channels``: the outputs that it is about.
    """

    __slots__ = ("_one_by_one", "channels", "guard")

    def __init__(self, guard: Guard, model: Model, *, takes_lists: bool) -> None:
        """``takes_lists``: one message may ask for several outputs."""
        self.guard = guard
        self.channels = guard.channels or tuple(channel.index for channel in model.channels)
        self._one_by_one = guard.takes_channels and not (takes_lists and "{list}" in guard.ask)

    def asks(self, channels: Collection[int]) -> list[str]:
        """The messages that ask for these outputs; one asks for all where the unit takes that."""
        ask = self.guard.ask
        if not self._one_by_one:
            return [ask.format(list=channel_list(self.channels))]
        return [ask.format(list=channel_list((index,)), channel=index) for index in self._asked_for(channels)]

    def _asked_for(self, channels: Collection[int]) -> list[int]:
        return [index for index in self.channels if not self._one_by_one or index in channels]

    def concerns(self, channels: Collection[int], settings: Collection[Setting]) -> bool:
        """True if it is to be asked before these settings of these outputs."""
        return not self.guard.settings.isdisjoint(settings) and any(index in channels for index in self.channels)

    def words(self, answers: Iterable[str], channels: Collection[int]) -> dict[int, str]:
        """The answer for each output that was asked for, in capitals and without quotes.

        :raises MalformedAnswerError: there is not one for each
        """
        text, asked_for = ",".join(answers), self._asked_for(channels)
        if not self.guard.takes_channels:
            return dict.fromkeys(asked_for, text.strip().strip('"').upper())
        words = [word.strip().strip('"').upper() for word in text.split(",")]
        if len(words) != len(asked_for):
            raise MalformedAnswerError(f"{shorten(text)} is no answer for {len(asked_for)} outputs to {self.guard.ask}")
        return dict(zip(asked_for, words, strict=True))

    def bars(self, words: dict[int, str], channels: Collection[int]) -> list[str]:
        """The sentences for what forbids the command; each once."""
        guard = self.guard
        found: dict[str, None] = {}
        for index, word in words.items():
            if index not in channels or (word in guard.expect if guard.expect else word not in guard.refuse):
                continue
            values = {"channel": index, "answer": shorten(word, 30).strip("'")}
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
            raise MalformedAnswerError(f"{shorten(text)} is no answer to {self.guard.ask}")
        return found if len(found) > 1 else frozenset()

    def seconds(self, words: dict[int, str]) -> dict[int, float]:
        """The times (s) of the outputs where they are not 0.

        :raises MalformedAnswerError: one is no number
        """
        found = {}
        for index, word in words.items():
            if _SECONDS.fullmatch(word) is None:
                raise MalformedAnswerError(f"{shorten(word)} is no answer to {self.guard.ask}")
            if (value := float(word)) > 0:
                found[index] = value
        return found


def understood(
    questions: Sequence[Question], answers: Sequence[str], channels: Collection[int]
) -> tuple[list[str], Conditions]:
    """Sentences for all that the answers forbid, and the conditions that they tell.

    :raises MalformedAnswerError: an answer does not have the form that its question asks for
    """
    bars: list[str] = []
    told: dict[str, frozenset[int] | dict[int, float]] = {}
    left = iter(answers)
    for question in questions:
        words = question.words([next(left) for _ in question.asks(channels)], channels)
        match question.guard.tells:
            case None:
                bars += question.bars(words, channels)
            case "coupled":
                told["coupled"] = question.outputs(words)
            case name:
                told[name] = question.seconds(words)
    return bars, Conditions(**told)  # type: ignore[arg-type]

"""A model as the unit itself tells it: its options, its outputs and the ranges that it answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from agent.instruments.catalogue import ChannelModel, Model
from agent.instruments.catalogue.models import RatingQuestion
from agent.instruments.driver import LinkError, MalformedAnswerError, Range
from agent.instruments.text.parts import Part

#: Asks a question: the part that reads its answer, in, the values of its places, out.
Asking = Callable[[Part], tuple[Any, ...]]

#: More outputs than that no unit has; an answer that says so is none.
_MOST_OUTPUTS = 64
#: An end of a range is no answer if it is so many times what the series file has for the model.
_MOST_TIMES = 4
#: A resolution is no more than this part of the range: a larger one would let every setting pass for the one that was sent, and
#: for one within the configured limits.
_COARSEST = 0.02


def asked(model: Model, ask: Asking, recover: Callable[[], object], address: int | None = None) -> Model:
    """The model with what the unit tells of itself, the same one where its series asks for nothing.

    :param recover: makes a new link to the unit after a question that it may leave unanswered
    :raises MalformedAnswerError: an answer does not fit to the others, or is none
    :raises DriverError: no answer
    """
    for question in model.series.ratings:
        if question.is_for(model.name):
            try:
                model = _asked(model, question, ask, address)
            except (LinkError, MalformedAnswerError):
                if not question.optional:
                    raise
                recover()
    return model


def parts(model: Model, question: RatingQuestion, address: int | None = None) -> list[tuple[tuple[int, ...], Part]]:
    """The messages that a question is asked as, each behind the outputs that it is on."""
    is_each = question.selected or "{ch}" in question.ask or "{name}" in question.ask
    outputs = question.outputs(tuple(model.entry.channels))
    groups = [(index,) for index in outputs] if is_each else [outputs or (1,)]
    return [(group, Part(question, model, group, address)) for group in groups]


def _asked(model: Model, question: RatingQuestion, ask: Asking, address: int | None) -> Model:
    channels = dict(model.entry.channels)
    for group, part in parts(model, question, address):
        for (name, owner), value in zip(part.places, ask(part), strict=True):
            match name:
                case "option":
                    return _with_options(model, str(value))
                case "channels":
                    channels = _counted(channels, value, part)
                case _:
                    for index in group if owner is None else (owner,):
                        if index not in channels:
                            raise MalformedAnswerError(
                                f"{part.ask} told of output {index}, which the unit does not have"
                            )
                        channels[index] = _told(model, channels[index], name, value, part)
    if channels == model.entry.channels:
        return model
    return Model(model.name, model.series, model.entry.model_copy(update={"channels": channels}))


def _with_options(model: Model, told: str) -> Model:
    for option in model.series.options:
        if option.is_for(model.name) and re.search(option.holds, told, re.IGNORECASE):
            # Of the series that the unit is served by: the catalogue may have another one of that name by now.
            return Model(option.becomes, model.series, model.series.models[option.becomes])
    return model


def _counted(channels: dict[int, ChannelModel], value: Any, part: Part) -> dict[int, ChannelModel]:
    if not isinstance(value, int | float) or not 1 <= value <= _MOST_OUTPUTS or value != int(value):
        raise MalformedAnswerError(f"{part.ask} was answered {value}, which is no number of outputs")
    return {index: channels.get(index, ChannelModel(index=index)) for index in range(1, int(value) + 1)}


def _told(model: Model, channel: ChannelModel, name: str, value: Any, part: Part) -> ChannelModel:
    """The output with one property as the unit told it."""
    if name == "module":
        module = model.series.modules.get(str(value).strip('" '))
        return (
            channel if module is None else module.model_copy(update={"index": channel.index, "number": channel.number})
        )
    if not isinstance(value, int | float):
        return channel  # it does not tell it
    level, _, end = name.rpartition("_")
    present: Range | None = getattr(channel, level, None)
    most = 0.0 if present is None else max(abs(present.min), abs(present.max))
    if name == "power_max" or end in ("rating", "resolution"):
        told = float(value) if name == "power_max" else abs(float(value))
        if not told > 0 or (end == "resolution" and present is not None and told > most * _COARSEST):
            raise MalformedAnswerError(f"{part.ask} was answered {value:g}, which is no {name} of {model.name}")
        return channel.model_copy(update={"power" if name == "power_max" else name: told})
    if most and abs(value) > most * _MOST_TIMES:
        raise MalformedAnswerError(f"{part.ask} was answered {value:g}, which does not fit to {present}")
    low, high = (present.min, present.max) if present is not None else (0.0, 0.0)
    low, high = (float(value), high) if end == "min" else (low, float(value))
    if low > high and present is None:
        low, high = high, low  # a negative output tells its magnitude as its maximum
    if low > high:
        raise MalformedAnswerError(f"{part.ask} was answered {value:g}, which does not fit to {present}")
    return channel.model_copy(update={level: Range(low, high)})

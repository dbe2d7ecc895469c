"""The messages that carry a setting out, as the series file says them, and the outputs that one switch acts on."""

from __future__ import annotations

from dataclasses import dataclass

from agent.instruments.catalogue import Model
from agent.instruments.catalogue.answers import AnswerPattern
from agent.instruments.catalogue.language import SettingEntry
from agent.instruments.driver import Write
from agent.instruments.text.messages import joined, place_texts


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that sets something. ``select``: what is sent right before it, None for nothing.

    ``answer``: what the unit answers when it took it, None where it answers nothing. ``after``: s until the unit takes the
    next one.
    """

    text: str
    select: str | None = None
    answer: AnswerPattern | None = None
    after: float = 0.0


def outgoing(model: Model, write: Write, address: int | None = None) -> list[Outgoing]:
    """The messages for a write, in the order in which they are sent: one for all its outputs where the unit takes that.

    :raises ValueError: the value does not fit into the form that the unit wants
    """
    by_entry: dict[int, tuple[SettingEntry, list[int]]] = {}
    for index in write.channels:
        entry = model.entry_for(write.setting, index)
        if entry is not None:
            by_entry.setdefault(id(entry), (entry, []))[1].append(index)
    messages: list[Outgoing] = []
    for entry, indices in by_entry.values():
        texts = entry.send or (entry.on if write.value else entry.off)
        is_each = entry.selected or any("{ch}" in text or "{name}" in text for text in texts)
        for group in [(index,) for index in indices] if is_each else [tuple(indices)]:
            messages += [_message(model, entry, text, write, group, address) for text in texts]
    return messages


def _message(
    model: Model, entry: SettingEntry, text: str, write: Write, group: tuple[int, ...], address: int | None
) -> Outgoing:
    series = model.series
    filling = place_texts(model, group, address)
    message = series.setting_template(text).filled(filling, write.value)
    select = None
    if entry.selected and model.select is not None:
        select = series.ask_template(model.select.send).filled(filling)
        if model.select.compound:
            message, select = joined(series.link.separator, select, message), None
    answer = entry.answer or series.link.acknowledges
    return Outgoing(message, select, series.pattern(answer) if answer else None, entry.after)


def together(model: Model) -> tuple[frozenset[int], ...]:
    """The outputs that one switch of the unit acts on, whichever of them is meant; none where each has its own."""
    indices = [channel.index for channel in model.channels]
    shared = [
        entry for index in indices if (entry := model.entry_for("state", index)) is not None and entry.reaches == "all"
    ]
    return (frozenset(indices),) if shared and len(indices) > 1 else ()

"""A poll: the messages that read all quantities of all outputs of a model, made once from the series file, and their answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, cast

from agent.instruments.catalogue import Model
from agent.instruments.catalogue.answers import Value
from agent.instruments.catalogue.schema import TRIPS
from agent.instruments.driver import MalformedAnswerError, Reading
from agent.instruments.text.messages import joined, place_texts, shorten
from agent.instruments.text.parts import UNKNOWN, Part, Place
from agent.protocol.messages import Trip
from agent.protocol.quantities import reported

#: The parts of a reading, besides the trips: the fields of `Reading` in their order, and the master switch.
_QUANTITIES = (*Reading._fields, "master")
_SETPOINTS = ("voltage_limit", "current_limit")


class Batching(IntEnum):
    """How many questions one message holds: the more, the faster a poll."""

    COMPOUND = 0  # as many as the unit takes
    LISTS = 1  # one, which may be on all outputs
    SINGLE = 2  # one on one output


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a poll. ``select``: what is sent before it, None for nothing. ``parts``: the answers that it gets in one.

    ``length``: the least and the most bytes of its answer, where nothing ends it.
    """

    text: str
    parts: int = 1
    select: str | None = None
    length: tuple[int, int] | None = None


class PollPlan:
    """The messages of a poll, and the patterns of their answers. It never changes, and all units of a model may share it.

    ``described``: the outputs of the model, with the quantities that the answers hold.
    """

    def __init__(self, model: Model, batching: Batching, address: int | None = None) -> None:
        self.batching = batching
        indices = tuple(channel.index for channel in model.channels)
        self.parts = _parts(model, indices, batching, address)
        self.messages = _messages(model, self.parts, batching, address)
        order: dict[Place, list[int]] = {}
        for at, place in enumerate(chain.from_iterable(part.places for part in self.parts)):
            order.setdefault(place, []).append(at)
        self.order = order
        self.outputs = tuple(_OutputPlan(index, order) for index in indices)
        told = {output.index: output.tells for output in self.outputs}
        self.described = tuple(replace(output, tells=told[output.index]) for output in model.outputs)
        self.events = frozenset(at for part in self.parts for place in part.events for at in order[place])

    @property
    def is_one_message(self) -> bool:
        """True if all that a poll asks for stands in one message."""
        return len(self.messages) == 1 and self.messages[0].select is None and self.messages[0].length is None

    @property
    def count(self) -> int:
        """The messages of a poll, those that select an output included."""
        return sum(1 + (message.select is not None) for message in self.messages)


class _OutputPlan:
    """Where the values of one output stand among those of all parts; the None behind them stands for what is not asked for."""

    __slots__ = ("_has_mode", "_merged", "_needed", "_pick", "_trips", "index", "tells", "trips")

    def __init__(self, index: int, order: dict[Place, list[int]]) -> None:
        self.index = index
        last = sum(map(len, order.values()))
        found = {
            name: [at for owner in (index, None) for at in order.get((name, owner), ())]
            for name in (*_QUANTITIES, *TRIPS)
        }
        self._pick = itemgetter(*[found[name][0] if found[name] else last for name in _QUANTITIES])
        # A quantity that several registers tell: the first that tells it, and True where one says so.
        self._merged = [(at, found[name]) for at, name in enumerate(_QUANTITIES) if len(found[name]) > 1]
        self._trips = [(cast("Trip", name), at) for name in TRIPS for at in found[name]]
        self.trips = frozenset(at for _, at in self._trips)
        self._has_mode = bool(found["mode"])
        self._needed = [name for name in _SETPOINTS if found[name]]
        self.tells = reported([*(name for name, at in found.items() if at), *(["tripped"] if self._trips else [])])

    def reading(self, values: Sequence[Value]) -> Reading:
        """The output's reading.

        :raises MalformedAnswerError: a setpoint is missing that was asked for
        """
        picked = self._pick(values)
        if self._merged:
            picked = list(picked)
            for at, places_ in self._merged:
                told = [values[place] for place in places_ if values[place] is not None]
                picked[at] = (True if True in told else told[0]) if told else None
        voltage, current, volts, amps, state, ovp, ocp, mode, tripped, ocp_level, ovp_state, master = picked
        if (volts is None and "voltage_limit" in self._needed) or (amps is None and "current_limit" in self._needed):
            raise MalformedAnswerError("9.9E37, which stands for no value, is no setting")
        if tripped is None:
            for trip, at in self._trips:
                if values[at]:
                    tripped = trip
                    break
        if master is not None and state is not None:
            state = state and master
        if not self._has_mode:
            mode = None
        elif tripped or state is False:
            mode = "OFF"
        # By place: with names it takes twice the time, in each poll.
        return Reading(voltage, current, volts, amps, state, ovp, ocp, mode, tripped, ocp_level, ovp_state)


@lru_cache(maxsize=64)
def poll_plan(model: Model, batching: Batching, address: int | None = None) -> PollPlan:
    """The plan of a model, made once: 12 patterns and their places are some 20 KB."""
    return PollPlan(model, batching, address)


def _parts(model: Model, indices: tuple[int, ...], batching: Batching, address: int | None) -> tuple[Part, ...]:
    """The questions, those for a selected output behind the others, output by output."""
    found: list[Part] = []
    for poll in model.series.polls:
        if not poll.is_for(model.name):
            continue
        outputs = poll.outputs(indices)
        is_each = poll.selected or "{ch}" in poll.ask or "{name}" in poll.ask
        if "{list}" in poll.ask and batching is Batching.SINGLE:
            is_each = True
        groups = [(index,) for index in outputs] if is_each else [outputs]
        found += [Part(poll, model, group, address) for group in groups if group]
    return tuple(sorted(found, key=lambda part: part.selected or 0))


def _messages(model: Model, parts: Iterable[Part], batching: Batching, address: int | None) -> tuple[Message, ...]:
    link, select = model.series.link, model.select
    messages: list[Message] = []
    chosen: int | None = None  # the output that is selected at that place of the poll
    for part in parts:
        text, apart = part.ask, None
        if part.selected is not None and select is not None and chosen != part.selected:
            command = model.series.ask_template(select.send).filled(place_texts(model, (part.selected,), address))
            if select.compound:
                text = joined(link.separator, command, text)
            else:
                apart = command
        last = messages[-1] if messages else None
        is_joined = (
            batching is Batching.COMPOUND
            and last is not None
            and apart is None
            and part.length is None
            and last.length is None
            and len(joined(link.separator, last.text, text)) <= (link.longest or 10**6)
            and last.parts < (link.parts or 10**6)
        )
        if is_joined and last is not None:
            messages[-1] = Message(joined(link.separator, last.text, text), last.parts + 1, last.select, last.length)
            chosen = part.selected if part.selected is not None else chosen
        else:
            if select is not None and select.compound and part.selected is not None and chosen == part.selected:
                # Each message selects its output itself: somebody at the panel may select another one between two.
                command = model.series.ask_template(select.send).filled(place_texts(model, (part.selected,), address))
                text = joined(link.separator, command, text)
            messages.append(Message(text, 1, apart, part.length))
            chosen = part.selected
    return tuple(messages)


class PollReader:
    """Reads the answers to a plan's messages, for one unit.

    Most of an answer is settings, which rarely change: a part that is the same as before is not parsed again.
    """

    __slots__ = ("_events", "_texts", "_told", "_values", "plan", "values")

    def __init__(self, plan: PollPlan) -> None:
        self.plan = plan
        self._texts: list[str | None] = [None] * len(plan.parts)  # no text: an empty part is no answer either
        self._values: list[tuple[Value, ...]] = [()] * len(plan.parts)
        self._events: dict[int, Value] = {}  # what the unit told last at the places that it tells once
        self._told: set[int] = set()  # those that it told in the last poll
        #: The values of the last poll, at the places that `PollPlan.order` tells.
        self.values: Sequence[Value] = ()

    def read(self, answers: Sequence[str]) -> dict[int, Reading]:
        """The reading of each output, from the answers to the plan's messages in their order.

        :raises MalformedAnswerError: an answer has another form than its question asks for
        """
        plan = self.plan
        values_of, texts = self._values, self._texts
        at = 0
        for message, answer in zip(plan.messages, answers, strict=True):
            parts = answer.split(";") if message.parts > 1 else (answer,)
            if len(parts) != message.parts:
                raise MalformedAnswerError(
                    f"{shorten(answer)} has {len(parts)} parts, not the {message.parts} that were asked for"
                )
            for text in parts:
                if text != texts[at]:
                    values_of[at] = plan.parts[at].read(text)
                    texts[at] = text
                at += 1
        values: Any = (*chain.from_iterable(values_of), None)
        if plan.events:
            values = self._remembered(list(values))
        self.values = values
        readings = {output.index: output.reading(values) for output in plan.outputs}
        if plan.events:
            self._forget_old_trips(readings, values)
        return readings

    def forget_trips(self) -> None:
        """Forget the trips that the unit told once: they were cleared."""
        self._events = {place: value for place, value in self._events.items() if value is not True}

    def _remembered(self, values: list[Value]) -> list[Value]:
        """The values, with what the unit told once and has not told again: a mode until the next, a trip until it is cleared."""
        self._told = {place for place in self.plan.events if values[place] not in (None, False)}
        for place in self.plan.events:
            if values[place] == UNKNOWN:
                values[place] = None
                self._events.pop(place, None)
            elif place in self._told:
                self._events[place] = values[place]
            else:
                values[place] = self._events.get(place, values[place])
        return values

    def _forget_old_trips(self, readings: dict[int, Reading], values: list[Value]) -> None:
        """Forget trips that were told before of outputs that are on: somebody cleared them at the panel."""
        for output in self.plan.outputs:
            if readings[output.index].state and readings[output.index].tripped:
                for place in output.trips - self._told:
                    self._events.pop(place, None)
                    values[place] = None
                readings[output.index] = output.reading(values)

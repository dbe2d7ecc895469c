"""Rules 4 and 5: every `seq` reaches the broker, and each state that is published as present was answered by the unit then."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tests.soak.rules.books import Answer, Books, ChannelBook, Place, Sample, identity
from tests.soak.tap import Publish

#: s between a unit's answer and the time of the state made of it, at most: a timeout and a busy machine.
LATEST_ANSWER = 4.0
#: s before the agent is killed: what it read earlier must have got to the broker or the disk, whatever was stalled.
LOST_WITH_A_KILL = 45.0


class States:
    """The answers of the units, and the states made of them. Call its methods with the lock of the books held."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def unit_answered(self, unit: str, message: str, answer: str | None, now: float) -> None:
        """Note the voltages that a unit answered: by their noise one answer is told from another."""
        if answer is None:
            return
        if "COUP?" in message:
            self._books.units[unit].coupling_looked = now
        questions, answers = message.split(";:"), answer.split(";")
        for question in questions:
            if question.startswith(("VOLT? (@", "OUTP? (@")):
                for index in _list(question):
                    self._books.channel(unit, index).looked = now
        if len(questions) != len(answers):
            return
        moment = time.time()
        for question, said in zip(questions, answers, strict=True):
            if question.startswith("MEAS:VOLT? (@"):
                for index, value in zip(_list(question), said.split(","), strict=True):
                    self._books.channel(unit, index).answers[float(value)].append(Answer(moment))

    def published(self, connection: int, unit: str, index: int, is_backlog: bool, packet: Publish) -> None:
        """The agent publishes a state."""
        channel = self._books.channel(unit, index)
        state = json.loads(packet.payload)
        moment = datetime.fromisoformat(state["time"]).timestamp()
        place = self._books.run_of(moment), state["seq"]
        which = f"seq {state['seq']} of channel {state['index']}"
        self._books.counts["backlog" if is_backlog else "states"] += 1
        known = channel.states.get(place)
        if known is not None and known.payload != packet.payload:
            self._books.violated(4, unit, f"two states with {which}: {known.payload!r} and {packet.payload!r}")
        if known is None:
            channel.states[place] = Sample(packet.payload, moment)
            self._check_truth(channel, state, moment)
        if is_backlog:
            if place in channel.in_backlog and not self._may_come_again(channel.in_backlog[place], packet):
                self._books.violated(4, unit, f"{which} came twice by the backlog")
            channel.in_backlog[place] = time.monotonic()
            if channel.newest_backlog[0] == connection and place < channel.newest_backlog[1]:
                self._books.violated(4, unit, f"{which} came late by the backlog")
            channel.newest_backlog = connection, place
        else:
            if channel.newest_live[0] == connection and place < channel.newest_live[1]:
                self._books.violated(4, unit, f"{which} came after {channel.newest_live[1][1]}")
            channel.newest_live = connection, place
        self._books.unsettled.pop(identity(packet), None)

    def _may_come_again(self, before: float, packet: Publish) -> bool:
        """The broker's word for it may not have got to the agent, or not to its disk before it was killed."""
        now, wall = time.monotonic(), time.time()
        moment = wall - (now - before)
        killed = any(since < moment <= killed for killed, since in self._books.kills)
        return killed or self._books.unsettled[identity(packet)] > 0

    def _check_truth(self, channel: ChannelBook, state: Mapping[str, Any], moment: float) -> None:
        if not state["online"]:
            self._books.counts["states offline"] += 1
            stale = [
                name for name in ("state", "voltage", "current", "voltage_limit", "mode") if state[name] is not None
            ]
            if stale:
                self._books.violated(5, state["psu"], f"offline, and yet {', '.join(stale)} are given: {state}")
            return
        answers = channel.answers.get(state["voltage"], [])
        # The newest that it can be: two answers may be alike, and their states come in any order.
        # A process that was stopped reads afterwards what came meanwhile. It may publish it much later: its time counts.
        latest = LATEST_ANSWER + max(
            (lasted for lasted, until in self._books.stops if -0.01 <= moment - until < LATEST_ANSWER), default=0.0
        )
        fitting = [answer for answer in answers if answer.seq is None and -0.01 <= moment - answer.time <= latest]
        if fitting:
            max(fitting, key=lambda answer: answer.time).seq = state["seq"]
            return
        alike = ", ".join(
            f"{moment - answer.time:.2f} s before it" + (f", which is seq {answer.seq}" if answer.seq else "")
            for answer in answers[-10:]
        )
        self._books.violated(5, state["psu"], f"not what the unit answered ({alike or 'never'} it did): {dict(state)}")

    def acknowledged(self, unit: str, index: int, payload: bytes) -> None:
        """The broker has a state, or the agent keeps it on disk for its next start."""
        state = json.loads(payload)
        moment = datetime.fromisoformat(state["time"]).timestamp()
        place = self._books.run_of(moment), state["seq"]
        self._books.channel(unit, index).states.setdefault(place, Sample(payload, moment)).acknowledged = True

    def due(self) -> list[str]:
        """The `seq` that the broker has not acknowledged yet."""
        return [f"seq {seqs[:5]} of {unit}/{index}" for unit, index, seqs in self._gaps()]

    def close(self) -> None:
        """The last check: nothing more will come."""
        for unit, index, seqs in self._gaps():
            self._books.counts["missing"] += len(seqs)
            self._books.violated(4, unit, f"channel {index}: seq {seqs[:20]} never reached the broker")
        self._books.counts["samples"] += sum(
            len(channel.states) for unit in self._books.units.values() for channel in unit.channels.values()
        )

    def _gaps(self) -> Iterator[tuple[str, int, list[int]]]:
        """Unit, channel, and what is missing of it."""
        for unit, book in self._books.units.items():
            for index, channel in book.channels.items():
                missing = [seq for run in range(len(self._books.kills) + 1) for seq in self._missing(channel, run)]
                if missing:
                    yield unit, index, missing

    def _missing(self, channel: ChannelBook, run: int) -> list[int]:
        """What should be there of one run: of one that was killed, what it read long before."""
        kills = self._books.kills
        latest = kills[run][1] - LOST_WITH_A_KILL if run < len(kills) else None
        states = channel.states
        newest = max(
            (seq for (of, seq), sample in states.items() if of == run and (latest is None or sample.time < latest)),
            default=0,
        )
        places: list[Place] = [(run, seq) for seq in range(1, newest + 1)]
        return [place[1] for place in places if place not in states or not states[place].acknowledged]


def _list(question: str) -> list[int]:
    return [int(index) for index in question[question.index("(@") + 2 :].rstrip(")").split(",")]

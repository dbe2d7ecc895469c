"""Rules 4 and 5: every `seq` reaches the broker, and each state that is published as present was answered by the unit then."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.soak.books import Answer, Books, ChannelBook, identity
from tests.soak.tap import Publish

#: s between a unit's answer and the time of the state made of it, at most: a timeout and a busy machine.
LATEST_ANSWER = 4.0


class States:
    """The answers of the units, and the states made of them. Call its methods with the lock of the books held."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def unit_answered(self, unit: str, message: str, answer: str | None, now: float) -> None:
        """Note the voltages that a unit answered: by their noise one answer is told from another."""
        if answer is None:
            return
        questions, answers = message.split(";:"), answer.split(";")
        for question in questions:
            if question.startswith(("VOLT? (@", "OUTP? (@")):
                for index in _list(question):
                    self._books.channels[unit, index].looked = now
        if len(questions) != len(answers):
            return
        moment = time.time()
        for question, said in zip(questions, answers, strict=True):
            if question.startswith("MEAS:VOLT? (@"):
                for index, value in zip(_list(question), said.split(","), strict=True):
                    self._books.channels[unit, index].answers[float(value)].append(Answer(moment))

    def published(self, connection: int, unit: str, index: int, is_backlog: bool, packet: Publish) -> None:
        """The agent publishes a state."""
        channel = self._books.channels[unit, index]
        state = json.loads(packet.payload)
        seq = state["seq"]
        self._books.counts["backlog" if is_backlog else "states"] += 1
        known = channel.states.get(seq)
        if known is not None and known[0] != packet.payload:
            self._books.violated(
                4, unit, f"two states with seq {seq}: {known[0].decode()} and {packet.payload.decode()}"
            )
        if known is None:
            channel.states[seq] = packet.payload, False
            self._check_truth(channel, state)
        if is_backlog:
            if seq in channel.in_backlog and self._books.unsettled[identity(packet)] <= 0:
                self._books.violated(4, unit, f"seq {seq} of channel {state['index']} came twice by the backlog")
            channel.in_backlog.add(seq)
            if channel.newest_backlog[0] == connection and seq < channel.newest_backlog[1]:
                self._books.violated(4, unit, f"seq {seq} of channel {state['index']} came late by the backlog")
            channel.newest_backlog = connection, seq
        else:
            if channel.newest_live[0] == connection and seq < channel.newest_live[1]:
                self._books.violated(
                    4, unit, f"state {seq} of channel {state['index']} came after {channel.newest_live[1]}"
                )
            channel.newest_live = connection, seq
        self._books.unsettled.pop(identity(packet), None)

    def _check_truth(self, channel: ChannelBook, state: Mapping[str, Any]) -> None:
        if not state["online"]:
            self._books.counts["states offline"] += 1
            stale = [
                name for name in ("state", "voltage", "current", "voltage_limit", "mode") if state[name] is not None
            ]
            if stale:
                self._books.violated(5, state["psu"], f"offline, and yet {', '.join(stale)} are given: {state}")
            return
        moment = datetime.fromisoformat(state["time"]).timestamp()
        answers = channel.answers.get(state["voltage"], [])
        # The newest that it can be: two answers may be alike, and their states come in any order.
        fitting = [
            answer for answer in answers if answer.seq is None and -0.01 <= moment - answer.time <= LATEST_ANSWER
        ]
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
        self._books.channels[unit, index].states[json.loads(payload)["seq"]] = payload, True

    def due(self) -> list[str]:
        """The `seq` that the broker has not acknowledged yet."""
        missing = {place: _missing(channel) for place, channel in self._books.channels.items()}
        return [f"seq {seqs[:5]} of {unit}/{index}" for (unit, index), seqs in missing.items() if seqs]

    def close(self) -> None:
        """The last check: nothing more will come."""
        for (unit, index), channel in self._books.channels.items():
            missing = _missing(channel)
            self._books.counts["missing"] += len(missing)
            if missing:
                self._books.violated(4, unit, f"channel {index}: seq {missing[:20]} never reached the broker")
            self._books.counts["samples"] += len(channel.states)


def _missing(channel: ChannelBook) -> list[int]:
    states = channel.states
    return [seq for seq in range(1, max(states, default=0) + 1) if seq not in states or not states[seq][1]]


def _list(question: str) -> list[int]:
    return [int(index) for index in question[question.index("(@") + 2 :].rstrip(")").split(",")]

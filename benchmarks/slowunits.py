"""Supplies with one output on serial lines of their own, of 9,600 baud, in a process of their own.

Prints one JSON line with the resource names; then answers each line of its input with one JSON line: for each unit the messages
that came in since the last time, each with the moment (`time.monotonic`) at which its first byte was on the line. It ends with
its input.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time

from agent.simulator import NetworkInstrument, make_supply
from agent.simulator import simulator as simulators
from agent.simulator.base import Instrument
from agent.simulator.exchange import Answered, Exchange

BAUD = 9600
#: With start and stop bit, and the line end behind each message.
_BYTE = 10 / BAUD

_messages: dict[Instrument, list[tuple[float, str]]] = {}


class StampedExchange(Exchange):
    """Notes when each message began."""

    def submit(self, owner: object, data: bytes, answered: Answered) -> None:
        began = time.monotonic() - (len(data) + 1) * _BYTE
        _messages[self.instrument].append((began, data.decode()))
        super().submit(owner, data, answered)


def main() -> None:
    parser = argparse.ArgumentParser(description="units on slow lines, for the benchmarks")
    parser.add_argument("model")
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    setattr(simulators, "Exchange", StampedExchange)  # noqa: B010  # the type checker knows no such change
    units = [
        NetworkInstrument(make_supply(arguments.model), socket_port=None, pty=True, baud=BAUD)
        for _ in range(arguments.count)
    ]
    with contextlib.ExitStack() as stack:
        for unit in units:
            _messages[unit.instrument] = []
            stack.enter_context(unit)
        print(json.dumps([unit.resource for unit in units]), flush=True)
        for _ in sys.stdin:
            found = [list(_messages[unit.instrument]) for unit in units]
            for unit, messages in zip(units, found, strict=True):
                del _messages[unit.instrument][: len(messages)]
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

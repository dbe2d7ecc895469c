"""A simulated supply that writes down who sends it what: ``python -m tests.fleet.instrument LOG PORT SERIAL``.

Each message that it carries out becomes a line of the log: s (`time.monotonic`, the same for all processes of this machine), the
address of who sent it, the message, and which outputs are on after it. Orders come by stdin, one a line; each is answered.
"""

from __future__ import annotations

import functools
import json
import socket
import sys
import time
from pathlib import Path
from typing import TextIO

from agent.simulator import Simulator, lines
from agent.simulator.exchange import Exchange

READY = "ready"


class _Watched(lines._LineConnection):
    """A connection whose messages are written down when they have been carried out."""

    log: TextIO

    def __init__(self, exchange: Exchange, stream: socket.socket) -> None:
        self._peer = str(stream.getpeername()[0])
        super().__init__(exchange, stream)

    def _submit(self, message: bytes) -> None:
        self._exchange.submit(self, message, functools.partial(self._note, message))

    def _note(self, message: bytes, answer: bytes | None) -> None:
        outputs = [int(channel.output) for channel in self._exchange.instrument.channels.values()]  # type: ignore[attr-defined]
        entry = [time.monotonic(), self._peer, message.decode("latin-1").strip(), outputs]
        self.log.write(json.dumps(entry) + "\n")
        self.log.flush()
        self._reply(answer)


def main() -> None:
    log, port, serial = sys.argv[1:]
    lines._LineConnection = _Watched  # type: ignore[misc]
    with (
        Path(log).open("a") as _Watched.log,
        Simulator(serial=serial, host="0.0.0.0", socket_port=int(port)) as simulator,
    ):
        print(READY, flush=True)
        for line in sys.stdin:
            order, *arguments = line.split()
            match order:
                case "press":
                    simulator.instrument.panel.press_output(int(arguments[0]), arguments[1] == "on")
                case "latency":
                    simulator.latency = float(arguments[0])
                case "freeze":
                    simulator.freeze()
                case "thaw":
                    simulator.thaw()
                case "disconnect":
                    simulator.disconnect(reset=True)
            print("done", flush=True)


if __name__ == "__main__":
    main()

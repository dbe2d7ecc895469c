"""The fleet as it changes: a screen on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from agent.cli.options import NotFound
from agent.cli.watching import screen as terminal_screen
from agent.cli.watching.board import Board
from agent.cli.watching.feed import Feed
from agent.cli.watching.lines import Lines
from agent.client.connection import Client
from agent.client.request import Target

#: s after which changes of time, such as values that are old now, are looked for.
_TICK = 1.0


class Watch:
    """Shows the channels' states as they are published, until it is interrupted.

    :param target: a unit or a channel; None for the whole fleet
    :param as_json: JSON lines instead of a screen
    :param instructions: lines that are shown above the channels, or once before the lines
    :param still_running: called at least every second; may raise, which ends `run`
    :param line_interval: s; a channel whose measured values move gets a line at most this often, 0 for one whenever they do
    """

    def __init__(
        self,
        client: Client,
        target: Target | None = None,
        *,
        as_json: bool = False,
        instructions: Sequence[str] = (),
        still_running: Callable[[], None] = lambda: None,
        line_interval: float = 0.0,
    ) -> None:
        self._client = client
        self._as_json = as_json
        self._instructions = list(instructions)
        self._still_running = still_running
        self._line_interval = line_interval
        self._feed = Feed(client, target)

    def run(self) -> None:
        """Show states until the user ends it, or an exception does: KeyboardInterrupt, or what `still_running` raises.

        :raises BrokerError: the broker refuses the subscription
        :raises NotFound: the unit or channel is not there
        :raises BrokenPipeError: the reader of the lines has gone
        """
        self._feed.begin()
        if (absence := self._feed.absence()) is not None:
            raise NotFound(absence)
        if terminal_screen.can_show() and not self._as_json:
            Board(self._client, self._feed, self._instructions, self._still_running).run()
        else:
            self._lines()

    def _lines(self) -> None:
        for line in self._instructions:
            print(line, flush=True)
        lines = Lines(as_json=self._as_json, interval=self._line_interval)
        while True:
            lines.print(self._feed, time.monotonic())
            self._still_running()
            self._feed.wait_for_message(_TICK)

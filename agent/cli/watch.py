"""The fleet as it changes: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Sequence

from rich.live import Live

from agent.cli import terminal
from agent.client.connection import QUIET, Client, LinkChange, Message
from agent.client.fleet import Fleet, without_values
from agent.client.request import Target
from agent.protocol.messages import ChannelState, LeaseState

#: s between two drawings of the table.
_FRAME = 0.25


class Watch:
    """Shows the channels' states as they are published, until it is interrupted.

    :param target: a unit or a channel; None for the whole fleet
    :param as_json: JSON lines instead of a table
    :param instructions: lines that are shown with the table, or once before the lines
    :param still_running: called at least every second; may raise, which ends `run`
    :param line_interval: s; on a pipe a line for a channel at most this often, 0 for one whenever it changes
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
        self._target = target
        self._as_json = as_json
        self._instructions = list(instructions)
        self._still_running = still_running
        self._line_interval = line_interval
        self._fleet = Fleet(client.topics)
        self._lost: str | None = None
        self._shown: dict[tuple[str, int], tuple[ChannelState, LeaseState | None]] = {}
        self._conflicts: dict[str, str | None] = {}
        self._next_line: dict[tuple[str, int], float] = {}

    def run(self) -> None:
        """Show states until an exception ends it: KeyboardInterrupt, BrokenPipeError, or what `still_running` raises.

        :raises BrokerError: the broker refuses the subscription
        """
        unit = None if self._target is None else self._target.unit
        self._client.subscribe(Fleet.filters(self._client.topics, unit))
        if sys.stdout.isatty() and not self._as_json:
            self._table()
        else:
            self._lines()

    def _states(self) -> list[ChannelState]:
        states = (
            self._fleet.channels()
            if self._target is None
            else self._fleet.channels(self._target.unit, self._target.channel)
        )
        if self._lost is None:
            return states
        # Without the broker no state is known to be present.
        return [without_values(state) for state in states]

    def _table(self) -> None:
        console = terminal.console()
        title = f"psu-agent  {self._client.address}"
        for line in self._instructions:
            console.print(line, soft_wrap=True)
        room = console.size.height - len(self._instructions)
        self._take(QUIET)
        with Live(console=console, auto_refresh=False, screen=not self._instructions) as live:
            while True:
                height = room if self._instructions else console.size.height
                view = terminal.live_view(self._fleet, self._states(), title=title, lost=self._lost, height=height)
                live.update(view, refresh=True)
                self._take(_FRAME)
                self._still_running()

    def _take(self, seconds: float) -> None:
        """Take in everything that comes within a time (s)."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._update(self._client.inbox.get(timeout=left))
            except queue.Empty:
                return

    def _update(self, item: Message | LinkChange) -> str | None:
        """Take in one message. Returns the unit that it is about, None if all units may have changed."""
        if isinstance(item, LinkChange):
            self._lost = item.reason
            return None
        told = self._fleet.update(item.topic, item.payload)
        return None if told is None else told[0]

    def _lines(self) -> None:
        for line in self._instructions:
            print(line, flush=True)
        self._take(QUIET)
        unit: str | None = None
        while True:
            for state in self._states():
                if unit in (None, state.psu):
                    self._print_if_new(state)
            if not self._as_json:
                self._print_conflicts(unit)
            self._still_running()
            while True:
                try:
                    unit = self._update(self._client.inbox.get(timeout=1.0))
                    break
                except queue.Empty:
                    self._still_running()

    def _print_conflicts(self, unit: str | None) -> None:
        """A line for each unit that another agent claims, too, or claims no more."""
        for name in self._fleet.units if unit is None else (unit,):
            reason = self._fleet.conflict(name)
            if reason != self._conflicts.get(name):
                self._conflicts[name] = reason
                print(terminal.clean(f"{name}: {reason or 'no other agent claims it any more'}"), flush=True)

    def _print_if_new(self, state: ChannelState) -> None:
        key = (state.psu, state.index)
        # A new time, sequence number, energy or charge alone is no change.
        lease = self._fleet.lease_of(*key) if self._lost is None else None
        content = state.model_copy(update={"time": None, "seq": 0, "energy": None, "charge": None}), lease
        now = time.monotonic()
        if self._shown.get(key) == content or now < self._next_line.get(key, 0.0):
            return
        self._shown[key] = content
        self._next_line[key] = now + self._line_interval
        if self._as_json:
            print(terminal.json_text(terminal.with_lease(state, lease)), flush=True)
        else:
            print(terminal.state_line(state, lease=lease), flush=True)

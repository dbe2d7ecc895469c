"""The live screen: draws the fleet four times a second, takes keys at once, and tells the outcomes of the offs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from agent.cli.watching.feed import Feed
from agent.cli.watching.glyphs import glyphs_for
from agent.cli.watching.layout import Scene, draw
from agent.cli.watching.model import Model, Note, Tone
from agent.cli.watching.offs import PATIENCE, Offs, Result, name_of
from agent.cli.watching.screen import Screen
from agent.cli.watching.seen import Channel, Trend
from agent.cli.watching.snapshot import usual_spacing
from agent.client.connection import Client

#: s between two drawings.
_FRAME = 0.25
#: s after which every line is written again, as another program may have written on the terminal.
_REPAINT = 10.0
#: s for which the confirmation of an off is shown. A failure is shown until the next key.
_SHOWN = 15.0


class Board:
    """The screen of `watch`, until the user ends it."""

    def __init__(
        self, client: Client, feed: Feed, instructions: Sequence[str], still_running: Callable[[], None]
    ) -> None:
        self._client = client
        self._feed = feed
        self._instructions = instructions
        self._still_running = still_running
        self._model = Model()
        self._offs = Offs(client.address)
        self._told_until = 0.0

    def run(self) -> None:
        """Draw until the user presses `q`, or an exception ends it. The outcome of an off is waited for, and printed."""
        try:
            with Screen() as screen:
                self._run(screen)
        finally:
            self._finish()

    def _run(self, screen: Screen) -> None:
        repaint = time.monotonic() + _REPAINT
        while not self._model.has_ended:
            now = time.monotonic()
            self._feed.take()
            for result in self._offs.results():
                self._tell(result, now)
            if self._told_until and now > self._told_until:
                self._model.notes, self._told_until = (), 0.0
            if now > repaint:
                screen.forget()
                repaint = now + _REPAINT
            size = screen.size()
            screen.draw(draw(self._scene(screen.has_keys, now), self._model, *size), size)
            self._still_running()
            for key in screen.keys(_FRAME):
                self._press(key)

    def _press(self, key: str) -> None:
        target = self._model.press(key)
        if target is None:
            return
        # First sent, then told.
        self._offs.send(target, self._client.protocol)
        if self._feed.lost is None:
            note = Note(f"{name_of(target)}: the off is sent …")
        else:
            note = Note(f"{name_of(target)}: NOT SENT yet: the broker is gone; one more try to reach it …", "bad")
        self._model.notes, self._told_until = (note,), 0.0

    def _tell(self, result: Result, now: float) -> None:
        tone: Tone = "good" if result.is_done else "bad"
        self._model.notes = tuple(Note(line, tone) for line in result.lines)
        self._told_until = now + _SHOWN if result.is_done else 0.0

    def _scene(self, has_keys: bool, now: float) -> Scene:
        feed = self._feed
        base = self._client.topics.base
        return Scene(
            title=f"psu-agent  {self._client.address}",
            clock=datetime.now(UTC).astimezone().strftime("%H:%M:%S"),
            snapshot=feed.snapshot(now),
            trends=lambda channel, cells: self._trend(channel, cells, now),
            glyphs=glyphs_for(sys.stdout.encoding),
            has_keys=has_keys,
            lost=feed.lost,
            empty=f"nothing was published under {base}/ yet",
            instructions=self._instructions,
            warnings=feed.warnings.latest(),
        )

    def _trend(self, channel: Channel, cells: int, now: float) -> Trend | None:
        limit = self._feed.seen.limit(channel, usual_spacing(self._feed.fleet.units.get(channel[0])))
        return self._feed.seen.trend(channel, now, cells, limit)

    def _finish(self) -> None:
        """Print the outcomes of the offs that were under way at the end."""
        deadline = time.monotonic() + PATIENCE + 1
        if self._offs.pending:
            names = ", ".join(name_of(target) for target in self._offs.pending)
            print(f"waiting for the response: {names} (Ctrl-C ends)", flush=True)
        while self._offs.pending and (left := deadline - time.monotonic()) > 0:
            for result in self._offs.results(wait=left):
                for line in result.lines:
                    print(line, flush=True)

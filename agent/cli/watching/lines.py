"""`watch` without a screen: a line for each change, or a JSON object, for pipes, files and terminals that can't be drawn on."""

from __future__ import annotations

from agent.cli import terminal
from agent.cli.watching.columns import age_text
from agent.cli.watching.feed import Feed
from agent.cli.watching.rows import ChannelView, UnitView
from agent.protocol.messages import ChannelState

#: Fields whose change is no news by itself.
_NO_NEWS = {"time": None, "seq": 0, "energy": None, "charge": None}
#: Fields that move all the time: a line tells of them at most once in a while. Any other one is told at once.
_MEASURED = {"voltage": None, "current": None, "power": None}


class Lines:
    """Prints what has changed since the last call.

    :param as_json: a JSON object for each state, instead of a line
    :param interval: s; a line for a channel at most this often, unless something else has changed than what is measured
    """

    def __init__(self, *, as_json: bool, interval: float) -> None:
        self._as_json = as_json
        self._interval = interval
        self._shown: dict[tuple[str, int], tuple[ChannelState, object, object]] = {}
        self._next: dict[tuple[str, int], float] = {}
        self._troubles: dict[str, str] = {}

    def print(self, feed: Feed, now: float) -> None:
        """Print the changes (now in s). A reader that has gone raises BrokenPipeError."""
        for unit in feed.snapshot(now).units:
            if not self._as_json:
                self._print_trouble(unit)
            for view in unit.channels:
                if view.state.seq or view.state.online or view.key in feed.published:
                    self._print_channel(view, feed, now)
        for warning in feed.new_warnings():
            if not self._as_json:
                print(warning.text, flush=True)

    def _print_trouble(self, unit: UnitView) -> None:
        """A line for what is wrong with a unit as a whole, and one when that is over."""
        reason = unit.trouble
        before = self._troubles.get(unit.name)
        if reason == before:
            return
        if reason is None:
            del self._troubles[unit.name]
            text = (
                "no other agent claims it any more"
                if before and " is " not in before[: len(unit.name) + 4]
                else "online"
            )
            print(terminal.clean(f"{unit.name}: {text}"), flush=True)
        else:
            self._troubles[unit.name] = reason
            print(terminal.clean(reason), flush=True)

    def _print_channel(self, view: ChannelView, feed: Feed, now: float) -> None:
        key, state = view.key, view.state
        lease = feed.lease_of(view)
        content = state.model_copy(update=_NO_NEWS)
        shown = self._shown.get(key)
        is_old = view.age is not None
        if shown == (content, lease, is_old):
            return
        settings = content.model_copy(update=_MEASURED)
        is_news = shown is None or (shown[0].model_copy(update=_MEASURED), *shown[1:]) != (settings, lease, is_old)
        if not is_news and now < self._next.get(key, 0.0):
            return
        self._shown[key] = content, lease, is_old
        self._next[key] = now + self._interval
        if self._as_json:
            print(terminal.json_text(terminal.with_lease(state, lease)), flush=True)
        elif view.age is not None:
            print(
                terminal.clean(f"{state.psu}/{state.index} {state.name}: old, no state for {age_text(view.age)}"),
                flush=True,
            )
        else:
            print(terminal.state_line(state, lease=lease), flush=True)

"""`watch` without a screen: a line for each change, or a JSON object, for pipes, files and terminals that can't be drawn on."""

from __future__ import annotations

from agent.cli import terminal
from agent.cli.watching.columns import age_text
from agent.cli.watching.feed import Feed
from agent.cli.watching.rows import ChannelView, Level, UnitView
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
        self._troubles: dict[str, UnitView] = {}
        self._refusals: dict[str, str | None] = {}
        self._lost: str | None = None

    def print(self, feed: Feed, now: float) -> None:
        """Print the changes (now in s). A reader that has gone raises BrokenPipeError."""
        if feed.lost != self._lost:
            self._lost = feed.lost
            there = "is there again" if feed.lost is None else f"is gone ({feed.lost}); connecting again"
            self._tell(f"the broker {there}")
        for unit in feed.snapshot(now).units:
            if feed.lost is None:
                self._print_trouble(unit)
            self._print_refusal(unit.name, unit.refusal)
            for view in unit.channels:
                if view.key in feed.published:
                    self._print_channel(view, feed, now)
                    self._print_refusal(_place(view), view.refusal)
        for warning in feed.new_warnings():
            self._tell(warning.text)

    def _tell(self, text: str) -> None:
        if not self._as_json:
            print(terminal.clean(text), flush=True)

    def _print_trouble(self, unit: UnitView) -> None:
        """A line for what is wrong with a unit as a whole, and one when that is over."""
        before = self._troubles.pop(unit.name, None)
        if unit.trouble is not None:
            self._troubles[unit.name] = unit
            if before is None or before.trouble != unit.trouble:
                self._tell(unit.trouble)
        elif before is not None:
            over = "no other agent claims it any more" if before.level is Level.REFUSED else "online"
            self._tell(f"{unit.name}: {over}")

    def _print_refusal(self, place: str, refusal: str | None) -> None:
        before = self._refusals.get(place)
        self._refusals[place] = refusal
        if refusal is not None and refusal != before:
            self._tell(f"{place}: {refusal}")

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
            self._tell(f"{_place(view)}: old, no state for {age_text(view.age)}")
        elif view.level is Level.UNKNOWN and not state.online:
            self._tell(f"{_place(view)}: not known")
        else:
            print(terminal.state_line(state, lease=lease), flush=True)


def _place(view: ChannelView) -> str:
    return f"{view.state.psu}/{view.state.index} {view.state.name}"

"""A worker that serves a unit on paper: for dangers that no driver sees alone, such as an off before a trip is cleared."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from agent.instruments.catalogue import models_of
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from agent.protocol.commands import parse_command
from agent.protocol.messages import ChannelState, Response
from agent.unit.job import Job
from agent.unit.supply import Supply as Worker
from tests.instruments.series.on_paper import Supply, series_of
from tests.lab import wait_until
from tests.unit.fakedriver import Sheet


class Bench:
    """A unit on paper with its worker, as a context manager.

    :param answers: others than those of the supply's table
    :param effects: the answers that change with a setting
    """

    def __init__(
        self,
        supply: Supply,
        answers: Mapping[str, Any] | None = None,
        effects: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.unit = supply.unit(answers=answers or {}, effects=effects)
        models = models_of(series_of(supply.series))
        if supply.model is not None:
            models = tuple(model for model in models if model.name == supply.model)
        self._sheet = Sheet()
        driver = TextDriver(self.unit, name="psu1", models=models, knowledge=Knowledge())
        self._worker = Worker(name="psu1", agent="bench", driver=driver, outlets=(self._sheet,), poll_interval=3600.0)

    def __enter__(self) -> Self:
        self._worker.start()
        wait_until(lambda: self._sheet.infos and self._sheet.infos[-1].online, "the connection")
        wait_until(lambda: self._sheet.states, "the first poll")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._worker.stop()
        assert self._worker.join(10)

    def carry_out(self, payload: str, channel: str | None = "1") -> Response:
        """Carry a command of a channel out, or of the unit where it is None. ``settings`` are its messages afterwards."""
        self.unit.sent.clear()
        answered = len(self._sheet.responses)
        channels = self._worker.channels if channel is None else (self._worker.channel(channel),)
        command = parse_command(payload.encode(), "unit" if channel is None else "channel")
        self._worker.submit(Job(command, channels, whole_unit=channel is None))
        wait_until(lambda: len(self._sheet.responses) > answered, f"the response to {payload}")
        return self._sheet.responses[answered]

    @property
    def settings(self) -> list[str]:
        """The messages of the last command that are no questions."""
        return [message for message in self.unit.sent if "?" not in message]

    @property
    def latest(self) -> dict[int, ChannelState]:
        """The newest state of each channel."""
        return {state.index: state for state in self._sheet.states}

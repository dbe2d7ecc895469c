"""The end of a verification, whatever happened: outputs off, and the settings as they were found."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from agent.instruments.driver import DriverError, Reading
from agent.protocol.errors import Refusal
from agent.protocol.quantities import BY_NAME
from agent.service.verify.bench import KEPT, Bench

#: s for new links on which the off is sent, s between two tries, and the number of offs that an output may ignore.
LINK_PATIENCE, LINK_PACE, OFF_TRIES = 20.0, 0.5, 3


@dataclass(slots=True)
class Ending:
    """The state in which the supply was left.

    ``output``: ``off`` as the unit tells; ``untold``, where the off was sent and the series tells no state; ``on``, where the
    unit ignores it; ``unknown``, where it could not be reached. ``sentences``: for the user. ``unrestored``: settings that are
    not as they were found.
    """

    output: Literal["off", "untold", "on", "unknown"] = "off"
    sentences: list[str] = field(default_factory=list)
    unrestored: list[str] = field(default_factory=list)


class Restoring:
    """Turns outputs off and puts settings back."""

    def __init__(
        self, bench: Bench, outputs: Iterable[int], found: Mapping[int, Reading], patience: float = LINK_PATIENCE
    ):
        """
        :param outputs: those that may have been turned on
        :param found: the readings before the first setting
        :param patience: s for new links
        """
        self._bench = bench
        self._outputs = sorted({other for index in outputs for other in bench.group(index)})
        self._found = found
        self._patience = patience
        self._lower: list[str] = []  # settings that the user's own limits keep lower than they were found

    def run(self, *, is_link_broken: bool) -> Ending:
        """Turn the outputs off, on a new link if the present one broke; then put the settings back. No `DriverError` comes."""
        ending = Ending()
        deadline = time.monotonic() + self._patience
        is_ready = not is_link_broken
        problem = "the link broke"
        while True:
            try:
                if not is_ready:
                    self._bench.connect()
                    ending.sentences.append("the link was opened again for the off")
                    is_ready = True
                self._turn_off(ending)
                break
            except DriverError as error:
                problem, is_ready = str(error), False
                self._bench.driver.close()
            if time.monotonic() > deadline:
                ending.output = "unknown"
                ending.sentences.append(
                    f"THE OUTPUT MAY STILL BE ON: the unit could not be reached for the off ({problem}); turn output "
                    f"{_listed(self._outputs)} off at its front panel"
                )
                return ending
            time.sleep(LINK_PACE)
        try:
            self._restore(ending)
        except DriverError as error:
            ending.unrestored.append(f"the settings: the link broke while they were put back ({error})")
        if self._lower:
            ending.sentences.append(f"left lower than it was found: {'; '.join(dict.fromkeys(self._lower))}")
        if ending.unrestored:
            ending.sentences.append(f"not as it was found: {'; '.join(ending.unrestored)}")
        return ending

    def _turn_off(self, ending: Ending) -> None:
        switched = [i for i in self._outputs if "state" in self._bench.channels[i].output.settings]
        ignoring: list[int] = []
        for index in switched:
            for _ in range(OFF_TRIES):
                self._bench.set("state", index, value=False)
                if self._bench.wait(lambda readings, i=index: not readings[i].state, 0.5):  # type: ignore[misc]
                    break
            else:
                ignoring.append(index)
        untold = [index for index in switched if self._bench.readings[index].state is None]
        if ignoring:
            ending.output = "on"
            ending.sentences.append(
                f"THE OUTPUT IS STILL ON: the unit ignores the off of output {_listed(ignoring)}; turn it off at its front panel"
            )
        elif untold:
            ending.output = "untold"
            ending.sentences.append(
                f"off was sent to output {_listed(untold)}; the unit does not tell its state: look at it"
            )
        elif switched:
            ending.output = "off"
            ending.sentences.append(f"output {_listed(switched)} is off")

    def _restore(self, ending: Ending) -> None:
        bench = self._bench
        bench.use_limits(None)
        problems: list[str] = []
        for _ in range(2):  # the first of two settings may only be possible when the second is back
            problems = []
            for index, reading in sorted(self._found.items()):
                if index in bench.readings:
                    problems += self._put_back(index, reading)
            if not problems:
                break
        ending.unrestored = problems + self._clear_trips()
        was_on = [index for index in self._outputs if self._found.get(index) and self._found[index].state]
        if was_on:
            ending.sentences.append(f"output {_listed(was_on)} was on before and was left off")

    def _clear_trips(self) -> list[str]:
        """Clear the trips that an early end has left; an output that goes on by that is turned off again."""
        bench, problems = self._bench, []
        for index in self._outputs:
            settings = bench.channels[index].output.settings
            if (
                bench.readings[index].tripped is None
                or self._found[index].tripped
                or "clear_protection" not in settings
            ):
                continue
            bench.set("clear_protection", index, value=True)
            if bench.readings[index].state and "state" in settings:
                bench.set("state", index, value=False)
            if not bench.wait(lambda readings, i=index: readings[i].tripped is None, 0.5):  # type: ignore[misc]
                problems.append(f"output {index} has tripped still ({bench.readings[index].tripped})")
        return problems

    def _put_back(self, index: int, found: Reading) -> list[str]:
        bench = self._bench
        problems: list[str] = []
        channel = bench.channels[index]
        for setting in KEPT:
            wanted = getattr(found, setting)
            if wanted is None or setting not in channel.output.settings or self._is_as(index, found, setting):
                continue
            shown = BY_NAME[setting].shown(wanted)
            try:
                complaints = bench.set(setting, index, wanted)
            except Refusal as refusal:
                told = f"{setting} of output {index} was {shown}: {refusal.message}"
                # The user's own limits hold here, too. A setting that is lower than it was hurts nothing.
                (self._lower if refusal.code == "limit_exceeded" else problems).append(told)
                continue
            if not bench.wait(lambda _, s=setting: self._is_as(index, found, s), 0.25):  # type: ignore[misc]
                now = getattr(bench.readings[index], setting)
                why = f" ({'; '.join(complaints)})" if complaints else ""
                problems.append(f"{setting} of output {index} was {shown}, and is {now}{why}")
        return problems

    def _is_as(self, index: int, found: Reading, setting: str) -> bool:
        wanted, now = getattr(found, setting), getattr(self._bench.readings[index], setting)
        if isinstance(wanted, bool) or now is None:
            return bool(wanted is now)
        return bool(abs(wanted - now) <= self._bench.channels[index].tolerance(setting) + 1e-9)


def _listed(indices: Iterable[int]) -> str:
    return ", ".join(map(str, indices))

"""A supply of the series with its identity, its commands and its panel."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import ClassVar

from agent.simulator.e36300.commands import COMMANDS
from agent.simulator.e36300.outputs import TripleOutput
from agent.simulator.e36300.panel import FrontPanel
from agent.simulator.loads import Load
from agent.simulator.scpi import Command, Quirks


class E36300(TripleOutput):
    """A supply of the series. ``channels[1]`` is output 1, ``panel`` its keys and knobs.

    :param loads: the load of each output; nothing is connected to the others
    :param noise: readings flicker in their last digits, by the random numbers of ``seed``
    :param restore_after_clear: clearing a trip switches an output on again that was on
    :param clock: gives seconds, monotonic
    :raises ValueError: the model is not known
    :raises KeyError: a load is on an output that isn't there
    """

    manufacturer: ClassVar[str] = "Keysight Technologies"
    commands: ClassVar[tuple[Command, ...]] = COMMANDS

    def __init__(
        self,
        model: str = "E36313A",
        *,
        serial: str = "MY61004803",
        firmware: str = "1.0.4-1.0.0-1.00",
        loads: Mapping[int, Load] | None = None,
        noise: bool = True,
        seed: int = 0,
        restore_after_clear: bool = True,
        clock: Callable[[], float] = time.monotonic,
        quirks: Quirks | None = None,
        log_size: int = 0,
    ) -> None:
        super().__init__(
            model,
            loads=loads,
            noise=noise,
            seed=seed,
            restore_after_clear=restore_after_clear,
            clock=clock,
            quirks=quirks,
            log_size=log_size,
        )
        self.serial = serial
        self.identity = f"{self.manufacturer},{model},{serial},{firmware}"
        self.panel = FrontPanel(self)

"""A supply on a bench, for one thread: each write passes the write gate, and the supply is looked at after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.instruments.driver import Driver, Inspection, Profile, Reading, Write, never
from agent.protocol.quantities import SETTINGS, Setting
from agent.unit.gate import WriteGate
from agent.unit.limits.channel import Channel, ChannelSettings, DefaultSettings, channels_of

#: s that an output may take until it does what it was told, and s between two looks.
PATIENCE, PACE = 4.0, 0.05
#: The settings of a channel that a verification may change, in the order in which they are put back.
KEPT: tuple[Setting, ...] = (
    "voltage_protection_state",
    "current_protection",
    "current_protection_level",
    "voltage_protection",
    "current_limit",
    "voltage_limit",
)


class EndedByUser(Exception):
    """The user ended it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that is set during a verification (V, A), both as magnitudes."""

    voltage: float
    current: float


class Bench:
    """A supply and its write gate.

    ``profile``: of the supply. ``channels``: its channels with the limits of the verification. ``readings``: as they were last
    looked at. ``disturbed``: what other outputs did when one was set. ``wrote``: True once anything was sent that sets.
    """

    def __init__(
        self,
        driver: Driver,
        limits: Limits,
        configured: Mapping[int, ChannelSettings] | None = None,
        is_interrupted: Callable[[], bool] = lambda: False,
        patience: float = PATIENCE,
        pause: float = 0.0,
    ) -> None:
        """
        :param configured: the user's own limits of channels, which hold as well
        :param is_interrupted: asked before each step
        :param patience: s that an output may take until it does what it was told
        :param pause: s that the supply needs between two messages; a new link knows nothing of the last one on another
        """
        self.driver = driver
        self.limits = limits
        self.profile: Profile = driver.expected
        self.channels: dict[int, Channel] = {}
        self.readings: dict[int, Reading] = {}
        self.disturbed: list[str] = []
        self.wrote = False
        self._configured = dict(configured or {})
        self._is_interrupted = is_interrupted
        self._patience = patience
        self._pause = pause
        self._gate: WriteGate

    def connect(self) -> Profile:
        """Connect anew, and look at the supply. It changes no setting.

        :raises DriverError: it can't be reached, or is not the one that is expected
        """
        self.check_interrupted()
        time.sleep(self._pause)
        self.profile = self.driver.connect()
        self.use_limits(self.limits)
        self.look()
        return self.profile

    def use_limits(self, limits: Limits | None) -> None:
        """Have the gate refuse what is above these limits, or above the user's own alone."""
        settings: dict[int, ChannelSettings] = {}
        for output in self.profile.outputs:
            own = self._configured.get(output.index, DefaultSettings())
            settings[output.index] = DefaultSettings(
                name=own.name,
                voltage_max=_least(own.voltage_max, limits.voltage if limits else None),
                current_max=_least(own.current_max, limits.current if limits else None),
            )
        self.channels = channels_of("the supply", self.profile, settings)
        self._gate = WriteGate(self.driver.write, self.driver.write_checked, self.channels)
        if self.readings:
            self._gate.saw(self.readings)

    def ignore_interruptions(self) -> None:
        """From now on the user's wish to end it is ignored: it is about to end, in order."""
        self._is_interrupted = lambda: False

    def check_interrupted(self) -> None:
        """
        :raises EndedByUser: the user ended it
        """
        if self._is_interrupted():
            raise EndedByUser

    def look(self) -> dict[int, Reading]:
        """Poll.

        :raises DriverError: no answer, or one that can't be read
        """
        self.check_interrupted()
        readings = self.driver.poll(never)
        assert readings is not None  # it gives way to nothing
        self.readings = readings
        self._gate.saw(readings)
        return readings

    def inspect(self, outputs: tuple[int, ...]) -> Inspection:
        """All that the supply tells about couplings and the like of these outputs.

        :raises DriverError: no answer, or one that can't be read
        """
        self.check_interrupted()
        return self.driver.inspect(outputs, never, SETTINGS)

    def set(self, setting: Setting, index: int, value: float | bool) -> list[str]:
        """Set one channel, or for a switch all that it acts on; the supply's complaints. Then look.

        :raises Refusal: the limits or the ranges do not allow it; nothing was sent
        :raises DriverError: the link broke; it may or may not have been carried out
        """
        self.check_interrupted()
        before, indices = self.readings, self.group(index) if setting in ("state", "clear_protection") else (index,)
        self.wrote = True
        self._gate.send(Write(setting, indices, value))
        complaints = self.driver.complaints()
        after = self.look()
        for other in sorted(set(after) - set(indices)):
            for name in ("state", *KEPT):
                was, now = getattr(before.get(other), name, None), getattr(after[other], name)
                if was != now and not self._is_close(other, name, was, now):
                    self.disturbed.append(
                        f"{setting} of output {index} changed {name} of output {other}: {was} → {now}"
                    )
        return complaints

    def group(self, index: int) -> tuple[int, ...]:
        """The outputs that the switch of one acts on."""
        for group in self.profile.together:
            if index in group:
                return tuple(sorted(group))
        return (index,)

    def wait(self, is_so: Callable[[dict[int, Reading]], bool], part: float = 1.0) -> bool:
        """Look until it is so; False if it is not within that part of the patience.

        :raises DriverError: no answer, or one that can't be read
        """
        deadline = time.monotonic() + self._patience * part
        while not is_so(self.readings):
            if time.monotonic() > deadline:
                return False
            time.sleep(PACE)
            self.look()
        return True

    def _is_close(self, index: int, name: str, one: object, other: object) -> bool:
        if isinstance(one, bool) or not isinstance(one, int | float) or not isinstance(other, int | float):
            return False
        return abs(one - other) <= self.channels[index].tolerance(name)


def _least(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)

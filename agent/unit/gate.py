"""The one place where a write may pass on its way to a unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.instruments.driver import Reading, Write
from agent.protocol.errors import Refusal
from agent.protocol.quantities import LEVELS, Setting
from agent.unit.limits.channel import Channel
from agent.unit.limits.checking import check_reach

Readings = Mapping[int, Reading]
#: Levels by output and setting (V, A).
_Sent = dict[tuple[int, Setting], float]


class WriteGate:
    """Passes writes to the driver if the ranges and the limits allow them. Each is checked at the moment that it is sent.

    An output is turned on only if its settings were read since the last write, and are within the limits, too. Only the
    unit's worker calls it.
    """

    __slots__ = ("_channels", "_latest", "_seen", "_sent", "_write", "_write_checked")

    def __init__(
        self,
        write: Callable[[Write], None],
        write_checked: Callable[[Write], list[str] | None],
        channels: Mapping[int, Channel],
    ) -> None:
        """``write`` and ``write_checked``: the driver's methods."""
        self._write = write
        self._write_checked = write_checked
        self._channels = channels
        self._seen: Readings | None = None  # None once something was written since
        self._latest: Readings = {}
        self._sent: _Sent = {}  # since the unit was read last

    def saw(self, readings: Readings) -> None:
        """Note the settings of the unit, which hold until the next write."""
        self._seen = self._latest = readings
        self._sent.clear()

    def rises(self, write: Write) -> bool:
        """True unless a write can only make an output safer: it turns off, lowers a level as it was last read, or protects."""
        match write.setting:
            case "state" | "current_protection" | "voltage_protection_state":
                return bool(write.value) is (write.setting == "state")
            case "clear_protection":
                return True
            case level:
                readings = self._latest
                return any(
                    (present := getattr(readings.get(index), level, None)) is None or abs(write.value) > abs(present)
                    for index in write.channels
                )

    def check(self, writes: tuple[Write, ...]) -> None:
        """Check writes that belong together before the first of them is sent.

        :raises Refusal: one of them is not allowed, so none is to be sent
        """
        planned = dict(self._sent)
        for write in writes:
            self._admit(write, planned)
            _note(write, planned)

    def send(self, write: Write) -> None:
        """Check a write, and pass it to the driver.

        :raises Refusal: it is not allowed; nothing was sent
        :raises DriverError: the link broke; it may or may not have been carried out
        """
        self._admit(write, self._sent)
        self._seen = None
        _note(write, self._sent)
        self._write(write)

    def send_checked(self, write: Write) -> list[str] | None:
        """Check a write, pass it to the driver, and have the unit asked in the same message if it took it.

        The unit's complaints; None if it is still to be asked.

        :raises Refusal: it is not allowed; nothing was sent
        :raises DriverError: the link broke; it may or may not have been carried out
        """
        self._admit(write, self._sent)
        self._seen = None
        _note(write, self._sent)
        return self._write_checked(write)

    def _admit(self, write: Write, sent: _Sent) -> None:
        """:param sent: the settings that were sent, or will be, since the unit was read last"""
        for index in write.channels:
            channel = self._channels[index]
            setting = write.setting
            if setting not in channel.output.settings:
                raise Refusal("unsupported", f"{channel} has no {setting}")
            if setting in LEVELS:
                if channel.range(setting) is None:
                    raise Refusal("unsupported", f"{channel} has no {setting} whose range is known")
                channel.check(setting, float(write.value))
            if setting in ("voltage_limit", "current_limit"):
                held = self._held(index, "voltage_limit", sent), self._held(index, "current_limit", sent)
                value = float(write.value)
                volts, amperes = (value, held[1]) if setting == "voltage_limit" else (held[0], value)
                channel.check_power(volts, amperes, held)
            if setting == "state" and write.value:
                check_reach([self._channels[other] for other in write.channels])
                if self._seen is None:
                    raise Refusal("uncertain", f"not turned on: the settings of {channel} were not read before")
                channel.check_settings(self._seen[index])

    def _held(self, index: int, setting: Setting, sent: _Sent) -> float | None:
        """The value of a level that an output has, as far as the gate knows (V, A)."""
        found: float | None = sent.get((index, setting), getattr(self._latest.get(index), setting, None))
        return found


def _note(write: Write, sent: _Sent) -> None:
    if write.setting in LEVELS:
        sent.update({(index, write.setting): float(write.value) for index in write.channels})

"""The checks of one output: its settings, its switch, and its over-voltage trip."""

from __future__ import annotations

from agent.instruments.driver import Range, Reading
from agent.protocol.quantities import BY_NAME, LEVELS, Setting
from agent.service.verify.bench import Bench
from agent.service.verify.findings import Check, Findings
from agent.unit.limits.channel import Channel

#: Parts of the largest value that are set, which comes last. The first has more digits than units take: it shows the resolution.
_PARTS = (0.321654, 0.5, 1.0)
#: By how much a meter may be wrong: a part of the value and of the rating, and V or A.
_PART_OF_VALUE, _PART_OF_RATING, _OFFSET = 0.005, 0.01, 0.02
#: Part of its range by which a trip level may be rounded.
_STEP_OF_LEVELS = 0.005
#: Part of the output's voltage that its trip level is lowered to.
_TRIP_PART = 0.5
_SWITCHES: tuple[Setting, ...] = ("current_protection", "voltage_protection_state")


class SomethingConnectedError(Exception):
    """Something is connected to an output; the text says how that shows."""


class OutputChecks:
    """The checks of one output."""

    def __init__(self, bench: Bench, findings: Findings, index: int) -> None:
        self._bench = bench
        self._findings = findings
        self._index = index

    @property
    def _channel(self) -> Channel:
        return self._bench.channels[self._index]

    @property
    def _reading(self) -> Reading:
        return self._bench.readings[self._index]

    def run(self) -> None:
        """All checks of the output. It is off before and after each.

        :raises SomethingConnectedError: nothing more is to be set then
        :raises DriverError: the link broke
        """
        self.turn_off()
        settings = self._channel.output.settings
        if "voltage_protection" in settings and self._may_change("voltage_protection"):
            # Some units refuse a voltage above their trip level: it goes out of the way first.
            self._bench.set("voltage_protection", self._index, self._values("voltage_protection")[-1])
        for level in LEVELS:
            if level in settings:
                self._level(level)
        for switch in _SWITCHES:
            if switch in settings:
                self._switch(switch)
        if "state" in settings:
            self._output()
            self._trip()
        for setting, sentence in self._channel.output.unsupported.items():
            with self._findings.checking(setting, "can't be set remotely", self._index) as check:
                check.skipped(sentence)

    def turn_off(self) -> None:
        """Turn it off, with all that its switch acts on.

        :raises DriverError: the link broke
        """
        if "state" in self._channel.output.settings:
            self._bench.set("state", self._index, value=False)
            self._bench.wait(self._is_off)

    def _is_off(self, readings: dict[int, Reading]) -> bool:
        return all(not readings[index].state for index in self._bench.group(self._index))

    # Settings.

    def _values(self, level: str) -> list[float]:
        """The values that a level is set to, none above the limits; none at all if the least of its range is above them."""
        allowed = self._channel.allowed(level)
        if allowed is None or allowed.min > allowed.max:
            return []
        least, most = sorted((allowed.min, allowed.max), key=abs)
        if allowed.min <= 0 <= allowed.max:
            least = 0.0
        return list(dict.fromkeys(round(least + (most - least) * part, 6) for part in _PARTS))

    def _tolerance(self, level: Setting) -> float:
        """How far a value may be from the one that was sent: trip levels have steps of their own, which no file tells."""
        tolerance, interval = self._channel.tolerance(level), self._channel.range(level)
        if level in ("voltage_limit", "current_limit") or interval is None:
            return tolerance
        return max(tolerance, _STEP_OF_LEVELS * max(abs(interval.min), abs(interval.max)))

    def _may_change(self, level: str) -> bool:
        """False for a trip level that is outside its range: it could not be put back."""
        found, interval = getattr(self._reading, level), self._channel.range(level)
        return found is None or interval is None or interval.min - 1e-9 <= found <= interval.max + 1e-9

    def _level(self, level: Setting) -> None:
        channel, unit = self._channel, BY_NAME[level].unit
        interval = channel.range(level) or Range(0, 0)
        claim = f"settable from {interval.min:g} to {interval.max:g} {unit}, within {channel.tolerance(level):g} {unit}"
        with self._findings.checking(level, claim, self._index) as check:
            values = self._values(level)
            if level not in ("voltage_limit", "current_limit") and not self._may_change(level):
                found = getattr(self._reading, level)
                check.skipped(f"it is {found:g} {unit}, outside its range, so it could not be put back")
                return
            if not values:
                check.skipped(f"its least value is above the limit of this verification; raise {_option(level)}")
                return
            differences: list[float] = []
            for value in values:
                if not self._set_level(check, level, value, differences):
                    return
            found = max(differences, default=None)
            text = f"set to {', '.join(f'{value:g}' for value in values)} {unit}"
            if found is None:
                text += "; the unit does not tell it, so nobody knows whether it took it"
            else:
                text += f"; read back within {found:.6g} {unit}"
                if found > channel.tolerance(level) + 1e-9:
                    text += ", more than the file says: values between the steps of the unit are told as not taken"
            check.ok(text, largest_difference=found)

    def _set_level(self, check: Check, level: Setting, value: float, differences: list[float]) -> bool:
        unit, tolerance = BY_NAME[level].unit, self._tolerance(level) + 1e-9
        if complaints := self._bench.set(level, self._index, value):
            check.failed(f"the unit refused {value:g} {unit}: {'; '.join(complaints)}", sent=value)
            return False
        if getattr(self._reading, level) is None:
            return True

        def took(readings: dict[int, Reading]) -> bool:
            read = getattr(readings[self._index], level)
            return read is not None and abs(abs(read) - abs(value)) <= tolerance

        is_taken = self._bench.wait(took, 0.25)
        read = getattr(self._reading, level)
        if not is_taken:
            told = "nothing" if read is None else f"{read:g} {unit}: more than {tolerance:.3g} {unit} apart"
            check.failed(f"{value:g} {unit} was sent, and the unit tells {told}", sent=value, read=read)
            return False
        differences.append(abs(abs(read) - abs(value)))
        return True

    def _switch(self, setting: Setting) -> None:
        with self._findings.checking(setting, "can be switched on and off", self._index) as check:
            before = getattr(self._reading, setting)
            for value in (not before, bool(before)):
                if complaints := self._bench.set(setting, self._index, value):
                    check.failed(f"the unit refused {'on' if value else 'off'}: {'; '.join(complaints)}")
                    return
                if before is not None and not self._switches_to(setting, value):
                    check.failed(f"{'on' if value else 'off'} was sent, and the unit tells the contrary")
                    return
            if before is None:
                check.ok("sent; the unit does not tell it, so nobody knows whether it took it")
            else:
                check.ok("read back both ways")

    def _switches_to(self, setting: Setting, value: bool) -> bool:
        return self._bench.wait(lambda readings: getattr(readings[self._index], setting) is value, 0.25)

    # The switch.

    def _volts(self) -> float | None:
        values = self._values("voltage_limit")
        return values[-1] if values else None

    def _prepare(self, check: Check) -> float | None:
        """Set all that the switch acts on to the limits of the verification. The voltage of this output; None if it can't be."""
        volts: float | None = None
        for index in self._bench.group(self._index):
            one = OutputChecks(self._bench, self._findings, index)
            for level in ("current_limit", "voltage_limit"):
                values = one._values(level)
                if not values:
                    is_unknown = one._channel.allowed(level) is None
                    remedy = "the series file has no range for it" if is_unknown else f"raise {_option(level)}"
                    check.skipped(f"the {level} of output {index} is not known to be within the limits: {remedy}")
                    return None
                self._bench.set(level, index, values[-1])
                if index == self._index and level == "voltage_limit":
                    volts = values[-1]
        return volts

    def _output(self) -> None:
        reach = self._bench.group(self._index)
        also = f", with outputs {', '.join(str(i) for i in reach if i != self._index)}" if len(reach) > 1 else ""
        with self._findings.checking("output on", f"turns on{also}", self._index) as check:
            if self._reading.tripped is not None:
                check.skipped(f"it has tripped ({self._reading.tripped}); clear that at the unit, then begin again")
                return
            volts = self._prepare(check)
            if volts is None:
                return
            if not self._turn_on(check, volts):
                return
        with self._findings.checking("mode", "CV with nothing connected", self._index) as check:
            if self._reading.mode is None:
                check.skipped("the series tells no mode")
            elif self._bench.wait(lambda readings: readings[self._index].mode == "CV", 0.4):
                check.ok("CV")
            else:
                check.failed(f"the unit tells {self._reading.mode}")
        with self._findings.checking("output off", f"turns off{also}", self._index) as check:
            self._off(check)

    def _turn_on(self, check: Check, volts: float) -> bool:
        if complaints := self._bench.set("state", self._index, value=True):
            check.failed(f"the unit refused: {'; '.join(complaints)}")
            return False
        has_state = self._reading.state is not None
        if has_state and not self._bench.wait(lambda readings: readings[self._index].state is True):
            check.failed("on was sent, and the unit tells that it is off")
            return False
        if self._reading.voltage is None:
            check.ok(
                "on; the series measures no voltage"
                if has_state
                else "sent; the series tells neither state nor voltage"
            )
            return True
        tolerance = self._meter_tolerance(volts)
        is_there = self._bench.wait(
            lambda readings: abs(abs(readings[self._index].voltage or 0.0) - abs(volts)) <= tolerance
        )
        self._check_nothing_connected(is_there=is_there)
        told = "" if has_state else "; the series does not tell its state"
        measured = "no voltage" if self._reading.voltage is None else f"{self._reading.voltage:g} V"
        text = f"{measured} at {volts:g} V{told}"
        if is_there:
            check.ok(text, set=volts, measured=self._reading.voltage)
        else:
            check.failed(f"{text}: more than {tolerance:.3g} V apart", set=volts, measured=self._reading.voltage)
        return True

    def _off(self, check: Check) -> None:
        complaints = self._bench.set("state", self._index, value=False)
        if self._reading.state is None:
            check.ok("sent; the series does not tell its state")
        elif not self._bench.wait(self._is_off):
            check.failed("off was sent, and the unit tells that it is on")
        elif complaints:
            check.failed(f"off, but the unit complains: {'; '.join(complaints)}")
        else:
            measured = self._reading.voltage
            check.ok("off" if measured is None else f"off, {measured:g} V", measured=measured)

    def _check_nothing_connected(self, *, is_there: bool) -> None:
        """
        :param is_there: the output that was turned on has its voltage
        :raises SomethingConnectedError: current flows, by the meter or by the limit that it has reached
        """
        reading, output = self._reading, self._channel.output
        # The meter of a large output can't tell the little current that is allowed from none.
        noise = 5 * output.current_resolution + _PART_OF_RATING * (output.current_rating or 0.0) / 2
        if reading.current is not None and abs(reading.current) > noise:
            how = f"delivers {reading.current:g} A"
        elif reading.mode == "CC" and not is_there:
            how = "limits its current and does not reach its voltage"
        else:
            return
        raise SomethingConnectedError(
            f"output {self._index} {how}, so something is connected to it; take it off and begin again"
        )

    def _meter_tolerance(self, volts: float) -> float:
        output = self._channel.output
        return (
            _PART_OF_VALUE * abs(volts)
            + _PART_OF_RATING * (output.voltage_rating or 0.0) / 2
            + 2 * output.voltage_resolution
            + _OFFSET
        )

    # The trip.

    def _trip(self) -> None:
        output = self._channel.output
        if "voltage_protection" not in output.settings:
            return
        claim = "trips (OVP) when its level is lowered below the output's voltage, and stays off when that is cleared"
        with self._findings.checking("over-voltage trip", claim, self._index) as check:
            volts, levels = self._volts(), self._channel.range("voltage_protection")
            if self._reading.tripped is not None:
                check.skipped(f"it has tripped already ({self._reading.tripped})")
                return
            if "clear_protection" not in output.settings:
                check.skipped("the series can't clear a trip remotely, so the supply would be left tripped")
                return
            if not self._may_change("voltage_protection"):
                check.skipped("the level is outside its range, so it could not be put back")
                return
            if volts is None or levels is None:
                check.skipped("the voltage can't be set within the limits; raise --voltage-max")
                return
            least, most = sorted((levels.min, levels.max), key=abs)
            level = round(max(abs(least), abs(volts) * _TRIP_PART), 6) * (-1 if most < 0 else 1)
            if abs(level) > 0.8 * abs(volts):
                check.skipped(
                    f"its least level, {least:g} V, is not below the {volts:g} V; raise --voltage-max to try it"
                )
                return
            if "voltage_protection_state" in output.settings:
                self._bench.set("voltage_protection_state", self._index, value=True)
            self._bench.set("voltage_protection", self._index, most)
            if self._prepare(check) is None or not self._turn_on(check, volts):
                return
            self._trip_and_clear(check, level, most)

    def _trip_and_clear(self, check: Check, level: float, most: float) -> None:
        complaints = self._bench.set("voltage_protection", self._index, level)
        if complaints and not self._reading.tripped:
            self.turn_off()
            check.skipped(f"the unit takes no level below its output: {'; '.join(complaints)}", level=level)
            return
        if not self._bench.wait(lambda readings: readings[self._index].tripped is not None):
            state = {True: "on", False: "off", None: "of an unknown state"}[self._reading.state]
            self.turn_off()
            check.failed(
                f"the level was lowered to {level:g} V, and the unit tells no trip; the output was {state}", level=level
            )
            return
        tripped = self._reading.tripped
        self.turn_off()
        self._bench.set("voltage_protection", self._index, most)
        complaints = self._bench.set("clear_protection", self._index, value=True)
        if self._reading.state:
            self.turn_off()
            check.failed("clearing the trip turned the output on; it was turned off again", tripped=tripped)
        elif complaints:
            check.failed(f"the unit refused to clear the trip: {'; '.join(complaints)}", tripped=tripped)
        elif not self._bench.wait(lambda readings: readings[self._index].tripped is None):
            check.failed(f"the trip was cleared, and the unit tells {self._reading.tripped} still", tripped=tripped)
        elif self._reading.state:
            self.turn_off()
            check.failed(
                "a moment after the trip was cleared the output went on; it was turned off again", tripped=tripped
            )
        elif tripped != "OVP":
            check.failed(f"the unit tells {tripped}, not OVP", tripped=tripped)
        else:
            check.ok(f"tripped at {level:g} V, cleared, off", tripped=tripped)


def _option(level: str) -> str:
    return "--current-max" if BY_NAME[level].unit == "A" else "--voltage-max"

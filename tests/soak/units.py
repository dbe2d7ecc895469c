"""Simulated units that tell the ledger what they receive, and what can go wrong with them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.simulator.e36300 import E36300, FrontPanel
from agent.simulator.loads import Load, Open, Resistor, Short, Wander
from agent.simulator.reactor import Reactor
from agent.simulator.scpi import ScpiError
from agent.simulator.simulator import Simulator
from tests.soak.commands import CHANNELS, LIMITS
from tests.soak.rules.books import Setting
from tests.soak.rules.ledger import Ledger

#: A function that ends a fault, and the seconds after which it is called. None: nothing has to be done.
Undo = tuple[float, Callable[[], None]] | None


class WatchedUnit:
    """One simulated E36313A."""

    def __init__(self, name: str, number: int, seed: int, ledger: Ledger, reactor: Reactor) -> None:
        self.name = name
        self._ledger = ledger
        self._random = random.Random(f"unit {number} {seed}")
        self._garbled = 0
        self._ignored = 0
        loads = {index: Wander(0.4, 0.35, 15.0, seed=seed * 100 + 3 * number + index) for index in CHANNELS}
        self.simulator = Simulator(
            "E36313A", serial=f"MY6100{number:04}", loads=loads, seed=seed * 1000 + number, reactor=reactor, log_size=0
        )
        self._execute = self.instrument.execute
        self.instrument.execute = self._watched  # type: ignore[method-assign]
        self.simulator.start()
        self._faults: list[tuple[str, Callable[[], Undo], float]] = [
            ("connection closed", self._disconnect, 3),
            ("connection reset", self._reset, 3),
            ("hangs", self._hang, 3),
            ("slow", self._slow, 2),
            ("garbage", self._garbage, 4),
            ("refuses connections", self._refuse, 2),
            ("power cycle", self._power_cycle, 1),
            ("error queue filled", self._fill_error_queue, 1),
            ("knob turned", self._knob, 6),
            ("output key pressed", self._key, 4),
            ("trip", self._trip, 1),
            ("trip cleared at the panel", self._clear, 2),
            ("load changed", self._load, 3),
            ("ignores the next off", self._ignore_off, 1),
            ("outputs coupled at the unit", self._couple, 2),
            ("outputs made to track at the unit", self._track, 1),
            ("delay set at the unit", self._delay, 1),
        ]

    @property
    def instrument(self) -> E36300:
        return self.simulator.instrument

    def fault(self) -> tuple[str, Undo]:
        """Have something happen to the unit: what it was, and what ends it."""
        names, causes, weights = zip(*self._faults, strict=True)
        chosen = self._random.choices(range(len(names)), weights)[0]
        cause: Callable[[], Undo] = causes[chosen]
        return str(names[chosen]), cause()

    def heal(self) -> None:
        self._garbled = self._ignored = 0
        self._ledger.recovered(self.name)
        if not self.simulator.running:
            self.simulator.start()
        self.simulator.thaw()
        self.simulator.latency = 0.0

    # --- what the ledger is told

    def _watched(self, message: str) -> str | None:
        with self.instrument.lock:
            before = self._settings()
            if self._ignored and "OUTP 0" in message:
                self._ignored -= 1
                self._ledger.trouble(self.name, f"it does not do {message}")
                self.instrument.report(ScpiError(-221))
                answer = None
            else:
                answer = self._execute(message)
            given, is_whole = self._distorted(answer)
            self._ledger.executed(self.name, message, before, self._settings(), answer if is_whole else None)
        return given

    def _settings(self) -> dict[int, Setting]:
        return {
            index: Setting(channel.output, channel.settings.voltage, channel.settings.current)
            for index, channel in self.instrument.channels.items()
        }

    def _distorted(self, answer: str | None) -> tuple[str | None, bool]:
        """The bytes of an answer that reach the agent, and True if there is a whole answer in them."""
        if answer is None or self._garbled <= 0:
            return answer, True
        self._garbled -= 1
        self._ledger.trouble(self.name, "it answers garbage")
        kind = self._random.choice(["noise", "half", "more", "fewer", "empty", "twice", "text", "endless"])
        match kind:
            case "noise":
                return self._random.randbytes(self._random.randrange(1, 300)).decode("latin-1").replace(
                    "\n", "."
                ), False
            case "half":
                return answer[: len(answer) // 2], False
            case "more":
                return f"{answer},+1.00000E+00", False
            case "fewer":
                return ";".join(answer.split(";")[:-1]), False
            case "empty":
                return "", False
            case "twice":
                return f"{answer}\n{answer}", True
            case "text":
                return "Welcome to Keysight's E36313A", False
        return "+" * 200_000, False

    # --- what can go wrong

    def _disconnect(self) -> Undo:
        self._ledger.trouble(self.name, "its connection is closed")
        if self.simulator.running:
            self.simulator.disconnect()
        return None

    def _reset(self) -> Undo:
        self._ledger.trouble(self.name, "its connection is reset")
        if self.simulator.running:
            self.simulator.disconnect(reset=True)
        return None

    def _hang(self) -> Undo:
        """For less than the timeout, so that it answers late, or for longer."""
        if not self.simulator.running:
            return None
        self._ledger.trouble(self.name, "it hangs", lasts=True)
        self.simulator.freeze()

        def thaw() -> None:
            if self.simulator.running:
                self.simulator.thaw()
            self._ledger.recovered(self.name)

        return self._random.choice([0.3, 0.9, 1.1, 2.5, 6.0]), thaw

    def _slow(self) -> Undo:
        self._ledger.trouble(self.name, "it is slow", lasts=True)
        self.simulator.latency = self._random.choice([0.05, 0.2, 0.8])

        def recover() -> None:
            self.simulator.latency = 0.0
            self._ledger.recovered(self.name)

        return self._random.uniform(1, 6), recover

    def _garbage(self) -> Undo:
        self._garbled = self._random.randrange(1, 4)
        return None

    def _refuse(self) -> Undo:
        self._ledger.trouble(self.name, "it refuses connections", lasts=True)
        self.simulator.stop()

        def listen() -> None:
            if not self.simulator.running:
                self.simulator.start()
            self._ledger.recovered(self.name)

        return self._random.uniform(0.5, 6), listen

    def _power_cycle(self) -> Undo:
        self._ledger.trouble(self.name, "its mains go off and on")
        if self.simulator.running:
            self.simulator.power_cycle()
        return None

    def _fill_error_queue(self) -> Undo:
        self._ledger.trouble(self.name, "its error queue is full")
        for _ in range(25):
            self.instrument.report(ScpiError(-113))
        return None

    def _knob(self) -> Undo:
        """Turned to anything that the unit can do, also to what the configuration does not allow."""
        index = self._random.choice(CHANNELS)
        with self._hand_on(index) as panel:
            if self._random.random() < 0.5:
                panel.knob_voltage(index, round(self._random.uniform(0, LIMITS[index][0] * 1.15), 3))
            else:
                panel.knob_current(index, round(self._random.uniform(0.01, LIMITS[index][1] * 1.3), 3))
        return None

    def _key(self) -> Undo:
        index = self._random.choice(CHANNELS)
        with self._hand_on(index) as panel:
            panel.press_output(index)
        return None

    def _trip(self) -> Undo:
        index = self._random.choice(CHANNELS)
        with self._hand_on(index):
            self.instrument.trip(index, self._random.choice(["OVP", "OCP"]))
        return None

    def _clear(self) -> Undo:
        index = self._random.choice(CHANNELS)
        with self._hand_on(index) as panel:
            panel.clear_protection(index)
        return None

    def _load(self) -> Undo:
        loads: list[Load] = [Open(), Short(), Resistor(5.0), Resistor(50.0), Wander(0.4, 0.35, 15.0, seed=1)]
        self.instrument.set_load(self._random.choice(CHANNELS), self._random.choice(loads))
        return None

    def _ignore_off(self) -> Undo:
        self._ignored = 1
        return None

    def _couple(self) -> Undo:
        """The outputs go on and off together, until a hand ends it."""

        def couple(indices: frozenset[int]) -> None:
            with self.instrument.lock:
                self._ledger.coupling(self.name, f"a hand couples {sorted(indices)}")
                self.instrument.coupled = indices

        couple(frozenset(CHANNELS))
        return self._random.uniform(8, 20), lambda: couple(frozenset())

    def _track(self) -> Undo:
        """Output 3 follows the voltage of output 2, until a hand ends it."""

        def track(on: bool) -> None:
            with self._hand_on(2), self._hand_on(3):
                self._ledger.coupling(self.name, f"a hand turns tracking {'on' if on else 'off'}")
                self.instrument.set_tracking(on)

        track(True)
        return self._random.uniform(8, 20), lambda: track(False)

    def _delay(self) -> Undo:
        index = self._random.choice(CHANNELS)

        def delay(seconds: float) -> None:
            with self._hand_on(index):
                settings = self.instrument.channels[index].settings
                settings.rise_delay = settings.fall_delay = seconds

        delay(self._random.choice([0.3, 1.5]))
        return self._random.uniform(5, 15), lambda: delay(0.0)

    def ramp_slowly(self, seconds: float) -> None:
        """Take so long for each message, which is no trouble."""
        self.simulator.latency = seconds

    @contextmanager
    def _hand_on(self, index: int) -> Iterator[FrontPanel]:
        with self.instrument.lock:
            self._ledger.turning_knob(self.name, index)
            yield self.instrument.panel

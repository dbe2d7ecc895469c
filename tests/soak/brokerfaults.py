"""Faults of the broker and of the way to it."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable

from agent.local.broker import LocalBroker
from tests.soak.rules.ledger import Ledger
from tests.soak.tap import Tap


class BrokerFaults:
    """The faults of one broker.

    :param later: has a function called after so many seconds
    :param count: counts the faults by name
    """

    def __init__(
        self,
        broker: LocalBroker,
        tap: Tap,
        ledger: Ledger,
        rng: random.Random,
        later: Callable[[float, Callable[[], None]], None],
        count: Counter[str],
    ) -> None:
        self._broker = broker
        self._tap = tap
        self._ledger = ledger
        self._random = rng
        self._later = later
        self._count = count

    def fault(self) -> float:
        """Have something happen; for how long (s) it lasts."""
        faults = [self._kill, self._restart, self._hang, self._cut, self._hold]
        return self._random.choices(faults, [1, 1, 1, 1, 3])[0]()

    def heal(self) -> None:
        """End every fault."""
        if self._broker.pid is None:
            self._broker.start()
        self._go_on()
        self._release()

    def stop(self) -> None:
        """End the broker, in any state."""
        self._signal(signal.SIGCONT)
        self._broker.stop()

    def _kill(self) -> float:
        self._count["broker killed"] += 1
        self._broker.kill()
        return self._start_later()

    def _restart(self) -> float:
        self._count["broker restarted"] += 1
        self._broker.stop()
        return self._start_later()

    def _start_later(self) -> float:
        away = self._random.choice([0.0, 0.5, 2.0, 8.0, 22.0])
        self._later(away, self._broker.start)
        return away

    def _hang(self) -> float:
        """A broker that hangs, for less than the keep-alive or for longer."""
        self._count["broker hangs"] += 1
        lasts = self._random.choice([0.5, 3.5, 9.0])
        self._ledger.way("the broker is stopped", blocked=True)
        self._signal(signal.SIGSTOP)
        self._later(lasts, self._go_on)
        return lasts

    def _go_on(self) -> None:
        self._signal(signal.SIGCONT)
        self._ledger.way("the broker is stopped", blocked=False)

    def _signal(self, number: signal.Signals) -> None:
        if self._broker.pid is not None:
            os.kill(self._broker.pid, number)

    def _cut(self) -> float:
        self._count["broker connection cut"] += 1
        self._tap.cut()
        return 0.0

    def _hold(self) -> float:
        """Nothing passes, in both directions or in one, and nobody is told."""
        up, down = self._random.choice([(True, True), (True, False), (False, True), (False, True)])
        way = "in both directions" if up and down else "towards the broker" if up else "towards the agent"
        self._count[f"broker connection stalled {way}"] += 1
        lasts = self._random.choice([0.5, 3.5, 3.5, 6.0, 10.0, 22.0])
        # An agent that can't send still hears of its broker; only when that gives it up the broker is gone.
        if down:
            self._ledger.way(f"the link is stalled {way}", blocked=True)
        else:
            self._ledger.noted(f"the link is stalled {way} for {lasts} s")
        self._tap.hold(up=up, down=down)
        self._later(lasts, self._release)
        return lasts

    def _release(self) -> None:
        self._tap.release()
        for way in ("in both directions", "towards the agent"):
            self._ledger.way(f"the link is stalled {way}", blocked=False)

"""Faults of the broker and of the way to it."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable

from agent.local.broker import LocalBroker
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
        rng: random.Random,
        later: Callable[[float, Callable[[], None]], None],
        count: Counter[str],
    ) -> None:
        self._broker = broker
        self._tap = tap
        self._random = rng
        self._later = later
        self._count = count

    def fault(self) -> float:
        """Have something happen; for how long (s) it lasts."""
        return self._random.choice([self._kill, self._restart, self._hang, self._cut, self._hold])()

    def heal(self) -> None:
        """End every fault."""
        if self._broker.pid is None:
            self._broker.start()
        self._signal(signal.SIGCONT)
        self._tap.release()

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
        away = self._random.choice([0.0, 0.5, 2.0, 8.0])
        self._later(away, self._broker.start)
        return away

    def _hang(self) -> float:
        """A broker that hangs, for less than the keep-alive or for longer."""
        self._count["broker hangs"] += 1
        lasts = self._random.choice([0.5, 2.0, 9.0])
        self._signal(signal.SIGSTOP)
        self._later(lasts, lambda: self._signal(signal.SIGCONT))
        return lasts

    def _signal(self, number: signal.Signals) -> None:
        if self._broker.pid is not None:
            os.kill(self._broker.pid, number)

    def _cut(self) -> float:
        self._count["broker connection cut"] += 1
        self._tap.cut()
        return 0.0

    def _hold(self) -> float:
        """Nothing passes, and nobody is told."""
        self._count["broker connection black-holed"] += 1
        lasts = self._random.choice([0.5, 3.0, 10.0])
        self._tap.hold()
        self._later(lasts, self._tap.release)
        return lasts

"""Faults of the agent's own surroundings: it is killed or stopped, nobody reads its stderr, its disk takes nothing."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.soak.rules.ledger import Ledger
from tests.support.agents import AgentProcess
from tests.support.frozen import Drain, FrozenDisk, NoFrozenDiskError


class AgentFaults:
    """The agent as a process, with a pipe for its stderr and, where root can make one, a disk that can be frozen.

    :param later: has a function called after so many seconds
    :param count: counts the faults by name
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        rng: random.Random,
        later: Callable[[float, Callable[[], None]], None],
        count: Counter[str],
    ) -> None:
        self._ledger = ledger
        self._random = rng
        self._later = later
        self._count = count
        self._frozen_since: float | None = None
        self._stack = contextlib.ExitStack()
        self._disk: FrozenDisk | None = None
        self.state = folder / "state"
        with contextlib.suppress(NoFrozenDiskError):
            self._disk = self._stack.enter_context(FrozenDisk(folder))
            self.state = self._disk.path / "state"
        self._folder = folder
        self._log = folder / "agent.log"
        self._drain = self._stack.enter_context(Drain(folder, self._log))
        self.agent: AgentProcess | None = None
        self._paused = False
        #: Called shortly before it is killed, to give it something to do; and when it has been started anew.
        self.before_kill: Callable[[], None] = lambda: None
        self.on_restart: Callable[[], None] = lambda: None

    def start(self, data: dict[str, Any]) -> AgentProcess:
        """Start the agent for the first time."""
        self.agent = AgentProcess(data, self._folder, stderr=self._drain.pipe)
        return self.agent.start()

    def fault(self) -> float:
        """Have something happen; for how long (s) it lasts."""
        faults = [self._kill, self._stop, self._unread, self._freeze]
        return self._random.choices(faults, [1, 1, 2, 2])[0]()

    def heal(self) -> None:
        """End every fault."""
        self._drain.release()
        self._thaw()
        self._go_on()
        self._start()

    def close(self) -> None:
        """End the agent, in any state."""
        self._drain.release()
        self._thaw()
        if self.agent is not None:
            self.agent.kill()
        self._stack.close()

    def _kill(self) -> float:
        self.before_kill()
        soon, away = self._random.choice([0.02, 0.1, 0.5, 2.0]), self._random.choice([0.0, 1.0, 4.0])
        self._later(soon, lambda: self._kill_now(away))
        return soon + away

    def _kill_now(self, away: float) -> None:
        self._count["agent killed"] += 1
        assert self.agent is not None
        unwritten_since = self._frozen_since
        self._drain.release()
        if self._disk is not None:
            self._disk.thaw()  # or it could not be killed
        self.agent.kill()
        self._ledger.agent_killed(unwritten_since)
        self._frozen_since = None
        self._later(away, self._start)

    def _start(self) -> None:
        assert self.agent is not None
        if not self.agent.runs:
            self._ledger.agent_starts()
            self.agent.start()
            self.on_restart()

    def _stop(self) -> float:
        self._count["agent stopped"] += 1
        assert self.agent is not None
        lasts = self._random.choice([0.5, 3.5, 7.0])
        self._ledger.agent_stops()
        self._paused = True
        self.agent.signal(signal.SIGSTOP)
        self._later(lasts, self._go_on)
        return lasts

    def _go_on(self) -> None:
        if self._paused:
            assert self.agent is not None
            self._paused = False
            self._ledger.agent_goes_on()
            self.agent.signal(signal.SIGCONT)

    def _unread(self) -> float:
        self._count["agent's stderr unread"] += 1
        lasts = self._random.choice([4.0, 12.0, 25.0])
        self._ledger.noted("nobody reads stderr")
        self._drain.hold()
        self._later(lasts, self._drain.release)
        return lasts

    def _freeze(self) -> float:
        if self._disk is None:
            self._count["agent's disk frozen (not possible here)"] += 1
            return 0.0
        self._count["agent's disk frozen"] += 1
        lasts = self._random.choice([2.0, 6.0, 15.0])
        self._ledger.noted("the disk is frozen")
        self._disk.freeze()
        self._frozen_since = time.monotonic()
        self._later(lasts, self._thaw)
        return lasts

    def _thaw(self) -> None:
        if self._disk is not None:
            self._disk.thaw()
        if self._frozen_since is not None:
            self._ledger.noted("the disk is thawed")
        self._frozen_since = None

"""The agent, in a thread of this process or as a process of its own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from agent import config
from agent.service.daemon import Daemon
from tests.support.processes import ROOT, Process
from tests.support.waiting import PATIENCE

_RUN = "import sys; from agent.cli.main import main; sys.argv = ['psu-agent', 'run', *sys.argv[1:]]; sys.exit(main())"


class Agent:
    """The agent in a thread of this process."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.daemon = Daemon(config.from_data(data))
        self._thread = threading.Thread(target=self.daemon.run, name="agent", daemon=True)

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._thread.ident is not None:
            self.daemon.stop()
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()


class AgentProcess(Process):
    """The agent as a process of its own, so that it can be killed, stopped and limited."""

    def __init__(
        self,
        data: dict[str, Any],
        folder: Path,
        *,
        environment: dict[str, str] | None = None,
        stderr: Path | None = None,
        way: Sequence[str] = (),
    ) -> None:
        """``way``: stands before the command, such as what runs it on another host."""
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "psu-agent.yaml"
        self.file.write_text(yaml.safe_dump(data))
        self._way = way
        super().__init__(
            [], folder / "agent.log", environment={"PYTHONPATH": str(ROOT), **(environment or {})}, stderr=stderr
        )

    def start(self, *, before: str = "") -> Self:
        """Start it. ``before`` is Python code that runs first."""
        program = ["-c", before + _RUN] if before else ["-m", "agent.cli", "run"]
        self.command = [*self._way, sys.executable, *program, self.file]
        return super().start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.kill()

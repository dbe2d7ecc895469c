"""The agent in a process of its own, as ``psu-agent run`` runs it, with a profile on demand.

It ends with its input, so that none is left when a benchmark is killed.
"""

from __future__ import annotations

import argparse
import cProfile
import logging
import os
import pstats
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from agent import config
from agent.daemon import Daemon


def main() -> int:
    parser = argparse.ArgumentParser(description="one agent, for the benchmarks")
    parser.add_argument("config", type=Path)
    parser.add_argument("--profile", type=Path, help="where to write each thread's profile, as text")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if arguments.profile is not None:
        _profile_threads(arguments.profile)
    daemon = Daemon(config.load(arguments.config))

    def end_with_input() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        daemon.stop()

    threading.Thread(target=end_with_input, daemon=True).start()
    return daemon.run()


def _profile_threads(folder: Path) -> None:
    """Have every thread write its profile when it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    run = threading.Thread.run

    def profiled(thread: threading.Thread) -> None:
        profile = cProfile.Profile()
        try:
            profile.runcall(_run_of(thread, run))
        finally:
            with (folder / f"{thread.name}.txt").open("w") as file:
                statistics = pstats.Stats(profile, stream=file)
                statistics.sort_stats("tottime").print_stats(40)
                statistics.sort_stats("cumulative").print_stats(40)

    threading.Thread.run = profiled  # type: ignore[method-assign, assignment]


def _run_of(thread: threading.Thread, run: Callable[[threading.Thread], None]) -> Callable[[], None]:
    return lambda: run(thread)


if __name__ == "__main__":
    sys.exit(main())

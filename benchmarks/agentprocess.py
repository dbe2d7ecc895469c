"""The agent under a profiler: ``psu-agent run CONFIG``, and a file for each of its threads when it ends."""

from __future__ import annotations

import argparse
import cProfile
import pstats
import runpy
import sys
import threading
from collections.abc import Callable
from pathlib import Path


def main() -> None:
    """Run the agent until it is ended."""
    parser = argparse.ArgumentParser(description="one agent under a profiler")
    parser.add_argument("folder", type=Path, help="where to write each thread's profile, as text")
    parser.add_argument("config", type=Path)
    arguments = parser.parse_args()
    _profile_threads(arguments.folder)
    sys.argv = ["psu-agent", "run", str(arguments.config)]
    runpy.run_module("agent.cli", run_name="__main__")


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
    main()

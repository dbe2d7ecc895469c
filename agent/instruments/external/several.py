"""Running a program for each of several channels."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

from agent.instruments.external.programs import Outcome, ProgramError, Runner

#: s that a program may take before the one for the next channel is started beside it.
PATIENCE = 1.0

#: How a program ended: by itself, or not.
End = Outcome | ProgramError


def run_in_turn(runner: Runner, programs: Sequence[Sequence[str]]) -> list[End]:
    """Run programs one after another, each whatever became of the one before. How they ended, in their order."""
    return [_end_of(runner, program) for program in programs]


def run_side_by_side(runner: Runner, programs: Sequence[Sequence[str]]) -> list[End]:
    """Run programs in turn, but start each at the latest `PATIENCE` after the one before. How they ended, in their order.

    One that failed while another ran is run again at the end: both may want the same device, such as a serial port.
    """
    if len(programs) == 1:
        return run_in_turn(runner, programs)
    ends: dict[int, End] = {}
    threads: list[threading.Thread] = []
    had_company: set[int] = set()
    for number, program in enumerate(programs):
        if any(thread.is_alive() for thread in threads):
            had_company.add(number)
        thread = threading.Thread(target=_run_into, args=(ends, number, runner, program), daemon=True)
        with contextlib.suppress(RuntimeError):  # no more threads: it is run at the end
            thread.start()
            thread.join(PATIENCE)
            threads.append(thread)
    for thread in threads:
        thread.join()
    for number, program in enumerate(programs):
        end = ends.get(number)
        if end is None or (number in had_company and isinstance(end, Outcome) and end.status != 0):
            ends[number] = _end_of(runner, program)
    return [ends[number] for number in range(len(programs))]


def _run_into(ends: dict[int, End], number: int, runner: Runner, program: Sequence[str]) -> None:
    ends[number] = _end_of(runner, program)


def _end_of(runner: Runner, program: Sequence[str]) -> End:
    try:
        return runner.run(program)
    except ProgramError as error:
        return error

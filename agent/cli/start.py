"""Where the program starts: Ctrl-C ends it without a word also while it still reads its own code, and when it is done."""

from __future__ import annotations

import os
import signal
from types import FrameType

#: See `agent.cli.program.codes`, which is not read yet.
_INTERRUPTED = 130


def main() -> int:
    """Run the command line; the exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as in the background of a script
        signal.signal(signal.SIGINT, _leave)
    from agent.cli.main import main as run

    code = run()
    if code == _INTERRUPTED:
        _leave()  # a thread may still wait for a unit or a broker
    return code


def _leave(*_: int | FrameType | None) -> None:
    """End here and now. Nothing was begun yet, or all is done but the interpreter's own end."""
    os._exit(_INTERRUPTED)

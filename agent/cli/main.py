"""The entry point: the commands, and how the program ends."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import click

from agent import __version__
from agent.cli import control, examine, query, reserve, series, serve, verify
from agent.cli.completing import answering
from agent.cli.completing.command import completion
from agent.cli.options import discard_output, output_fault
from agent.cli.program import codes, errors, streams
from agent.cli.program.manual import man
from agent.cli.recording.command import log

_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
_EPILOG = "\n".join(
    (
        "\b",
        "Exit codes:",
        *codes.as_lines(),
        "\n\b",
        'Completion: eval "$(psu-agent completion bash)"   (or zsh, fish)',
        "Manual:     psu-agent man | man -l -",
    )
)
_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_SETTINGS, epilog=_EPILOG)
@click.version_option(__version__, prog_name="psu-agent")
@click.option("--debug", is_flag=True, envvar="PSU_AGENT_DEBUG", help="Show tracebacks of errors inside psu-agent.")
def cli(debug: bool) -> None:
    """Bench power supplies on MQTT: telemetry from every channel, commands that are checked before they reach an output."""
    del debug  # `main` looks for it itself: it must show an error of the parsing too


for _command in (
    serve.run,
    serve.demo,
    serve.simulate,
    query.get,
    query.watch,
    log,
    control.set_,
    control.takeover,
    reserve.lease,
    control.save,
    control.restore,
    examine.check,
    examine.scan,
    examine.models,
    examine.schema,
    verify.verify,
    series.series,
    completion,
    man,
):
    cli.add_command(_command)


def main() -> int:
    """Run the command line, and return its exit code. Every way to end prints at most one sentence."""
    streams.prepare()
    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    _interrupts.clear()
    try:
        sys.unraisablehook = partial(_not_raised, hook)
        _on_interrupt(_interrupt)
        code = _run()
        _on_interrupt(before)
    except KeyboardInterrupt:
        code = codes.INTERRUPTED
    finally:
        sys.unraisablehook = hook
    return _finish_output(code)


#: s after which a Ctrl-C that went to nobody comes again.
_AGAIN = 0.02
#: The signals by which Ctrl-C has come: a library may have made another error of the KeyboardInterrupt.
_interrupts: list[int] = []


def _interrupt(number: int, _: FrameType | None) -> None:
    _interrupts.append(number)
    raise KeyboardInterrupt


def _not_raised(hook: Callable[[sys.UnraisableHookArgs], Any], args: sys.UnraisableHookArgs) -> None:
    """Have Ctrl-C come again a moment later where it came to a finalizer, or to C code that hands on no exception.

    Python would print a traceback, and go on as if nobody had pressed it. pydantic has such places while it reads settings.
    """
    if not issubclass(args.exc_type, KeyboardInterrupt):
        hook(args)
        return
    again = threading.Timer(_AGAIN, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()


def _on_interrupt(handler: Any) -> None:
    """Have Ctrl-C call it, unless it is ignored, as in the background of a script."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)


def _run() -> int:
    if answering.VARIABLE in os.environ:
        return _complete()
    try:
        result = cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        errors.tell(errors.errors_of(error))
        return error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("", err=True)
        return codes.INTERRUPTED
    except SystemExit as error:
        # click itself ends so when the reader of a pipe closes it.
        return 0 if _reader_has_gone() else int(error.code or 0)
    except BrokenPipeError:
        return 0  # the same, seen here first
    except Exception as error:  # noqa: BLE001  # the outermost place of all
        if _interrupts:
            return codes.INTERRUPTED
        if isinstance(error, OSError) and error.errno in _OF_OUTPUT and error.filename is None:
            discard_output()
            click.echo(f"psu-agent: the output can't be written: {error.strerror}", err=True)
            return codes.OUTPUT_ERROR
        errors.tell([errors.Error(_tell_internal_error(error))])
        return codes.INTERNAL_ERROR
    return result if isinstance(result, int) else 0


def _complete() -> int:
    """Answer a shell that asks for completions. The process ends here: a thread may still wait for a broker."""
    try:
        sys.stdout.write(answering.answer(cli, os.environ))
        sys.stdout.flush()
    finally:
        os._exit(0)


def _finish_output(code: int) -> int:
    """Write what is buffered, and throw away what can't be written: Python would fail in it once more, and end with 120.

    :return: the exit code: the given one; 74 (EX_IOERR of sysexits.h) where all was well but the output
    """
    if (fault := output_fault()) is not None:
        discard_output()
        if code == 0 and fault.errno != errno.EPIPE:
            click.echo(f"psu-agent: the output can't be written: {fault.strerror}", err=True)
            code = codes.OUTPUT_ERROR
    if (logs := sys.modules.get("agent.service.logs")) is not None:
        logs.finish()
    return code


def _tell_internal_error(error: Exception) -> str:
    """Print the traceback if it is wanted, else a sentence, which is returned."""
    text = " ".join(str(error).split())
    sentence = f"an error inside psu-agent: {type(error).__name__}: {text}"
    if "--debug" in sys.argv or os.environ.get("PSU_AGENT_DEBUG"):
        traceback.print_exc()
    else:
        click.echo(f"psu-agent: {sentence}; `psu-agent --debug …` shows where, please report it", err=True)
    return sentence


def _reader_has_gone() -> bool:
    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))

"""Exceptions of calls of pyvisa: those that mean a fault of the instrument or its link, and faults of the agent itself."""

from __future__ import annotations

import logging
import re
import struct
import termios
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

from pyvisa import errors
from pyvisa.constants import StatusCode
from pyvisa_py.protocols import xdrlib
from pyvisa_py.protocols.rpc import RPCError
from pyvisa_py.protocols.vxi11 import Vxi11Error
from pyvisa_py.sessions import OpenError

from agent.instruments import reasons
from agent.instruments.driver import LinkClosedError, LinkError, UnaskedBytesError
from agent.instruments.reasons import Way, way_of
from agent.instruments.tcp import StrayBytesError, UnsentError

#: Raised by pyvisa and pyvisa-py if an instrument is not there, goes away or breaks the protocol; also bare Exceptions.
_FAULTS = (
    errors.Error,
    OSError,  # sockets; pyserial's SerialException and pyusb's USBError are some
    ValueError,  # protocols/usbtmc.py: no such device, or a write that failed; sessions.py: pyusb or linux-gpib is not installed
    RuntimeError,  # protocols/hislip.py: a message that breaks the protocol
    RPCError,
    Vxi11Error,
    OpenError,
    EOFError,  # protocols/xdrlib.py: an RPC reply that is too short
    xdrlib.Error,  # the same: a value that is none of its type
    struct.error,  # protocols/usbtmc.py: a header that is too short
    termios.error,  # pyserial: the port of a serial adapter that was pulled out
)
#: Why a unit makes no link (VXI-11, B.5.2), and what to do.
_LINK_REFUSALS = {
    3: "the unit has no device of that name, or it did not answer in time; check the resource name behind the host",
    9: "the unit has no link left; end other programs that use it",
    11: reasons.LOCKED,
}
_GARBLED = (EOFError, xdrlib.Error, struct.error, RPCError)
#: The peer closed the connection.
_CLOSED = (ConnectionResetError, BrokenPipeError)
#: Raised by them besides on opening: by the setters of attributes, given what the configuration has for them (TypeError:
#: pyvisa/attributes.py:309, pyvisa/util.py:256; AttributeError: pyvisa/highlevel.py:3305), and for a USB unit that tells too few
#: capabilities (IndexError: protocols/usbtmc.py, _get_capabilities).
OPENING_FAULTS = (TypeError, AttributeError, IndexError)


log = logging.getLogger(__name__)


class Calling:
    """A context for calls of pyvisa: it turns errors that are a fault of the instrument into a LinkError, and no others.

    It has no state.

    :param what: the beginning of the error's text
    :param way: how the instrument is reached
    :param more: further errors that count as faults of the instrument or the configuration, unless the agent raised them
    """

    __slots__ = ("_more", "_way", "_what")

    def __init__(self, what: str, way: Way, more: tuple[type[Exception], ...] = ()) -> None:
        self._what = what
        self._way = way
        self._more = more

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, LinkError):
            return
        cause = _cause(error)
        if (
            isinstance(cause, _FAULTS)
            or type(cause) is Exception
            or (isinstance(cause, self._more) and not is_ours(cause))
        ):
            log.debug("%s: %s (%s)", self._what, cause, type(cause).__name__)
            text = f"{self._what}: {reason_of(cause, self._way)}"
            if isinstance(cause, _CLOSED):
                raise LinkClosedError(text, sent=not isinstance(cause, UnsentError)) from error
            if isinstance(cause, StrayBytesError):
                raise UnaskedBytesError(text) from error
            raise LinkError(text) from error
        if cause is not error:
            raise cause from None


class Calls:
    """The contexts for the calls of one session: opening it, the first message, asking, telling and closing.

    :param uri: its VISA resource name
    :param options: of pyvisa's ``open_resource``, as far as they are told: ``timeout``, ``open_timeout`` in ms, ``baud_rate``
    """

    __slots__ = ("asking", "closing", "opening", "starting", "telling")

    def __init__(self, uri: str, options: Mapping[str, Any]) -> None:
        way = way_of(uri, timeout=_seconds(options.get("timeout")))
        if way.kind == "serial":
            way = replace(way, baud=options.get("baud_rate", 9600))
        timeout = _seconds(options.get("open_timeout")) if way.is_network else way.timeout
        within = replace(way, timeout=timeout, is_opening=True)
        self.opening = Calling(f"can't open {uri}", within, OPENING_FAULTS)
        self.starting = Calling(f"can't open {uri}", within)
        self.asking = Calling("no answer", way)
        self.telling = Calling("not sent", way)
        self.closing = Calling("not closed", way)


def _seconds(milliseconds: Any) -> float | None:
    """None also for what is no time: pyvisa says so when the link is opened."""
    is_time = isinstance(milliseconds, int | float) and 0 < milliseconds < 1e9
    return milliseconds / 1000 if is_time else None


def _cause(error: Exception) -> BaseException:
    """The error itself, or the one that pyvisa-py hides behind it.

    An OpenError hides what went wrong on opening (tcpip.py, after_parsing), an "invalid object" any KeyError (highlevel.py).
    """
    if not isinstance(error, errors.VisaIOError):
        return error
    hidden = error.__context__
    if isinstance(hidden, OpenError):
        cause: BaseException | None = hidden.__cause__
        context: BaseException | None = hidden.__context__
        # Its context may as well be an error that the caller of the session is handling.
        return cause or (context if isinstance(context, RPCError) else error)
    if isinstance(hidden, KeyError) and error.error_code == StatusCode.error_invalid_object:
        return hidden
    return error


def is_ours(error: BaseException) -> bool:
    """True if a line of the agent raised it, and not one of a library."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("agent.")


def reason_of(error: BaseException, way: Way) -> str:
    """The reason of an error in the user's words, in one line, with what to do."""
    if isinstance(error, errors.VisaIOError):
        return _of_code(error.error_code, way)
    if isinstance(error, termios.error):
        error = OSError(*error.args)
    if isinstance(error, OSError):
        return reasons.of_system(error, way)
    text = " ".join(str(error).split())
    if refusal := re.fullmatch(r"error creating link: (\d+)", text):  # tcpip.py, after_parsing of VXI-11
        known = _LINK_REFUSALS.get(int(refusal[1]), "the unit refuses the link")
        return f"{known} (VXI-11 error {refusal[1]})"
    if "received 'FatalError" in text:  # protocols/hislip.py, RxHeader
        said = re.search(r"b'([^']*)'", text)
        why = reasons.plain(said[1]) if said else ""
        return f"the unit refuses the connection: {why or reasons.MOST_CLIENTS}"
    if isinstance(error, UnicodeError) and way.is_network:  # the encoding of host names
        return f"{way.place} is no name of a host; check `uri`"
    if isinstance(error, _GARBLED) or (
        isinstance(error, RuntimeError) and way.kind == "HiSLIP" and "dropped" not in text
    ):
        return reasons.garbled(way)
    if isinstance(error, OPENING_FAULTS) and way.kind != "other":
        return reasons.garbled(way) if isinstance(error, IndexError) else reasons.of_argument(error)
    if isinstance(error, ValueError) and "valid attribute" in text and way.kind != "other":
        return reasons.of_argument(error)
    return reasons.of_text(text, way)


def _of_code(code: int, way: Way) -> str:
    if code in (StatusCode.error_resource_locked, StatusCode.error_resource_busy):
        return reasons.LOCKED
    if code == StatusCode.error_timeout:
        return reasons.silent(way)
    if code in (StatusCode.error_resource_not_found, StatusCode.error_invalid_resource_name):
        return reasons.missing(way)
    if code == StatusCode.error_connection_lost:
        return reasons.closed(way)
    if code in (StatusCode.error_library_not_found, StatusCode.error_interface_number_not_configured):
        return reasons.without_library(way.kind)
    return reasons.unknown(way)

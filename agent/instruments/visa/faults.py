"""Exceptions of calls of pyvisa: those that mean a fault of the instrument or its link, and faults of the agent itself."""

from __future__ import annotations

import re
import struct
import termios
from types import TracebackType

from pyvisa import errors
from pyvisa.constants import StatusCode
from pyvisa_py.protocols import xdrlib
from pyvisa_py.protocols.rpc import RPCError
from pyvisa_py.protocols.vxi11 import Vxi11Error
from pyvisa_py.sessions import OpenError

from agent.instruments.driver import LinkClosedError, LinkError, UnaskedBytesError
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
_LOCKED = "the unit is locked by another client; release the lock there, or end that program"
#: Why a unit makes no link (VXI-11, B.5.2), and what to do.
_LINK_REFUSALS = {
    3: "the unit has no device of that name, or it did not answer in time; check the resource name behind the host",
    9: "the unit has no link left; end other programs that use it",
    11: _LOCKED,
}
#: The peer closed the connection.
_CLOSED = (ConnectionResetError, BrokenPipeError)
#: Raised by them besides on opening: by the setters of attributes, given what the configuration has for them (TypeError:
#: pyvisa/attributes.py:309, pyvisa/util.py:256; AttributeError: pyvisa/highlevel.py:3305), and for a USB unit that tells too few
#: capabilities (IndexError: protocols/usbtmc.py, _get_capabilities).
OPENING_FAULTS = (TypeError, AttributeError, IndexError)


class Calling:
    """A context for calls of pyvisa: it turns errors that are a fault of the instrument into a LinkError, and no others.

    It has no state, so one serves all sessions.

    :param what: the beginning of the error's text
    :param more: further errors that count as faults of the instrument or the configuration, unless the agent raised them
    """

    __slots__ = ("_more", "_what")

    def __init__(self, what: str, more: tuple[type[Exception], ...] = ()) -> None:
        self._what = what
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
            text = f"{self._what}: {reason_of(cause)}"
            if isinstance(cause, _CLOSED):
                raise LinkClosedError(text, sent=not isinstance(cause, UnsentError)) from error
            if isinstance(cause, StrayBytesError):
                raise UnaskedBytesError(text) from error
            raise LinkError(text) from error
        if cause is not error:
            raise cause from None


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


def reason_of(error: BaseException) -> str:
    """The reason of an error, in one line of at most 200 characters, with what to do where a user can do something."""
    if isinstance(error, errors.VisaIOError):
        if error.error_code in (StatusCode.error_resource_locked, StatusCode.error_resource_busy):
            return f"{_LOCKED} ({error.abbreviation})"
        return f"{error.description} ({error.abbreviation})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    if refusal := re.fullmatch(r"error creating link: (\d+)", text):  # tcpip.py, after_parsing of VXI-11
        known = _LINK_REFUSALS.get(int(refusal[1]), "the unit refuses the link")
        return f"{known} (VXI-11 error {refusal[1]})"
    if "received 'FatalError" in text:  # protocols/hislip.py, RxHeader
        said = re.search(r"b'([^']*)'", text)
        why = said[1] if said and said[1] else "it may have as many clients as it takes; end other programs that use it"
        return f"the unit refuses the connection: {why}"[:200]
    return text[:200] if text else type(error).__name__

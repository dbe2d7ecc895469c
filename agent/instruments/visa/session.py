"""One VISA session, for one thread: open, ask, close. Any error closes it, and only opening it again cures."""

from __future__ import annotations

import contextlib
import struct
import threading
import warnings
from typing import Any

import pyvisa
from pyvisa import constants, errors
from pyvisa.constants import StatusCode
from pyvisa.resources import MessageBasedResource

from agent.instruments.driver import LinkError
from agent.instruments.visa import sockets as visa_socket  # before pyvisa_py: see there

# isort: split
from pyvisa_py.protocols.rpc import RPCError
from pyvisa_py.protocols.vxi11 import Vxi11Error
from pyvisa_py.sessions import OpenError

from agent.instruments.visa import lan as visa_lan

#: ms. pyvisa's own default is 0.1 s on VXI-11, too short for many links, and 10 s on a socket.
DEFAULT_OPEN_TIMEOUT = 3000
#: ms
DEFAULT_TIMEOUT = 2000

# What pyvisa and pyvisa-py were seen to raise when a unit is not there, goes away or sends what it should not.
_FAULTS = (
    errors.Error,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    KeyError,
    AssertionError,
    struct.error,
    RPCError,
    Vxi11Error,
    OpenError,
)
_MORE_TO_COME = StatusCode.success_max_count_read
_register_once = threading.Lock()
_registered = False


class Session:
    """A link to one unit.

    ``uri`` is its VISA resource name, ``backend`` pyvisa's name of a library (``@py``), ``options`` what pyvisa's
    ``open_resource`` takes besides: ``open_timeout`` and ``timeout`` in ms, ``read_termination``, ``write_termination``
    ``baud_rate`` …
    """

    def __init__(self, uri: str, backend: str = "@py", options: dict[str, Any] | None = None) -> None:
        self.uri = uri
        self._backend = backend
        self._options = {"open_timeout": DEFAULT_OPEN_TIMEOUT, "timeout": DEFAULT_TIMEOUT, **(options or {})}
        # A stream has no other end of message than a character; where the link has one, a line feed does no harm.
        stream = uri.strip().upper().endswith("SOCKET") or uri.strip().upper().startswith("ASRL")
        if stream:
            self._options.setdefault("read_termination", "\n")
        self._options.setdefault("write_termination", "\n")
        self._write_termination = str(self._options["write_termination"] or "").encode()
        self._resource: MessageBasedResource | None = None
        self._warnings = contextlib.ExitStack()

    @property
    def is_open(self) -> bool:
        return self._resource is not None

    def open(self) -> None:
        """Open the link. On a raw socket that proves little: a unit is there when it has answered.

        :raises LinkError: it can't be opened, with the reason
        """
        self.close()
        _register()
        options = dict(self._options)
        try:
            with _translated(f"can't open {self.uri}"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                resource = pyvisa.ResourceManager(self._backend).open_resource(self.uri, **options)
                if not isinstance(resource, MessageBasedResource):
                    resource.close()
                    raise ValueError("it is not an instrument that takes messages")
                self._resource = resource
                self._warnings.enter_context(resource.ignore_warning(_MORE_TO_COME))
                self._start_afresh(resource)
        except LinkError:
            self.close()
            raise

    def _start_afresh(self, resource: MessageBasedResource) -> None:
        """Rid the unit of what an earlier session left half asked; device clear touches no setting (IEEE 488.2)."""
        kind = self.uri.strip().upper()
        with contextlib.suppress(errors.VisaIOError, NotImplementedError):
            if kind.startswith(("USB", "GPIB")):
                resource.clear()
            elif kind.startswith("ASRL"):
                resource.flush(constants.BufferOperation.discard_receive_buffer)

    def ask(self, message: str) -> str:
        """Send one message and read its one answer, without the line end.

        :raises LinkError: no answer in time, a broken link, or bytes that are no text; the session is closed then
        """
        try:
            with _translated("no answer"):
                self._write(message)
                return self._read()
        except LinkError:
            self.close()
            raise

    def ask_ahead(self, message: str) -> bool:
        """Put a question whose answer `hear` will read.

        :raises LinkError: a broken link; the session is closed then
        """
        self.tell(message)
        return True

    def hear(self) -> str:
        """Read the answer to a question that `ask_ahead` has put, without the line end.

        :raises LinkError: no answer in time, a broken link, or bytes that are no text; the session is closed then
        """
        try:
            with _translated("no answer"):
                return self._read()
        except LinkError:
            self.close()
            raise

    def tell(self, message: str) -> None:
        """Send one message that has no answer.

        :raises LinkError: a broken link; the session is closed then
        """
        try:
            with _translated("not sent"):
                self._write(message)
        except LinkError:
            self.close()
            raise

    def _write(self, message: str) -> None:
        resource = self._opened()
        data = message.encode("ascii") + self._write_termination
        written, _ = resource.visalib.write(resource.session, data)
        if written != len(data):
            raise OSError(f"{written} of {len(data)} bytes were sent")

    def _read(self) -> str:
        resource = self._opened()
        answer, status = resource.visalib.read(resource.session, visa_socket.LONGEST_ANSWER)
        while status == _MORE_TO_COME:
            if len(answer) >= visa_socket.LONGEST_ANSWER:
                raise OSError(f"an answer of more than {visa_socket.LONGEST_ANSWER} bytes")
            more, status = resource.visalib.read(resource.session, visa_socket.LONGEST_ANSWER)
            answer += more
        return answer.decode("ascii").rstrip("\r\n")

    def _opened(self) -> MessageBasedResource:
        if self._resource is None:
            raise OSError("the session is closed")
        return self._resource

    def close(self) -> None:
        """Close the link; never raises."""
        resource, self._resource = self._resource, None
        if resource is None:
            return
        library, session = resource.visalib, resource.session
        with contextlib.suppress(LinkError), _translated("not closed"):
            self._warnings.close()
            resource.close()
        # pyvisa forgets no session: a few KiB each, for ever.
        for table in ("sessions", "_last_status_in_session", "_ignore_warning_in_session"):
            getattr(library, table, {}).pop(session, None)


@contextlib.contextmanager
def _translated(what: str) -> Any:
    try:
        yield
    except LinkError:
        raise
    except _FAULTS as error:
        raise LinkError(f"{what}: {_reason(error)}") from error
    except Exception as error:
        # pyvisa-py raises bare Exceptions; one of another class is a fault of ours and goes to the outermost loop.
        if type(error) is not Exception:
            raise
        raise LinkError(f"{what}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, errors.VisaIOError):
        return f"{error.description} ({error.abbreviation})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return text[:200] if text else type(error).__name__


def _register() -> None:
    global _registered
    with _register_once:
        if not _registered:
            visa_socket.register()
            visa_lan.register()
            _registered = True

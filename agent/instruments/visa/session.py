"""A VISA session: a text link to one instrument, for one thread. A failure closes it; only `open` brings it back."""

from __future__ import annotations

import contextlib
import threading
from contextlib import AbstractContextManager
from typing import Any

import pyvisa
from pyvisa import constants, errors
from pyvisa.constants import StatusCode
from pyvisa.resources import MessageBasedResource

from agent.instruments.driver import LinkError
from agent.instruments.options import converted
from agent.instruments.visa import ending, hislip, sockets, vxi11
from agent.instruments.visa.faults import OPENING_FAULTS, Calling

#: ms. pyvisa's own default is 0.1 s on VXI-11, too short for many links, and 10 s on a socket.
DEFAULT_OPEN_TIMEOUT = 3000
#: ms
DEFAULT_TIMEOUT = 2000

_MORE_TO_COME = StatusCode.success_max_count_read
_ASKING, _TELLING, _CLOSING = Calling("no answer"), Calling("not sent"), Calling("not closed")
_managers_lock = threading.Lock()
_managers: dict[str, pyvisa.ResourceManager] = {}


class VisaSession:
    """A link to one instrument.

    :param uri: its VISA resource name
    :param backend: pyvisa's name of a library, such as ``@py``
    :param options: further arguments of pyvisa's ``open_resource``: ``open_timeout`` and ``timeout`` in ms, ``read_termination``,
        ``write_termination``, ``baud_rate`` …
    """

    __slots__ = ("_backend", "_options", "_resource", "_write_termination", "uri")

    def __init__(self, uri: str, backend: str = "@py", options: dict[str, Any] | None = None) -> None:
        self.uri = uri
        self._backend = backend
        given = {name: _converted(name, value) for name, value in (options or {}).items()}
        self._options = {"open_timeout": DEFAULT_OPEN_TIMEOUT, "timeout": DEFAULT_TIMEOUT, **given}
        # On a stream only a character ends a message; on a link with an end of message a line feed does no harm.
        kind = uri.strip().upper()
        if kind.endswith("SOCKET") or kind.startswith("ASRL"):
            self._options.setdefault("read_termination", "\n")
        self._options.setdefault("write_termination", "\n")
        self._write_termination = str(self._options["write_termination"] or "").encode()
        self._resource: MessageBasedResource | None = None

    @property
    def is_open(self) -> bool:
        """True if it was opened and has not failed since."""
        return self._resource is not None

    def open(self) -> None:
        """Open the link anew. A gateway takes the connection of a raw socket also without an instrument behind it.

        :raises LinkError: it can't be opened, with the reason
        """
        self.close()
        try:
            with Calling(f"can't open {self.uri}", OPENING_FAULTS):
                resource = _manager(self._backend).open_resource(self.uri, **self._options)
            if not isinstance(resource, MessageBasedResource):
                resource.close()
                raise LinkError(f"can't open {self.uri}: it is not an instrument that takes messages")
            self._resource = resource
            with Calling(f"can't open {self.uri}"):
                self._start_afresh(resource)
        except BaseException:
            self.give_up()
            raise

    def _start_afresh(self, resource: MessageBasedResource) -> None:
        """Discard input and output of an earlier session; device clear changes no setting (IEEE 488.2, 5.8)."""
        kind = self.uri.strip().upper()
        with contextlib.suppress(errors.VisaIOError, NotImplementedError):
            if kind.startswith(("USB", "GPIB")):
                resource.clear()
            elif kind.startswith("ASRL"):
                resource.flush(constants.BufferOperation.discard_receive_buffer)

    def ask(self, message: str, length: tuple[int, int] | None = None) -> str:
        """Send one message and read its one answer, without the line end.

        :raises LinkError: no answer in time, a broken link, or bytes that are no text; the session is closed then
        """
        try:
            self._write(message, _ASKING)
            return self._read()
        except BaseException:
            self.give_up()
            raise

    def listen(self, length: tuple[int, int] | None = None) -> str:
        """Read one line more of the answer to the last message.

        :raises LinkError: no answer in time, a broken link, or bytes that are no text; the session is closed then
        """
        return self.hear()

    def exchange(self) -> AbstractContextManager[None]:
        """A context that does nothing: no other unit is on this link."""
        return contextlib.nullcontext()

    def unasked(self) -> list[str]:
        """The lines that came without a question since the last call."""
        return []

    def rest(self, seconds: float) -> None:
        """Have the next message go no sooner than that time (s) from now on."""

    def ask_ahead(self, message: str) -> bool:
        """Send a question whose answer `hear` will read; True.

        :raises LinkError: a broken link; the session is closed then
        """
        self.tell(message)
        return True

    def hear(self) -> str:
        """Read the answer to a question that `ask_ahead` has sent, without the line end.

        :raises LinkError: no answer in time, a broken link, or bytes that are no text; the session is closed then
        """
        try:
            return self._read()
        except BaseException:
            self.give_up()
            raise

    def tell(self, message: str) -> None:
        """Send one message that has no answer.

        :raises LinkError: a broken link; the session is closed then
        """
        try:
            self._write(message, _TELLING)
        except BaseException:
            self.give_up()
            raise

    def _write(self, message: str, calling: Calling) -> None:
        data = message.encode("ascii") + self._write_termination
        resource = self._opened()
        with calling:
            written, _ = resource.visalib.write(resource.session, data)
        if written != len(data):
            raise LinkError(f"only {written} of {len(data)} bytes were sent")

    def _read(self) -> str:
        resource = self._opened()
        with _ASKING:
            answer, status = resource.visalib.read(resource.session, sockets.LONGEST_ANSWER)
            while status == _MORE_TO_COME:
                if len(answer) >= sockets.LONGEST_ANSWER:
                    raise LinkError(f"no answer: an answer of more than {sockets.LONGEST_ANSWER} bytes")
                more, status = resource.visalib.read(resource.session, sockets.LONGEST_ANSWER)
                answer += more
        try:
            return answer.decode("ascii").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise LinkError(f"no answer but bytes that are no text: {answer[:40]!a}") from error

    def _opened(self) -> MessageBasedResource:
        if self._resource is None:
            raise LinkError("the session is closed")
        return self._resource

    def close(self) -> None:
        """Close the link, what was written last delivered if it can be; a failure is ignored. It may be called twice."""
        self._end(in_order=True)

    def give_up(self) -> None:
        """Close the link after a failure: what was written and not delivered yet is discarded. It may be called twice."""
        self._end(in_order=False)

    def _end(self, *, in_order: bool) -> None:
        resource, self._resource = self._resource, None
        if resource is None:
            return
        library, session = resource.visalib, resource.session
        sessions = getattr(library, "sessions", {})
        try:
            with contextlib.suppress(LinkError), _CLOSING:
                ending.prepare(sessions.get(session), in_order=in_order)
            with contextlib.suppress(LinkError), _CLOSING:
                resource.close()
        finally:
            # pyvisa forgets no session by itself: 2 to 3 KiB each, 40 MB a day for a unit that is tried every 5 s.
            for table in ("sessions", "_last_status_in_session", "_ignore_warning_in_session"):
                getattr(library, table, {}).pop(session, None)


def _converted(name: str, value: Any) -> Any:
    try:
        return converted(name, value)
    except ValueError:
        return value  # pyvisa will say so when the link is opened


def _manager(backend: str) -> pyvisa.ResourceManager:
    """pyvisa's library of that name, loaded once; with this package's sessions, which pyvisa-py opens then."""
    with _managers_lock:
        manager = _managers.get(backend)
        if manager is None:
            if not _managers:
                for module in (sockets, vxi11, hislip):
                    module.register()
            manager = pyvisa.ResourceManager(backend)
            # No warnings: a warnings filter of the process can't be changed by many threads at a time.
            manager.visalib.issue_warning_on.clear()
            _managers[backend] = manager
        return manager

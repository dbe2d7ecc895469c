"""A VISA session: a text link to one instrument, for one thread. A failure closes it; only `open` brings it back."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from pyvisa import constants, errors
from pyvisa.constants import StatusCode
from pyvisa.resources import MessageBasedResource

from agent.instruments.driver import LinkError, UnaskedBytesError
from agent.instruments.link import LinkForm
from agent.instruments.options import is_known
from agent.instruments.visa import ending, sockets
from agent.instruments.visa.faults import Calling, Calls
from agent.instruments.visa.library import argument, manager

#: ms. pyvisa's own default is 0.1 s on VXI-11, too short for many links, and 10 s on a socket.
DEFAULT_OPEN_TIMEOUT = 3000
#: ms
DEFAULT_TIMEOUT = 2000

#: bytes. A line on which that much comes without a question is out of order.
LONGEST_NOISE = 16 * 1024
#: Lines without a question that are kept for `VisaSession.unasked`; the oldest go.
_MOST_STRAY = 50

_PLAIN = LinkForm()
_ALONE = contextlib.nullcontext()
#: Messages are ASCII, but for those of a language whose bytes have all values.
_OUT = {"latin-1": "latin-1"}
_MORE_TO_COME = StatusCode.success_max_count_read


@runtime_checkable
class _Receiving(Protocol):
    """A session of this package, which tells what has come in."""

    def pending(self) -> bytes:
        """The bytes that have come in and were not read; they stay."""

    def discard(self) -> None:
        """Forget them."""


class VisaSession:
    """A link to one instrument.

    :param uri: its VISA resource name
    :param backend: pyvisa's name of a library, such as ``@py``
    :param options: further arguments of pyvisa's ``open_resource``: ``open_timeout`` and ``timeout`` in ms, ``read_termination``,
        ``write_termination``, ``baud_rate`` …; they win over those of the form
    :param form: how messages and answers travel
    """

    __slots__ = (
        "_backend",
        "_behind",
        "_byte",
        "_calls",
        "_delay",
        "_encoding",
        "_form",
        "_gap",
        "_is_ended",
        "_is_plain",
        "_options",
        "_ready",
        "_resource",
        "_stray",
        "_write_termination",
        "uri",
    )

    def __init__(
        self, uri: str, backend: str = "@py", options: Mapping[str, Any] | None = None, form: LinkForm = _PLAIN
    ) -> None:
        self.uri = uri
        self._backend = backend
        self._form = form
        of_form = {name: value for name, value in form.arguments.items() if is_known(name, uri)}
        given = {name: argument(name, value) for name, value in {**of_form, **(options or {})}.items()}
        self._options = {"open_timeout": DEFAULT_OPEN_TIMEOUT, "timeout": DEFAULT_TIMEOUT, **given}
        # On a stream only a character ends a message; on a link with an end of message a line feed does no harm.
        kind = uri.strip().upper()
        is_serial = kind.startswith("ASRL")
        is_stream = is_serial or kind.endswith("SOCKET")
        if is_stream:
            self._options.setdefault("read_termination", form.read)
        self._is_ended = not is_stream or bool(self._options["read_termination"])
        if is_serial and not self._is_ended:
            self._options.setdefault("end_input", constants.SerialTermination.none)
        self._options.setdefault("write_termination", form.write)
        self._write_termination = str(self._options["write_termination"] or "").encode()
        self._encoding = str(self._options.get("encoding") or form.encoding)
        # Bytes that may stand behind an answer, as firmware has it: a line end or zero byte behind a known length, LF behind CR.
        is_cr = is_stream and self._options["read_termination"] == "\r"
        self._behind = b"\r\n\0" if form.skips_empty or not self._is_ended else b"\n" if is_cr else b""
        self._is_plain = self._is_ended and not self._behind and form.unasked is None
        self._gap = form.gap
        # s that a byte takes on a serial line: a message without an answer is on its way still when it was written.
        self._byte = 10 / float(self._options.get("baud_rate", 9600)) if is_serial else 0.0
        self._delay = float(self._options.get("query_delay") or 0.0)
        self._calls = Calls(uri, self._options)
        self._ready = 0.0  # the moment (time.monotonic) from which the next message may go
        self._stray: deque[str] = deque(maxlen=_MOST_STRAY)
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
            with self._calls.opening:
                resource = manager(self._backend).open_resource(self.uri, **self._options)
            if not isinstance(resource, MessageBasedResource):
                resource.close()
                raise LinkError(f"can't open {self.uri}: it is not an instrument that takes messages")
            self._resource = resource
            with self._calls.starting:
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

        :param length: the least and the most bytes of an answer that nothing ends
        :raises LinkError: no answer in time, a broken link, or bytes that are no text; the session is closed then
        """
        try:
            self._write(message, self._calls.asking)
            if self._delay:
                time.sleep(self._delay)
            return self._read(length)
        except BaseException:
            self.give_up()
            raise

    def ask_ahead(self, message: str) -> bool:
        """Send a question whose answer `hear` will read; False on a link whose answers have no end, and nothing was sent.

        :raises LinkError: a broken link; the session is closed then
        """
        if not self._is_ended or self._delay:
            return False
        self.tell(message)
        return True

    def hear(self) -> str:
        """Read the answer to a question that `ask_ahead` has sent, without the line end.

        :raises LinkError: no answer in time, a broken link, or bytes that are no text; the session is closed then
        """
        return self.listen()

    def listen(self, length: tuple[int, int] | None = None) -> str:
        """Read one line more of the answer to the last message.

        :param length: as in `ask`
        :raises LinkError: no answer in time, a broken link, or bytes that are no text; the session is closed then
        """
        try:
            return self._read(length)
        except BaseException:
            self.give_up()
            raise

    def exchange(self) -> AbstractContextManager[None]:
        """A context that does nothing: no other unit is on this link."""
        return _ALONE

    def tell(self, message: str) -> None:
        """Send one message that has no answer.

        :raises LinkError: a broken link; the session is closed then
        """
        try:
            self._write(message, self._calls.telling)
        except BaseException:
            self.give_up()
            raise

    def unasked(self) -> list[str]:
        """The lines that the form expects without a question and that have come since the last call, oldest first.

        :raises LinkError: a broken link, or other bytes that nobody asked for; the session is closed then
        """
        if not self._is_plain:
            try:
                self._collect(self._opened())
            except BaseException:
                self.give_up()
                raise
        lines = list(self._stray)
        self._stray.clear()
        return lines

    def rest(self, seconds: float) -> None:
        """Have the next message go no sooner than that time (s) from now on."""
        self._ready = max(self._ready, time.monotonic() + seconds)

    def drain(self, silence: float) -> bytes:
        """Read and drop all that comes, until nothing has come for that time (s), and tell it; 0: all that has come by now.

        A line end behind an answer is dropped and not told.

        :raises LinkError: a broken link, or one that does not become silent; the session is closed then
        """
        try:
            resource = self._opened()
            receiving = _receiving(resource)
            dropped = b""
            if receiving is not None:
                with self._calls.asking:
                    dropped = receiving.pending()
                    receiving.discard()
            if silence > 0:
                dropped += self._read_to_silence(resource, silence, LONGEST_NOISE)
        except BaseException:
            self.give_up()
            raise
        if len(dropped) >= LONGEST_NOISE:
            self.give_up()
            raise LinkError(f"bytes that nobody asked for, and no end of them: {dropped[:40]!a}")
        return b"" if self._behind and not dropped.strip(self._behind) else dropped

    def _write(self, message: str, calling: Calling) -> None:
        data = message.encode(_OUT.get(self._encoding, "ascii")) + self._write_termination
        self.wait_until_ready()
        resource = self._opened()
        if not self._is_plain:
            self._collect(resource)
        with calling:
            written, _ = resource.visalib.write(resource.session, data)
        if written != len(data):
            raise LinkError(f"only {written} of {len(data)} bytes were sent")
        if self._gap:
            self.rest(self._gap + len(data) * self._byte)

    def wait_until_ready(self) -> bool:
        """True if the unit needed time before the next message, which has passed by now; False if it was ready at once."""
        if not self._ready:
            return False
        left, self._ready = self._ready - time.monotonic(), 0.0
        if left > 0:
            time.sleep(left)
        return left > 0

    def _read(self, length: tuple[int, int] | None = None) -> str:
        if not self._is_ended:
            return self._read_unended(length)
        answer = self._decoded(self._read_line()).rstrip("\r\n") if self._is_plain else self._read_answer()
        if self._gap:
            self.rest(self._gap)
        return answer

    def _read_line(self) -> bytes:
        resource = self._opened()
        with self._calls.asking:
            answer, status = resource.visalib.read(resource.session, sockets.LONGEST_ANSWER)
            while status == _MORE_TO_COME:
                if len(answer) >= sockets.LONGEST_ANSWER:
                    raise LinkError(f"no answer: an answer of more than {sockets.LONGEST_ANSWER} bytes")
                more, status = resource.visalib.read(resource.session, sockets.LONGEST_ANSWER)
                answer += more
        return bytes(answer)

    def _read_answer(self) -> str:
        """A line that is an answer: neither empty nor one of those that the unit sends without a question."""
        deadline = time.monotonic() + self._timeout
        while self._is_stray(line := self._decoded(self._read_line()).rstrip("\r\n")):
            if time.monotonic() > deadline:
                raise LinkError(f"no answer but lines that nobody asked for: {line[:60]!a}")
        return line.lstrip(self._behind.decode())

    def _read_unended(self, length: tuple[int, int] | None) -> str:
        least, most = length or (1, sockets.LONGEST_ANSWER)
        resource = self._opened()
        with self._calls.asking:
            answer, _ = resource.visalib.read(resource.session, least)
            while len(answer) < least:
                answer += resource.visalib.read(resource.session, least - len(answer))[0]
        self.rest(self._gap)
        answer += self._read_to_silence(resource, self._form.silence, most - len(answer))
        return self._decoded(bytes(answer)).rstrip("" if length is not None else "\r\n\0")

    def _read_to_silence(self, resource: MessageBasedResource, silence: float, most: int) -> bytes:
        received = bytearray()
        if most <= 0:
            return b""
        # A line that never becomes silent would have an off wait for minutes, until there are so many bytes.
        deadline = time.monotonic() + self._timeout + silence
        with self._calls.asking:
            resource.timeout = max(1.0, silence * 1000)
            try:
                while len(received) < most:
                    received += resource.visalib.read(resource.session, 1)[0]
                    if time.monotonic() > deadline:
                        raise LinkError(f"bytes that do not end: {bytes(received[:40])!a}")
                    self.rest(self._gap)  # from its last byte on: the silence that ends an answer is a part of the gap
            except errors.VisaIOError as error:
                if error.error_code != StatusCode.error_timeout:
                    raise
            finally:
                resource.timeout = self._options["timeout"]
        return bytes(received)

    def _collect(self, resource: MessageBasedResource) -> None:
        """:raises LinkError: a line that came without a question is not among those that the unit sends so"""
        receiving = _receiving(resource)
        while receiving is not None:
            with self._calls.asking:
                waiting = receiving.pending()
            if not waiting:
                return
            if self._behind and not waiting.strip(self._behind):
                receiving.discard()
                return
            if not self._is_ended:
                return  # the session refuses to write now
            line = self._decoded(self._read_line()).rstrip("\r\n")
            if not self._is_stray(line):
                raise UnaskedBytesError(f"an answer that nobody asked for: {line[:60]!a}")

    def _is_stray(self, line: str) -> bool:
        if self._form.skips_empty and not line.strip("\r\n\0"):
            return True
        pattern = self._form.unasked
        if pattern is None or pattern.fullmatch(line.strip("\r\n")) is None:
            return False
        self._stray.append(line.strip("\r\n"))
        return True

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode(self._encoding)
        except UnicodeDecodeError as error:
            raise LinkError(f"no answer but bytes that are no text, as of another baud rate: {data[:40]!a}") from error

    @property
    def _timeout(self) -> float:
        """s for an answer."""
        return float(self._options["timeout"] or math.inf) / 1000

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
        try:
            with contextlib.suppress(LinkError), self._calls.closing:
                ending.prepare(getattr(library, "sessions", {}).get(session), in_order=in_order)
            with contextlib.suppress(LinkError), self._calls.closing:
                resource.close()
        finally:
            # pyvisa forgets no session by itself: 2 to 3 KiB each, 40 MB a day for a unit that is tried every 5 s.
            for table in ("sessions", "_last_status_in_session", "_ignore_warning_in_session"):
                getattr(library, table, {}).pop(session, None)


def _receiving(resource: MessageBasedResource) -> _Receiving | None:
    session = getattr(resource.visalib, "sessions", {}).get(resource.session)
    return session if isinstance(session, _Receiving) else None

"""HiSLIP for pyvisa-py with one deadline a message, which notices at once when the peer is gone.

pyvisa-py's own has no limit for opening the second connection (135 s where packets are dropped), starts its timeout anew with
every byte, and spins for ever when the peer closes within a message that it skips. Here an answer also has a greatest size.

Protocol: IVI-6.1, High-Speed LAN Instrument Protocol.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from pyvisa import errors
from pyvisa.constants import StatusCode
from pyvisa_py.protocols import hislip

from agent.instruments.tcp import DEFAULT_OPEN_TIMEOUT, BoundedSocket, connect, end_in_order
from agent.instruments.visa.faults import is_ours
from agent.instruments.visa.sockets import LONGEST_RECORD

#: s that a unit which does not answer may take to say whether it is locked.
_LOCK_INFO = 0.3


class Instrument(hislip.Instrument):  # type: ignore[misc]
    """The two connections of HiSLIP. ``timeout`` in s; ``open_timeout`` as pyvisa-py gives it, in thousandths of a ms."""

    _sync: BoundedSocket
    _async: BoundedSocket

    def __init__(
        self,
        ip_addr: str,
        open_timeout: float | None = None,
        timeout: float | None = None,
        port: int = hislip.PORT,
        sub_address: str = "hislip0",
    ) -> None:
        within = open_timeout / 1e6 if open_timeout else DEFAULT_OPEN_TIMEOUT
        self._timeout = timeout or DEFAULT_OPEN_TIMEOUT
        with _checked(), contextlib.ExitStack() as stack:
            self._sync = stack.enter_context(connect(ip_addr, port, within))
            init = self.initialize(sub_address=sub_address.encode("ascii"))
            self._async = stack.enter_context(connect(ip_addr, port, within))
            self._async_init = self.async_initialize(session_id=init.session_id)
            self._rmt = 0
            self._message_id = 0xFFFF_FF00
            self._last_message_id: int | None = None
            self._msg_type = ""
            self._payload_remaining = 0
            self._keepalive = True
            self.max_msg_size = hislip.DEFAULT_MAX_MSG_SIZE
            stack.pop_all()

    @property
    def timeout(self) -> float:
        """s for a whole message, in either direction."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._timeout = seconds

    def send(self, data: bytes) -> int:
        """Send a message. The number of bytes sent.

        :raises UnsentError: the connection was gone before; nothing was sent
        :raises OSError: it could not be sent in time, or the connection is gone
        """
        self._sync.check_peer()
        self._sync.allow(self._timeout)
        return int(super().send(data))

    def receive(self, max_len: int = 4096) -> bytes:
        """Receive up to ``max_len`` bytes of a message.

        :raises OSError: no answer in time, one that breaks the protocol, or the connection is gone
        :raises errors.VisaIOError: no answer in time, and another client has locked the unit
        :raises RuntimeError: the answer breaks the protocol
        """
        self._sync.allow(self._timeout)
        try:
            with _checked():
                return bytes(super().receive(max_len))
        except TimeoutError:
            if self._is_locked():
                raise errors.VisaIOError(StatusCode.error_resource_locked) from None
            raise

    def finish(self) -> None:
        """Have the close that follows deliver the last message: nothing failed."""
        end_in_order(self._sync)
        end_in_order(self._async)

    def _is_locked(self) -> bool:
        """True if another client has locked the unit, which answers nobody else then."""
        self._async.allow(_LOCK_INFO)
        try:
            with _checked():
                return bool(self.async_lock_info())
        except (OSError, RuntimeError):
            return False

    def device_clear(self) -> None:
        """Have the unit discard its input and output (device clear).

        :raises OSError: no answer in time, one that breaks the protocol, or the connection is gone
        """
        self._sync.allow(self._timeout)
        self._async.allow(self._timeout)
        with _checked():
            super().device_clear()


@contextlib.contextmanager
def _checked() -> Iterator[None]:
    """pyvisa-py checks the headers of messages by asserts (`RxHeader` and its subclasses in protocols/hislip.py)."""
    try:
        yield
    except AssertionError as error:
        if is_ours(error):
            raise
        raise ConnectionError("an answer that breaks the HiSLIP protocol") from error


def _receive_exact(connection: socket.socket, count: int) -> bytearray:
    if count > LONGEST_RECORD:
        raise ConnectionError(f"a payload of {count} bytes")
    buffer = bytearray(count)
    hislip.receive_exact_into(connection, buffer)
    return buffer


def register() -> None:
    """Make it what pyvisa-py opens, for this process: it looks these names up when it opens a link."""
    hislip.Instrument = Instrument
    hislip.receive_exact = _receive_exact

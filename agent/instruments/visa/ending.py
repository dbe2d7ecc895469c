"""The last bytes of a link that is about to be closed: delivered after work, discarded after a failure.

After a failure nothing that was written may still reach the instrument: it would be carried out after newer settings. Sockets end
with a reset by themselves (`agent.instruments.tcp`). A serial line goes on sending when its port is closed, for up to 30 s where
flow control holds it. USB and GPIB have no such buffer on this side; the instrument's is emptied by the device clear with which
the next link begins.
"""

from __future__ import annotations

import time
from typing import Protocol, runtime_checkable

from agent.instruments.tcp import LAST_BYTES


@runtime_checkable
class _Finishing(Protocol):
    """A connection, or a session of pyvisa-py, that is reset unless it is told that all went well."""

    def finish(self) -> None:
        """Have the close that follows deliver the last message."""


@runtime_checkable
class _SerialPort(Protocol):
    """A port of pyserial."""

    @property
    def out_waiting(self) -> int:
        """Bytes that were written and not sent yet."""

    def reset_output_buffer(self) -> None:
        """Discard them."""


def prepare(session: object, *, in_order: bool) -> None:
    """Prepare a session of pyvisa-py for its close; one of another library stays as it is.

    :param in_order: give the last bytes `LAST_BYTES` to be sent
    :raises Exception: as pyvisa-py and pyserial do
    """
    interface = getattr(session, "interface", None)
    for connection in (session, interface):
        if in_order and isinstance(connection, _Finishing):
            connection.finish()
    if isinstance(interface, _SerialPort):
        deadline = time.monotonic() + LAST_BYTES
        while in_order and interface.out_waiting and time.monotonic() < deadline:
            time.sleep(0.005)
        # What the port's own buffer holds would be discarded, too.
        if not in_order or interface.out_waiting:
            interface.reset_output_buffer()

"""Carry connections between a TCP port of one network namespace and another by a socket in the file system.

``python relay.py FROM TO [FROM TO …]``; each is ``tcp:PORT`` of 127.0.0.1 or ``unix:PATH``. It ends with its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    kind, _, where = address.partition(":")
    if kind == "unix":
        return await asyncio.open_unix_connection(where)
    return await asyncio.open_connection("127.0.0.1", int(where))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _serve(source: str, target: str) -> asyncio.Server:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await _connect(target)
        except OSError:  # nobody there: whoever connected sees that at once
            writer.close()
            return
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    kind, _, where = source.partition(":")
    if kind == "unix":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(where)
        return await asyncio.start_unix_server(carry, where)
    return await asyncio.start_server(carry, "127.0.0.1", int(where))


async def _main(addresses: list[str]) -> None:
    servers = [await _serve(*pair) for pair in zip(addresses[::2], addresses[1::2], strict=True)]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    asyncio.run(_main(sys.argv[1:]))

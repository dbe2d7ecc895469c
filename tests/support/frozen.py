"""What programs write to, and what can be made to take nothing for a while: a file system of its own, a pipe for stderr."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import termios
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_SIZE = "96M"
#: Mounts the image, freezes and thaws at an order. It thaws and unmounts when its input ends, so also if the test is killed: a
#: process that writes to a frozen file system can't be killed, and a mount that is left behind would need an administrator.
_KEEPER = """
mount -o loop "$1" "$2" || exit 1
echo mounted
while read -r order; do fsfreeze "$order" "$2"; echo "$order"; done
fsfreeze --unfreeze "$2" 2>/dev/null
umount -l "$2"
"""


class NoFrozenDiskError(RuntimeError):
    """There can be none here, and why."""


class FrozenDisk:
    """An ext4 file system in a file, mounted on a folder, which `freeze` stops and `thaw` lets go on (fsfreeze).

    A program that writes to it while it is frozen waits in the kernel, where not even SIGKILL ends it. Needs root and a loop
    device.

    :param name: of the folder in ``folder`` that it is mounted on
    :raises NoFrozenDiskError: it can't be mounted here
    """

    def __init__(self, folder: Path, name: str = "disk") -> None:
        self.path = folder / name
        self.path.mkdir(exist_ok=True)
        image = folder / "disk.img"
        self._keeper: subprocess.Popen[str] | None = None
        try:
            for command in (["truncate", "-s", _SIZE, str(image)], ["mkfs.ext4", "-q", "-F", str(image)]):
                subprocess.run(command, check=True, capture_output=True)
            self._keeper = subprocess.Popen(
                ["sh", "-c", _KEEPER, "sh", image, self.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            if self._line() != "mounted":
                raise NoFrozenDiskError("no file system can be mounted here; it takes root and a loop device")
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoFrozenDiskError(f"no file system can be made here: {error}") from None

    def freeze(self) -> None:
        """Have every writer wait from now on."""
        self._order("--freeze")

    def thaw(self) -> None:
        """Let the writers go on. May be called in any state."""
        self._order("--unfreeze")

    def close(self) -> None:
        """Thaw and unmount."""
        if self._keeper is not None:
            self._keeper.communicate()
            self._keeper = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _order(self, order: str) -> None:
        if self._keeper is not None:
            assert self._keeper.stdin is not None
            self._keeper.stdin.write(order + "\n")
            self._keeper.stdin.flush()
            self._line()

    def _line(self) -> str:
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        return self._keeper.stdout.readline().strip()


class Drain:
    """A named pipe for a program's stderr, which is copied into a log, but for the time between `hold` and `release`.

    Its size is one page, so some twenty lines that nobody reads fill it.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self.pipe = folder / "stderr"
        os.mkfifo(self.pipe)
        # Opened for both, so that opening does not wait for a writer, and reading does not end with one.
        self._end = os.open(self.pipe, os.O_RDWR)
        self.size = fcntl.fcntl(self._end, fcntl.F_SETPIPE_SZ, 4096)
        self._log = log
        self._flows = threading.Event()
        self._flows.set()
        self._ends = False
        self._thread = threading.Thread(target=self._copy, name="drain", daemon=True)
        self._thread.start()

    def hold(self) -> None:
        """Read nothing."""
        self._flows.clear()

    def release(self) -> None:
        """Read again, from where it was left."""
        self._flows.set()

    @property
    def unread(self) -> int:
        """Bytes that wait in the pipe."""
        data = fcntl.ioctl(self._end, termios.FIONREAD, b"\0" * 4)
        return int(struct.unpack("i", data)[0])

    def close(self) -> None:
        """Copy what is left, and give up the pipe, once no program writes to it any more."""
        self._ends = True
        self.release()
        os.write(self._end, b"\n")  # wakes the thread
        self._thread.join()
        os.close(self._end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _copy(self) -> None:
        with self._log.open("ab", buffering=0) as log:
            while True:
                data = os.read(self._end, 4096)
                self._flows.wait()
                log.write(data)
                if self._ends and not self.unread:
                    return

"""A reload: the configuration file is read again while the agent runs."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable

from agent.config import Config, ConfigError, load
from agent.instruments import catalogue
from agent.service import systemd

log = logging.getLogger(__name__)

#: s. A file that takes longer to be read is told of.
PATIENCE = 10.0


class ReloadError(Exception):
    """The reload changes nothing; one sentence says why."""


class Reading:
    """The file while it is read, in a thread of its own: the file, a certificate or a password may lie on a disk that hangs."""

    def __init__(self, current: Config, done: Callable[[], None]) -> None:
        """Begin. ``done`` is called in the thread when the result is there."""
        self._began = time.monotonic()
        self._is_told = False
        self._result: concurrent.futures.Future[tuple[Config, list[str]]] = concurrent.futures.Future()

        def read() -> None:
            try:
                self._result.set_result(read_again(current))
            except BaseException as error:  # noqa: BLE001  # it is raised again by `result`
                self._result.set_exception(error)
            done()

        threading.Thread(target=read, name="reload", daemon=True).start()

    @property
    def is_done(self) -> bool:
        """True once `result` has one."""
        return self._result.done()

    def result(self) -> tuple[Config, list[str]]:
        """See `read_again`. To be called when it is done."""
        return self._result.result(0)

    def is_slow(self, now: float) -> bool:
        """True once, at a moment (`time.monotonic`) by which it has taken longer than `PATIENCE`."""
        if self._is_told or now - self._began < PATIENCE:
            return False
        self._is_told = True
        return True


class Reloads:
    """Reads the configuration again when that is wanted, and tells the log and systemd what became of it. In the main thread.

    :param current: gives the configuration that is in effect
    :param take_over: brings a newer one into effect, and returns a line that says what changed
    :param wake: ends the main thread's sleep
    """

    def __init__(
        self, current: Callable[[], Config], take_over: Callable[[Config], str], wake: Callable[[], None]
    ) -> None:
        self._current = current
        self._take_over = take_over
        self._wake = wake
        self._is_wanted = False
        self._reading: Reading | None = None

    def want(self) -> None:
        """Have it read again soon. From any thread, or a signal handler."""
        self._is_wanted = True
        self._wake()

    def tick(self, now: float) -> None:
        """Begin, go on, or do nothing, at a moment of `time.monotonic`. To be called several times a second."""
        if self._reading is None:
            if not self._is_wanted:
                return
            self._is_wanted = False
            systemd.reloading()
            self._reading = Reading(self._current(), self._wake)
        if not self._reading.is_done:
            if self._reading.is_slow(now):
                status = "the configuration file can't be read yet, as the disk does not answer; nothing changes until it does"
                log.warning("reload: %s", status)
                systemd.notify(f"READY=1\nSTATUS={status}")
            return
        reading, self._reading = self._reading, None
        status = "nothing changed, as an error inside psu-agent ended it"
        try:
            newer, late = reading.result()
            status = "an error inside psu-agent ended it before it was complete; restart psu-agent"
            status = self._take_over(newer)
            if late:
                status += f"; settings.{', settings.'.join(late)} after a restart"
        except ReloadError as error:
            status = str(error)
        finally:
            log.info("reload: %s", status)
            systemd.notify(f"READY=1\nSTATUS={status}")


def tell_warnings(config: Config) -> None:
    """Log what is odd in a configuration, and which series files can't be used."""
    for warning in config.warnings:
        log.warning("%s", warning)
    for line in config.series_faults:
        log.error("%s", line)


def read_again(current: Config) -> tuple[Config, list[str]]:
    """The configuration that the file holds now, with the settings that only a restart can change as they were.

    The list names those settings (``mqtt.host``). Faults, warnings and settings that need a restart are logged.

    :raises ReloadError: there is no file, or it has a fault
    """
    if current.path is None:
        raise ReloadError("there is no configuration file to read again")
    try:
        newer = load(current.path)
    except ConfigError as error:
        catalogue.use(current.settings.series)  # what the faulty file named may have been taken already
        for fault in error.faults:
            log.error("%s", fault)
        more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
        raise ReloadError(f"nothing changed, the configuration has a fault: {error.faults[0]}{more}") from None
    tell_warnings(newer)
    late = current.restart_needed(newer)
    if late:
        log.warning("reload: a change of settings.%s needs a restart", ", settings.".join(late))
    return newer.with_settings_of(current), late

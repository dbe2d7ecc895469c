"""A reload: the configuration file is read again while the agent runs."""

from __future__ import annotations

import logging

from agent.config import Config, ConfigError, load

log = logging.getLogger(__name__)


class ReloadError(Exception):
    """The reload changes nothing; one sentence says why."""


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
        for fault in error.faults:
            log.error("%s", fault)
        more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
        raise ReloadError(f"nothing changed, the configuration has a fault: {error.faults[0]}{more}") from None
    for warning in newer.warnings:
        log.warning("%s", warning)
    late = current.restart_needed(newer)
    if late:
        log.warning("reload: a change of settings.%s needs a restart", ", settings.".join(late))
    return newer.with_settings_of(current), late

"""pyvisa's libraries, each loaded once, with the sessions of this package; and the arguments in the form that pyvisa wants."""

from __future__ import annotations

import threading
from typing import Any

import pyvisa

from agent.instruments.options import converted
from agent.instruments.visa import hislip, seriallines, sockets, vxi11

_managers_lock = threading.Lock()
_managers: dict[str, pyvisa.ResourceManager] = {}


def argument(name: str, value: Any) -> Any:
    """The value of an argument of ``open_resource`` as pyvisa takes it; one that it does not take as it is."""
    try:
        return converted(name, value)
    except ValueError:
        return value  # pyvisa will say so when the link is opened


def manager(backend: str) -> pyvisa.ResourceManager:
    """pyvisa's library of that name, loaded once; with this package's sessions, which pyvisa-py opens then."""
    with _managers_lock:
        found = _managers.get(backend)
        if found is None:
            if not _managers:
                for module in (sockets, vxi11, hislip, seriallines):
                    module.register()
            found = pyvisa.ResourceManager(backend)
            # No warnings: a warnings filter of the process can't be changed by many threads at a time.
            found.visalib.issue_warning_on.clear()
            _managers[backend] = found
        return found

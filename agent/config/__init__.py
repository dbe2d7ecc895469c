"""The user's configuration file: find it, read it, and report its faults by line.

Other rooms import from here. `agent.config.jsonschema` (for editors) and `agent.config.editing` (changes in place) are imported
by name, so that the daemon does not load them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.config.faults import ConfigError, Fault
    from agent.config.loading import find, from_data, load, parse
    from agent.config.schema import Config
    from agent.config.settings import BacklogSettings, HomeAssistantSettings, Mqtt, Settings, Tls
    from agent.config.units import ChannelSettings, UnitSettings

__all__ = [
    "BacklogSettings",
    "ChannelSettings",
    "Config",
    "ConfigError",
    "Fault",
    "HomeAssistantSettings",
    "Mqtt",
    "Settings",
    "Tls",
    "UnitSettings",
    "find",
    "from_data",
    "load",
    "parse",
]

_MODULES = {
    "faults": ("ConfigError", "Fault"),
    "loading": ("find", "from_data", "load", "parse"),
    "schema": ("Config",),
    "settings": ("BacklogSettings", "HomeAssistantSettings", "Mqtt", "Settings", "Tls"),
    "units": ("ChannelSettings", "UnitSettings"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # for mypy, a name that is not above is none

    def __getattr__(name: str) -> object:
        """A name of `__all__`, when it is first asked for.

        A client of a broker needs `Mqtt` alone. To read all that a file can hold, with the catalogue of supplies and PyVISA, took
        a quarter of the start of `psu-agent get`.
        """
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        return value

"""The user's configuration file: find it, read it, and report its faults by line.

Other rooms import from here. `agent.config.jsonschema` (for editors) and `agent.config.editing` (changes in place) are imported
by name, so that the daemon does not load them.
"""

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

"""psu-agent: bench power supplies on MQTT."""

__version__ = "0.1.0"

"""psu-agent: bench power supplies on MQTT."""

from importlib import metadata

try:
    #: The version that was installed: of the tag, or of the commits since (pyproject.toml, `[tool.hatch.version]`).
    __version__ = metadata.version("psu-agent")
except metadata.PackageNotFoundError:
    __version__ = "0+unknown"  # run from a folder, and never installed

"""psu-agent: bench power supplies on MQTT."""

#: The version that was installed: of the tag, or of the commits since (pyproject.toml, `[tool.hatch.version]`).
__version__: str


def __getattr__(name: str) -> str:
    """`__version__`, when it is first asked for: to find it out takes a third of the program's start."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import metadata

    try:
        found = metadata.version("psu-agent")
    except metadata.PackageNotFoundError:
        found = "0+unknown"  # run from a folder, and never installed
    globals()[name] = found
    return found

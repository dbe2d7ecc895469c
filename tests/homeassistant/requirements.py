"""Run by Home Assistant's own Python: print what its integrations need that a test with MQTT and a recorder loads."""

from __future__ import annotations

import json
from pathlib import Path

import homeassistant  # type: ignore[import-not-found]
from homeassistant import bootstrap

FOLDER = Path(homeassistant.__file__).parent / "components"
WANTED = {"mqtt", "api", "history", "recorder", "logbook", "energy", "zeroconf", "hassio", "isal", "search"}
#: They need a compiler, and serve voices alone.
UNWANTED = ("pymicro-vad", "pyspeex-noise")


def main() -> None:
    waiting = WANTED | set(bootstrap.CORE_INTEGRATIONS) | set(bootstrap.DEFAULT_INTEGRATIONS)
    known: set[str] = set()
    requirements: set[str] = set()
    while waiting:
        name = waiting.pop()
        known.add(name)
        manifest = FOLDER / name / "manifest.json"
        if manifest.exists():
            data = json.loads(manifest.read_text())
            requirements.update(data.get("requirements", ()))
            waiting.update(set(data.get("dependencies", ())) - known)
    for requirement in sorted(requirements):
        if not requirement.startswith(UNWANTED):
            print(requirement)


if __name__ == "__main__":
    main()

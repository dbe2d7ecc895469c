"""``settings.series``: the series files of the user, which are read before the units that need them."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.config.scalars import as_text
from agent.instruments import catalogue


def take_series(data: Mapping[str, Any], folder: Path) -> list[str]:
    """Have the catalogue hold the series files that a file's data names, and no others of a user.

    The faults of those that could not be used, a line each: ``FILE:LINE: KEY.PATH: what is wrong and what would be right``.

    :param folder: where relative paths begin
    """
    settings = data.get("settings")
    given = settings.get("series") if isinstance(settings, Mapping) else None
    texts = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    paths, faults = [], []
    for text in texts:
        path = _path(str(as_text(text)), folder) if isinstance(text, str) else None
        if path is None:
            continue  # the schema has the fault
        try:
            mode = path.stat().st_mode
        except OSError as error:
            faults.append(f"{path}: can't be read: {error.strerror}; give a series file or a folder of them")
            continue
        # A pipe or a device is never read to its end.
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            paths.append(path)
        else:
            faults.append(f"{path}: is no file; give a series file or a folder of them")
    return catalogue.use(paths, faults)


def _path(text: str, folder: Path) -> Path | None:
    if not text.isprintable() or not text.strip():
        return None
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        return None

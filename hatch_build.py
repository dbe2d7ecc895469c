"""The package's description for an index: the README, with links and pictures that work outside of the repository.

The repository's address stands in pyproject.toml, at `[tool.hatch.metadata.hooks.custom]`, or in `$PSU_AGENT_REPOSITORY`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_PICTURE = re.compile(r"!\[([^\]]*)\]\((?!\w+:)([^)\s]+)\)")
#: Not a reference to a heading of the same page; what stands in the brackets may hold brackets of its own.
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)\s]+)\)")
_TAGS = re.compile(r"</?(?:img|picture|source|a)\b[^>]*>")
_HTML = re.compile(r"\b(src|srcset|href)=\"(?!\w+:|#)([^\"]+)\"")


class DescriptionHook(MetadataHookInterface):
    """Gives `readme` and `urls`. In a source distribution they are known already, and stay."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set what pyproject.toml calls dynamic."""
        if "readme" in metadata:
            return
        repository = os.environ.get("PSU_AGENT_REPOSITORY", self.config.get("repository", "")).strip().rstrip("/")
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        place = _place_of(metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": description(text, repository, place)}
        if repository:
            metadata["urls"] = {
                "Homepage": repository,
                "Documentation": f"{repository}/tree/{place}/docs",
                "Changelog": f"{repository}/blob/{place}/CHANGELOG.md",
                "Issues": f"{repository}/issues",
                "Source": repository,
            }


def description(text: str, repository: str, place: str) -> str:
    """The README with absolute addresses; without a repository with the words of its links alone, and without pictures.

    :param repository: ``https://host/owner/name``, or empty
    :param place: a tag or branch
    """
    if not repository:
        return _LINK.sub(r"\1", _TAGS.sub("", _PICTURE.sub("", text)))
    text = _PICTURE.sub(rf"![\1]({repository}/raw/{place}/\2)", text)
    text = _LINK.sub(rf"[\1]({repository}/blob/{place}/\2)", text)
    kinds = {"src": "raw", "srcset": "raw", "href": "blob"}
    return _HTML.sub(lambda found: f'{found[1]}="{repository}/{kinds[found[1]]}/{place}/{found[2]}"', text)


def _place_of(version: str) -> str:
    """Where a file of this version is found: at its tag, or for a version between two at the newest commit."""
    return "HEAD" if "dev" in version or "+" in version else f"v{version}"

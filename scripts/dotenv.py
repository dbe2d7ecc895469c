"""The settings of the stack: the lines of .env, and the folder of the agent's configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from scripts.common import Fault


def settings(root: Path) -> dict[str, str]:
    """The lines of .env, as compose takes them."""
    try:
        lines = (root / ".env").read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise Fault(f"{root / '.env'} is not in UTF-8") from None
    found: dict[str, str] = {}
    for line in lines:
        if match := re.fullmatch(r"\s*(?:export\s+)?(\w+)\s*=\s*(.*?)\s*", line):
            value = re.sub(r"\s#.*", "", match[2]).strip() if match[2][:1] not in ("'", '"') else match[2]
            quoted = re.match(r"""(["'])(.*?)\1""", value)
            value = quoted[2] if quoted else value
            found[match[1]] = value if quoted and quoted[1] == "'" else replaced(value, found | dict(os.environ))
    return found


def replaced(value: str, known: Mapping[str, str]) -> str:
    """A value as compose takes it outside of single quotes: with the values of the variables that it names, if there are any."""
    return re.sub(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))", lambda name: known.get(name[1] or name[2], ""), value)


def configuration(root: Path) -> Path | None:
    """The folder that PSU_AGENT_FOLDER names, if any.

    :raises Fault: the secrets are in it
    """
    named = os.environ.get("PSU_AGENT_FOLDER") or settings(root).get("PSU_AGENT_FOLDER", "")
    if not named:
        return None
    folder = (root / Path(named).expanduser()).resolve()
    if any(one.resolve().is_relative_to(folder) for one in (root, root / "secrets")):
        raise Fault(
            f"PSU_AGENT_FOLDER={named} has secrets/ in it, which would all be the agent's to read: "
            "mkdir config, move psu-agent.yaml into it, and name ./config"
        )
    return folder
